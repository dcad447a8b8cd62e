//! Projects: each repository lies in the innermost one that there is.

use super::{Batch, Condition, Effect, Origin, Subject, Write, entry_name, new_entry};
use crate::EntryKind::{Project, User};
use crate::{MetaError, Visible};

/// The repositories that somebody sees who may see these projects.
pub(super) async fn repositories(on: &Subject, projects: &[&str]) -> Vec<String> {
    let visible = Visible::Projects(projects.iter().map(|&name| name.to_owned()).collect());
    let names = on.store.repositories(&visible, None, 100).await.expect("repositories can be listed");
    names.iter().map(ToString::to_string).collect()
}

async fn make(on: &Subject, project: &str) {
    assert_eq!(on.keep(new_entry(Project, project, "{}", &[])).await, Effect::Entry { revision: 1 });
}

async fn drop_project(on: &Subject, project: &str) {
    let dropped = Effect::EntriesDropped { entries: vec![(Project, entry_name(project))] };
    assert_eq!(on.drop_entry(Project, project).await, dropped);
}

/// A new project has what lies below it already, and what comes; not what lies in another one further in.
pub async fn a_project_takes_up_what_lies_below_it(on: Subject) {
    for name in ["nginx", "team/app", "team/pay", "team/pay/app", "team/pay/eu/app", "team/payroll/app"] {
        on.store_blob(name, "a layer").await;
    }
    let all = ["team/app", "team/pay", "team/pay/app", "team/pay/eu/app", "team/payroll/app"];
    assert_eq!(repositories(&on, &["team"]).await, all);
    assert!(repositories(&on, &["team/pay"]).await.is_empty());

    make(&on, "team/pay/eu").await;
    make(&on, "team/pay").await;
    make(&on, "team").await;
    assert_eq!(repositories(&on, &["team"]).await, ["team/app", "team/pay", "team/payroll/app"]);
    assert_eq!(repositories(&on, &["team/pay"]).await, ["team/pay/app"]);
    assert_eq!(repositories(&on, &["team/pay/eu"]).await, ["team/pay/eu/app"]);
    assert_eq!(repositories(&on, &["team/pay", "team/pay/eu"]).await, ["team/pay/app", "team/pay/eu/app"]);

    for name in ["team/new", "team/pay/us/app", "team/pay/eu/north/app"] {
        on.store_blob(name, "a layer").await;
    }
    assert_eq!(repositories(&on, &["team/pay"]).await, ["team/pay/app", "team/pay/us/app"]);
    assert_eq!(repositories(&on, &["team/pay/eu"]).await, ["team/pay/eu/app", "team/pay/eu/north/app"]);
    make(&on, "library").await;
    assert_eq!(repositories(&on, &["library"]).await, ["nginx"]);
    let pay = Visible::Projects(vec!["team/pay".into()]);
    let holder = on.store.holder(&super::digest("a layer"), &pay).await.unwrap();
    assert!(holder.is_some_and(|name| name.as_str().starts_with("team/pay/")));

    on.keep(new_entry(Project, "team/pay", "{\"changed\":true}", &[])).await;
    assert_eq!(repositories(&on, &["team/pay"]).await, ["team/pay/app", "team/pay/us/app"]);
}

