//! Manifests: what a tag names, how long that is believed, and fetching what is not here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use access::Grant;
use bytes::Bytes;
use client::Fetched;
use meta::Timestamp;
use oci::{Descriptor, Digest, Reference, RepoName, Tag};
use registry::{FoundManifest, Mirrored, RegistryError, Stale, Want};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::error::{FetchError, Wanted};
use crate::health::Asked;
use crate::mirror::Mirror;
use crate::names::Place;
use crate::peers::Peer;

/// After a question that an upstream did not answer, it is not asked again about that tag for so long.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// How long it is remembered that a tag named a manifest that nobody has asked for yet.
const WAITS_FOR: Duration = Duration::from_mins(1);

/// A tag of a mirrored repository.
#[derive(Clone)]
struct Spot {
    repository: RepoName,
    place: Place,
    tag: Tag,
}

impl Mirror {
    pub(crate) async fn found_manifest(
        &self,
        grant: &Grant,
        reference: &Reference,
        want: Want,
    ) -> Result<FoundManifest, RegistryError> {
        let missing = match self.registry.manifest(grant, reference).await {
            Ok(record) => return self.manifest_here(grant, reference, record.into()).await,
            Err(missing @ (RegistryError::ManifestUnknown { .. } | RegistryError::RepositoryUnknown(_))) => {
                missing
            }
            Err(error) => return Err(error),
        };
        let Some((repository, place)) = self.place(grant).await? else { return Err(missing) };
        let counts = self.counts(&place.upstream);
        counts.missed(1);
        let outcome = self.seek_manifest(&repository, &place, reference, want).await;
        outcome.map_err(|error| {
            counts.failed(1);
            error.into_registry(&repository, place.upstream.key(), &Wanted::Manifest(reference.clone()))
        })
    }

    /// What is here, which is right by its digest, and by a tag for a while.
    async fn manifest_here(
        &self,
        grant: &Grant,
        reference: &Reference,
        found: FoundManifest,
    ) -> Result<FoundManifest, RegistryError> {
        let Some(repository) = grant.repository() else { return Ok(found) };
        let Some(upstream) = self.names.upstream(repository) else { return Ok(found) };
        let Reference::Tag(tag) = reference else {
            self.count_hit(upstream);
            return Ok(found);
        };
        let is_fresh = |age: Option<Duration>| age.is_some_and(|age| age < upstream.settings.fresh_for);
        // Nearly always: where it is somebody's own, nothing was ever checked, and the answer would be the same.
        let checked = self.memory.checked(repository, tag);
        if is_fresh(checked.map(|checked| since(checked, self.registry.meta().now()))) {
            self.count_hit(upstream);
            return Ok(found);
        }
        if self.is_hosted(repository).await? {
            return Ok(found);
        }
        self.count_hit(upstream);
        let age = self.age(repository, tag).await?;
        if is_fresh(age) {
            return Ok(found);
        }
        let Some(place) = self.names.place(repository) else { return Ok(found) };
        let spot = Spot { repository: repository.clone(), place, tag: tag.clone() };
        self.confirmed(grant, spot, found, age).await
    }

    /// What is here for a tag that is believed no more, after its upstream was asked where that is due.
    async fn confirmed(
        &self,
        grant: &Grant,
        spot: Spot,
        found: FoundManifest,
        age: Option<Duration>,
    ) -> Result<FoundManifest, RegistryError> {
        let settings = &spot.place.upstream.settings;
        if let Err(error) = self.may_ask() {
            // Who asks on its behalf must not take what may be old for news.
            let (key, wanted) =
                (spot.place.upstream.key(), Wanted::Manifest(Reference::Tag(spot.tag.clone())));
            return Err(error.into_registry(&spot.repository, key, &wanted));
        }
        let is_soon_enough = age.is_some_and(|age| age < settings.fresh_for + settings.stale_for);
        let outcome = if self.memory.has_failed(&spot.repository, &spot.tag, ASK_AGAIN) {
            Err("it did not answer a moment ago".to_owned())
        } else {
            let mut asking = self.ask_again(&spot, found.digest);
            if is_soon_enough {
                return Ok(found);
            }
            match timeout(settings.patience, asking.wait_for(Option::is_some)).await {
                Ok(Ok(outcome)) => outcome.clone().unwrap_or(Ok(())),
                Ok(Err(_)) => Err("the question ended without a word".to_owned()),
                Err(_) => {
                    // Nobody else need wait as long for it.
                    self.memory.note_failed(&spot.repository, &spot.tag);
                    Err("it takes too long to answer".to_owned())
                }
            }
        };
        let Err(reason) = outcome else {
            let reference = Reference::Tag(spot.tag);
            return self.registry.manifest(grant, &reference).await.map(FoundManifest::from);
        };
        if is_soon_enough {
            return Ok(found);
        }
        self.counts(&spot.place.upstream).served_stale(1);
        let key = spot.place.upstream.key();
        let stale =
            Some(Stale(format!("{key} could not confirm this tag, which may have moved since: {reason}")));
        Ok(FoundManifest { stale, ..found })
    }

