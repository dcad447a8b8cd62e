//! Projects: each repository lies in the innermost one that there is.
//!
//! The entry of a project makes one. Where no entry has made any, the one named like a repository's first part is made
//! for it.

use oci::ProjectName;

use super::Change;
use crate::error::Result;

const FIND: &str = "SELECT id FROM project WHERE name = ?1";

const CREATE: &str = "INSERT INTO project (name, created_at) VALUES (?1, ?2) RETURNING id";

/// By their names and not by the project they are in, which may have many others: hence the `+`.
pub(crate) const TAKE_UP: &str = "UPDATE repository SET project_id = ?1
    WHERE name >= ?2 AND name < ?3 AND +project_id = ?4";

pub(super) const IS_USED: &str = "SELECT 1 FROM repository WHERE project_id = ?1 LIMIT 1";

pub(crate) const HAND_OVER: &str = "UPDATE repository SET project_id = ?2 WHERE project_id = ?1";

const DROP: &str = "DELETE FROM project WHERE id = ?1";

/// All names of repositories below a project: from the first to before the second, for `0` comes after `/`.
pub(super) fn below(project: &ProjectName) -> (String, String) {
    (format!("{project}/"), format!("{project}0"))
}

impl Change<'_> {
    /// The first of these projects that there is.
    pub(super) fn innermost_project<'n>(
        &self,
        mut names: impl Iterator<Item = &'n str>,
    ) -> Result<Option<i64>> {
        names.find_map(|name| self.find_project(name).transpose()).transpose()
    }

    /// The project named like a first part; it is made where it is not there.
    pub(super) fn outermost_project(&self, name: &str) -> Result<i64> {
        match self.find_project(name)? {
            Some(id) => Ok(id),
            None => self.db.insert(CREATE, &[name.into(), self.now.into()]),
        }
    }

    /// Makes a project, which takes up the repositories below it that lie further out. One that was there was made
    /// for repositories that have no other, and has them already.
    pub(super) fn make_project(&self, project: &ProjectName) -> Result<()> {
        if self.find_project(project.as_str())?.is_some() {
            return Ok(());
        }
        let outer = self.innermost_project(project.ancestors())?;
        let id = self.db.insert(CREATE, &[project.into(), self.now.into()])?;
        if let Some(outer) = outer {
            let (from, to) = below(project);
            self.db.run(TAKE_UP, &[id.into(), from.as_str().into(), to.as_str().into(), outer.into()])?;
        }
        Ok(())
    }

    /// Takes a project away. Its repositories lie further out from then on; an outermost one stays for those it has.
    pub(super) fn remove_project(&self, project: &ProjectName) -> Result<()> {
        let Some(id) = self.find_project(project.as_str())? else { return Ok(()) };
        if self.db.first(IS_USED, &[id.into()], |_| Ok(()))?.is_some() {
            let Some(parent) = project.parent() else { return Ok(()) };
            let outer = match self.innermost_project(parent.ancestors())? {
                Some(outer) => outer,
                None => self.outermost_project(parent.outermost())?,
            };
            self.db.run(HAND_OVER, &[id.into(), outer.into()])?;
        }
        self.db.run(DROP, &[id.into()]).map(|_| ())
    }

    fn find_project(&self, name: &str) -> Result<Option<i64>> {
        self.db.first(FIND, &[name.into()], |row| row.int(0))
    }
}
