//! Fetching one blob: into the store, and past those who wait for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::{ClientError, OpenBlob};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use oci::{Digest, RepoName};
use registry::{Registry, RegistryError, Trail, Upload};
use transfer::Retry;

use crate::error::FetchError;
use crate::flight::{Flight, Landing};
use crate::once::Outcome;
use crate::peers::Peer;
use crate::room::{Arrival, Reservation, Room};
use crate::stats::Counts;
use crate::turns::Turn;
use crate::upstream::Upstream;

/// What is borne of connections that break. Progress between two sets the count back.
const RETRY: Retry =
    Retry { failures: 5, first: Duration::from_millis(200), longest: Duration::from_secs(5) };

/// How long one download waits in all for an upstream that is left alone.
const WAIT_MAX: Duration = Duration::from_mins(2);

/// One blob to be fetched.
pub(crate) struct Download {
    pub registry: Arc<Registry>,
    pub upstream: Arc<Upstream>,
    pub counts: Arc<Counts>,
    /// The repository here, and what it is called at the upstream.
    pub repository: RepoName,
    pub path: RepoName,
    pub digest: Digest,
    pub room: Arc<Room>,
    /// How the question for it came here.
    pub trail: Arc<Trail>,
    /// Who is asked first.
    pub peer: Option<Arc<Peer>>,
}

/// A blob that somebody sends.
struct Sending<'a> {
    size: Option<u64>,
    stream: BoxStream<'static, Result<Bytes, ClientError>>,
    from: Sender,
    /// The turn that it has there.
    turn: Option<Turn<'a>>,
}

/// Who sends it.
#[derive(Clone)]
enum Sender {
    /// One of the upstream's registries.
    Upstream(usize),
    Peer(Arc<Peer>),
}

/// What a download has come to as soon as there is something to read.
#[derive(Clone)]
pub(crate) enum Begun {
    /// It is on its way.
    Flying(Arc<Flight>),
    /// It was here already: it came between a look and this one.
    Stored,
}

type Told = Outcome<Result<Begun, FetchError>>;

impl Download {
    /// Fetches it, and tells of it as soon as its size is known.
    pub async fn run(self, outcome: Told) {
        // Looked at in here, where no other download of it can end meanwhile.
        match self.registry.is_stored(&self.digest).await {
            Ok(false) => {}
            Ok(true) => return outcome.tell(Ok(Begun::Stored)),
            Err(error) => return outcome.tell(Err(error.into())),
        }
        let begun = async {
            let sending = match self.open_at_peer().await {
                Some(sending) => sending,
                None => {
                    let turn = self.upstream.turn().await?;
                    Sending { turn: Some(turn), ..self.open(0).await? }
                }
            };
            let most = self.registry.limits().blob;
            if sending.size.is_some_and(|size| size > most) {
                return Err(RegistryError::BlobTooLarge(most).into());
            }
            let room = self.reserve(sending.size).await?;
            let upload = self.registry.begin_arrival(&self.repository, self.digest.algorithm()).await?;
            Ok((sending, upload, room))
        };
        let (sending, upload, room) = match begun.await {
            Ok(begun) => begun,
            Err(error) => return outcome.tell(Err(error)),
        };
        match sending.size {
            Some(size) => self.share(sending, upload, size, room, &outcome).await,
            None => self.fetch_first(sending, upload, room, &outcome).await,
        }
    }

