//! The model of the disk: nodes, their names, and what a power cut leaves of them. It knows nothing of FUSE.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::time::SystemTime;

use crate::content::{Content, PAGE};
use crate::error::{Error, Result};
use crate::folder::{Change, Folder};
use crate::node::{Attr, Body, Ino, Kind, NewNode, Node, ROOT, Usage};
use crate::{Fate, Unsynced};

/// The disk lives in memory, so it is not endless unless a test says so.
const DEFAULT_LIMIT: u64 = 16 << 30;

/// A disk with a file tree that knows which of its changes a power cut would undo.
///
/// Nodes that nobody can see any more stay until the next cut, because a name that was removed without a sync may
/// come back.
#[derive(Clone, Debug)]
pub struct Disk {
    nodes: HashMap<Ino, Node>,
    next: Ino,
    used: u64,
    limit: u64,
    syncs_fail: bool,
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Self {
        let root = NewNode { kind: Kind::Folder, mode: 0o755, uid: 0, gid: 0 };
        let node = Node { links: 1, ..Node::new(&root, Body::Folder(Folder::default())) };
        Self {
            nodes: HashMap::from([(ROOT, node)]),
            next: ROOT + 1,
            used: PAGE,
            limit: DEFAULT_LIMIT,
            syncs_fail: false,
        }
    }

    /// Sets how many bytes fit; it may be less than there are already.
    pub fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    /// Makes every sync fail from now on, or lets them succeed again. As on Linux, what a failed sync was to save is
    /// not saved by the next one either.
    pub fn set_syncs_fail(&mut self, fail: bool) {
        self.syncs_fail = fail;
    }

    /// How full the disk is.
    pub fn usage(&self) -> Usage {
        let nodes = self.nodes.values().filter(|node| !node.gone()).count() as u64;
        Usage { used: self.used, limit: self.limit, nodes }
    }

    /// What `stat` tells of a node.
    pub fn attr(&self, ino: Ino) -> Result<Attr> {
        Ok(self.node(ino)?.attr(ino))
    }

