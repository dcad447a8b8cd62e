//! Referrers: what is about a manifest (distribution-spec, "Listing Referrers").

use access::{Action, Grant};
use meta::{ReferrerPage, ReferrerQuery};
use oci::{Descriptor, Digest, Manifest, ManifestKind, Reference, RepoName};

use crate::{Page, Registry, RegistryError, granted};

/// A question for referrers.
#[derive(Clone, Debug)]
pub struct ReferrersRequest {
    /// Of which digest. It need not exist.
    pub subject: Digest,
    /// Only of this artifact type.
    pub artifact_type: Option<String>,
    /// Only after this one: the page before ended there.
    pub after: Option<Digest>,
}

impl Registry {
    /// A page of the manifests whose subject is a digest; empty where there are none.
    ///
    /// What clients recorded under the fallback tag, before they knew of this API here, comes with the last page.
    pub async fn referrers(
        &self,
        grant: &Grant,
        request: &ReferrersRequest,
    ) -> Result<Page<Descriptor>, RegistryError> {
        let repository = granted(grant, Action::Pull)?;
        let query = ReferrerQuery {
            repository: repository.clone(),
            subject: request.subject,
            artifact_type: request.artifact_type.clone(),
            after: request.after,
            limit: self.limits.page,
            bytes: self.limits.referrers_bytes,
        };
        let ReferrerPage { mut descriptors, more } = self.meta.referrers(&query).await?;
        if !more {
            let recorded = self.fallback(repository, &request.subject).await?;
            let wanted =
                |d: &Descriptor| request.artifact_type.is_none() || d.artifact_type == request.artifact_type;
            descriptors.extend(recorded.into_iter().filter(wanted));
        }
        Ok(Page { entries: descriptors, more })
    }

    /// What the fallback tag of `subject` lists and the store does not know to be its referrer.
    async fn fallback(
        &self,
        repository: &RepoName,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let tag = Reference::Tag(subject.fallback_tag());
        let Some(record) = self.meta.manifest(repository, &tag).await? else { return Ok(Vec::new()) };
        let Ok(index) = Manifest::parse(&record.bytes, Some(&record.media_type), &self.limits.manifest)
        else {
            return Ok(Vec::new());
        };
        if index.kind != ManifestKind::Index {
            return Ok(Vec::new());
        }
        let mut recorded = Vec::new();
        for child in index.children.into_iter().take(self.limits.page) {
            if self.is_unlisted(repository, subject, &child.descriptor).await? {
                recorded.push(child.descriptor);
            }
        }
        Ok(recorded)
    }

    /// Whether a recorded referrer is there, and is not listed by its own `subject` already.
    async fn is_unlisted(
        &self,
        repository: &RepoName,
        subject: &Digest,
        recorded: &Descriptor,
    ) -> Result<bool, RegistryError> {
        let found = self.meta.manifest(repository, &Reference::Digest(recorded.digest)).await?;
        let Some(record) = found else { return Ok(false) };
        let manifest = Manifest::parse(&record.bytes, Some(&record.media_type), &self.limits.manifest);
        Ok(!manifest.is_ok_and(|m| m.subject.is_some_and(|s| s.digest == *subject)))
    }
}
