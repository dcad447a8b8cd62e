//! Repositories come into being with their first content, and stay.

use meta::{Effect, EventKind};
use oci::RepoName;

use super::Change;
use super::event::About;
use crate::error::Result;

const FIND: &str = "SELECT id FROM repository WHERE name = ?1";

const CREATE: &str =
    "INSERT INTO repository (project_id, name, kind, created_at) VALUES (?1, ?2, 'hosted', ?3)
    RETURNING id";

const MIRROR: &str = "UPDATE repository SET kind = 'mirrored' WHERE id = ?1 AND kind <> 'mirrored'";

impl Change<'_> {
    /// The repository's key, if it exists.
    pub(super) fn find_repository(&self, name: &RepoName) -> Result<Option<i64>> {
        self.db.first(FIND, &[name.into()], |row| row.int(0))
    }

    /// The repository's key; it is created where it does not exist.
    pub(super) fn repository(&mut self, name: &RepoName) -> Result<i64> {
        if let Some(id) = self.find_repository(name)? {
            return Ok(id);
        }
        let project = match self.innermost_project(name.projects())? {
            Some(id) => id,
            None => self.outermost_project(name.project())?,
        };
        let id = self.db.insert(CREATE, &[project.into(), name.into(), self.now.into()])?;
        self.usage.of(id).repositories += 1;
        self.append(EventKind::RepositoryCreated, About::repository(name))?;
        Ok(id)
    }

    pub(super) fn mirror(&mut self, name: &RepoName) -> Result<Effect> {
        let id = self.repository(name)?;
        self.db.run(MIRROR, &[id.into()])?;
        Ok(Effect::Done)
    }
}
