//! The configuration of fair use.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};

use http_kit::{FairLimits, KeyLimits};
use serde::{Deserialize, Serialize};

use crate::span::Span;

/// Fair use: how much one may take. 0 is no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FairConfig {
    /// Bytes of answers a second, for all together, shared out by address.
    pub egress_bytes: u64,
    /// Bytes of uploads a second, for all together, shared out by address.
    pub ingress_bytes: u64,
    /// How long a request waits for its turn before it is refused.
    pub max_wait: Span,
    /// Bytes a second of an address, in each direction.
    pub address_bytes: u64,
    /// Requests a second of an address.
    pub address_requests: u32,
    /// Requests of an address at once, after a rest; 0: as many as a second allows.
    pub address_burst: u32,
    /// Transfers of an address at once.
    pub address_transfers: u32,
    /// Bytes a second of a user or robot, in each direction.
    pub identity_bytes: u64,
    /// Requests a second of a user or robot.
    pub identity_requests: u32,
    /// Requests of a user or robot at once, after a rest; 0: as many as a second allows.
    pub identity_burst: u32,
    /// Transfers of a user or robot at once.
    pub identity_transfers: u32,
    /// Bytes a second of a project, in each direction.
    pub project_bytes: u64,
    /// Requests a second of a project.
    pub project_requests: u32,
    /// Requests of a project at once, after a rest; 0: as many as a second allows.
    pub project_burst: u32,
    /// Transfers of a project at once.
    pub project_transfers: u32,
    /// What these projects may take, with all that is below them, instead of what `project_*` says.
    pub projects: BTreeMap<String, FairKey>,
}

/// What one project may take. 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FairKey {
    /// Bytes a second, in each direction.
    pub bytes: u64,
    /// Requests a second.
    pub requests: u32,
    /// Requests at once, after a rest; 0: as many as a second allows.
    pub burst: u32,
    /// Transfers at once.
    pub transfers: u32,
}

impl FairKey {
    fn limits(self) -> KeyLimits {
        KeyLimits {
            bytes_per_second: NonZeroU64::new(self.bytes),
            requests_per_second: NonZeroU32::new(self.requests),
            burst: NonZeroU32::new(self.burst),
            transfers: NonZeroU32::new(self.transfers),
        }
    }
}

impl FairConfig {
    /// The limits in the words of `http-kit`.
    pub(crate) fn limits(&self) -> FairLimits {
        let key = |bytes, requests, burst, transfers| FairKey { bytes, requests, burst, transfers }.limits();
        FairLimits {
            egress_bytes_per_second: NonZeroU64::new(self.egress_bytes),
            ingress_bytes_per_second: NonZeroU64::new(self.ingress_bytes),
            per_address: key(
                self.address_bytes,
                self.address_requests,
                self.address_burst,
                self.address_transfers,
            ),
            per_identity: key(
                self.identity_bytes,
                self.identity_requests,
                self.identity_burst,
                self.identity_transfers,
            ),
            per_project: key(
                self.project_bytes,
                self.project_requests,
                self.project_burst,
                self.project_transfers,
            ),
            projects: self.projects.iter().map(|(name, key)| (name.as_str().into(), key.limits())).collect(),
            max_wait: self.max_wait.into(),
        }
    }
}

impl Default for FairConfig {
    fn default() -> Self {
        Self {
            egress_bytes: 0,
            ingress_bytes: 0,
            max_wait: http_kit::FairLimits::default().max_wait.into(),
            address_bytes: 0,
            address_requests: 0,
            address_burst: 0,
            address_transfers: 0,
            identity_bytes: 0,
            identity_requests: 0,
            identity_burst: 0,
            identity_transfers: 0,
            project_bytes: 0,
            project_requests: 0,
            project_burst: 0,
            project_transfers: 0,
            projects: BTreeMap::new(),
        }
    }
}
