//! The uploads that are open: who writes to them, and what is known of those that nobody writes to.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use blob::{BlobError, BlobId, Open, UploadId};
use oci::Hasher;
use tokio::sync::Notify;

use crate::name::StagedName;

/// How far an upload has come.
pub(crate) struct Progress {
    /// How many bytes are in its file.
    pub written: u64,
    /// The hash of these bytes.
    pub hasher: Hasher,
}

/// All open uploads, by their ids.
pub(crate) struct Sessions {
    limit: usize,
    open: Mutex<HashMap<UploadId, Session>>,
    /// Told when an upload that was being put down is free.
    freed: Notify,
}

struct Session {
    name: StagedName,
    touched: SystemTime,
    /// How many leases of it there have been.
    leases: u64,
    state: State,
}

enum State {
    /// Somebody writes to it.
    Busy,
    /// Its last writer has gone; what that has begun is being finished.
    Leaving,
    /// Nobody writes to it. Without progress, the file must be read again to know how far it came.
    Free(Option<Box<Progress>>),
}

impl Session {
    fn has_expired(&self, idle: Duration, age: Duration) -> bool {
        let now = SystemTime::now();
        // A time in the future, after the clock was set back, counts as now.
        let since = |time: SystemTime| now.duration_since(time).unwrap_or_default();
        let made = SystemTime::UNIX_EPOCH + Duration::from_millis(self.name.blob.unix_millis());
        let free = matches!(self.state, State::Free(_));
        free && (since(self.touched) >= idle || since(made) >= age)
    }
}

/// An upload that its asker now has for itself.
pub(crate) enum Found {
    /// A new one.
    New(Lease),
    /// One whose progress is known.
    Warm(Lease, Box<Progress>),
    /// One that must be read again.
    Cold(Lease),
}

impl Sessions {
    /// Room for `limit` uploads.
    pub fn new(limit: usize) -> Self {
        Self { limit, open: Mutex::default(), freed: Notify::new() }
    }

    /// Adds an upload that an earlier process has left. These are admitted beyond the limit: they are there.
    pub fn found(&self, name: StagedName, touched: SystemTime) {
        self.open().insert(name.upload, Session { name, touched, leases: 0, state: State::Free(None) });
    }

    /// Gives an upload to one who will write to it.
    pub async fn acquire(
        self: &Arc<Self>,
        upload: UploadId,
        scope: u64,
        open: Open,
    ) -> Result<Found, BlobError> {
        loop {
            let mut freed = pin!(self.freed.notified());
            // From here on no notice is missed.
            freed.as_mut().enable();
            let outcome = match open {
                Open::New(algorithm) => {
                    return self.create(StagedName { upload, scope, blob: BlobId::random(), algorithm });
                }
                Open::Resume => self.resume(upload, scope)?,
            };
            match outcome {
                Some(found) => return Ok(found),
                None => freed.await,
            }
        }
    }

    fn create(self: &Arc<Self>, name: StagedName) -> Result<Found, BlobError> {
        let mut open = self.open();
        let count = open.len();
        match open.entry(name.upload) {
            Entry::Occupied(_) => Err(BlobError::Busy),
            Entry::Vacant(_) if count >= self.limit => Err(BlobError::TooManyUploads(self.limit)),
            Entry::Vacant(free) => {
                let new = Session { name, touched: SystemTime::now(), leases: 0, state: State::Free(None) };
                Ok(Found::New(self.lease(free.insert(new))))
            }
        }
    }

    /// `None` while the last writer is leaving.
    fn resume(self: &Arc<Self>, upload: UploadId, scope: u64) -> Result<Option<Found>, BlobError> {
        let mut open = self.open();
        let session = open.get_mut(&upload).filter(|session| session.name.scope == scope);
        let session = session.ok_or(BlobError::NoUpload)?;
        let progress = match &mut session.state {
            State::Busy => return Err(BlobError::Busy),
            State::Leaving => return Ok(None),
            State::Free(progress) => progress.take(),
        };
        session.touched = SystemTime::now();
        let lease = self.lease(session);
        Ok(Some(match progress {
            Some(progress) => Found::Warm(lease, progress),
            None => Found::Cold(lease),
        }))
    }

    /// Says that a writer has gone, and that its lease will end soon: who resumes the upload waits for that.
    pub fn leaving(&self, turn: Turn) {
        if let Some(session) = self.open().get_mut(&turn.upload)
            && session.leases == turn.number
            && matches!(session.state, State::Busy)
        {
            session.state = State::Leaving;
        }
    }

    /// Takes the uploads that nobody writes to and that have not been touched for `idle` or are older than `age`.
    pub fn expired(self: &Arc<Self>, idle: Duration, age: Duration) -> Vec<Lease> {
        let mut open = self.open();
        let expired = open.values_mut().filter(|session| session.has_expired(idle, age));
        expired.map(|session| self.lease(session)).collect()
    }

    /// How many uploads [`Sessions::expired`] would take.
    pub fn count_expired(&self, idle: Duration, age: Duration) -> usize {
        self.open().values().filter(|session| session.has_expired(idle, age)).count()
    }

    /// The lowest of the ids that open uploads will give their objects.
    pub fn lowest(&self) -> Option<BlobId> {
        self.open().values().map(|session| session.name.blob).min()
    }

    fn lease(self: &Arc<Self>, session: &mut Session) -> Lease {
        session.leases += 1;
        session.state = State::Busy;
        Lease { sessions: self.clone(), name: session.name, number: session.leases, end: End::Cold }
    }

    fn leave(&self, upload: UploadId, end: End) {
        let mut open = self.open();
        if let End::Gone = end {
            open.remove(&upload);
        } else if let Some(session) = open.get_mut(&upload) {
            session.touched = SystemTime::now();
            session.state = State::Free(match end {
                End::Warm(progress) => Some(progress),
                End::Cold | End::Gone => None,
            });
        }
        drop(open);
        self.freed.notify_waiters();
    }

    /// Nothing is left half-done under this lock, so a panic elsewhere says nothing about what it guards.
    fn open(&self) -> MutexGuard<'_, HashMap<UploadId, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to write to an upload. Dropped without a word, say in a panic, it leaves the upload to be read again.
pub(crate) struct Lease {
    sessions: Arc<Sessions>,
    name: StagedName,
    number: u64,
    end: End,
}

/// Tells one lease of an upload from those before and after it.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    upload: UploadId,
    number: u64,
}

enum End {
    Cold,
    Warm(Box<Progress>),
    Gone,
}

impl Lease {
    /// The upload.
    pub fn name(&self) -> &StagedName {
        &self.name
    }

    /// Which lease of the upload this is.
    pub fn turn(&self) -> Turn {
        Turn { upload: self.name.upload, number: self.number }
    }

    /// When the lease is dropped, the upload can be resumed from here.
    pub fn leave_warm(&mut self, progress: Progress) {
        self.end = End::Warm(Box::new(progress));
    }

    /// When the lease is dropped, the upload has ended.
    pub fn leave_ended(&mut self) {
        self.end = End::Gone;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.sessions.leave(self.name.upload, mem::replace(&mut self.end, End::Cold));
    }
}
