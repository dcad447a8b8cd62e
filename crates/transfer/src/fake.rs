//! An end in memory, with faults on request, and a check of the order in which things arrive.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use oci::{Descriptor, Digest, Manifest, ManifestLimits, Reference, types};

use crate::{ByteStream, Document, Feed, Naming, Pushed, Source, Target, TransferError};

/// Runs a test on a runtime of its own.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test)
}

#[derive(Default)]
pub(crate) struct Fake(Mutex<State>);

#[derive(Default)]
struct State {
    content: HashMap<Digest, (Descriptor, Bytes)>,
    tags: HashMap<String, Digest>,
    listed: Vec<(Digest, Descriptor)>,
    chunk: Option<usize>,
    cut: Option<(u64, usize)>,
    opened: Vec<u64>,
    pushed: Vec<Digest>,
    open_now: usize,
    most_open: usize,
}

impl Fake {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn put(&self, media_type: &str, content: &[u8]) -> Descriptor {
        let digest = Digest::sha256(content);
        let descriptor = Descriptor::new(media_type.parse().unwrap(), digest, content.len() as u64);
        self.state().content.insert(digest, (descriptor.clone(), Bytes::copy_from_slice(content)));
        descriptor
    }

    pub fn put_blob(&self, content: &[u8]) -> Descriptor {
        self.put("application/vnd.oci.image.layer.v1.tar", content)
    }

    /// An image with these layers, and a configuration that names no platform.
    pub fn put_image(&self, layers: &[Descriptor], subject: Option<&Descriptor>) -> Descriptor {
        let config = self.put(types::OCI_CONFIG, b"{}");
        let mut document = serde_json::json!({"schemaVersion": 2, "mediaType": types::OCI_MANIFEST,
            "config": config, "layers": layers});
        if let Some(subject) = subject {
            document["subject"] = serde_json::to_value(subject).unwrap();
        }
        self.put(types::OCI_MANIFEST, document.to_string().as_bytes())
    }

    pub fn put_index(&self, manifests: &[Descriptor]) -> Descriptor {
        let document = serde_json::json!({"schemaVersion": 2, "mediaType": types::OCI_INDEX,
            "manifests": manifests});
        self.put(types::OCI_INDEX, document.to_string().as_bytes())
    }

    pub fn replace(&self, digest: &Digest, content: &[u8]) {
        self.state().content.get_mut(digest).unwrap().1 = Bytes::copy_from_slice(content);
    }

    pub fn remove(&self, digest: &Digest) {
        self.state().content.remove(digest);
    }

    /// Lists a referrer, whether it is there or not.
    pub fn list(&self, subject: &Digest, referrer: &Descriptor) {
        self.state().listed.push((*subject, referrer.clone()));
    }

    /// Blobs come in chunks of this size.
    pub fn chunk(&self, size: usize) {
        self.state().chunk = Some(size);
    }

    /// The next `times` streams break after so many bytes.
    pub fn cut_after(&self, bytes: u64, times: usize) {
        self.state().cut = Some((bytes, times));
    }

    /// The offsets at which blobs have been opened.
    pub fn opened(&self) -> Vec<u64> {
        self.state().opened.clone()
    }

    /// What has been pushed, in its order.
    pub fn pushed(&self) -> Vec<Digest> {
        self.state().pushed.clone()
    }

    /// The most blobs that were on their way at once.
    pub fn most_open(&self) -> usize {
        self.state().most_open
    }

    pub fn tagged(&self, tag: &str) -> Option<Digest> {
        self.state().tags.get(tag).copied()
    }

    pub fn holds(&self, digest: &Digest) -> bool {
        self.state().content.contains_key(digest)
    }

    fn find(&self, digest: &Digest) -> Result<(Descriptor, Bytes), TransferError> {
        self.state()
            .content
            .get(digest)
            .cloned()
            .ok_or_else(|| TransferError::NotFound { what: digest.to_string(), place: "the fake".into() })
    }

