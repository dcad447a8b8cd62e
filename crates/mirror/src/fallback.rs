//! What is not here yet, read from the registry that its project replaces.
//!
//! A wrapper round the [`Mirror`]: what that has not got is asked of an upstream's repository, by the mirror's own
//! machinery and under its own name. Who asks has the right to pull the name here; that was checked.

use std::sync::Arc;

use access::{Action, Grant, Target};
use blob::{BlobRead, ByteRange};
use meta::{FallbackUse, Timestamp};
use oci::{Descriptor, Digest, ProjectName, Reference, RepoName, Tag};
use registry::{
    FoundBlob, FoundManifest, Located, Page, Pull, Pulled, ReferrersRequest, Registry, RegistryError,
    ReplacedBy, Trail, Want,
};

use crate::keep::Keeper;
use crate::merge::{both, merged};
use crate::mirror::Mirror;
use crate::uses::Uses;

/// Which registry a project replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The project that says so.
    pub project: ProjectName,
    /// The upstream that is this registry.
    pub upstream: String,
    /// What stands there before the names of what is in the project; may be empty.
    pub prefix: String,
    /// When it ends.
    pub until: Timestamp,
    /// Whether what is read there is kept as the project's own.
    pub keep: bool,
}

impl Replacement {
    /// What a repository of the project is called among those of upstreams.
    pub fn repository(&self, name: &RepoName) -> Option<RepoName> {
        let rest = name.as_str().strip_prefix(self.project.as_str())?.strip_prefix('/')?;
        let parts = [self.upstream.as_str(), &self.prefix, rest];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join("/").parse().ok()
    }
}

/// Tells which registries are replaced.
pub trait Replacements: Send + Sync {
    /// By which project's word something of a repository is read elsewhere, and where.
    fn of(&self, repository: &RepoName) -> Option<Replacement>;
}

/// A registry that has what its upstreams have, and for its projects also what the registries have that they replace.
#[derive(Clone)]
pub struct Fallback {
    pub(crate) mirror: Mirror,
    replacements: Arc<dyn Replacements>,
    uses: Arc<Uses>,
    keeper: Arc<Keeper>,
}

/// Where something may be that is not here.
struct There {
    replacement: Replacement,
    /// What it is called here.
    here: RepoName,
    /// For reading that repository.
    grant: Grant,
}

impl Fallback {
    /// Puts registries that are replaced behind a mirror that has them among its upstreams.
    pub fn new(mirror: Mirror, replacements: Arc<dyn Replacements>) -> Self {
        Self { mirror, replacements, uses: Arc::default(), keeper: Arc::default() }
    }

    /// Writes down what was read since the last time.
    pub async fn write_uses(&self) -> Result<(), RegistryError> {
        self.uses.write(self.registry()).await
    }

    /// Who still depends on what a project replaces, the last first.
    pub async fn uses(&self, project: &ProjectName) -> Result<Vec<FallbackUse>, RegistryError> {
        self.write_uses().await?;
        self.uses.read(self.registry(), project).await
    }

    fn registry(&self) -> &Registry {
        &self.mirror.registry
    }

    /// Where it may be, if its project replaces a registry and the time for that is not over.
    async fn there(&self, grant: &Grant) -> Result<Option<There>, RegistryError> {
        let Some(here) = grant.repository() else { return Ok(None) };
        if self.mirror.upstreams_name(here).is_some() {
            return Ok(None);
        }
        let now = self.registry().meta().now();
        let Some(replacement) = self.replacements.of(here).filter(|found| now < found.until) else {
            return Ok(None);
        };
        let Some(name) = replacement.repository(here).and_then(|name| self.mirror.upstreams_name(&name))
        else {
            return Ok(None);
        };
        let grant = Grant::system("fallback", Action::Pull, Target::Repository(name));
        // What somebody has pushed under that name is no upstream's, and theirs.
        let is_upstreams = self.mirror.place(&grant).await?.is_some();
        Ok(is_upstreams.then(|| There { replacement, here: here.clone(), grant }))
    }

    /// Whether it was here and was deleted.
    async fn was_here(&self, grant: &Grant, reference: &Reference) -> Result<bool, RegistryError> {
        match grant.repository() {
            Some(repository) => Ok(self.registry().meta().had(repository, reference).await?),
            None => Ok(false),
        }
    }