    /// How long ago a tag that is here was found right; `None` where it never was.
    async fn age(&self, repository: &RepoName, tag: &Tag) -> Result<Option<Duration>, RegistryError> {
        let checked = match self.memory.checked(repository, tag) {
            Some(checked) => Some(checked),
            None => {
                let checked = self.registry.checked(repository, tag).await?.and_then(|(_, checked)| checked);
                if let Some(checked) = checked {
                    self.memory.note_checked(repository, tag, checked);
                }
                checked
            }
        };
        Ok(checked.map(|checked| since(checked, self.registry.meta().now())))
    }

    /// Asks what a tag names now, and fetches that where it is something else: once for all who want to know, and to its
    /// end whoever leaves. Tells why it could not.
    fn ask_again(&self, spot: &Spot, before: Digest) -> watch::Receiver<Option<Result<(), String>>> {
        let (this, asked) = (self.clone(), spot.clone());
        self.checks.begin((spot.repository.clone(), spot.tag.clone()), |outcome| {
            Box::pin(async move {
                let looked = this.look_again(&asked, before).await;
                if looked.is_err() {
                    this.memory.note_failed(&asked.repository, &asked.tag);
                }
                if let Err(error) = &looked {
                    let Spot { repository, tag, .. } = &asked;
                    tracing::debug!(%repository, %tag, %error, "a tag could not be confirmed");
                }
                outcome.tell(looked.map_err(|error| error.briefly().to_owned()));
            })
        })
    }

    async fn look_again(&self, spot: &Spot, before: Digest) -> Result<(), FetchError> {
        let Spot { repository, place, tag } = spot;
        let now = self.head(spot).await?;
        if now.digest == before {
            self.registry.note_checked(repository, tag).await?;
        } else if !self.registry.keep_tag(repository, tag, now.digest).await? {
            if place.upstream.is_scarce() {
                let reason = "the tag has moved, and few requests are left that its upstream allows";
                return Err(FetchError::failing(reason));
            }
            self.fetch(repository, place, &Reference::Digest(now.digest)).await?;
            self.registry.keep_tag(repository, tag, now.digest).await?;
        }
        self.room.changed(repository);
        self.memory.note_checked(repository, tag, self.registry.meta().now());
        Ok(())
    }

    /// What a tag names at its upstream, asked once for all who want to know. What is named is remembered, to be kept
    /// with its manifest.
    async fn head(&self, spot: &Spot) -> Result<Descriptor, FetchError> {
        if !self.trail.nodes().is_empty() {
            // By itself, so that it comes back where upstreams lead back.
            return self.ask_head(spot).await;
        }
        let (this, asked) = (self.clone(), spot.clone());
        let key = (spot.repository.clone(), spot.tag.clone());
        let answer = self
            .heads
            .join(key, |outcome| Box::pin(async move { outcome.tell(this.ask_head(&asked).await) }));
        answer.await.unwrap_or_else(|| Err(FetchError::failing("the question ended without a word")))
    }

    async fn ask_head(&self, Spot { repository, place, tag }: &Spot) -> Result<Descriptor, FetchError> {
        let descriptor = self.head_of(place, &Reference::Tag(tag.clone())).await?;
        self.memory.note_named(repository, tag, &descriptor);
        Ok(descriptor)
    }

    async fn head_of(&self, place: &Place, reference: &Reference) -> Result<Descriptor, FetchError> {
        let head =
            |repository: Arc<client::Repository>| async move { repository.head_manifest(reference).await };
        place.upstream.ask(Asked::Names, &place.path, &self.trail, head).await
    }

    /// A manifest that is not here.
    async fn seek_manifest(
        &self,
        repository: &RepoName,
        place: &Place,
        reference: &Reference,
        want: Want,
    ) -> Result<FoundManifest, FetchError> {
        let settings = &place.upstream.settings;
        if self.memory.is_absent(repository, reference, settings.absent_for) {
            return Err(FetchError::NotFound);
        }
        self.may_ask()?;
        let spot =
            |tag: &Tag| Spot { repository: repository.clone(), place: place.clone(), tag: tag.clone() };
        let outcome = match (reference, want) {
            (Reference::Tag(tag), Want::Head | Want::HeadForPush) => self.named(&spot(tag)).await,
            // By itself, so that it comes back where upstreams lead back.
            (_, Want::Head | Want::HeadForPush) if !self.trail.nodes().is_empty() => {
                self.head_of(place, reference).await.map(only_head)
            }
            (Reference::Tag(tag), Want::Bytes) if !self.peers.is_alone() => self.fetch_tag(&spot(tag)).await,
            _ => self.fetch(repository, place, reference).await,
        };
        if matches!(outcome, Err(FetchError::NotFound)) {
            self.memory.note_absent(repository, reference);
        }
        outcome
    }

