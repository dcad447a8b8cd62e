//! What was read from a registry that is being replaced.

use oci::{ProjectName, Reference, RepoName};

use crate::Timestamp;

/// That somebody has read something there, once or more often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FallbackUse {
    /// The project that says which registry it replaces.
    pub project: ProjectName,
    /// Who.
    pub actor: String,
    /// The repository, by its name here.
    pub repository: RepoName,
    /// What of it.
    pub reference: Reference,
    /// How often.
    pub times: u64,
    /// When first.
    pub first: Timestamp,
    /// When last.
    pub last: Timestamp,
}