    fn open(&self, digest: &Digest, offset: u64) -> Result<ByteStream, TransferError> {
        let mut bytes = self.find(digest)?.1.slice(offset as usize..);
        let mut state = self.state();
        state.opened.push(offset);
        if let Some((after, times)) = state.cut
            && times > 0
            && (after as usize) < bytes.len()
        {
            state.cut = Some((after, times - 1));
            bytes.truncate(after as usize);
        }
        let chunks: Vec<_> =
            bytes.chunks(state.chunk.unwrap_or(4096)).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        Ok(stream::iter(chunks).boxed())
    }
}

impl Source for Fake {
    fn place(&self) -> String {
        "the fake".into()
    }

    fn resolve<'a>(
        &'a self,
        reference: Option<&'a Reference>,
    ) -> BoxFuture<'a, Result<Descriptor, TransferError>> {
        let Some(Reference::Tag(tag)) = reference else { panic!("tests resolve tags") };
        let digest = self.tagged(tag.as_str()).unwrap();
        async move { Ok(self.find(&digest)?.0) }.boxed()
    }

    fn manifest<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<Bytes, TransferError>> {
        async move { Ok(self.find(&descriptor.digest)?.1) }.boxed()
    }

    fn blob<'a>(
        &'a self,
        descriptor: &'a Descriptor,
        offset: u64,
    ) -> BoxFuture<'a, Result<ByteStream, TransferError>> {
        async move { self.open(&descriptor.digest, offset) }.boxed()
    }

    fn referrers<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<Vec<Descriptor>, TransferError>> {
        let about = |(descriptor, bytes): &(Descriptor, Bytes)| {
            Manifest::parse(bytes, Some(&descriptor.media_type), &ManifestLimits::default())
                .is_ok_and(|manifest| manifest.subject.is_some_and(|subject| subject.digest == *digest))
        };
        let state = self.state();
        let mut found: Vec<Descriptor> =
            state.content.values().filter(|entry| about(entry)).map(|e| e.0.clone()).collect();
        found.extend(state.listed.iter().filter(|(subject, _)| subject == digest).map(|l| l.1.clone()));
        async move { Ok(found) }.boxed()
    }
}

impl Target for Fake {
    fn place(&self) -> String {
        "the fake".into()
    }

    fn has<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<bool, TransferError>> {
        async move { Ok(self.holds(&descriptor.digest)) }.boxed()
    }

    fn push_blob<'a>(&'a self, feed: &'a Feed) -> BoxFuture<'a, Result<Pushed, TransferError>> {
        async move {
            let descriptor = feed.descriptor().clone();
            {
                let mut state = self.state();
                state.open_now += 1;
                state.most_open = state.most_open.max(state.open_now);
            }
            let chunks: Vec<Bytes> = feed.from_start().try_collect().await?;
            tokio::task::yield_now().await;
            let mut state = self.state();
            state.open_now -= 1;
            state.pushed.push(descriptor.digest);
            state.content.insert(descriptor.digest, (descriptor, chunks.concat().into()));
            Ok(Pushed::Copied)
        }
        .boxed()
    }

    fn push_manifest<'a>(
        &'a self,
        document: &'a Document,
        naming: Naming<'a>,
    ) -> BoxFuture<'a, Result<(), TransferError>> {
        async move {
            for blob in document.manifest.required_blobs() {
                assert!(self.holds(&blob), "a manifest came before its blob");
            }
            let (digest, mut state) = (document.descriptor.digest, self.state());
            if let Naming::Tagged(tag) = naming {
                state.tags.insert(tag.to_string(), digest);
            }
            state.pushed.push(digest);
            state.content.insert(digest, (document.descriptor.clone(), document.bytes.clone()));
            Ok(())
        }
        .boxed()
    }

    fn finish(&self) -> BoxFuture<'_, Result<(), TransferError>> {
        async { Ok(()) }.boxed()
    }
}
