//! Lists of an upstream: its tags, and what refers to a manifest. They are asked for as a whole, believed for as long
//! as a tag, and given out in pages; where an upstream does not answer, what is known of them is given.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use access::Grant;
use client::ClientError;
use oci::{Descriptor, Digest, RepoName, Tag};
use quick_cache::sync::Cache;
use registry::{Page, ReferrersRequest, RegistryError};

use crate::error::{FetchError, Wanted};
use crate::health::Asked;
use crate::mirror::Mirror;
use crate::names::Place;
use crate::once::Once;

/// How many lists are kept in memory.
const LISTS: usize = 50;

/// The most tags of a list that are looked at.
const TAGS_MAX: usize = 20_000;

/// The most pages that they come in.
const PAGES_MAX: usize = 200;

/// The most bytes of what refers to one manifest.
const REFERRERS_BYTES: usize = 1 << 20;

type Told<T> = Result<Arc<[T]>, FetchError>;

/// A list, and when it was asked for.
type Known<T> = (Instant, Arc<[T]>);

/// The lists that are known.
pub(crate) struct Lists {
    tags: Cache<RepoName, Known<Tag>>,
    referrers: Cache<(RepoName, Digest), Known<Descriptor>>,
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
            // What is here of an upstream's tags is no list of them: who goes by it would think that the others are gone.
            Err(error) => Err(error.into_registry(&repository, place.upstream.key(), &Wanted::Tags)),
        }
    }

    async fn tags_of(&self, repository: &RepoName, place: &Place) -> Told<Tag> {
        let known = self.lists.tags.get(repository);
        if let Some((_, tags)) =
            known.as_ref().filter(|(at, _)| at.elapsed() < place.upstream.settings.fresh_for)
        {
            return Ok(tags.clone());
        }
        self.may_ask()?;
        let question = place.upstream.ask(Asked::Names, &place.path, &self.trail, first_tags);
        let (this, name, from) = (self.clone(), repository.clone(), place.clone());
        let is_own = AtomicBool::new(false);
        let asked = self.lists.asking_tags.join(repository.clone(), |outcome| {
            is_own.store(true, Ordering::Relaxed);
            Box::pin(async move {
                let answer = from.upstream.ask(Asked::Names, &from.path, &this.trail, all_tags).await;
                if let Ok(tags) = &answer {
                    this.lists.tags.insert(name, (Instant::now(), tags.clone()));
                }
                outcome.tell(answer);
            })
        });
        let asked = async {
            asked.await.unwrap_or_else(|| Err(FetchError::failing("the question ended without a word")))
        };
        let asked = self.unless_round(asked, &is_own, question).await;
        // An old list is more than none.
        match (asked, known) {
            (Err(error), Some((_, tags))) if error.may_pass() => Ok(tags),
            (asked, _) => asked,
        }
    }

    pub(crate) async fn found_referrers(
        &self,
        grant: &Grant,
        request: &ReferrersRequest,
    ) -> Result<Page<Descriptor>, RegistryError> {
        let Some((repository, place)) = self.place(grant).await? else {
            return self.registry.referrers(grant, request).await;
        };
        let there = match self.referrers_of(&repository, &place, request.subject).await {
            Ok(there) => there,
            Err(FetchError::NotFound) => Arc::default(),
            Err(error) => {
                // What was fetched of them is here. None is no answer: a signature may be there.
                let here = self.registry.referrers(grant, request).await?;
                let wanted = Wanted::Referrers(request.subject);
                let is_none = here.entries.is_empty();
                return if is_none {
                    Err(error.into_registry(&repository, place.upstream.key(), &wanted))
                } else {
                    Ok(here)
                };
            }
        };
        let limit = self.registry.limits().page;
        let wanted = |descriptor: &&Descriptor| {
            let is_type =
                request.artifact_type.is_none() || descriptor.artifact_type == request.artifact_type;
            is_type && request.after.is_none_or(|after| descriptor.digest > after)
        };
        let mut entries: Vec<Descriptor> = there.iter().filter(wanted).take(limit + 1).cloned().collect();
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
        self.may_ask()?;
        let list = move |repository: Arc<client::Repository>| async move {
            repository.list_referrers(&subject).await
        };
        let (this, from) = (self.clone(), place.clone());
        let asked_key = key.clone();
        let is_own = AtomicBool::new(false);
        let asked = self.lists.asking_referrers.join(key, |outcome| {
            is_own.store(true, Ordering::Relaxed);
            Box::pin(async move {
                let answer =
                    from.upstream.ask(Asked::Names, &from.path, &this.trail, list).await.map(bounded);
                if let Ok(referrers) = &answer {
                    this.lists.referrers.insert(asked_key, (Instant::now(), Arc::clone(referrers)));
                }
                outcome.tell(answer);
            })
        });
        let asked = async {
            asked.await.unwrap_or_else(|| Err(FetchError::failing("the question ended without a word")))
        };
        let question = place.upstream.ask(Asked::Names, &place.path, &self.trail, list);
        let asked = self.unless_round(asked, &is_own, question).await;
        match (asked, known) {
            (Err(error), Some((_, referrers))) if error.may_pass() => Ok(referrers),
            (asked, _) => asked,
        }
    }
}

/// In the order of their digests; what is beyond the bounds is left out.
fn bounded(mut referrers: Vec<Descriptor>) -> Arc<[Descriptor]> {
    referrers.sort_by_key(|descriptor| descriptor.digest);
    referrers.dedup_by_key(|descriptor| descriptor.digest);
    let mut bytes = 0;
    let size = |descriptor: &Descriptor| -> usize {
        let annotations = descriptor.annotations.iter().flatten();
        annotations.map(|(key, value)| key.len() + value.len()).sum::<usize>() + 300
    };
    referrers
        .into_iter()
        .take_while(|descriptor| {
            bytes += size(descriptor);
            bytes <= REFERRERS_BYTES
        })
        .collect()
}

async fn first_tags(repository: Arc<client::Repository>) -> Result<(), ClientError> {
    repository.tags().page().await.map(|_page| ())
}

async fn all_tags(repository: Arc<client::Repository>) -> Result<Arc<[Tag]>, ClientError> {
    let mut pages = repository.tags();
    let mut tags = Vec::new();
    for _ in 0..PAGES_MAX {
        let Some(page) = pages.page().await? else { break };
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