    /// What a tag names whose manifest was never fetched.
    async fn named(&self, spot: &Spot) -> Result<FoundManifest, FetchError> {
        let Spot { repository, place, tag } = spot;
        let known = self.memory.named(repository, tag, place.upstream.settings.fresh_for);
        let descriptor = match known {
            Some(descriptor) => descriptor,
            None => self.head(spot).await?,
        };
        // The manifest may be here under another tag.
        if self.registry.keep_tag(repository, tag, descriptor.digest).await? {
            self.room.changed(repository);
            self.memory.note_checked(repository, tag, self.registry.meta().now());
        }
        Ok(only_head(descriptor))
    }

    /// What a tag names, by its digest: so a peer can be asked for it, and the upstream, which alone knows what the tag
    /// names, need only say so.
    async fn fetch_tag(&self, spot: &Spot) -> Result<FoundManifest, FetchError> {
        let named = self.head(spot).await?;
        self.fetch(&spot.repository, &spot.place, &Reference::Digest(named.digest)).await
    }

    /// Fetches a manifest and keeps it, once for all who want it.
    pub(crate) async fn fetch(
        &self,
        repository: &RepoName,
        place: &Place,
        reference: &Reference,
    ) -> Result<FoundManifest, FetchError> {
        let question = self.head_of(place, reference);
        let (this, repository, place, wanted) =
            (self.clone(), repository.clone(), place.clone(), reference.clone());
        let key = (repository.clone(), reference.clone(), self.peer_of(reference).is_some());
        let is_own = AtomicBool::new(false);
        let fetched = self.manifests.join(key, |outcome| {
            is_own.store(true, Ordering::Relaxed);
            Box::pin(async move {
                match this.fetch_and_keep(&repository, &place, &wanted).await {
                    Ok((found, blobs)) => {
                        outcome.tell(Ok(found));
                        this.adopt(&repository, &place, blobs).await;
                    }
                    Err(error) => outcome.tell(Err(error)),
                }
            })
        });
        let fetched = async {
            fetched.await.unwrap_or_else(|| Err(FetchError::failing("fetching it ended without a word")))
        };
        self.unless_round(fetched, &is_own, question).await
    }

    async fn fetch_and_keep(
        &self,
        repository: &RepoName,
        place: &Place,
        reference: &Reference,
    ) -> Result<(FoundManifest, Vec<Digest>), FetchError> {
        let Fetched { descriptor, bytes } = self.get(repository, place, reference).await?;
        if let Reference::Tag(tag) = reference {
            // Whatever it was said to name before.
            self.memory.note_named(repository, tag, &descriptor);
        }
        let Descriptor { media_type, digest, size, .. } = descriptor;
        let tags = self.memory.waiting(repository, digest, WAITS_FOR);
        let mirrored = Mirrored { digest, media_type: media_type.clone(), bytes: bytes.clone() };
        let found = FoundManifest { digest, media_type, size, bytes, stale: None, replaced: None };
        let blobs = match self.registry.keep_manifest(repository, mirrored, &tags).await {
            Ok(blobs) => blobs,
            Err(error @ (RegistryError::ManifestInvalid(_) | RegistryError::Conflict)) => {
                return Err(error.into());
            }
            Err(error) => {
                // It is right, and whoever asked can have it all the same.
                tracing::warn!(%repository, %digest, %error, "a manifest was fetched and could not be kept");
                return Ok((found, Vec::new()));
            }
        };
        self.room.changed(repository);
        let now = self.registry.meta().now();
        tags.iter().for_each(|tag| self.memory.note_checked(repository, tag, now));
        self.memory.settled(repository, digest);
        self.memory.note_present(repository, reference);
        Ok((found, blobs))
    }
}

impl Mirror {
    /// Whom to ask for a manifest before the upstream. Only the upstream knows what a tag names.
    fn peer_of(&self, reference: &Reference) -> Option<Arc<Peer>> {
        match reference {
            Reference::Digest(digest) => self.peers.to_ask(digest, &self.trail),
            Reference::Tag(_) => None,
        }
    }

    /// A manifest from the peer that it belongs to, or from the upstream.
    async fn get(
        &self,
        repository: &RepoName,
        place: &Place,
        reference: &Reference,
    ) -> Result<Fetched, FetchError> {
        let get =
            |repository: Arc<client::Repository>| async move { repository.get_manifest(reference).await };
        let counts = self.counts(&place.upstream);
        if let Some(peer) = self.peer_of(reference)
            && let Some(fetched) = peer.ask(repository, &self.trail, get).await
        {
            counts.lent(fetched.descriptor.size);
            return Ok(fetched);
        }
        let fetched = place.upstream.ask(Asked::Names, &place.path, &self.trail, get).await?;
        counts.fetched(fetched.descriptor.size);
        Ok(fetched)
    }
}

/// What is known of a manifest whose bytes are not here.
fn only_head(Descriptor { media_type, digest, size, .. }: Descriptor) -> FoundManifest {
    FoundManifest { digest, media_type, size, bytes: Bytes::new(), stale: None, replaced: None }
}

fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(now.micros().saturating_sub(then.micros())).unwrap_or(0))
}