    async fn found_manifest(
        &self,
        grant: &Grant,
        reference: &Reference,
        want: Want,
    ) -> Result<FoundManifest, RegistryError> {
        let missing = match Pull::manifest(&self.mirror, grant, reference, want).await {
            Err(missing) if is_missing(&missing) => missing,
            found => return found,
        };
        // Who is about to push it must not be told that it is here.
        if want == Want::HeadForPush {
            return Err(missing);
        }
        let Some(there) = self.there(grant).await? else { return Err(missing) };
        if self.was_here(grant, reference).await? {
            return Err(missing);
        }
        let found = Pull::manifest(&self.mirror, &there.grant, reference, want).await;
        let found = found.map_err(|error| there.error(error, missing))?;
        if there.replacement.keep {
            self.keeper.begin(&self.mirror, &there.grant, &there.here, reference);
        }
        let upstream = there.replacement.upstream;
        self.mirror.count_fallback(&upstream);
        self.uses.note(grant, &there.replacement.project, reference, self.registry().meta().now());
        Ok(FoundManifest { replaced: Some(ReplacedBy(upstream)), ..found })
    }

    async fn found_blob(
        &self,
        grant: &Grant,
        digest: &Digest,
        want: Want,
    ) -> Result<FoundBlob, RegistryError> {
        let missing = match Pull::blob(&self.mirror, grant, digest, want).await {
            Err(missing) if is_missing(&missing) => missing,
            found => return found,
        };
        // Only who may push it asks without wanting it.
        if want != Want::Bytes {
            return Err(missing);
        }
        let Some(there) = self.there(grant).await? else { return Err(missing) };
        let found = Pull::blob(&self.mirror, &there.grant, digest, want).await;
        found.map_err(|error| there.error(error, missing))
    }

    async fn bytes_of(
        &self,
        grant: &Grant,
        digest: &Digest,
        found: FoundBlob,
        range: Option<ByteRange>,
    ) -> Result<BlobRead, RegistryError> {
        let missing = match Pull::read_blob(&self.mirror, grant, digest, found, range).await {
            Err(missing) if is_missing(&missing) => missing,
            read => return read,
        };
        // It was evicted from the cache since it was found there.
        let Some(there) = self.there(grant).await? else { return Err(missing) };
        let again = Pull::blob(&self.mirror, &there.grant, digest, Want::Bytes).await;
        let again = again.map_err(|error| there.error(error, missing))?;
        Pull::read_blob(&self.mirror, &there.grant, digest, again, range).await
    }

    async fn found_tags(
        &self,
        grant: &Grant,
        last: Option<&str>,
        limit: usize,
    ) -> Result<Page<Tag>, RegistryError> {
        let limit = limit.min(self.registry().limits().page);
        let mut last = last.map(ToOwned::to_owned);
        loop {
            let here = Pull::tags(&self.mirror, grant, last.as_deref(), limit).await;
            if limit == 0 {
                return here;
            }
            let Some(there) = self.there(grant).await? else { return here };
            let other = Pull::tags(&self.mirror, &there.grant, last.as_deref(), limit).await;
            let other = other.map_err(|error| there.named(error));
            let Some((here, mut other)) = both(here, other, true)? else {
                return Err(RegistryError::RepositoryUnknown(there.here));
            };
            let end = other.entries.last().filter(|_| other.more).cloned();
            other.entries = self.never_here(grant, other.entries, |tag| Reference::Tag(tag.clone())).await?;
            let found = merged((here, other), end, None, limit, Tag::clone);
            match found.end {
                // All that this page had was deleted here.
                Some(end) if found.page.entries.is_empty() => last = Some(end.to_string()),
                _ => return Ok(found.page),
            }
        }
    }

    async fn found_referrers(
        &self,
        grant: &Grant,
        request: &ReferrersRequest,
    ) -> Result<Page<Descriptor>, RegistryError> {
        let limit = self.registry().limits().page;
        let mut request = request.clone();
        loop {
            let here = Pull::referrers(&self.mirror, grant, &request).await;
            let Some(there) = self.there(grant).await? else { return here };
            let other = Pull::referrers(&self.mirror, &there.grant, &request).await;
            let other = other.map_err(|error| there.named(error));
            // None would be a wrong answer: a signature may be there.
            let Some((here, mut other)) = both(here, other, false)? else {
                return Err(RegistryError::RepositoryUnknown(there.here));
            };
            let digest = |descriptor: &Descriptor| descriptor.digest;
            let end = other.entries.last().filter(|_| other.more).map(digest);
            let reference = |descriptor: &Descriptor| Reference::Digest(descriptor.digest);
            other.entries = self.never_here(grant, other.entries, reference).await?;
            let found = merged((here, other), end, request.after.as_ref(), limit, digest);
            match found.end {
                Some(end) if found.page.entries.is_empty() => request.after = Some(end),
                _ => return Ok(found.page),
            }
        }
    }

