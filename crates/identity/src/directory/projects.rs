//! Projects.

use access::{Action, FirstPush, Grant, PrepareError, Projects, Subject, Target, allowed, authorise};
use meta::{Batch, Condition, Entry, EntryKind, Write};
use oci::ProjectName;

use super::{Directory, New, Page, check_text, entry_name, expect, origin, parsed};
use crate::IdentityError;
use crate::model::{NewProject, Project, ProjectPatch, ProjectRecord};

impl Directory {
    /// The projects that somebody may see, in the order of their names, after `after`.
    pub async fn projects_for(
        &self,
        subject: &Subject,
        after: Option<&str>,
    ) -> Result<Page<Project>, IdentityError> {
        let known = self.known();
        let may_see = |name: &ProjectName| {
            allowed(&known.projects, subject, Action::ReadProject, &Target::Project(name.clone()))
        };
        let mut names: Vec<&ProjectName> = known.projects.iter().map(|(name, _)| name).collect();
        names.retain(|name| after.is_none_or(|after| name.as_str() > after) && may_see(name));
        names.sort_unstable();
        let more = names.len() > super::PAGE;
        names.truncate(super::PAGE);
        let next = names.last().filter(|_| more).map(ToString::to_string);
        let mut items = Vec::with_capacity(names.len());
        for name in names {
            // One that was deleted meanwhile is left out.
            if let Some((entry, record)) = self.find(EntryKind::Project, name.as_str()).await? {
                items.push(shown(&known.projects, &entry, record)?);
            }
        }
        Ok(Page { items, next })
    }

    /// One project.
    pub async fn project(&self, grant: &Grant) -> Result<Project, IdentityError> {
        let name = of(grant, Action::ReadProject)?;
        self.show_project(name).await
    }

    async fn show_project(&self, name: &ProjectName) -> Result<Project, IdentityError> {
        let (entry, record) = self.get(EntryKind::Project, name.as_str()).await?;
        shown(&self.known().projects, &entry, record)
    }

    /// Makes a project. The grant is for making one in the project around it, or at the top.
    pub async fn create_project(&self, grant: &Grant, new: NewProject) -> Result<Project, IdentityError> {
        expect(grant, Action::CreateProject, &self.place_of(&new.name))?;
        check_text("description", &new.description, 500)?;
        let record = ProjectRecord {
            description: new.description,
            public: new.public,
            inherit_roles: new.inherit_roles,
            create_on_push: new.create_on_push,
            fallback: None,
        };
        self.create(grant, project(&new.name, &record)).await?;
        self.show_project(&new.name).await
    }

    /// Where somebody must be allowed to make projects who makes this one: in the innermost one around it.
    pub fn place_of(&self, name: &ProjectName) -> Target {
        let known = self.known();
        let around = name.ancestors().skip(1).find(|around| known.projects.get(around).is_some());
        around.and_then(|around| around.parse().ok()).map_or(Target::System, Target::Project)
    }

    /// Changes the settings of a project.
    pub async fn change_project(&self, grant: &Grant, patch: ProjectPatch) -> Result<Project, IdentityError> {
        let name = of(grant, Action::UpdateProject)?;
        let (entry, mut record) = self.get::<ProjectRecord>(EntryKind::Project, name.as_str()).await?;
        if let Some(description) = patch.description {
            check_text("description", &description, 500)?;
            record.description = description;
        }
        record.public = patch.public.unwrap_or(record.public);
        record.inherit_roles = patch.inherit_roles.unwrap_or(record.inherit_roles);
        record.create_on_push = patch.create_on_push.unwrap_or(record.create_on_push);
        self.replace(origin(grant), &entry, project(name, &record)).await?;
        self.show_project(name).await
    }

    /// Deletes a project that holds nothing.
    pub async fn delete_project(&self, grant: &Grant) -> Result<(), IdentityError> {
        let name = of(grant, Action::DeleteProject)?;
        self.get::<ProjectRecord>(EntryKind::Project, name.as_str()).await?;
        let known = self.known();
        let holds = |inner: &ProjectName| inner.ancestors().skip(1).any(|around| around == name.as_str());
        if known.projects.iter().any(|(inner, _)| holds(inner)) {
            return Err(IdentityError::ProjectInUse(name.to_string()));
        }
        if let Some(robot) = self.robot_from_elsewhere(name).await? {
            let message = format!("{robot} has permissions in {name}: take them away first");
            return Err(IdentityError::Invalid(message));
        }
        let write = Write::DropEntry { kind: EntryKind::Project, name: entry_name(name.as_str())? };
        let batch = Batch::of(origin(grant), write).when(Condition::ProjectEmpty { project: name.clone() });
        self.change(batch).await.map(|_| ())
    }

    /// Makes the project that a push needs, where it may be made.
    pub(crate) async fn prepare_push(&self, push: &Grant, subject: &Subject) -> Result<(), PrepareError> {
        let Some(repository) = push.repository() else { return Ok(()) };
        let projects = &self.known().projects;
        let context = std::sync::Arc::new(push.context().clone());
        let name = match projects.first_push(repository) {
            FirstPush::Nothing => return Ok(()),
            FirstPush::Allowed(name) => name,
            FirstPush::AtTheTop(name) => {
                // The scopes of access tokens name repositories: that this one may be pushed to is all that they say.
                let owner = subject.without_token_scopes();
                authorise(projects, &owner, &context, Action::CreateProject, Target::System)
                    .map_err(PrepareError::Denied)?;
                name
            }
        };
        let record = ProjectRecord { inherit_roles: true, ..ProjectRecord::default() };
        match self.create(push, project(&name, &record)).await {
            // Somebody else's push was first.
            Ok(()) | Err(IdentityError::Exists { .. }) => Ok(()),
            Err(error) => Err(PrepareError::Failed(error.to_string())),
        }
    }
}

/// The project that a grant for `action` is about.
pub(super) fn of(grant: &Grant, action: Action) -> Result<&ProjectName, IdentityError> {
    grant.project().filter(|_| grant.action() == action).ok_or(IdentityError::WrongGrant)
}

pub(super) fn project<'a>(name: &'a ProjectName, record: &'a ProjectRecord) -> New<'a, ProjectRecord> {
    New { kind: EntryKind::Project, name: name.as_str().into(), record, owners: Vec::new() }
}

fn shown(projects: &Projects, entry: &Entry, record: ProjectRecord) -> Result<Project, IdentityError> {
    let name: ProjectName = parsed(&entry.name)?;
    Ok(Project {
        is_public: projects.get(name.as_str()).is_some_and(|rules| rules.public),
        name,
        description: record.description,
        public: record.public,
        inherit_roles: record.inherit_roles,
        create_on_push: record.create_on_push,
        created: entry.created,
    })
}
