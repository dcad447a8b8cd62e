//! Tags, with the history of what they pointed to.

use meta::{Effect, EventKind, Timestamp};
use oci::{Digest, RepoName, Tag};

use super::event::About;
use super::{Change, done_if};
use crate::error::Result;

const MANIFEST: &str = "SELECT id FROM manifest WHERE repository_id = ?1 AND digest = ?2";

pub(super) const FIND: &str =
    "SELECT m.digest, t.updated_at, t.actor FROM tag t JOIN manifest m ON m.id = t.manifest_id
    WHERE t.repository_id = ?1 AND t.name = ?2";

pub(super) const SET: &str =
    "INSERT INTO tag (repository_id, name, manifest_id, updated_at, actor) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (repository_id, name) DO UPDATE SET manifest_id = excluded.manifest_id,
        updated_at = excluded.updated_at, actor = excluded.actor, checked_at = NULL";

pub(super) const CHECK: &str = "UPDATE tag SET checked_at = ?3
    WHERE repository_id = (SELECT id FROM repository WHERE name = ?1) AND name = ?2";

const DROP: &str = "DELETE FROM tag WHERE repository_id = ?1 AND name = ?2";

const REMEMBER: &str = "INSERT INTO tag_history (repository_id, name, digest, from_at, until_at, actor)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// What a tag points to, since when, and who set it.
struct Found {
    digest: Digest,
    since: Timestamp,
    actor: String,
}

impl Change<'_> {
    pub(super) fn set_tag(&mut self, name: &RepoName, tag: &Tag, digest: &Digest) -> Result<Effect> {
        let Some(repository) = self.find_repository(name)? else { return Ok(Effect::Absent) };
        let manifest = self.db.first(MANIFEST, &[repository.into(), digest.into()], |row| row.int(0))?;
        let Some(manifest) = manifest else { return Ok(Effect::Absent) };
        let found = self.find_tag(repository, tag)?;
        let before = found.as_ref().map(|found| found.digest);
        if before.as_ref() == Some(digest) {
            return Ok(Effect::Tag { before });
        }
        match &found {
            Some(found) => self.remember(repository, tag, found)?,
            None => self.usage.of(repository).tags += 1,
        }
        let values = [
            repository.into(),
            tag.into(),
            manifest.into(),
            self.now.into(),
            self.origin.actor.as_str().into(),
        ];
        self.db.run(SET, &values)?;
        self.append(EventKind::TagSet, About { before: before.as_ref(), ..About::tag(name, tag, digest) })?;
        Ok(Effect::Tag { before })
    }

    pub(super) fn check_tag(&self, name: &RepoName, tag: &Tag) -> Result<Effect> {
        self.db.run(CHECK, &[name.into(), tag.into(), self.now.into()]).map(done_if)
    }

    pub(super) fn drop_tag(&mut self, name: &RepoName, tag: &Tag) -> Result<Effect> {
        let Some(repository) = self.find_repository(name)? else { return Ok(Effect::Absent) };
        let was_there = self.remove_tag(name, repository, tag)?;
        Ok(if was_there { Effect::Done } else { Effect::Absent })
    }

    /// Removes a tag, if it is there.
    pub(super) fn remove_tag(&mut self, name: &RepoName, repository: i64, tag: &Tag) -> Result<bool> {
        let Some(found) = self.find_tag(repository, tag)? else { return Ok(false) };
        self.remember(repository, tag, &found)?;
        self.db.run(DROP, &[repository.into(), tag.into()])?;
        self.usage.of(repository).tags -= 1;
        self.append(EventKind::TagDeleted, About::tag(name, tag, &found.digest))?;
        Ok(true)
    }

    fn remember(&self, repository: i64, tag: &Tag, found: &Found) -> Result<()> {
        let values = [
            repository.into(),
            tag.into(),
            (&found.digest).into(),
            found.since.into(),
            self.now.into(),
            found.actor.as_str().into(),
        ];
        self.db.run(REMEMBER, &values).map(|_| ())
    }

    fn find_tag(&self, repository: i64, tag: &Tag) -> Result<Option<Found>> {
        self.db.first(FIND, &[repository.into(), tag.into()], |row| {
            Ok(Found { digest: row.digest(0)?, since: row.time(1)?, actor: row.text(2)?.to_owned() })
        })
    }
}