    async fn reserve(&self, size: Option<u64>) -> Result<Reservation<'_>, FetchError> {
        let Self { repository, digest, room, registry, .. } = self;
        if size.is_some_and(|size| room.is_too_large(size)) {
            tracing::info!(%repository, %digest, size, "a blob is larger than the cache: it is passed through");
        }
        let reservation = room.reserve(size, || registry.free_bytes()).await;
        reservation.ok_or_else(|| {
            tracing::error!(%repository, %digest, size, "the disk has no room for a blob, whatever is evicted");
            RegistryError::Full.into()
        })
    }

    /// Lets everybody read while it comes.
    async fn share(
        &self,
        sending: Sending<'_>,
        mut upload: Upload,
        size: u64,
        room: Reservation<'_>,
        outcome: &Told,
    ) {
        let flight = Arc::new(Flight::new(self.digest, size, upload.growing()));
        let landing = Landing(flight.clone());
        flight.is_also_of(&self.repository);
        outcome.tell(Ok(Begun::Flying(flight.clone())));
        match self.bring(sending, &mut upload, Some(size), (&room, Some(&flight))).await {
            Ok(()) => {
                // Clients need not wait for the disk.
                flight.end(Ok(()));
                drop(landing);
                self.keep(upload, room).await;
            }
            Err(error) => {
                self.failed(&error);
                flight.end(Err(error.to_string()));
                self.give_up(upload).await;
            }
        }
    }

    /// Where an upstream does not say how long it is, nobody can be told before it is here.
    async fn fetch_first(
        &self,
        sending: Sending<'_>,
        mut upload: Upload,
        room: Reservation<'_>,
        outcome: &Told,
    ) {
        match self.bring(sending, &mut upload, None, (&room, None)).await {
            Ok(()) => {
                let flight = Flight::landed(self.digest, upload.length(), upload.growing());
                let flight = Arc::new(flight);
                flight.is_also_of(&self.repository);
                outcome.tell(Ok(Begun::Flying(flight)));
                self.keep(upload, room).await;
            }
            Err(error) => {
                self.failed(&error);
                outcome.tell(Err(error));
                self.give_up(upload).await;
            }
        }
    }

    async fn keep(&self, upload: Upload, reserved: Reservation<'_>) {
        let Self { registry, repository, digest, room, .. } = self;
        let size = upload.length();
        match registry.end_arrival(repository, upload, *digest).await {
            Ok(id) => {
                room.changed(repository);
                // Else it would count twice for a moment.
                drop(reserved);
                let is_too_large = room.is_too_large(size);
                room.arrived(Arrival { id, digest: *digest, size, is_too_large }).await;
            }
            Err(error) => {
                tracing::error!(%repository, %digest, %error, "a blob was fetched and could not be kept");
            }
        }
    }

    async fn give_up(&self, upload: Upload) {
        // After a mismatch it has ended by itself.
        match upload.cancel().await {
            Ok(()) | Err(RegistryError::UploadUnknown(_)) => {}
            Err(error) => tracing::warn!(%error, "what was fetched in vain could not be removed; it expires"),
        }
    }

    fn failed(&self, error: &FetchError) {
        let Self { repository, digest, upstream, .. } = self;
        tracing::warn!(%repository, %digest, upstream = upstream.key(), %error, "a blob could not be fetched");
    }

    async fn open(&self, offset: u64) -> Result<Sending<'_>, FetchError> {
        let digest = self.digest;
        let request =
            |repository: Arc<client::Repository>| async move { repository.open_blob(&digest, offset).await };
        let (OpenBlob { size, stream }, from) =
            self.upstream.ask_for_blob(&digest, &self.path, &self.trail, request).await?;
        Ok(Sending { size, stream, from: Sender::Upstream(from), turn: None })
    }

    /// The same from the peer that it belongs to. Only from its beginning: what breaks is gone on with at the upstream.
    async fn open_at_peer(&self) -> Option<Sending<'_>> {
        let (peer, digest) = (self.peer.as_ref()?, self.digest);
        let turn = peer.turn().await?;
        let request = |there: Arc<client::Repository>| async move { there.open_blob(&digest, 0).await };
        let OpenBlob { size, stream } = peer.ask(&self.repository, &self.trail, request).await?;
        Some(Sending { size, stream, from: Sender::Peer(peer.clone()), turn: Some(turn) })
    }

    /// Takes in all bytes, and looks whether they are right.
    async fn bring(
        &self,
        sending: Sending<'_>,
        upload: &mut Upload,
        size: Option<u64>,
        to: (&Reservation<'_>, Option<&Flight>),
    ) -> Result<(), FetchError> {
        let from = sending.from.clone();
        let arrived = match self.receive(sending, upload, size, to).await {
            Ok(()) => upload.verify(self.digest).await.map_err(FetchError::from),
            Err(error) => Err(error),
        };
        // Whoever tries again is to have it from somebody else.
        if arrived.as_ref().is_err_and(FetchError::is_wrong) {
            match from {
                Sender::Peer(peer) => peer.distrust(),
                Sender::Upstream(link) => self.upstream.distrust(self.digest, link),
            }
        }
        arrived
    }

    /// Takes in all bytes, over as many connections as that needs.
    async fn receive(
        &self,
        mut sending: Sending<'_>,
        upload: &mut Upload,
        size: Option<u64>,
        to: (&Reservation<'_>, Option<&Flight>),
    ) -> Result<(), FetchError> {
        let (mut failures, mut failed_at, mut waited) = (0, 0, Duration::ZERO);
        loop {
            let error = match self.take_in(&mut sending, upload, size, to).await? {
                None => return Ok(()),
                Some(error) => error,
            };
            let here = upload.length();
            failures = if here - failed_at >= Retry::PROGRESS { 1 } else { failures + 1 };
            failed_at = here;
            tracing::info!(
                repository = %self.repository, digest = %self.digest, position = here, %error,
                "the connection to an upstream or a peer broke; it is gone on from there"
            );
            let mut error = error;
            let turn = match (&sending.from, sending.turn.take()) {
                (Sender::Upstream(_), Some(turn)) => turn,
                (Sender::Upstream(_) | Sender::Peer(_), _) => self.upstream.turn().await?,
            };
            let again = loop {
                let Some(pause) = RETRY.pause(failures) else { return Err(error) };
                tokio::time::sleep(pause).await;
                match self.open(here).await {
                    Ok(again) if again.size.is_none() || again.size == size || size.is_none() => break again,
                    Ok(again) => {
                        let reason = format!("it has {:?} bytes now, and had {size:?}", again.size);
                        return Err(FetchError::Refused { reason });
                    }
                    // It is left alone for a while, maybe for the fault of another: that is waited for.
                    Err(FetchError::Closed { wait, .. }) if waited < WAIT_MAX => {
                        waited += wait + RETRY.first;
                        tokio::time::sleep(wait).await;
                    }
                    Err(later) if later.may_pass() => {
                        failures += 1;
                        error = later;
                    }
                    Err(error) => return Err(error),
                }
            };
            sending = Sending { turn: Some(turn), ..again };
        }
    }

    /// Counts what came; what an upstream's link bears is not what peers' links do.
    async fn account(&self, from: &Sender, bytes: u64) {
        match from {
            Sender::Upstream(_) => {
                self.upstream.pass(bytes).await;
                self.counts.fetched(bytes);
            }
            Sender::Peer(_) => self.counts.lent(bytes),
        }
    }

    /// Takes in what one connection brings. Gives why it broke, where it did.
    async fn take_in(
        &self,
        sending: &mut Sending<'_>,
        upload: &mut Upload,
        size: Option<u64>,
        (room, flight): (&Reservation<'_>, Option<&Flight>),
    ) -> Result<Option<FetchError>, FetchError> {
        while let Some(next) = sending.stream.next().await {
            let bytes = match next {
                Ok(bytes) => bytes,
                Err(error) => {
                    match &sending.from {
                        Sender::Upstream(link) => self.upstream.note(*link, Some(&error)),
                        Sender::Peer(peer) => peer.note(Some(&error)),
                    }
                    return Ok(Some(error.into()));
                }
            };
            let after = upload.length() + bytes.len() as u64;
            if size.is_some_and(|size| after > size) {
                return Err(FetchError::Refused { reason: "more bytes came than were announced".into() });
            }
            self.account(&sending.from, bytes.len() as u64).await;
            upload.append(bytes.clone()).await?;
            room.received(bytes.len() as u64);
            if let Some(flight) = flight {
                flight.receive(bytes);
            }
            if size == Some(after) {
                return Ok(None);
            }
        }
        if size.is_none_or(|size| upload.length() == size) {
            return Ok(None);
        }
        Ok(Some(FetchError::failing("the connection ended before the blob did")))
    }
}
