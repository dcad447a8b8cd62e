//! Referrers: what is about a manifest (distribution-spec, "Listing Referrers").

use std::collections::HashSet;

use access::{Action, Grant};
use meta::{ManifestRecord, ReferrerPage, ReferrerQuery};
use oci::{Descriptor, Digest, Manifest, ManifestKind, Reference, RepoName};
use serde::Deserialize;
use tokio::task::coop::consume_budget;
use tokio::task::spawn_blocking;

use crate::{Page, Registry, RegistryError, granted};

/// How many bytes of the manifests that a fallback tag lists are read for one answer. Those that come after are given
/// as they are listed: a client that goes by the tag alone would take them so, too.
const READ_MAX: usize = 4 << 20;

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
            let unlisted = self.unlisted(repository, request, &descriptors).await?;
            descriptors.extend(unlisted);
        }
        Ok(Page { entries: descriptors, more })
    }

    /// What the fallback tag lists, is there, and is not listed by its own subject already, be it on this `page`, the
    /// last one, or on one before.
    async fn unlisted(
        &self,
        repository: &RepoName,
        request: &ReferrersRequest,
        page: &[Descriptor],
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let mut seen: HashSet<Digest> = page.iter().map(|descriptor| descriptor.digest).collect();
        let mut recorded = self.recorded(repository, &request.subject).await?;
        recorded.retain(|descriptor| {
            (request.artifact_type.is_none() || descriptor.artifact_type == request.artifact_type)
                && seen.insert(descriptor.digest)
        });
        recorded.truncate(self.limits.page);
        let (mut unlisted, mut read) = (Vec::new(), 0);
        for descriptor in recorded {
            if read < READ_MAX {
                let reference = Reference::Digest(descriptor.digest);
                let Some(record) = self.meta.manifest(repository, &reference).await? else { continue };
                read += record.bytes.len();
                if is_about(&record, &request.subject) {
                    continue;
                }
                // A look-up seldom waits for anything, so that many of them would keep a thread to themselves.
                consume_budget().await;
            }
            unlisted.push(descriptor);
        }
        Ok(unlisted)
    }

    /// What the fallback tag of `subject` lists.
    async fn recorded(
        &self,
        repository: &RepoName,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let tag = Reference::Tag(subject.fallback_tag());
        let Some(record) = self.meta.manifest(repository, &tag).await? else { return Ok(Vec::new()) };
        let limits = self.limits.manifest;
        // A list can be as large as a manifest may be, and a question for it costs its sender nothing.
        let parsed =
            spawn_blocking(move || Manifest::parse(&record.bytes, Some(&record.media_type), &limits)).await;
        Ok(match parsed {
            Ok(Ok(index)) if index.kind == ManifestKind::Index => {
                index.children.into_iter().map(|child| child.descriptor).collect()
            }
            _ => Vec::new(),
        })
    }
}

/// Whether a manifest says itself that it is about `subject`. Of all its fields only that one is built.
fn is_about(record: &ManifestRecord, subject: &Digest) -> bool {
    #[derive(Deserialize)]
    struct About {
        subject: Option<Descriptor>,
    }

    let about = serde_json::from_slice::<About>(&record.bytes);
    about.is_ok_and(|about| about.subject.is_some_and(|about| about.digest == *subject))
}
