//! The core: push, pull, upload, tags, referrers, garbage collection, checks, and copies of metadata.
//!
//! It knows no protocol: no HTTP, no JSON envelope, no SQL. It decides what a registry does with bytes and
//! metadata; the ports `blob` and `meta` keep them, the edges speak to clients.

mod check;
mod error;
mod evict;
mod gc;
mod mirrored;
mod pull;
mod push;
mod referrers;
mod role;
mod segments;
mod space;
mod tags;
mod trail;
mod upload;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use access::{Action, Grant};
use blob::BlobStore;
use meta::{Condition, MetaStore, Origin, RepositoryKind};
use oci::{ManifestLimits, RepoName};

pub use check::{CheckItem, CheckOptions, CheckSummary};
pub use error::RegistryError;
pub use evict::Evicted;
pub use gc::{GcItem, GcOptions, GcSummary, Report};
pub use mirrored::Mirrored;
pub use push::PushedManifest;
pub use referrers::ReferrersRequest;
pub use role::{Arriving, FoundBlob, FoundManifest, Located, Pull, Pulled, ReplacedBy, Stale, Want};
pub use segments::{ReplayItem, ReplaySummary};
pub use space::FreeSpace;
pub use tags::Page;
pub use trail::{NodeId, NodeIdError, Trail};
pub use upload::{BodyStream, MountFrom, Upload};

/// Bounds on what a client may ask of the core.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bounds on manifests.
    pub manifest: ManifestLimits,
    /// The most tags that one push may set.
    pub tags_per_push: usize,
    /// The most entries on a page of tags, repositories or referrers.
    pub page: usize,
    /// The most bytes of annotations on a page of referrers.
    pub referrers_bytes: usize,
    /// The largest blob, in bytes.
    pub blob: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest: ManifestLimits::default(),
            tags_per_push: 100,
            page: 1_000,
            referrers_bytes: 4 << 20,
            blob: 1 << 40,
        }
    }
}

/// The times that govern when unused things go.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// How long a blob that no manifest needs is kept.
    pub grace: Duration,
    /// How long an upload may rest.
    pub upload_idle: Duration,
    /// How long an upload may take in all.
    pub upload_age: Duration,
    /// How long an object that no metadata knows is kept: its commit may be under way.
    pub orphan: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        const HOUR: u64 = 3_600;
        Self {
            grace: Duration::from_secs(24 * HOUR),
            upload_idle: Duration::from_secs(24 * HOUR),
            upload_age: Duration::from_secs(7 * 24 * HOUR),
            orphan: Duration::from_secs(HOUR),
        }
    }
}

/// The registry.
pub struct Registry {
    meta: Arc<dyn MetaStore>,
    blobs: Arc<dyn BlobStore>,
    limits: Limits,
    lifetimes: Lifetimes,
    space: Arc<dyn FreeSpace>,
    usage: usage::Usage,
    collecting: tokio::sync::Mutex<()>,
    copying: tokio::sync::Mutex<()>,
}

impl Registry {
    /// A registry on these stores.
    pub fn new(
        meta: Arc<dyn MetaStore>,
        blobs: Arc<dyn BlobStore>,
        limits: Limits,
        lifetimes: Lifetimes,
    ) -> Self {
        Self {
            meta,
            blobs,
            limits,
            lifetimes,
            space: Arc::new(space::Boundless),
            usage: usage::Usage::default(),
            collecting: tokio::sync::Mutex::new(()),
            copying: tokio::sync::Mutex::new(()),
        }
    }

    /// The registry with an eye on its room: what adds is refused as long as there is little.
    #[must_use]
    pub fn with_space(self, space: Arc<dyn FreeSpace>) -> Self {
        Self { space, ..self }
    }

    /// How many bytes are free on the storage, as far as it knows.
    pub fn free_bytes(&self) -> u64 {
        self.space.free()
    }

    /// The bounds in force.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The times in force.
    pub const fn lifetimes(&self) -> &Lifetimes {
        &self.lifetimes
    }

    /// The metadata, for what only reads it.
    pub fn meta(&self) -> &dyn MetaStore {
        &*self.meta
    }
}

/// The repository that a grant for `action` is about.
///
/// A grant for something else is a mistake in the house, and is refused all the same.
fn granted(grant: &Grant, action: Action) -> Result<&RepoName, RegistryError> {
    let repository = grant.repository().filter(|_| grant.action() == action);
    repository.ok_or(RegistryError::WrongGrant { needed: action, given: grant.action() })
}

/// Whether a grant is for running the registry.
fn administering(grant: &Grant) -> Result<(), RegistryError> {
    match grant.action() {
        Action::Administer => Ok(()),
        given => Err(RegistryError::WrongGrant { needed: Action::Administer, given }),
    }
}

/// That a repository is nobody's but those who push into it: what an upstream has may be evicted.
fn hosted(repository: &RepoName) -> Condition {
    Condition::RepositoryIs { repository: repository.clone(), kind: RepositoryKind::Hosted }
}

/// Who stands behind a grant, as events remember it.
fn origin(grant: &Grant) -> Origin {
    let context = grant.context();
    Origin {
        actor: grant.actor().to_string(),
        address: context.address,
        agent: context.agent.clone(),
        request: context.request.clone(),
    }
}
