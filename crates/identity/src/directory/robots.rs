//! Robots: accounts for machines, of a project or of the whole registry.

use std::time::Duration;

use access::{Action, ActionSet, Grant, Subject, Target};
use meta::{Entry, EntryKind};
use oci::ProjectName;

use super::{Directory, New, check_text, expect, origin, parsed};
use crate::IdentityError;
use crate::model::{
    Actions, NewRobot, Permission, ProjectRecord, Robot, RobotPatch, RobotRecord, RobotSecret, Rotation,
    Shown,
};
use crate::names::RobotName;
use crate::token_secret::{TokenKind, TokenSecret};

/// How long an old secret stays good at most.
const OVERLAP_MAX: u64 = 90 * 86_400;

/// The most permissions of one robot.
const PERMISSIONS_MAX: usize = 100;

impl Directory {
    /// The robots of a project, or those of the whole registry.
    pub async fn robots(
        &self,
        grant: &Grant,
        project: Option<&ProjectName>,
    ) -> Result<Vec<Robot>, IdentityError> {
        expect(grant, Action::ManageRobots, &target(project))?;
        let found: Vec<(Entry, RobotRecord)> = match project {
            Some(project) => {
                self.get::<ProjectRecord>(EntryKind::Project, project.as_str()).await?;
                self.owned(EntryKind::Project, project.as_str(), EntryKind::Robot).await?
            }
            None => {
                let all = self.all::<RobotRecord>(EntryKind::Robot).await?;
                all.into_iter().filter(|(entry, _)| is_of_system(entry)).collect()
            }
        };
        let mut robots = Vec::with_capacity(found.len());
        for (entry, record) in found {
            robots.push(self.show_robot(&entry, record).await?);
        }
        Ok(robots)
    }

    /// One robot.
    pub async fn robot(&self, grant: &Grant, name: &RobotName) -> Result<Robot, IdentityError> {
        expect(grant, Action::ManageRobots, &target(name.project()))?;
        let (entry, record) = self.get::<RobotRecord>(EntryKind::Robot, &name.to_string()).await?;
        self.show_robot(&entry, record).await
    }

    /// Makes a robot, which may do no more than who makes it. Its secret is shown this once.
    pub async fn create_robot(
        &self,
        grant: &Grant,
        subject: &Subject,
        project: Option<&ProjectName>,
        new: NewRobot,
    ) -> Result<Shown<Robot>, IdentityError> {
        expect(grant, Action::ManageRobots, &target(project))?;
        check_text("description", &new.description, 500)?;
        let name = RobotName::new(project.cloned(), &new.name)
            .map_err(|error| IdentityError::Invalid(error.to_string()))?;
        let permissions = new.permissions.unwrap_or_else(|| {
            vec![Permission { project: project.cloned(), actions: Actions(ActionSet::of(&[Action::Pull])) }]
        });
        self.check_permissions(subject, project, &permissions)?;
        let expires = self.end(new.expires, self.limits.robot_days, "robot")?;
        if self.robots(grant, project).await?.len() >= self.limits.robots_per_project {
            return Err(IdentityError::TooMany { what: "robots", limit: self.limits.robots_per_project });
        }
        let secret = TokenSecret::generate(TokenKind::Robot)?;
        let record = RobotRecord {
            description: new.description,
            disabled: false,
            expires,
            permissions,
            secrets: vec![RobotSecret { hash: secret.hash(), created: self.now(), until: None }],
        };
        self.create(grant, robot(&name, &record)).await?;
        Ok(Shown { about: self.robot(grant, &name).await?, secret: secret.text().clone() })
    }

    /// Changes a robot.
    pub async fn change_robot(
        &self,
        grant: &Grant,
        subject: &Subject,
        name: &RobotName,
        patch: RobotPatch,
    ) -> Result<Robot, IdentityError> {
        expect(grant, Action::ManageRobots, &target(name.project()))?;
        let (entry, mut record) = self.get::<RobotRecord>(EntryKind::Robot, &name.to_string()).await?;
        if let Some(description) = patch.description {
            check_text("description", &description, 500)?;
            record.description = description;
        }
        if let Some(disabled) = patch.disabled {
            record.disabled = disabled;
        }
        if let Some(permissions) = patch.permissions {
            self.check_permissions(subject, name.project(), &permissions)?;
            record.permissions = permissions;
        }
        self.replace(origin(grant), &entry, robot(name, &record)).await?;
        self.robot(grant, name).await
    }