    /// Sets what is given of a node's mode, owner and group.
    pub fn set_owner(
        &mut self,
        ino: Ino,
        mode: Option<u16>,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<()> {
        let node = self.node_mut(ino)?;
        node.mode = mode.unwrap_or(node.mode);
        node.uid = uid.unwrap_or(node.uid);
        node.gid = gid.unwrap_or(node.gid);
        Ok(())
    }

    /// Sets the time of the last change.
    pub fn set_modified(&mut self, ino: Ino, time: SystemTime) -> Result<()> {
        self.node_mut(ino)?.modified = time;
        Ok(())
    }

    /// The node that a name stands for.
    pub fn lookup(&self, parent: Ino, name: &OsStr) -> Result<Ino> {
        self.folder(parent)?.get(name).ok_or(Error::NotFound)
    }

    /// Every entry of a folder, by name.
    pub fn list(&self, ino: Ino) -> Result<Vec<(OsString, Ino, Kind)>> {
        let folder = self.folder(ino)?;
        folder.entries().map(|(name, ino)| Ok((name.clone(), ino, self.node(ino)?.kind()))).collect()
    }

    /// Makes a node with one name.
    pub fn make(&mut self, parent: Ino, name: &OsStr, new: &NewNode) -> Result<Ino> {
        let body = match new.kind {
            Kind::File => Body::File(Content::default()),
            Kind::Folder => Body::Folder(Folder::default()),
            Kind::Link => return Err(Error::Unsupported),
            Kind::Socket | Kind::Pipe => Body::Special(new.kind),
        };
        self.add(parent, name, Node::new(new, body))
    }

    /// Makes a symbolic link; where it points to survives whenever its entry does.
    pub fn symlink(&mut self, parent: Ino, name: &OsStr, target: &OsStr, new: &NewNode) -> Result<Ino> {
        self.add(parent, name, Node::new(new, Body::Link(target.to_owned())))
    }

    /// Where a symbolic link points to.
    pub fn readlink(&self, ino: Ino) -> Result<OsString> {
        match &self.node(ino)?.body {
            Body::Link(target) => Ok(target.clone()),
            _ => Err(Error::Unsupported),
        }
    }

    /// Gives a node another name.
    pub fn link(&mut self, ino: Ino, parent: Ino, name: &OsStr) -> Result<()> {
        if self.node(ino)?.kind() == Kind::Folder {
            return Err(Error::IsFolder);
        }
        self.expect_free(parent, name)?;
        self.expect_room(1)?;
        self.node_mut(ino)?.links += 1;
        self.change(parent, vec![(name.to_owned(), Some(ino))])
    }

    /// Removes a name that is not a folder's.
    pub fn unlink(&mut self, parent: Ino, name: &OsStr) -> Result<()> {
        let ino = self.lookup(parent, name)?;
        if self.node(ino)?.kind() == Kind::Folder {
            return Err(Error::IsFolder);
        }
        self.change(parent, vec![(name.to_owned(), None)])?;
        self.drop_link(ino)
    }

    /// Removes an empty folder.
    pub fn rmdir(&mut self, parent: Ino, name: &OsStr) -> Result<()> {
        let ino = self.lookup(parent, name)?;
        if !self.folder(ino)?.is_empty() {
            return Err(Error::NotEmpty);
        }
        self.change(parent, vec![(name.to_owned(), None)])?;
        self.drop_link(ino)
    }

    /// Gives an entry another name, in the same or another folder, in place of what has that name already unless
    /// `keep_target` says that it may not.
    pub fn rename(&mut self, from: (Ino, &OsStr), to: (Ino, &OsStr), keep_target: bool) -> Result<()> {
        let ino = self.lookup(from.0, from.1)?;
        let target = self.folder(to.0)?.get(to.1);
        if let Some(target) = target {
            if keep_target {
                return Err(Error::Exists);
            }
            if target == ino {
                return Ok(());
            }
            self.expect_replaceable(ino, target)?;
        }
        let (gone, new) = ((from.1.to_owned(), None), (to.1.to_owned(), Some(ino)));
        if from.0 == to.0 {
            self.change(from.0, vec![gone, new])?;
        } else {
            self.change(to.0, vec![new])?;
            self.change(from.0, vec![gone])?;
        }
        target.map_or(Ok(()), |target| self.drop_link(target))
    }

    /// Bytes of a file: fewer than `len` where it ends.
    pub fn read(&self, ino: Ino, offset: u64, len: u64) -> Result<Vec<u8>> {
        Ok(self.content(ino)?.read(offset, len))
    }

    /// Writes all of `data` or nothing.
    pub fn write(&mut self, ino: Ino, offset: u64, data: &[u8]) -> Result<()> {
        let end = offset.checked_add(data.len() as u64).ok_or(Error::Full)?;
        let missing = self.content(ino)?.missing(offset..end);
        self.charge(missing)?;
        self.content_mut(ino)?.write(offset, data);
        Ok(())
    }

    /// Sets a file's size; it grows by zeros.
    pub fn resize(&mut self, ino: Ino, size: u64) -> Result<()> {
        let content = self.content_mut(ino)?;
        let before = content.allocated();
        content.resize(size);
        let after = content.allocated();
        self.used -= (before - after) * PAGE;
        Ok(())
    }

    /// Reserves room for a range, and makes the file reach to its end unless `keep_size`.
    pub fn allocate(&mut self, ino: Ino, range: Range<u64>, keep_size: bool) -> Result<()> {
        // Asked first, because counting the pages of an absurd range would take for ever.
        let most = self.content(ino)?.allocated() * PAGE + self.limit.saturating_sub(self.used);
        if range.end.saturating_sub(range.start) > most {
            return Err(Error::Full);
        }
        let missing = self.content(ino)?.missing(range.clone());
        self.charge(missing)?;
        let end = range.end;
        let content = self.content_mut(ino)?;
        content.allocate(range);
        if !keep_size {
            content.grow(end);
        }
        Ok(())
    }

    /// Zeros a range and frees its whole pages; the size stays.
    pub fn punch(&mut self, ino: Ino, range: Range<u64>) -> Result<()> {
        let content = self.content_mut(ino)?;
        let before = content.allocated();
        let end = range.end.min(content.size());
        content.punch(range.start..end);
        let after = content.allocated();
        self.used -= (before - after) * PAGE;
        Ok(())
    }

    /// `fsync`: the bytes of a file, or the entries of a folder, last from now on.
    pub fn sync(&mut self, ino: Ino) -> Result<()> {
        let fails = self.syncs_fail;
        match &mut self.node_mut(ino)?.body {
            Body::File(content) if fails => content.fail_sync(),
            Body::File(content) => content.sync(),
            Body::Folder(folder) if fails => folder.fail_sync(),
            Body::Folder(folder) => folder.sync(),
            Body::Link(_) | Body::Special(_) => {}
        }
        if fails { Err(Error::Failed) } else { Ok(()) }
    }

    /// Counts one more user that knows the node without its name.
    pub fn hold(&mut self, ino: Ino) -> Result<()> {
        self.node_mut(ino)?.held += 1;
        Ok(())
    }

    /// Takes back `count` times [`Disk::hold`].
    pub fn forget(&mut self, ino: Ino, count: u64) -> Result<()> {
        let node = self.node_mut(ino)?;
        let was_there = !node.gone();
        node.held = node.held.saturating_sub(count);
        if was_there && node.gone() {
            self.vanish(ino)?;
        }
        Ok(())
    }

    /// The disk as it is found after the power was cut now and came back.
    pub fn after_cut(&self, unsynced: Unsynced) -> Disk {
        let mut fate = Fate::new(unsynced);
        let mut found = Disk { nodes: HashMap::new(), used: 0, syncs_fail: false, ..*self };
        let mut links = BTreeMap::from([(ROOT, 1)]);
        let mut queue = vec![ROOT];
        while let Some(ino) = queue.pop() {
            let Some(node) = self.nodes.get(&ino) else { continue };
            let body = match &node.body {
                Body::File(content) => Body::File(content.after_cut(&mut fate)),
                Body::Folder(folder) => {
                    let mut entries = folder.after_cut(&mut fate);
                    entries.retain(|_, child| self.may_appear(*child, &links));
                    for child in entries.values() {
                        let count = links.entry(*child).or_insert(0);
                        *count += 1;
                        if *count == 1 {
                            queue.push(*child);
                        }
                    }
                    Body::Folder(Folder::synced(entries))
                }
                Body::Link(_) | Body::Special(_) => node.body.clone(),
            };
            let node = Node { body, held: 0, ..node.clone() };
            found.used += (1 + node.pages()) * PAGE;
            found.nodes.insert(ino, node);
        }
        for (ino, count) in links {
            if let Some(node) = found.nodes.get_mut(&ino) {
                node.links = count;
            }
        }
        found
    }

    /// A folder that was moved, with only its new place synced, would be found in two places, which no file system
    /// allows: it stays where it is met first.
    fn may_appear(&self, ino: Ino, links: &BTreeMap<Ino, u32>) -> bool {
        let kind = self.nodes.get(&ino).map(Node::kind);
        kind.is_some_and(|kind| kind != Kind::Folder || !links.contains_key(&ino))
    }

    /// Every path on the disk with its node, parents first.
    pub fn tree(&self) -> Vec<(OsString, Attr)> {
        let mut found = Vec::new();
        let mut queue = BTreeSet::from([(OsString::new(), ROOT)]);
        while let Some((path, ino)) = queue.pop_first() {
            for (name, child, kind) in self.list(ino).unwrap_or_default() {
                let mut path = path.clone();
                path.push("/");
                path.push(name);
                if kind == Kind::Folder {
                    queue.insert((path.clone(), child));
                }
                if let Ok(attr) = self.attr(child) {
                    found.push((path, attr));
                }
            }
        }
        found
    }

    fn node(&self, ino: Ino) -> Result<&Node> {
        self.nodes.get(&ino).ok_or(Error::NotFound)
    }

    fn node_mut(&mut self, ino: Ino) -> Result<&mut Node> {
        self.nodes.get_mut(&ino).ok_or(Error::NotFound)
    }

    fn folder(&self, ino: Ino) -> Result<&Folder> {
        match &self.node(ino)?.body {
            Body::Folder(folder) => Ok(folder),
            _ => Err(Error::NotFolder),
        }
    }

    fn content(&self, ino: Ino) -> Result<&Content> {
        match &self.node(ino)?.body {
            Body::File(content) => Ok(content),
            Body::Folder(_) => Err(Error::IsFolder),
            Body::Link(_) | Body::Special(_) => Err(Error::Unsupported),
        }
    }

    /// The bytes of a file that is about to change.
    fn content_mut(&mut self, ino: Ino) -> Result<&mut Content> {
        let node = self.node_mut(ino)?;
        node.modified = SystemTime::now();
        match &mut node.body {
            Body::File(content) => Ok(content),
            Body::Folder(_) => Err(Error::IsFolder),
            Body::Link(_) | Body::Special(_) => Err(Error::Unsupported),
        }
    }

    fn add(&mut self, parent: Ino, name: &OsStr, node: Node) -> Result<Ino> {
        self.expect_free(parent, name)?;
        self.charge(1)?;
        let ino = self.next;
        self.next += 1;
        self.nodes.insert(ino, Node { links: 1, ..node });
        self.change(parent, vec![(name.to_owned(), Some(ino))])?;
        Ok(ino)
    }

    fn change(&mut self, parent: Ino, changes: Vec<Change>) -> Result<()> {
        let node = self.node_mut(parent)?;
        node.modified = SystemTime::now();
        match &mut node.body {
            Body::Folder(folder) => folder.change(changes),
            _ => return Err(Error::NotFolder),
        }
        Ok(())
    }

    fn expect_free(&self, parent: Ino, name: &OsStr) -> Result<()> {
        match self.folder(parent)?.get(name) {
            Some(_) => Err(Error::Exists),
            None => Ok(()),
        }
    }

    fn expect_replaceable(&self, ino: Ino, target: Ino) -> Result<()> {
        let moves_folder = self.node(ino)?.kind() == Kind::Folder;
        match &self.node(target)?.body {
            Body::Folder(_) if !moves_folder => Err(Error::IsFolder),
            Body::Folder(folder) if !folder.is_empty() => Err(Error::NotEmpty),
            Body::Folder(_) => Ok(()),
            _ if moves_folder => Err(Error::NotFolder),
            _ => Ok(()),
        }
    }

    fn expect_room(&self, pages: u64) -> Result<()> {
        let full = pages > 0 && self.used + pages * PAGE > self.limit;
        if full { Err(Error::Full) } else { Ok(()) }
    }

    fn charge(&mut self, pages: u64) -> Result<()> {
        self.expect_room(pages)?;
        self.used += pages * PAGE;
        Ok(())
    }

    fn drop_link(&mut self, ino: Ino) -> Result<()> {
        let node = self.node_mut(ino)?;
        node.links -= 1;
        if node.gone() {
            self.vanish(ino)?;
        }
        Ok(())
    }

    /// Gives the space back of a node that nobody can see any more.
    fn vanish(&mut self, ino: Ino) -> Result<()> {
        let node = self.node_mut(ino)?;
        let pages = 1 + node.pages();
        if let Body::File(content) = &mut node.body {
            content.vanish();
        }
        self.used -= pages * PAGE;
        Ok(())
    }
}
