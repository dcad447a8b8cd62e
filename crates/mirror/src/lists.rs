//! Lists of an upstream: its tags, and what refers to a manifest. They are asked for as a whole, believed for as long
//! as a tag, and given out in pages; where an upstream does not answer, what is known of them is given.

use std::sync::Arc;
use std::time::Instant;

use access::Grant;
use client::ClientError;
use oci::{Descriptor, Digest, Reference, RepoName, Tag};
use quick_cache::sync::Cache;
use registry::{Page, ReferrersRequest, RegistryError};

use crate::error::{FetchError, Wanted};
use crate::mirror::Mirror;
use crate::names::Place;
use crate::once::Once;

/// How many lists are kept in memory.
const LISTS: usize = 200;

/// The most tags of a list that are looked at.
const TAGS_MAX: usize = 50_000;

/// The most referrers of one manifest that are fetched with their list, so that they are here when the upstream is not.
const REFERRERS_MAX: usize = 32;

type Told<T> = Result<Arc<[T]>, FetchError>;

/// The lists that are known.
pub(crate) struct Lists {
    tags: Cache<RepoName, (Instant, Arc<[Tag]>)>,
    referrers: Cache<(RepoName, Digest), (Instant, Arc<[Descriptor]>)>,
    asking_tags: Once<RepoName, Told<Tag>>,
    asking_referrers: Once<(RepoName, Digest), Told<Descriptor>>,
}

impl Default for Lists {
    fn default() -> Self {
        Self {
            tags: Cache::new(LISTS),
            referrers: Cache::new(LISTS),
            asking_tags: Once::default(),
            asking_referrers: Once::default(),
        }
    }
}

impl Mirror {
    pub(crate) async fn found_tags(
        &self,
        grant: &Grant,
        last: Option<&str>,
        limit: usize,
    ) -> Result<Page<Tag>, RegistryError> {
        let Some((repository, place)) = self.place(grant).await? else {
            return self.registry.tags(grant, last, limit).await;
        };
        match self.tags_of(&repository, &place).await {
            Ok(tags) => {
                let limit = limit.min(self.registry.limits().page);
                let after = last.map_or(0, |last| tags.partition_point(|tag| tag.as_str() <= last));
                let entries: Vec<Tag> = tags.iter().skip(after).take(limit).cloned().collect();
                Ok(Page { more: after + entries.len() < tags.len(), entries })
            }
            Err(error) => match self.registry.tags(grant, last, limit).await {
                Err(RegistryError::RepositoryUnknown(_)) if !matches!(error, FetchError::NotFound) => {
                    let wanted = Wanted::Tags;
                    Err(error.into_registry(&repository, place.upstream.key(), &wanted))
                }
                known => known,
            },
        }
    }

    async fn tags_of(&self, repository: &RepoName, place: &Place) -> Told<Tag> {
        let known = self.lists.tags.get(repository);
        if let Some((_, tags)) =
            known.as_ref().filter(|(at, _)| at.elapsed() < place.upstream.settings.fresh_for)
        {
            return Ok(tags.clone());
        }
        let (this, name, from) = (self.clone(), repository.clone(), place.clone());
        let asked = self.lists.asking_tags.join(repository.clone(), |outcome| {
            Box::pin(async move {
                let answer = from.upstream.ask(&from.path, all_tags).await;
                if let Ok(tags) = &answer {
                    this.lists.tags.insert(name, (Instant::now(), tags.clone()));
                }
                outcome.tell(answer);
            })
        });
        let asked =
            asked.await.unwrap_or_else(|| Err(FetchError::failing("the question ended without a word")));
        // An old list is more than none.
        match (asked, known) {
            (Err(FetchError::Unavailable { .. }), Some((_, tags))) => Ok(tags),
            (asked, _) => asked,
        }
    }

    pub(crate) async fn found_referrers(
        &self,
        grant: &Grant,
        request: &ReferrersRequest,
    ) -> Result<Page<Descriptor>, RegistryError> {
        let here = self.registry.referrers(grant, request).await?;
        let Some((repository, place)) = self.place(grant).await? else { return Ok(here) };
        // What is here of a list that goes on in pages comes before what is there: clients take the order as it comes.
        if here.more {
            return Ok(here);
        }
        let there = match self.referrers_of(&repository, &place, request.subject).await {
            Ok(there) => there,
            Err(error) => {
                tracing::debug!(%repository, %error, "an upstream did not say what refers to a manifest");
                return Ok(here);
            }
        };
        let wanted = |descriptor: &&Descriptor| {
            request.artifact_type.is_none() || descriptor.artifact_type == request.artifact_type
        };
        let mut entries = here.entries;
        for descriptor in there.iter().filter(wanted) {
            let is_new = !entries.iter().any(|entry| entry.digest == descriptor.digest);
            if is_new && request.after.is_none_or(|after| descriptor.digest > after) {
                entries.push(descriptor.clone());
            }
        }
        entries.sort_by_key(|descriptor| descriptor.digest);
        let limit = self.registry.limits().page;
        let more = entries.len() > limit;
        entries.truncate(limit);
        Ok(Page { entries, more })
    }

    async fn referrers_of(&self, repository: &RepoName, place: &Place, subject: Digest) -> Told<Descriptor> {
        let key = (repository.clone(), subject);
        let known = self.lists.referrers.get(&key);
        let fresh = place.upstream.settings.fresh_for;
        if let Some((_, referrers)) = known.as_ref().filter(|(at, _)| at.elapsed() < fresh) {
            return Ok(referrers.clone());
        }
        let (this, from) = (self.clone(), place.clone());
        let (name, asked_key) = (repository.clone(), key.clone());
        let asked = self.lists.asking_referrers.join(key, |outcome| {
            Box::pin(async move {
                let list = |repository: Arc<client::Repository>| async move {
                    repository.list_referrers(&subject).await
                };
                let answer = from.upstream.ask(&from.path, list).await.map(Arc::from);
                outcome.tell(answer.clone());
                if let Ok(referrers) = answer {
                    this.lists.referrers.insert(asked_key, (Instant::now(), Arc::clone(&referrers)));
                    this.fetch_referrers(&name, &from, &referrers).await;
                }
            })
        });
        let asked =
            asked.await.unwrap_or_else(|| Err(FetchError::failing("the question ended without a word")));
        match (asked, known) {
            (Err(FetchError::Unavailable { .. }), Some((_, referrers))) => Ok(referrers),
            (asked, _) => asked,
        }
    }

    /// Fetches what refers to a manifest: signatures and the like are small, and asked for next.
    async fn fetch_referrers(&self, repository: &RepoName, place: &Place, referrers: &[Descriptor]) {
        for descriptor in referrers.iter().take(REFERRERS_MAX) {
            let reference = Reference::Digest(descriptor.digest);
            let known = self.registry.has_manifest(repository, &descriptor.digest).await;
            if place.upstream.is_scarce() || matches!(known, Ok(true)) {
                continue;
            }
            if let Err(error) = self.fetch(repository, place, &reference).await {
                tracing::debug!(%repository, %reference, %error, "what refers to a manifest was not fetched");
            }
        }
    }
}

async fn all_tags(repository: Arc<client::Repository>) -> Result<Arc<[Tag]>, ClientError> {
    let mut pages = repository.tags();
    let mut tags = Vec::new();
    while let Some(page) = pages.page().await? {
        tags.extend(page);
        if tags.len() >= TAGS_MAX {
            break;
        }
    }
    tags.truncate(TAGS_MAX);
    tags.sort();
    tags.dedup();
    Ok(tags.into())
}
