//! The two ends of a copy, as roles: what the verb asks of where content comes from and of where it goes.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use oci::{Descriptor, Digest, Manifest, Reference, RepoName, Tag};

use crate::{Feed, TransferError};

/// The bytes of a blob as they arrive.
pub type ByteStream = BoxStream<'static, Result<Bytes, TransferError>>;

/// Where blobs come from, for a target that can take them over without moving a byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The registry's host, with its port where it has one.
    pub registry: String,
    /// The repository there.
    pub repository: RepoName,
}

/// A manifest with its verified bytes.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its media type, digest and size.
    pub descriptor: Descriptor,
    /// The bytes, verbatim.
    pub bytes: Bytes,
    /// What was read out of them.
    pub manifest: Manifest,
}

/// How a target is to file a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming<'a> {
    /// It is reached through a manifest that will be pushed later.
    Part,
    /// It stands by itself, without a tag.
    Root,
    /// It stands under this tag, which moves to it.
    Tagged(&'a Tag),
}

/// What pushing a blob took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Its bytes were sent.
    Copied,
    /// The target had it elsewhere and linked it.
    Mounted,
}

/// Where content comes from.
pub trait Source: Send + Sync {
    /// What to call this end in messages, such as `docker://host/team/app`.
    fn place(&self) -> String;

    /// Where blobs can be mounted from, if this is a registry.
    fn origin(&self) -> Option<&Origin> {
        None
    }

    /// The descriptor of what `reference` names; without one, of the one thing that this end is about.
    fn resolve<'a>(
        &'a self,
        reference: Option<&'a Reference>,
    ) -> BoxFuture<'a, Result<Descriptor, TransferError>>;

    /// The bytes of a manifest. The caller verifies them; this end bounds them.
    fn manifest<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<Bytes, TransferError>>;

    /// The bytes of a blob from `offset` on. The caller verifies them.
    fn blob<'a>(
        &'a self,
        descriptor: &'a Descriptor,
        offset: u64,
    ) -> BoxFuture<'a, Result<ByteStream, TransferError>>;

    /// The manifests whose subject is `digest`.
    fn referrers<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<Vec<Descriptor>, TransferError>>;
}

/// Where content goes.
pub trait Target: Send + Sync {
    /// What to call this end in messages.
    fn place(&self) -> String;

    /// Whether this blob or manifest is there. A manifest counts only when its blobs are there too.
    fn has<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<bool, TransferError>>;

    /// Stores the blob that `feed` brings. Resumes from where it stopped after a fault of this end, by asking
    /// the feed for the rest; faults of the source are the feed's own business.
    fn push_blob<'a>(&'a self, feed: &'a Feed) -> BoxFuture<'a, Result<Pushed, TransferError>>;

    /// Stores a manifest whose blobs are there.
    fn push_manifest<'a>(
        &'a self,
        document: &'a Document,
        naming: Naming<'a>,
    ) -> BoxFuture<'a, Result<(), TransferError>>;

    /// Everything has been pushed: makes it last and visible where that waits for the end.
    fn finish(&self) -> BoxFuture<'_, Result<(), TransferError>>;
}
