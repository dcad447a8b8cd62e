//! Projects: a snapshot of all that are declared, with the rules that follow from their settings and those around
//! them.

use std::collections::HashMap;

use oci::{ProjectName, RepoName};

/// What was set for a project. What was not, is as in the project around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether anybody may pull. Without a project around it: no.
    pub public: Option<bool>,
    /// Whether roles that were given further out count in here, too. Roles for the whole registry always do.
    pub inherit_roles: bool,
    /// Whether a push below makes the project that it names. Without a project around it: no.
    pub create_on_push: Option<bool>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { public: None, inherit_roles: true, create_on_push: None }
    }
}

/// The rules of a project, those it has from further out included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProjectRules {
    /// Anybody may pull.
    pub public: bool,
    /// Roles from further out count.
    pub inherit_roles: bool,
    /// A push below makes the project that it names.
    pub create_on_push: bool,
}

/// All declared projects at one moment.
#[derive(Clone, Debug, Default)]
pub struct Projects {
    rules: HashMap<ProjectName, ProjectRules>,
    epoch: u64,
}

/// What has to be made before the first push to a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstPush {
    /// Nothing: its project is there.
    Nothing,
    /// This project, as the one around it allows.
    Allowed(ProjectName),
    /// This project, at the top: for those who may make projects there.
    AtTheTop(ProjectName),
}

impl Projects {
    /// The snapshot number `epoch` of these projects.
    pub fn new(settings: impl IntoIterator<Item = (ProjectName, Settings)>, epoch: u64) -> Self {
        let settings: HashMap<ProjectName, Settings> = settings.into_iter().collect();
        let rules = settings.iter().map(|(name, own)| {
            let first = |pick: fn(&Settings) -> Option<bool>| {
                name.ancestors().find_map(|around| settings.get(around).and_then(pick)).unwrap_or(false)
            };
            let rules = ProjectRules {
                public: first(|settings| settings.public),
                inherit_roles: own.inherit_roles,
                create_on_push: first(|settings| settings.create_on_push),
            };
            (name.clone(), rules)
        });
        Self { rules: rules.collect(), epoch }
    }

    /// Grows whenever a decision may have changed: a project, a role, who holds it.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The rules of a declared project.
    pub fn get(&self, name: &str) -> Option<&ProjectRules> {
        self.rules.get(name)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&ProjectName, &ProjectRules)> {
        self.rules.iter()
    }

    /// What has to be made before something is pushed to the repository.
    pub fn first_push(&self, repository: &RepoName) -> FirstPush {
        let mut inner = None;
        for name in repository.projects() {
            match (self.get(name), inner) {
                (Some(rules), Some(inner)) if rules.create_on_push => {
                    return named(inner, FirstPush::Allowed);
                }
                (Some(_), _) => return FirstPush::Nothing,
                (None, _) => inner = Some(name),
            }
        }
        inner.map_or(FirstPush::Nothing, |outermost| named(outermost, FirstPush::AtTheTop))
    }
}

/// A name that is too long for a project makes none: the repository lies in the one further out.
fn named(name: &str, first: fn(ProjectName) -> FirstPush) -> FirstPush {
    name.parse().map_or(FirstPush::Nothing, first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn projects(settings: &[(&str, Settings)]) -> Projects {
        Projects::new(settings.iter().map(|(name, settings)| (name.parse().unwrap(), *settings)), 1)
    }

    #[test]
    fn what_is_not_set_comes_from_further_out() {
        let public = Settings { public: Some(true), ..Settings::default() };
        let private = Settings { public: Some(false), ..Settings::default() };
        let all = projects(&[
            ("open", public),
            ("open/team", Settings::default()),
            ("open/team/closed", private),
            ("open/team/closed/deep", Settings::default()),
            ("alone", Settings::default()),
        ]);
        for (name, expect) in [
            ("open", true),
            ("open/team", true),
            ("open/team/closed", false),
            ("open/team/closed/deep", false),
            ("alone", false),
        ] {
            assert_eq!(all.get(name).unwrap().public, expect, "{name}");
        }
        assert_eq!(all.get("open/nothing"), None);
    }

    #[test]
    fn a_first_push_makes_what_is_allowed_to_be_made() {
        let on_push = Settings { create_on_push: Some(true), ..Settings::default() };
        let all = projects(&[("team", on_push), ("fixed", Settings::default()), ("team/pay", on_push)]);
        let check = |repository: &str, expect: FirstPush| {
            assert_eq!(all.first_push(&repository.parse().unwrap()), expect, "{repository}");
        };
        let name = |name: &str| name.parse().unwrap();
        check("team/app", FirstPush::Nothing);
        check("team/web/app", FirstPush::Allowed(name("team/web")));
        check("team/web/deep/app", FirstPush::Allowed(name("team/web")));
        check("team/pay/app", FirstPush::Nothing);
        check("team/pay/eu/app", FirstPush::Allowed(name("team/pay/eu")));
        check("fixed/deep/app", FirstPush::Nothing);
        check("new/deep/app", FirstPush::AtTheTop(name("new")));
        check("nginx", FirstPush::AtTheTop(name("library")));
    }
}
