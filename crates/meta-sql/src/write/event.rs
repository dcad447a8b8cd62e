//! Appending events: in the transaction of what they tell of.

use meta::{EntryKind, EntryName, EventKind};
use oci::{Digest, RepoName, Tag};

use super::Change;
use crate::error::Result;
use crate::sql::Value;

/// The form of the records written here.
const VERSION: i64 = 1;

/// The position is the next one and not a sequence's: a change that is undone leaves no gap. There is one
/// writer, so nobody else can take it meanwhile.
pub(super) const APPEND: &str = "INSERT INTO event (position, version, kind, project, repository, digest, tag, tag_before,
        actor, address, agent, request, time, entry_kind, entry_name)
    VALUES ((SELECT coalesce(max(position), 0) + 1 FROM event), ?1, ?2,
        coalesce((SELECT p.name FROM repository r JOIN project p ON p.id = r.project_id WHERE r.name = ?3), ''),
        ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";

/// What an event is about.
#[derive(Clone, Copy, Default)]
pub(super) struct About<'a> {
    pub(super) repository: Option<&'a RepoName>,
    pub(super) digest: Option<&'a Digest>,
    pub(super) tag: Option<&'a Tag>,
    pub(super) before: Option<&'a Digest>,
    pub(super) entry: Option<(EntryKind, &'a EntryName)>,
}

impl<'a> About<'a> {
    pub(super) fn repository(repository: &'a RepoName) -> Self {
        Self { repository: Some(repository), ..Self::default() }
    }

    pub(super) fn digest(repository: &'a RepoName, digest: &'a Digest) -> Self {
        Self { digest: Some(digest), ..Self::repository(repository) }
    }

    pub(super) fn tag(repository: &'a RepoName, tag: &'a Tag, digest: &'a Digest) -> Self {
        Self { tag: Some(tag), ..Self::digest(repository, digest) }
    }

    pub(super) fn entry(kind: EntryKind, name: &'a EntryName) -> Self {
        Self { entry: Some((kind, name)), ..Self::default() }
    }
}

impl Change<'_> {
    pub(super) fn append(&self, kind: EventKind, about: About<'_>) -> Result<()> {
        let origin = self.origin;
        let address = origin.address.map(|address| address.to_string());
        let values: [Value<'_>; 13] = [
            VERSION.into(),
            kind.name().into(),
            about.repository.map_or("", RepoName::as_str).into(),
            about.digest.into(),
            about.tag.into(),
            about.before.into(),
            origin.actor.as_str().into(),
            address.as_deref().into(),
            origin.agent.as_deref().into(),
            origin.request.as_deref().into(),
            self.now.into(),
            about.entry.map(|(kind, _)| kind).into(),
            about.entry.map(|(_, name)| name).into(),
        ];
        self.db.run(APPEND, &values).map(|_| ())
    }
}
