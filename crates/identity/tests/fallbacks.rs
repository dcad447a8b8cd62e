//! The registries that projects replace: for how long.

use std::sync::Arc;
use std::time::Duration;

use access::{Action, Grant, Target};
use identity::model::{Fallback, NewFallback, NewProject};
use identity::{Directory, IdentityError, Limits};
use meta::contract::TestClock;
use meta_sql::SqliteMeta;

const DAY: Duration = Duration::from_secs(86_400);

struct World {
    clock: Arc<TestClock>,
    directory: Directory,
}

impl World {
    /// With a project, and one in it.
    async fn new() -> Self {
        let clock = Arc::new(TestClock::new());
        let meta = Arc::new(SqliteMeta::in_memory(Arc::clone(&clock) as _).unwrap());
        let directory = Directory::open(meta, Arc::clone(&clock) as _, Limits::default()).await.unwrap();
        for name in ["team", "team/pay"] {
            let new = NewProject {
                name: name.parse().unwrap(),
                description: String::new(),
                public: None,
                inherit_roles: true,
                create_on_push: None,
            };
            let grant = Grant::system("test", Action::CreateProject, directory.place_of(&new.name));
            directory.create_project(&grant, new).await.unwrap();
        }
        Self { clock, directory }
    }

    async fn set(&self, project: &str, days: u64) -> Result<Fallback, IdentityError> {
        let grant = Grant::system("test", Action::Administer, Target::System);
        let new = NewFallback { upstream: "old".into(), prefix: Some("team-a".into()), days, keep: false };
        self.directory.set_fallback(&grant, &project.parse().unwrap(), new).await
    }

    fn grant(project: &str) -> Grant {
        Grant::system("test", Action::UpdateProject, Target::Project(project.parse().unwrap()))
    }

    async fn extend(&self, project: &str, days: u64) -> Result<Fallback, IdentityError> {
        self.directory.extend_fallback(&Self::grant(project), days).await
    }

    /// The path there, the days that are left, and whether it is read now.
    fn of(&self, repository: &str) -> Option<(String, u64, bool)> {
        let found = self.directory.fallback_of(&repository.parse().unwrap())?;
        Some((found.prefix, found.days_left, found.active))
    }
}

fn some(prefix: &str, days: u64, active: bool) -> Option<(String, u64, bool)> {
    Some((prefix.to_owned(), days, active))
}

#[tokio::test]
async fn it_ends_by_itself_and_can_be_extended_for_a_year() {
    let world = World::new().await;
    assert_eq!(world.of("team/app"), None);
    world.set("team", 2).await.unwrap();
    assert_eq!((world.of("team/app"), world.of("other/app")), (some("team-a", 2, true), None));
    world.clock.advance(DAY * 3 / 2);
    assert_eq!(world.of("team/pay/app"), some("team-a", 1, true));
    world.clock.advance(DAY / 2);
    assert_eq!(world.of("team/app"), some("team-a", 0, false));
    // From now on, and not from when it ended.
    world.clock.advance(DAY * 10);
    world.extend("team", 5).await.unwrap();
    world.extend("team", 5).await.unwrap();
    assert_eq!(world.of("team/app"), some("team-a", 10, true));
    let refused = world.extend("team", 350).await.unwrap_err().to_string();
    assert!(refused.contains("can set it anew"), "{refused}");
    world.extend("team", 343).await.unwrap();
    world.clock.advance(DAY * 400);
    world.extend("team", 1).await.unwrap_err();
    world.set("team", 1).await.unwrap();
    assert_eq!(world.of("team/app"), some("team-a", 1, true));
}

#[tokio::test]
async fn what_is_set_further_in_counts() {
    let world = World::new().await;
    world.extend("team", 1).await.unwrap_err();
    world.set("team", 5).await.unwrap();
    world.directory.end_fallback(&World::grant("team/pay")).await.unwrap();
    assert_eq!(world.of("team/pay/app"), some("team-a/pay", 0, false));
    assert_eq!(world.of("team/app"), some("team-a", 5, true));
    world.extend("team/pay", 3).await.unwrap();
    world.directory.end_fallback(&World::grant("team")).await.unwrap();
    assert_eq!(world.of("team/pay/app"), some("team-a/pay", 3, true));
    assert_eq!(world.of("team/app"), some("team-a", 0, false));
}
