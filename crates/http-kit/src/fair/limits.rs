//! How much one may take: the limits of fair use, and the rates that follow from them.

use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;

use super::keys::{Key, Keys};

/// What a byte rate forgives of being late: a timer that fired late, a thread that was busy. It is also what can be
/// sent at once after a rest.
const BYTES_BURST: Duration = Duration::from_millis(50);

/// The limits of fair use. By default nothing is limited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FairLimits {
    /// Bytes of response bodies a second, for all together. Default: unlimited.
    ///
    /// Only what waits here is shared out: set it a little below what the network carries, or the network decides.
    pub egress_bytes_per_second: Option<NonZeroU64>,
    /// Bytes of request bodies a second, for all together. Default: unlimited.
    pub ingress_bytes_per_second: Option<NonZeroU64>,
    /// What one address may take.
    pub per_address: KeyLimits,
    /// What one identity may take.
    pub per_identity: KeyLimits,
    /// What one project may take.
    pub per_project: KeyLimits,
    /// What projects may take for which `per_project` does not hold.
    pub projects: HashMap<Arc<str>, KeyLimits>,
    /// How long a request waits for its turn before it is refused. Default 10 s.
    pub max_wait: Duration,
}

impl Default for FairLimits {
    fn default() -> FairLimits {
        FairLimits {
            egress_bytes_per_second: None,
            ingress_bytes_per_second: None,
            per_address: KeyLimits::default(),
            per_identity: KeyLimits::default(),
            per_project: KeyLimits::default(),
            projects: HashMap::new(),
            max_wait: Duration::from_secs(10),
        }
    }
}

/// What one key may take. By default nothing is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyLimits {
    /// Bytes of bodies a second, in each direction.
    pub bytes_per_second: Option<NonZeroU64>,
    /// Requests a second, in the long run.
    pub requests_per_second: Option<NonZeroU32>,
    /// Requests at once, after a rest. Default: as many as a second allows.
    pub burst: Option<NonZeroU32>,
    /// Transfers at once.
    pub transfers: Option<NonZeroU32>,
}

impl KeyLimits {
    fn bytes(&self) -> Option<Rate> {
        self.bytes_per_second.map(Rate::of_bytes)
    }

    fn requests(&self) -> Option<Rate> {
        self.requests_per_second.map(|rate| Rate::of_requests(rate, self.burst.unwrap_or(rate)))
    }
}

impl FairLimits {
    pub(super) fn egress_rates(&self) -> PerKey<Rate> {
        self.per_key(self.egress_bytes_per_second.map(Rate::of_bytes), KeyLimits::bytes)
    }

    pub(super) fn ingress_rates(&self) -> PerKey<Rate> {
        self.per_key(self.ingress_bytes_per_second.map(Rate::of_bytes), KeyLimits::bytes)
    }

    pub(super) fn request_rates(&self) -> PerKey<Rate> {
        self.per_key(None, KeyLimits::requests)
    }

    pub(super) fn transfer_counts(&self) -> PerKey<u32> {
        self.per_key(None, |limits| limits.transfers.map(NonZeroU32::get))
    }

    fn per_key<T>(&self, total: Option<T>, limit: impl Fn(&KeyLimits) -> Option<T>) -> PerKey<T> {
        let projects = self.projects.iter().map(|(project, limits)| (Arc::clone(project), limit(limits)));
        PerKey {
            total,
            address: limit(&self.per_address),
            identity: limit(&self.per_identity),
            project: limit(&self.per_project),
            projects: projects.collect(),
        }
    }
}

/// One kind of limit, for each class of key.
#[derive(Debug)]
pub(super) struct PerKey<T> {
    total: Option<T>,
    address: Option<T>,
    identity: Option<T>,
    project: Option<T>,
    projects: HashMap<Arc<str>, Option<T>>,
}

impl<T: Copy> PerKey<T> {
    pub(super) fn is_unlimited(&self) -> bool {
        let classes = [self.total, self.address, self.identity, self.project];
        classes.iter().chain(self.projects.values()).all(Option::is_none)
    }

    /// What limits a request with these keys, the narrow before the wide.
    pub(super) fn of<'a>(&'a self, keys: &'a Keys) -> impl Iterator<Item = (Key, T)> + 'a {
        let address = keys.counted_address().map(Key::Address).zip(self.address);
        let identity = keys.identity.clone().map(Key::Identity).zip(self.identity);
        let project = keys.project.as_ref().and_then(|project| {
            let limit = self.projects.get(project).copied().unwrap_or(self.project);
            Some(Key::Project(Arc::clone(project))).zip(limit)
        });
        let total = Some(Key::Total).zip(self.total);
        [address, identity, project, total].into_iter().flatten()
    }
}

/// So much a second, and some of it at once after a rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    per_second: NonZeroU64,
    /// How much time's worth may be saved up.
    pub(super) burst: Duration,
}

impl Rate {
    pub(super) const fn of_bytes(per_second: NonZeroU64) -> Rate {
        Rate { per_second, burst: BYTES_BURST }
    }

    fn of_requests(per_second: NonZeroU32, burst: NonZeroU32) -> Rate {
        let mut rate = Rate { per_second: per_second.into(), burst: Duration::ZERO };
        // The first of a burst needs nothing saved up.
        rate.burst = rate.time(u64::from(burst.get()) - 1);
        rate
    }

    /// How long it takes until so much is due.
    pub(super) fn time(&self, cost: u64) -> Duration {
        let nanos = u128::from(cost) * 1_000_000_000 / u128::from(self.per_second.get());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    pub(super) fn per_second(&self) -> u64 {
        self.per_second.get()
    }
}
