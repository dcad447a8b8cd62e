//! The thin layer that answers the kernel's FUSE requests from the model.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::content::PAGE;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::mount::Shared;
use crate::node::{Attr, Ino, Kind, NewNode};

/// Nobody but the kernel changes the tree, so what it remembers stays true.
const REMEMBER: Duration = Duration::from_secs(3600);
/// Node numbers are never used again.
const GENERATION: Generation = Generation(0);

type Answer<T> = std::result::Result<T, Errno>;
type Listing = Vec<(OsString, Ino, Kind)>;

/// The model behind FUSE.
pub(crate) struct FileSystem {
    shared: Arc<Shared>,
    /// Open folders, each with its entries as they were when reading began: removing entries while reading a folder
    /// must not make the reader skip others.
    folders: Mutex<HashMap<u64, Listing>>,
    next_handle: AtomicU64,
}

impl FileSystem {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, folders: Mutex::default(), next_handle: AtomicU64::new(1) }
    }

    fn folders(&self) -> MutexGuard<'_, HashMap<u64, Listing>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, operation: impl FnOnce(&mut Disk) -> Result<T>) -> Answer<T> {
        self.shared.with(operation).map_err(|error| Errno::from_i32(error.errno()))
    }

    /// Finds or makes a node that the kernel will know from now on.
    fn enter(&self, operation: impl FnOnce(&mut Disk) -> Result<Ino>) -> Answer<FileAttr> {
        self.with(|disk| {
            let ino = operation(disk)?;
            disk.hold(ino)?;
            Ok(file_attr(&disk.attr(ino)?))
        })
    }

    fn list(&self, ino: Ino, handle: u64, offset: u64, reply: &mut ReplyDirectory) -> Answer<()> {
        if offset == 0 {
            let listing = self.with(|disk| disk.list(ino))?;
            self.folders().insert(handle, listing);
        }
        let folders = self.folders();
        let listing = folders.get(&handle).map_or(&[][..], Vec::as_slice);
        let dots = [(OsString::from("."), ino, Kind::Folder), (OsString::from(".."), ino, Kind::Folder)];
        let entries = dots.iter().chain(listing).zip(1_u64..).skip(offset as usize);
        for ((name, ino, kind), next) in entries {
            if reply.add(INodeNo(*ino), next, file_type(*kind), name) {
                break;
            }
        }
        Ok(())
    }
}

fn entered(reply: ReplyEntry, found: Answer<FileAttr>) {
    match found {
        Ok(attr) => reply.entry(&REMEMBER, &attr, GENERATION),
        Err(errno) => reply.error(errno),
    }
}

