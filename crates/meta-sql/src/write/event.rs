//! Appending events: in the transaction of what they tell of.

use meta::EventKind;
use oci::{Digest, RepoName, Tag};

use super::Change;
use crate::error::Result;
use crate::sql::Value;

/// The form of the records written here.
const VERSION: i64 = 1;

/// The position is the next one and not a sequence's: a change that is undone leaves no gap. There is one
/// writer, so nobody else can take it meanwhile.
pub(super) const APPEND: &str = "INSERT INTO event (position, version, kind, project, repository, digest, tag, tag_before,
        actor, address, agent, request, time)
    VALUES ((SELECT coalesce(max(position), 0) + 1 FROM event), ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

/// What an event is about.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) repository: &'a RepoName,
    pub(super) digest: Option<&'a Digest>,
    pub(super) tag: Option<&'a Tag>,
    pub(super) before: Option<&'a Digest>,
}

impl<'a> About<'a> {
    pub(super) const fn repository(repository: &'a RepoName) -> Self {
        Self { repository, digest: None, tag: None, before: None }
    }

    pub(super) const fn digest(repository: &'a RepoName, digest: &'a Digest) -> Self {
        Self { repository, digest: Some(digest), tag: None, before: None }
    }

    pub(super) const fn tag(repository: &'a RepoName, tag: &'a Tag, digest: &'a Digest) -> Self {
        Self { repository, digest: Some(digest), tag: Some(tag), before: None }
    }
}

impl Change<'_> {
    pub(super) fn append(&self, kind: EventKind, about: About<'_>) -> Result<()> {
        let origin = self.origin;
        let address = origin.address.map(|address| address.to_string());
        let values: [Value<'_>; 12] = [
            VERSION.into(),
            kind.name().into(),
            about.repository.project().into(),
            about.repository.into(),
            about.digest.into(),
            about.tag.into(),
            about.before.into(),
            origin.actor.as_str().into(),
            address.as_deref().into(),
            origin.agent.as_deref().into(),
            origin.request.as_deref().into(),
            self.now.into(),
        ];
        self.db.run(APPEND, &values).map(|_| ())
    }
}
