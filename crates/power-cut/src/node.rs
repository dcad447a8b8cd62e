//! What the disk is made of: nodes, and what can be told of them.

use std::ffi::OsString;
use std::time::SystemTime;

use crate::content::Content;
use crate::folder::Folder;

/// The number of a node; it never names another node later on.
pub type Ino = u64;

/// The number of the root folder.
pub const ROOT: Ino = 1;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A Unix socket.
    Socket,
    /// A named pipe.
    Pipe,
}

/// What `stat` tells of a node.
#[derive(Clone, Debug)]
pub struct Attr {
    /// Its number.
    pub ino: Ino,
    /// What it is.
    pub kind: Kind,
    /// Bytes in the file.
    pub size: u64,
    /// Pages of [`crate::PAGE`] bytes that it takes up.
    pub pages: u64,
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names that it has.
    pub links: u32,
    /// Last change of its bytes or entries.
    pub modified: SystemTime,
}

/// A node to be made.
#[derive(Clone, Debug)]
pub struct NewNode {
    /// What it is; for a link, see [`crate::Disk::symlink`].
    pub kind: Kind,
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// How full the disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes taken, counted in whole pages, with one page for each node.
    pub used: u64,
    /// Bytes that may be taken.
    pub limit: u64,
    /// Nodes that have a name or a user.
    pub nodes: u64,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    File(Content),
    Folder(Folder),
    Link(OsString),
    Special(Kind),
}

/// One file, folder, link or other thing, with or without a name.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) body: Body,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) modified: SystemTime,
    pub(crate) links: u32,
    /// Users that know the node without its name, such as open files.
    pub(crate) held: u64,
}

impl Node {
    pub(crate) fn new(new: &NewNode, body: Body) -> Self {
        let modified = SystemTime::now();
        Self { body, mode: new.mode, uid: new.uid, gid: new.gid, modified, links: 0, held: 0 }
    }

    pub(crate) fn attr(&self, ino: Ino) -> Attr {
        Attr {
            ino,
            kind: self.kind(),
            size: self.size(),
            pages: self.pages(),
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            links: self.links,
            modified: self.modified,
        }
    }

    fn size(&self) -> u64 {
        match &self.body {
            Body::File(content) => content.size(),
            Body::Link(target) => target.len() as u64,
            Body::Folder(_) | Body::Special(_) => 0,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match &self.body {
            Body::File(_) => Kind::File,
            Body::Folder(_) => Kind::Folder,
            Body::Link(_) => Kind::Link,
            Body::Special(kind) => *kind,
        }
    }

    /// Pages that its bytes take up.
    pub(crate) fn pages(&self) -> u64 {
        match &self.body {
            Body::File(content) => content.allocated(),
            _ => 0,
        }
    }

    /// Nobody can see it any more.
    pub(crate) fn gone(&self) -> bool {
        self.links == 0 && self.held == 0
    }
}