fn done(reply: ReplyEmpty, outcome: Answer<()>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for FileSystem {
    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entered(reply, self.enter(|disk| disk.lookup(parent.0, name)));
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        // There is no answer to this request, and without power nothing is left to be freed.
        let _ = self.with(|disk| disk.forget(ino.0, nlookup));
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.with(|disk| disk.attr(ino.0)) {
            Ok(attr) => reply.attr(&REMEMBER, &file_attr(&attr)),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changed = self.with(|disk| {
            disk.set_owner(ino.0, mode.map(permissions), uid, gid)?;
            if let Some(size) = size {
                disk.resize(ino.0, size)?;
            }
            match mtime {
                Some(TimeOrNow::SpecificTime(time)) => disk.set_modified(ino.0, time)?,
                Some(TimeOrNow::Now) => disk.set_modified(ino.0, SystemTime::now())?,
                None => {}
            }
            disk.attr(ino.0)
        });
        match changed {
            Ok(attr) => reply.attr(&REMEMBER, &file_attr(&attr)),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        match self.with(|disk| disk.readlink(ino.0)) {
            Ok(target) => reply.data(target.as_bytes()),
            Err(errno) => reply.error(errno),
        }
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        let kind = match mode & libc::S_IFMT {
            libc::S_IFREG => Kind::File,
            libc::S_IFSOCK => Kind::Socket,
            libc::S_IFIFO => Kind::Pipe,
            _ => return reply.error(Errno::EOPNOTSUPP),
        };
        let new = new_node(req, kind, mode & !umask);
        entered(reply, self.enter(|disk| disk.make(parent.0, name, &new)));
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let new = new_node(req, Kind::Folder, mode & !umask);
        entered(reply, self.enter(|disk| disk.make(parent.0, name, &new)));
    }

    fn symlink(&self, req: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let new = new_node(req, Kind::Link, 0o777);
        entered(reply, self.enter(|disk| disk.symlink(parent.0, name, target.as_os_str(), &new)));
    }

    fn link(&self, _req: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entered(reply, self.enter(|disk| disk.link(ino.0, parent.0, name).map(|()| ino.0)));
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.with(|disk| disk.unlink(parent.0, name)));
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.with(|disk| disk.rmdir(parent.0, name)));
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !(flags - RenameFlags::RENAME_NOREPLACE).is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let keep_target = flags.contains(RenameFlags::RENAME_NOREPLACE);
        done(reply, self.with(|disk| disk.rename((parent.0, name), (newparent.0, newname), keep_target)));
    }

    fn open(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.with(|disk| disk.attr(ino.0)) {
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Err(errno) => reply.error(errno),
        }
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let new = new_node(req, Kind::File, mode & !umask);
        match self.enter(|disk| disk.make(parent.0, name, &new)) {
            Ok(attr) => {
                reply.created(&REMEMBER, &attr, GENERATION, FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE)
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.with(|disk| disk.read(ino.0, offset, u64::from(size))) {
            Ok(data) => reply.data(&data),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.with(|disk| {
            disk.write(ino.0, offset, data)?;
            if flags.0 & libc::O_DSYNC != 0 {
                disk.sync(ino.0)?;
            }
            Ok(())
        });
        match written {
            Ok(()) => reply.written(data.len() as u32),
            Err(errno) => reply.error(errno),
        }
    }

    fn fsync(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        done(reply, self.with(|disk| disk.sync(ino.0)));
    }

    fn fallocate(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let range = offset..offset.saturating_add(length);
        done(
            reply,
            self.with(|disk| match mode {
                0 => disk.allocate(ino.0, range, false),
                libc::FALLOC_FL_KEEP_SIZE => disk.allocate(ino.0, range, true),
                PUNCH => disk.punch(ino.0, range),
                _ => Err(Error::Unsupported),
            }),
        );
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.with(|disk| disk.attr(ino.0)) {
            Ok(_) => {
                let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
                reply.opened(FileHandle(handle), FopenFlags::empty());
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        match self.list(ino.0, fh.0, offset, &mut reply) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn releasedir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.folders().remove(&fh.0);
        reply.ok();
    }

    fn fsyncdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        done(reply, self.with(|disk| disk.sync(ino.0)));
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let usage = match self.with(|disk| Ok(disk.usage())) {
            Ok(usage) => usage,
            Err(errno) => return reply.error(errno),
        };
        let free = usage.limit.saturating_sub(usage.used) / PAGE;
        let (size, name_len) = (PAGE as u32, 255);
        reply.statfs(usage.limit / PAGE, free, free, usage.nodes + free, free, size, name_len, size);
    }
}

fn permissions(mode: u32) -> u16 {
    (mode & 0o7777) as u16
}

fn new_node(req: &Request, kind: Kind, mode: u32) -> NewNode {
    NewNode { kind, mode: permissions(mode), uid: req.uid(), gid: req.gid() }
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Folder => FileType::Directory,
        Kind::Link => FileType::Symlink,
        Kind::Socket => FileType::Socket,
        Kind::Pipe => FileType::NamedPipe,
    }
}

fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.pages * (PAGE / 512),
        atime: attr.modified,
        mtime: attr.modified,
        ctime: attr.modified,
        crtime: attr.modified,
        kind: file_type(attr.kind),
        perm: attr.mode,
        nlink: attr.links,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: PAGE as u32,
        flags: 0,
    }
}