/// What a project had lies in the next one around it from then on, be that made by nobody.
pub async fn a_project_that_goes_hands_over_what_it_has(on: Subject) {
    for project in ["team/pay", "team/pay/eu"] {
        make(&on, project).await;
    }
    for name in ["team/pay/app", "team/pay/eu/app"] {
        on.store_blob(name, "a layer").await;
    }
    assert_eq!(repositories(&on, &["team/pay/eu"]).await, ["team/pay/eu/app"]);
    drop_project(&on, "team/pay/eu").await;
    assert!(repositories(&on, &["team/pay/eu"]).await.is_empty());
    assert_eq!(repositories(&on, &["team/pay"]).await, ["team/pay/app", "team/pay/eu/app"]);
    on.store_blob("team/pay/eu/new", "a layer").await;
    assert_eq!(repositories(&on, &["team/pay"]).await.len(), 3, "what is gone takes nothing up");

    drop_project(&on, "team/pay").await;
    assert!(repositories(&on, &["team/pay"]).await.is_empty());
    assert_eq!(repositories(&on, &["team"]).await.len(), 3);
    make(&on, "team").await;
    drop_project(&on, "team").await;
    assert_eq!(repositories(&on, &["team"]).await.len(), 3, "they lie somewhere");

    make(&on, "team/pay/eu").await;
    assert_eq!(repositories(&on, &["team/pay/eu"]).await, ["team/pay/eu/app", "team/pay/eu/new"]);
    assert_eq!(repositories(&on, &["team"]).await, ["team/pay/app"]);
    make(&on, "empty/one").await;
    drop_project(&on, "empty/one").await;
    assert_eq!(on.store.self_check().await.unwrap(), [""; 0]);
}

/// Projects that go together leave their repositories where a project remains.
pub async fn a_project_goes_with_the_one_around_it(on: Subject) {
    make(&on, "team").await;
    on.keep(new_entry(Project, "team/pay", "{}", &[(Project, "team")])).await;
    on.keep(new_entry(Project, "team/pay/eu", "{}", &[(Project, "team/pay")])).await;
    for name in ["team/pay/app", "team/pay/eu/app"] {
        on.store_blob(name, "a layer").await;
    }
    let entries = ["team", "team/pay", "team/pay/eu"].map(|name| (Project, entry_name(name))).to_vec();
    assert_eq!(on.drop_entry(Project, "team").await, Effect::EntriesDropped { entries });
    assert_eq!(repositories(&on, &["team"]).await, ["team/pay/app", "team/pay/eu/app"]);
    assert!(repositories(&on, &["team/pay", "team/pay/eu"]).await.is_empty());
}

/// A project is dropped under the condition that nobody loses anything.
pub async fn a_project_is_empty_or_not(on: Subject) {
    for project in ["team", "team/pay", "team/pay/eu", "library"] {
        make(&on, project).await;
    }
    let is_empty = async |project: &str| {
        let condition = Condition::ProjectEmpty { project: project.parse().expect("a name of a project") };
        let write = Write::Setting { name: "a".into(), value: "b".into() };
        match on.commit(Batch::of(Origin::default(), write).when(condition.clone())).await {
            Ok(_) => true,
            Err(MetaError::Conflict(told)) => {
                assert_eq!(*told, condition);
                false
            }
            Err(error) => panic!("{error}"),
        }
    };
    for project in ["team", "team/pay", "team/pay/eu", "library", "no/where"] {
        assert!(is_empty(project).await, "{project}");
    }
    for name in ["team/pay/app", "team/payroll/app", "nginx"] {
        on.store_blob(name, "a layer").await;
    }
    for (project, expect) in [
        ("team", false),
        ("team/pay", false),
        ("team/pay/eu", true),
        ("team/pay/app", true),
        ("team/payroll", false),
        ("tea", true),
        ("library", false),
        ("nginx", true),
    ] {
        assert_eq!(is_empty(project).await, expect, "{project}");
    }
}

/// A name that no project can have is refused, and other kinds' names are theirs.
pub async fn a_project_has_the_name_of_one(on: Subject) {
    for name in ["Team", "team/", "../team", "a b"] {
        let write = Write::Entry(new_entry(Project, name, "{}", &[]));
        let outcome = on.commit(Batch::of(Origin::default(), write)).await;
        match outcome {
            Err(MetaError::EntryInvalid { kind, name: told, .. }) => {
                assert_eq!((kind, told.as_str()), (Project, name));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(on.entry(Project, name).await, None);
        on.keep(new_entry(User, name, "{}", &[])).await;
    }
}
