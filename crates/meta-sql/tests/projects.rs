//! Projects come and go in any order among repositories: each repository lies in the innermost one that there is.

use std::collections::BTreeSet;
use std::sync::Arc;

use blob::BlobId;
use meta::{
    Batch, Commit, Condition, Effect, EntryKind, Inspect, MetaError, NewBlob, NewEntry, Origin, ReadLists,
    SystemClock, Visible, Write,
};
use meta_sql::SqliteMeta;
use oci::{Digest, ProjectName, RepoName};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Make(ProjectName),
    Drop(ProjectName),
    Push(RepoName),
}

/// Few names, so that they lie within one another, and some that only look as if they did.
fn path(parts: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let part = prop_oneof![8 => "a", 3 => "b", 1 => "a-b", 1 => "a0", 1 => "library"];
    vec(part, parts).prop_map(|parts| parts.join("/"))
}

fn step() -> impl Strategy<Value = Step> {
    let project = || path(1..4).prop_map(|path| path.parse().expect("a name of a project"));
    prop_oneof![
        3 => project().prop_map(Step::Make),
        2 => project().prop_map(Step::Drop),
        3 => path(1..5).prop_map(|path| Step::Push(path.parse().expect("a name of a repository"))),
    ]
}

fn write(step: &Step) -> Write {
    let kind = EntryKind::Project;
    match step {
        Step::Make(project) => Write::Entry(NewEntry {
            kind,
            name: project.clone().into(),
            value: "{}".into(),
            owners: Vec::new(),
        }),
        Step::Drop(project) => Write::DropEntry { kind, name: project.clone().into() },
        Step::Push(repository) => Write::Blob {
            repository: repository.clone(),
            blob: NewBlob { digest: Digest::sha256(b"a layer"), size: 7, id: BlobId::random() },
        },
    }
}

#[derive(Default)]
struct Model {
    projects: BTreeSet<ProjectName>,
    repositories: BTreeSet<RepoName>,
}

impl Model {
    fn take(&mut self, step: Step) {
        match step {
            Step::Make(project) => self.projects.insert(project),
            Step::Drop(project) => self.projects.remove(&project),
            Step::Push(repository) => self.repositories.insert(repository),
        };
    }

    fn home(&self, repository: &RepoName) -> String {
        let made = repository.projects().find(|project| self.projects.contains(*project));
        made.unwrap_or_else(|| repository.project()).to_owned()
    }

    /// All projects that a repository lies or could lie in, and those that were made.
    fn names(&self) -> BTreeSet<ProjectName> {
        let around = self.repositories.iter().flat_map(RepoName::projects);
        around.filter_map(|name| name.parse().ok()).chain(self.projects.iter().cloned()).collect()
    }
}

async fn agree(store: &SqliteMeta, model: &Model) {
    for project in model.names() {
        let lies_here = |repository: &&RepoName| model.home(repository) == project.as_str();
        let expect: Vec<RepoName> = model.repositories.iter().filter(lies_here).cloned().collect();
        let visible = Visible::Projects(vec![project.to_string()]);
        let found = store.repositories(&visible, None, 1_000).await.expect("repositories can be listed");
        assert_eq!(found, expect, "{project}");

        let is_empty = !model.repositories.iter().any(|repository| project.contains(repository));
        let nothing = Batch { conditions: vec![Condition::ProjectEmpty { project }], ..Batch::default() };
        let outcome = store.commit(nothing).await;
        assert!(matches!(outcome, Ok(_) | Err(MetaError::Conflict(_))), "{outcome:?}");
        assert_eq!(outcome.is_ok(), is_empty);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn each_repository_lies_in_the_innermost_project(steps in vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let store = SqliteMeta::in_memory(Arc::new(SystemClock)).expect("a store");
            let mut model = Model::default();
            for step in steps {
                let committed = store.commit(Batch::of(Origin::default(), write(&step))).await;
                let effect = committed.expect("it is done").effects.remove(0);
                if let Step::Drop(project) = &step {
                    assert_eq!(effect != Effect::Absent, model.projects.contains(project));
                }
                model.take(step);
                agree(&store, &model).await;
            }
            assert_eq!(store.self_check().await.expect("it is checked"), [""; 0]);
        });
    }
}