    /// Leaves out what was here and was deleted.
    async fn never_here<T>(
        &self,
        grant: &Grant,
        entries: Vec<T>,
        reference: impl Fn(&T) -> Reference,
    ) -> Result<Vec<T>, RegistryError> {
        let mut kept = Vec::with_capacity(entries.len());
        for entry in entries {
            if !self.was_here(grant, &reference(&entry)).await? {
                kept.push(entry);
            }
            // A look-up seldom waits for anything, so that many of them would keep a thread to themselves.
            tokio::task::coop::consume_budget().await;
        }
        Ok(kept)
    }
}

impl There {
    /// What to tell where it is not there either, or cannot be had.
    fn error(&self, error: RegistryError, missing: RegistryError) -> RegistryError {
        if is_missing(&error) { missing } else { self.named(error) }
    }

    /// An error of the repository there, by the name that it has here.
    fn named(&self, mut error: RegistryError) -> RegistryError {
        if let RegistryError::UpstreamUnavailable { repository, .. }
        | RegistryError::UpstreamRefused { repository, .. }
        | RegistryError::UpstreamDenies { repository, .. }
        | RegistryError::UpstreamLoops { repository, .. } = &mut error
        {
            repository.clone_from(&self.here);
        }
        error
    }
}

impl Pull for Fallback {
    fn asked_through(&self, trail: &Trail) -> Option<Arc<dyn Pull>> {
        let mirror = self.mirror.through(trail)?;
        Some(Arc::new(Self { mirror, ..self.clone() }))
    }

    fn locate<'a>(
        &'a self,
        name: &'a RepoName,
        namespace: Option<&'a str>,
        pull: bool,
    ) -> Pulled<'a, Located> {
        self.mirror.locate(name, namespace, pull)
    }

    fn manifest<'a>(
        &'a self,
        grant: &'a Grant,
        reference: &'a Reference,
        want: Want,
    ) -> Pulled<'a, FoundManifest> {
        Box::pin(self.found_manifest(grant, reference, want))
    }

    fn blob<'a>(&'a self, grant: &'a Grant, digest: &'a Digest, want: Want) -> Pulled<'a, FoundBlob> {
        Box::pin(self.found_blob(grant, digest, want))
    }

    fn read_blob<'a>(
        &'a self,
        grant: &'a Grant,
        digest: &'a Digest,
        found: FoundBlob,
        range: Option<ByteRange>,
    ) -> Pulled<'a, BlobRead> {
        Box::pin(self.bytes_of(grant, digest, found, range))
    }

    fn tags<'a>(&'a self, grant: &'a Grant, last: Option<&'a str>, limit: usize) -> Pulled<'a, Page<Tag>> {
        Box::pin(self.found_tags(grant, last, limit))
    }

    fn referrers<'a>(
        &'a self,
        grant: &'a Grant,
        request: &'a ReferrersRequest,
    ) -> Pulled<'a, Page<Descriptor>> {
        Box::pin(self.found_referrers(grant, request))
    }
}

pub(crate) fn is_missing(error: &RegistryError) -> bool {
    matches!(
        error,
        RegistryError::ManifestUnknown { .. }
            | RegistryError::BlobUnknown { .. }
            | RegistryError::RepositoryUnknown(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_other_registry() {
        let check = |project: &str, prefix: &str, name: &str, expect: Option<&str>| {
            let replacement = Replacement {
                project: project.parse().unwrap(),
                upstream: "old".into(),
                prefix: prefix.into(),
                until: Timestamp::from_micros(0),
                keep: false,
            };
            let found = replacement.repository(&name.parse().unwrap());
            assert_eq!(found.as_ref().map(RepoName::as_str), expect, "{name}");
        };
        check("team", "team", "team/app", Some("old/team/app"));
        check("team", "team-a", "team/payments/app", Some("old/team-a/payments/app"));
        check("team", "eu/team-a", "team/app", Some("old/eu/team-a/app"));
        check("team", "", "team/app", Some("old/app"));
        check("team/payments", "pay", "team/payments/app", Some("old/pay/app"));
        check("team", "team", "teams/app", None);
        check("team", "team", "team", None);
        check("library", "library", "nginx", None);
        check("team", &"a".repeat(250), "team/app", None);
    }
}
