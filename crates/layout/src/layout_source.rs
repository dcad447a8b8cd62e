//! An OCI image layout as a source, in a folder or in a tar file.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oci::{Descriptor, Digest, Manifest, ManifestLimits, Reference, Role, types};
use transfer::{ByteStream, Source, TransferError};

use crate::LayoutError;
use crate::blocking::blocking;
use crate::content::{Content, blob_name};
use crate::index::{self, Index};

/// The most manifests that are looked at to find referrers.
const MANIFESTS: usize = 20_000;

/// What is remembered of a manifest while the layout is searched: whole, a few thousand could fill the memory.
pub(crate) struct Found {
    /// As whatever leads to it describes it.
    pub descriptor: Descriptor,
    /// The configuration that it names.
    pub config: Option<Digest>,
    /// The manifest that it refers to.
    pub subject: Option<Digest>,
}

/// A layout to read from.
pub(crate) struct LayoutSource {
    inner: Arc<Inner>,
    /// What is meant where nothing is named.
    default: Option<Descriptor>,
}

struct Inner {
    content: Content,
    scheme: &'static str,
    index: Index,
    referrers: OnceLock<HashMap<Digest, Vec<Descriptor>>>,
}

impl LayoutSource {
    /// Opens the layout in `content`; `scheme` is how its kind of end is written.
    pub fn open(content: Content, scheme: &'static str) -> Result<Self, LayoutError> {
        let path = content.path().clone();
        let bytes = content.read("index.json", index::SIZE)?.ok_or_else(|| LayoutError::Form {
            path: path.clone(),
            what: "an OCI image layout",
            why: "there is no index.json in it".into(),
        })?;
        let index = Index::parse(&bytes, &path)?;
        let inner = Inner { content, scheme, index, referrers: OnceLock::new() };
        Ok(Self { inner: Arc::new(inner), default: None })
    }

    /// The same layout, about one manifest in it.
    pub fn about(self, descriptor: Descriptor) -> Self {
        Self { default: Some(descriptor), ..self }
    }

    /// All manifests that can be reached, for whoever looks for a special one.
    pub fn manifests(&self) -> Result<Vec<Found>, LayoutError> {
        self.inner.manifests()
    }
}

impl Inner {
    fn resolve(&self, reference: Option<&Reference>) -> Result<Descriptor, LayoutError> {
        if let Some(Reference::Digest(digest)) = reference
            && let Some(found) = self.by_digest(digest)?
        {
            return Ok(found);
        }
        self.index.find(reference, self.content.path())
    }

    /// A manifest that is in the layout though its index does not list it.
    fn by_digest(&self, digest: &Digest) -> Result<Option<Descriptor>, LayoutError> {
        let limits = ManifestLimits::default();
        let Some(bytes) = self.content.read(&blob_name(digest), limits.size as u64)? else { return Ok(None) };
        let manifest = Manifest::parse(&bytes, None, &limits);
        Ok(manifest.ok().map(|m| Descriptor::new(m.media_type, *digest, bytes.len() as u64)))
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Option<Bytes>, LayoutError> {
        self.content.read(&blob_name(&descriptor.digest), ManifestLimits::default().size as u64)
    }

    /// Walks down from the index. What is no manifest is left out: it refers to nothing. A name that lies ends the
    /// search, because links could lead ever so many names to the same large file.
    fn manifests(&self) -> Result<Vec<Found>, LayoutError> {
        let unusable =
            |why: String| LayoutError::Form { path: self.content.path().clone(), what: "usable", why };
        let mut all = Vec::new();
        let mut seen = HashSet::new();
        let mut open: Vec<Descriptor> = self.index.entries().map(|(descriptor, _)| descriptor).collect();
        while let Some(descriptor) = open.pop() {
            if !descriptor.media_type.is_manifest() || !seen.insert(descriptor.digest) {
                continue;
            }
            let Some(bytes) = self.manifest(&descriptor)? else { continue };
            let digest = descriptor.digest;
            if Digest::of(digest.algorithm(), &bytes) != digest {
                return Err(unusable(format!("{} is not what its name says", blob_name(&digest))));
            }
            let parsed = Manifest::parse(&bytes, Some(&descriptor.media_type), &ManifestLimits::default());
            let Ok(manifest) = parsed else { continue };
            let config = manifest.children.iter().find(|child| child.role == Role::Config);
            all.push(Found {
                descriptor,
                config: config.map(|child| child.descriptor.digest),
                subject: manifest.subject.map(|subject| subject.digest),
            });
            if all.len() > MANIFESTS {
                return Err(unusable(format!(
                    "it holds more than the {MANIFESTS} manifests that are searched"
                )));
            }
            let children = manifest.children.into_iter().filter(|child| child.role == Role::Manifest);
            open.extend(children.map(|child| child.descriptor));
        }
        Ok(all)
    }

    fn referrers(&self) -> Result<&HashMap<Digest, Vec<Descriptor>>, LayoutError> {
        if let Some(known) = self.referrers.get() {
            return Ok(known);
        }
        let mut referrers: HashMap<Digest, Vec<Descriptor>> = HashMap::new();
        for Found { descriptor, subject, .. } in self.manifests()? {
            if let Some(subject) = subject {
                referrers.entry(subject).or_default().push(descriptor);
            }
        }
        Ok(self.referrers.get_or_init(|| referrers))
    }

    fn not_found(&self, digest: &Digest) -> TransferError {
        TransferError::NotFound { what: digest.to_string(), place: self.place() }
    }

    fn place(&self) -> String {
        format!("{}:{}", self.scheme, self.content.path().display())
    }
}

impl Source for LayoutSource {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn resolve<'a>(
        &'a self,
        reference: Option<&'a Reference>,
    ) -> BoxFuture<'a, Result<Descriptor, TransferError>> {
        async move {
            if let (None, Some(default)) = (reference, &self.default) {
                return Ok(default.clone());
            }
            let (inner, reference) = (self.inner.clone(), reference.cloned());
            blocking(move || inner.resolve(reference.as_ref())).await
        }
        .boxed()
    }

    fn manifest<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<Bytes, TransferError>> {
        async move {
            let (inner, wanted) = (self.inner.clone(), descriptor.clone());
            let found = blocking(move || inner.manifest(&wanted)).await?;
            found.ok_or_else(|| self.inner.not_found(&descriptor.digest))
        }
        .boxed()
    }

    fn blob<'a>(
        &'a self,
        descriptor: &'a Descriptor,
        offset: u64,
    ) -> BoxFuture<'a, Result<ByteStream, TransferError>> {
        async move {
            let (inner, digest) = (self.inner.clone(), descriptor.digest);
            let found = blocking(move || inner.content.open(&blob_name(&digest))).await?;
            Ok(found.ok_or_else(|| self.inner.not_found(&digest))?.stream(offset))
        }
        .boxed()
    }

    fn referrers<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<Vec<Descriptor>, TransferError>> {
        async move {
            let (inner, digest) = (self.inner.clone(), *digest);
            blocking(move || Ok(inner.referrers()?.get(&digest).cloned().unwrap_or_default())).await
        }
        .boxed()
    }
}

/// The file that says that a folder is an image layout.
pub(crate) const MARKER: &str = "oci-layout";

/// What is in it.
pub(crate) const MARKER_TEXT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Is this manifest an image that can stand alone in an archive?
pub(crate) fn is_index(descriptor: &Descriptor) -> bool {
    matches!(descriptor.media_type.as_str(), types::OCI_INDEX | types::DOCKER_LIST)
}
