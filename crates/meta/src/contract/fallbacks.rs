//! Registries that are replaced: what was here once, and what is read there.

use std::time::Duration;

use oci::Reference;

use super::{Subject, Write, image, repo, tag};
use crate::FallbackUse;

impl Subject {
    async fn had(&self, repository: &str, reference: &str) -> bool {
        let reference: Reference = reference.parse().expect("a reference");
        self.store.had(&repo(repository), &reference).await.expect("the history can be read")
    }

    /// Somebody reads so many times.
    async fn reads(&self, project: &str, actor: &str, reference: &str, times: u64, keep: usize) {
        let used = FallbackUse {
            project: project.parse().expect("a name of a project"),
            actor: actor.to_owned(),
            repository: repo(&format!("{project}/app")),
            reference: reference.parse().expect("a reference"),
            times,
            first: self.now(),
            last: self.now(),
        };
        self.does(Write::FallbackUsed { uses: vec![used], keep }).await;
    }

    async fn uses(&self, project: &str, limit: usize) -> Vec<FallbackUse> {
        let project = project.parse().expect("a name of a project");
        self.store.fallback_uses(&project, limit).await.expect("uses can be read")
    }
}

/// A tag that moved or went, and a digest that it pointed to, were here.
pub async fn what_was_here_is_known(on: Subject) {
    let blob = on.store_blob("team/app", "a layer").await;
    let (one, other) = (image("one", &[blob]), image("other", &[blob]));
    for manifest in [&one, &other] {
        on.store_manifest("team/app", manifest).await;
    }
    on.tag("team/app", "v1", one.digest).await;
    assert!(!on.had("team/app", "v1").await, "it is here");
    on.tag("team/app", "v1", other.digest).await;
    assert!(on.had("team/app", "v1").await && on.had("team/app", &one.digest.to_string()).await);
    assert!(!on.had("team/app", &other.digest.to_string()).await);
    on.does(Write::DropTag { repository: repo("team/app"), tag: tag("v1") }).await;
    assert!(on.had("team/app", &other.digest.to_string()).await);
    for (repository, reference) in [("team/app", "v2"), ("team/other", "v1")] {
        assert!(!on.had(repository, reference).await, "{repository}:{reference}");
    }
}

/// Uses are added up, the last is told first, and the longest unused go.
pub async fn uses_of_a_fallback_are_added_up(on: Subject) {
    let start = on.now();
    on.reads("team", "ann", "v1", 2, 10).await;
    on.clock.advance(Duration::from_secs(60));
    on.reads("team", "robot$team+ci", "v1", 1, 10).await;
    on.clock.advance(Duration::from_secs(60));
    on.reads("team", "ann", "v1", 3, 10).await;
    on.reads("other", "ann", "v1", 1, 10).await;
    let uses = on.uses("team", 10).await;
    let told: Vec<_> = uses.iter().map(|one| (one.actor.as_str(), one.times)).collect();
    assert_eq!(told, [("ann", 5), ("robot$team+ci", 1)]);
    assert_eq!((uses[0].first, uses[0].last), (start, on.now()));
    assert_eq!(on.uses("team", 1).await.len(), 1);
    for number in 0..5 {
        on.clock.advance(Duration::from_secs(60));
        on.reads("team", "ann", &format!("t{number}"), 1, 3).await;
    }
    let uses = on.uses("team", 10).await;
    let left: Vec<_> = uses.iter().map(|one| one.reference.to_string()).collect();
    assert_eq!(left, ["t4", "t3", "t2"]);
    assert_eq!(on.uses("other", 10).await.len(), 1, "each project has its own");
}