    /// Gives a robot a new secret. The old one stays good for a while, so that whoever uses it never fails. Who knows
    /// the secret can act in the robot's place, so must hold all that it holds.
    pub async fn rotate_robot(
        &self,
        grant: &Grant,
        subject: &Subject,
        name: &RobotName,
        rotation: Rotation,
    ) -> Result<Shown<Robot>, IdentityError> {
        expect(grant, Action::ManageRobots, &target(name.project()))?;
        if rotation.overlap_seconds > OVERLAP_MAX {
            return Err(IdentityError::Invalid(format!("secrets overlap for {OVERLAP_MAX} seconds at most")));
        }
        let (entry, mut record) = self.get::<RobotRecord>(EntryKind::Robot, &name.to_string()).await?;
        self.check_gifts(subject, &record.permissions)?;
        let now = self.now();
        let until = now.plus(Duration::from_secs(rotation.overlap_seconds));
        record.secrets.retain(|secret| secret.is_good(now));
        // Of several rotations at once, the two newest secrets stay.
        record.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.created));
        record.secrets.truncate(1);
        for old in &mut record.secrets {
            old.until = Some(old.until.map_or(until, |before| before.min(until)));
        }
        let secret = TokenSecret::generate(TokenKind::Robot)?;
        record.secrets.push(RobotSecret { hash: secret.hash(), created: now, until: None });
        self.replace(origin(grant), &entry, robot(name, &record)).await?;
        Ok(Shown { about: self.robot(grant, name).await?, secret: secret.text().clone() })
    }

    /// Deletes a robot.
    pub async fn delete_robot(&self, grant: &Grant, name: &RobotName) -> Result<(), IdentityError> {
        expect(grant, Action::ManageRobots, &target(name.project()))?;
        self.drop_entry(grant, EntryKind::Robot, &name.to_string()).await
    }

    /// Whether some robot of elsewhere may do something in a project: it must not outlive the project's name.
    pub(super) async fn robot_from_elsewhere(
        &self,
        project: &ProjectName,
    ) -> Result<Option<String>, IdentityError> {
        let robots = self.all::<RobotRecord>(EntryKind::Robot).await?;
        let named = |record: &RobotRecord| {
            record.permissions.iter().any(|permission| permission.project.as_ref() == Some(project))
        };
        let elsewhere = robots.into_iter().filter(|(_, record)| named(record)).find(|(entry, _)| {
            let name = entry.name.as_str().parse::<RobotName>();
            name.is_ok_and(|name| name.project() != Some(project))
        });
        Ok(elsewhere.map(|(entry, _)| entry.name.as_str().to_owned()))
    }

    /// A project's robot may do things in its project and below; none may do more than who says so.
    fn check_permissions(
        &self,
        subject: &Subject,
        project: Option<&ProjectName>,
        permissions: &[Permission],
    ) -> Result<(), IdentityError> {
        if permissions.is_empty() || permissions.len() > PERMISSIONS_MAX {
            let message = format!("a robot has from 1 to {PERMISSIONS_MAX} permissions");
            return Err(IdentityError::Invalid(message));
        }
        let known = self.known();
        for permission in permissions {
            match (&permission.project, project) {
                (Some(place), Some(own)) if !place.ancestors().any(|around| around == own.as_str()) => {
                    let message = format!("a robot of {own} can do nothing in {place}: make one there");
                    return Err(IdentityError::Invalid(message));
                }
                (None, Some(own)) => {
                    let message = format!("a robot of {own} can do nothing elsewhere: name a project");
                    return Err(IdentityError::Invalid(message));
                }
                _ => {}
            }
            if let Some(place) =
                permission.project.as_ref().filter(|place| known.projects.get(place.as_str()).is_none())
            {
                return Err(IdentityError::Unknown { what: "project", name: place.to_string() });
            }
        }
        self.check_gifts(subject, permissions)
    }

    async fn show_robot(&self, entry: &Entry, record: RobotRecord) -> Result<Robot, IdentityError> {
        let now = self.now();
        Ok(Robot {
            name: parsed(&entry.name)?,
            description: record.description,
            disabled: record.disabled,
            created: entry.created,
            expires: record.expires,
            permissions: record.permissions,
            secrets: record.secrets.iter().filter(|secret| secret.is_good(now)).count(),
            last_used: self.last_used(entry.name.as_str()).await?,
        })
    }
}

fn target(project: Option<&ProjectName>) -> Target {
    project.map_or(Target::System, |project| Target::Project(project.clone()))
}

fn is_of_system(entry: &Entry) -> bool {
    entry.name.as_str().parse::<RobotName>().is_ok_and(|name| name.project().is_none())
}

fn robot<'a>(name: &'a RobotName, record: &'a RobotRecord) -> New<'a, RobotRecord> {
    let owners = name.project().map(|project| (EntryKind::Project, project.to_string()));
    New {
        kind: EntryKind::Robot,
        name: name.to_string().into(),
        record,
        owners: owners.into_iter().collect(),
    }
}
