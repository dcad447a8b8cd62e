//! Entries: their revisions, their owners, and what is told of them.

use futures_util::future::join_all;

use super::{Batch, Condition, Effect, HOUR, Origin, Subject, Write, entry_name, new_blob, new_entry, repo};
use crate::EntryKind::{Binding, Group, Membership, Project, Role, Token, User};
use crate::{Entry, EntryKind, EntryName, EventKind, MetaError, NewEntry};

type Told = (EventKind, EntryKind, EntryName);

/// What the events after the first `skip` tell of entries.
async fn told(on: &Subject, skip: usize) -> Vec<Told> {
    let events = on.events().await.into_iter().skip(skip);
    let told = events.filter_map(|event| {
        assert_eq!(event.repository.is_none(), event.entry.is_some(), "it is about one or the other");
        assert!(event.entry.is_none() || (event.digest, &event.tag, event.before) == (None, &None, None));
        event.entry.map(|(kind, name)| (event.kind, kind, name))
    });
    told.collect()
}

fn names(entries: Vec<Entry>) -> Vec<String> {
    entries.into_iter().map(|entry| entry.name.to_string()).collect()
}

/// An entry comes back as it was last written, with a number that grows.
pub async fn an_entry_is_kept_and_replaced(on: Subject) {
    assert_eq!(on.entry(User, "ann").await, None);
    let origin = Origin { actor: "root".into(), ..Origin::default() };
    let batch = Batch::of(origin.clone(), Write::Entry(new_entry(User, "ann", r#"{"n":1}"#, &[])));
    let committed = on.commit(batch).await.expect("the entry is kept");
    assert_eq!(committed.effects, [Effect::Entry { revision: 1 }]);
    let first = Entry {
        kind: User,
        name: entry_name("ann"),
        value: r#"{"n":1}"#.into(),
        revision: 1,
        created: on.now(),
        changed: on.now(),
    };
    assert_eq!(on.entry(User, "ann").await, Some(first.clone()));
    assert_eq!((on.entry(Group, "ann").await, on.entry(User, "Ann").await), (None, None));

    on.clock.advance(HOUR);
    let long = "é'".repeat(NewEntry::VALUE_MAX / 3);
    assert_eq!(on.keep(new_entry(User, "ann", &long, &[])).await, Effect::Entry { revision: 2 });
    let second = Entry { value: long, revision: 2, changed: on.now(), ..first };
    assert_eq!(on.entry(User, "ann").await, Some(second));
    assert_eq!(
        told(&on, 0).await,
        [
            (EventKind::EntryCreated, User, entry_name("ann")),
            (EventKind::EntryChanged, User, entry_name("ann"))
        ]
    );
    assert_eq!(on.events().await[0].origin, origin);

    let dropped = Effect::EntriesDropped { entries: vec![(User, entry_name("ann"))] };
    assert_eq!(on.drop_entry(User, "ann").await, dropped);
    assert_eq!(on.entry(User, "ann").await, None);
    assert_eq!(on.drop_entry(User, "ann").await, Effect::Absent);
    assert_eq!(on.keep(new_entry(User, "ann", "{}", &[])).await, Effect::Entry { revision: 1 });
}

/// Whoever writes what is there already disturbs nobody; other owners are a change.
pub async fn an_entry_that_stays_the_same_is_no_event(on: Subject) {
    for name in ["ann", "ben"] {
        on.keep(new_entry(User, name, "{}", &[])).await;
    }
    let keep = async |value: &str, owners: &[(EntryKind, &str)]| {
        on.clock.advance(HOUR);
        let before = on.events().await.len();
        let effect = on.keep(new_entry(Token, "t", value, owners)).await;
        let told: Vec<EventKind> = told(&on, before).await.into_iter().map(|(kind, ..)| kind).collect();
        let Effect::Entry { revision } = effect else { panic!("{effect:?}") };
        let kept = on.entry(Token, "t").await.expect("it is kept");
        assert_eq!((kept.revision, kept.changed == on.now()), (revision, !told.is_empty()));
        (revision, told)
    };
    assert_eq!(keep("1", &[(User, "ann")]).await, (1, vec![EventKind::EntryCreated]));
    assert_eq!(keep("1", &[(User, "ann")]).await, (1, vec![]));
    assert_eq!(keep("1", &[(User, "ann"), (User, "ann")]).await, (1, vec![]));
    assert_eq!(keep("1", &[(User, "ann"), (User, "ben")]).await, (2, vec![EventKind::EntryChanged]));
    assert_eq!(keep("1", &[(User, "ben"), (User, "ann")]).await, (2, vec![]));
    assert_eq!(keep("1", &[(User, "ben")]).await, (3, vec![EventKind::EntryChanged]));
    assert_eq!(keep("2", &[(User, "ben")]).await, (4, vec![EventKind::EntryChanged]));
    on.drop_entry(User, "ann").await;
    assert!(on.entry(Token, "t").await.is_some(), "who owned it once does not any more");
}

/// What is owned goes with any of its owners, however far away, and each is told of once.
pub async fn an_entry_goes_with_its_owners(on: Subject) {
    for (kind, name, owners) in [
        (User, "ann", &[][..]),
        (User, "ben", &[]),
        (Group, "dev", &[]),
        (Membership, "dev/ann", &[(Group, "dev"), (User, "ann")]),
        (Membership, "dev/ben", &[(Group, "dev"), (User, "ben")]),
        (Token, "t1", &[(User, "ann")]),
        (Binding, "b1", &[(Membership, "dev/ann"), (User, "ann")]),
        (Binding, "b2", &[(Token, "t1")]),
    ] {
        on.keep(new_entry(kind, name, "{}", owners)).await;
    }
    let before = on.events().await.len();
    let effect = on.drop_entry(User, "ann").await;
    let Effect::EntriesDropped { entries } = effect else { panic!("{effect:?}") };
    let expect = [(User, "ann"), (Binding, "b1"), (Membership, "dev/ann"), (Token, "t1"), (Binding, "b2")];
    assert_eq!(entries[0], (User, entry_name("ann")), "the one that was named comes first");
    let mut sorted = entries.clone();
    sorted.sort();
    let mut expect: Vec<_> = expect.into_iter().map(|(kind, name)| (kind, entry_name(name))).collect();
    expect.sort();
    assert_eq!(sorted, expect);
    let told = told(&on, before).await;
    assert_eq!(
        told,
        entries.into_iter().map(|(kind, name)| (EventKind::EntryDropped, kind, name)).collect::<Vec<_>>()
    );
    for (kind, name, stays) in [
        (User, "ann", false),
        (Token, "t1", false),
        (Membership, "dev/ann", false),
        (Binding, "b1", false),
        (Binding, "b2", false),
        (User, "ben", true),
        (Group, "dev", true),
        (Membership, "dev/ben", true),
    ] {
        assert_eq!(on.entry(kind, name).await.is_some(), stays, "{name}");
    }
    assert_eq!(on.store.self_check().await.unwrap(), [""; 0]);
}

/// No circle of owners makes an entry immortal.
pub async fn owners_that_own_one_another_go_together(on: Subject) {
    on.keep(new_entry(Group, "a", "{}", &[])).await;
    on.keep(new_entry(Group, "b", "{}", &[(Group, "a")])).await;
    on.keep(new_entry(Group, "a", "{}", &[(Group, "b"), (Group, "a")])).await;
    let effect = on.drop_entry(Group, "b").await;
    let entries = [(Group, "b"), (Group, "a")].map(|(kind, name)| (kind, entry_name(name))).to_vec();
    assert_eq!(effect, Effect::EntriesDropped { entries });
    assert_eq!(on.store.entries(Group, None, 10).await.unwrap(), []);
}

/// Nothing is owned by what is not there; what the same batch made before is.
pub async fn an_owner_must_exist(on: Subject) {
    on.keep(new_entry(User, "ann", "{}", &[])).await;
    on.keep(new_entry(Token, "t", "1", &[(User, "ann")])).await;
    let before = on.events().await.len();
    for owners in [&[(User, "ben")][..], &[(User, "ann"), (User, "ben")], &[(User, "ben"), (User, "t")]] {
        for name in ["t", "new"] {
            let write = Write::Entry(new_entry(Token, name, "2", owners));
            let batch = Batch::of(Origin::default(), Write::Entry(new_entry(User, "eve", "{}", &[])));
            match on.commit(batch.then(write)).await {
                Err(MetaError::OwnerMissing { kind, name }) => {
                    assert_eq!((kind, name), (User, entry_name("ben")));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    // Not even by itself, before it is there.
    let itself = Write::Entry(new_entry(Group, "new", "{}", &[(Group, "new")]));
    let outcome = on.commit(Batch::of(Origin::default(), itself)).await;
    assert!(matches!(outcome, Err(MetaError::OwnerMissing { .. })), "{outcome:?}");
    assert_eq!(on.entry(Token, "t").await.map(|entry| entry.value).as_deref(), Some("1"));
    assert_eq!((on.entry(Token, "new").await, on.entry(User, "eve").await), (None, None));
    assert_eq!(on.events().await.len(), before);

    let batch = Batch::of(Origin::default(), Write::Entry(new_entry(User, "ben", "{}", &[])))
        .then(Write::Entry(new_entry(Token, "new", "{}", &[(User, "ben")])));
    assert!(on.commit(batch).await.is_ok());
}

/// What is too much is refused, and changes nothing.
pub async fn an_entry_has_limits(on: Subject) {
    let owners: Vec<String> = (0..=NewEntry::OWNERS_MAX).map(|n| format!("u{n}")).collect();
    for name in &owners {
        on.keep(new_entry(User, name, "{}", &[])).await;
    }
    let owners: Vec<_> = owners.iter().map(|name| (User, name.as_str())).collect();
    let value = "x".repeat(NewEntry::VALUE_MAX + 1);
    let most = NewEntry::VALUE_MAX;
    on.keep(new_entry(Token, "most", &value[..most], &owners[..NewEntry::OWNERS_MAX])).await;
    for entry in [new_entry(Token, "t", &value, &[]), new_entry(Token, "t", "{}", &owners)] {
        let outcome = on.commit(Batch::of(Origin::default(), Write::Entry(entry))).await;
        match outcome {
            Err(error @ MetaError::EntryInvalid { .. }) => assert!(error.to_string().contains("allowed")),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(on.entry(Token, "t").await, None);
}

/// A batch can depend on the entry that its writer read, or on there being none.
pub async fn an_entry_is_what_its_writer_saw(on: Subject) {
    let entry_is = |revision| Condition::EntryIs { kind: User, name: entry_name("ann"), revision };
    let commit = async |value: &str, revision| {
        let write = Write::Entry(new_entry(User, "ann", value, &[]));
        match on.commit(Batch::of(Origin::default(), write).when(entry_is(revision))).await {
            Ok(_) => true,
            Err(MetaError::Conflict(told)) => {
                assert_eq!(*told, entry_is(revision));
                false
            }
            Err(error) => panic!("{error}"),
        }
    };
    assert!(!commit("1", Some(1)).await);
    assert!(commit("1", None).await);
    assert!(!commit("2", None).await);
    assert!(!commit("2", Some(2)).await);
    assert!(commit("2", Some(1)).await);
    assert!(!commit("3", Some(1)).await);
    assert_eq!(on.entry(User, "ann").await.map(|entry| entry.value).as_deref(), Some("2"));
    on.drop_entry(User, "ann").await;
    assert!(!commit("3", Some(2)).await);
    assert!(commit("3", None).await);
}

/// Many make the same entry, or change it, at once: one does.
pub async fn of_many_equal_entries_one_is_made(on: Subject) {
    for revision in [None, Some(1)] {
        let commits = (0..50).map(|n| {
            let write = Write::Entry(new_entry(User, "ann", &format!("{revision:?} {n}"), &[]));
            let condition = Condition::EntryIs { kind: User, name: entry_name("ann"), revision };
            on.commit(Batch::of(Origin::default(), write).when(condition))
        });
        let outcomes = join_all(commits).await;
        let winners: Vec<usize> = (0..50).filter(|n| outcomes[*n].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        assert!(
            outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(MetaError::Conflict(_)))),
            "{outcomes:?}"
        );
        let kept = on.entry(User, "ann").await.expect("one is made");
        assert_eq!(kept.value, format!("{revision:?} {}", winners[0]));
    }
    assert_eq!(on.events().await.len(), 2);
}

/// Entries of a kind come in the order of their bytes, page by page.
pub async fn entries_are_listed_in_bytewise_order(on: Subject) {
    let list = async |after: Option<&str>, limit| {
        let after = after.map(entry_name);
        names(on.store.entries(Role, after.as_ref(), limit).await.unwrap())
    };
    assert!(list(None, 10).await.is_empty());
    let sorted = ["B", "a", "a b", "a-b", "a/b", "b", "é"];
    for name in ["b", "é", "a/b", "a", "a b", "B", "a-b"] {
        on.keep(new_entry(Role, name, "{}", &[])).await;
    }
    on.keep(new_entry(User, "ann", "{}", &[])).await;
    assert_eq!(list(None, 100).await, sorted);
    assert_eq!(list(None, 2).await, sorted[..2]);
    assert_eq!(list(Some("a"), 3).await, sorted[2..5]);
    assert_eq!(list(Some("a0"), 1).await, sorted[5..6], "what the page starts after need not exist");
    assert!(list(Some("é"), 5).await.is_empty());
    assert!(list(None, 0).await.is_empty());
    let role = on.entry(Role, "a b").await.expect("it is kept");
    assert_eq!(on.store.entries(Role, Some(&entry_name("a")), 1).await.unwrap(), [role]);
}

/// An owner's entries of a kind come in the same order; nobody else's are among them.
pub async fn what_an_entry_owns_is_listed(on: Subject) {
    for name in ["ann", "ben"] {
        on.keep(new_entry(User, name, "{}", &[])).await;
    }
    on.keep(new_entry(Group, "ann", "{}", &[])).await;
    for (kind, name, owners) in [
        (Token, "t3", &[(User, "ann")][..]),
        (Token, "t1", &[(User, "ann"), (User, "ben")]),
        (Token, "t2", &[(User, "ben")]),
        (Token, "t4", &[(Group, "ann")]),
        (Binding, "t5", &[(User, "ann")]),
    ] {
        on.keep(new_entry(kind, name, name, owners)).await;
    }
    let list = async |owner: (EntryKind, &str), kind, after: Option<&str>, limit| {
        let (name, after) = (entry_name(owner.1), after.map(entry_name));
        names(on.store.owned((owner.0, &name), kind, after.as_ref(), limit).await.unwrap())
    };
    assert_eq!(list((User, "ann"), Token, None, 10).await, ["t1", "t3"]);
    assert_eq!(list((User, "ann"), Token, None, 1).await, ["t1"]);
    assert_eq!(list((User, "ann"), Token, Some("t1"), 10).await, ["t3"]);
    assert_eq!(list((User, "ben"), Token, None, 10).await, ["t1", "t2"]);
    assert_eq!(list((Group, "ann"), Token, None, 10).await, ["t4"]);
    assert_eq!(list((User, "ann"), Binding, None, 10).await, ["t5"]);
    assert!(list((User, "eve"), Token, None, 10).await.is_empty());
    let whole = on.store.owned((User, &entry_name("ann")), Token, None, 1).await.unwrap();
    assert_eq!(whole.first(), on.entry(Token, "t1").await.as_ref());

    on.keep(new_entry(Token, "t1", "t1", &[(User, "ben")])).await;
    on.drop_entry(Token, "t2").await;
    assert_eq!(list((User, "ann"), Token, None, 10).await, ["t3"]);
    assert_eq!(list((User, "ben"), Token, None, 10).await, ["t1"]);
}

/// A batch that fails at its end leaves entries, owners and projects as they were.
pub async fn a_failed_batch_keeps_no_entry(on: Subject) {
    on.store_blob("team/pay/app", "a layer").await;
    on.keep(new_entry(User, "ann", "1", &[])).await;
    on.keep(new_entry(Token, "t", "1", &[(User, "ann")])).await;
    let before = on.events().await;
    let batch = Batch::of(Origin::default(), Write::Entry(new_entry(User, "ann", "2", &[])))
        .then(Write::Entry(new_entry(User, "ben", "1", &[])))
        .then(Write::Entry(new_entry(Token, "t", "1", &[(User, "ben")])))
        .then(Write::DropEntry { kind: User, name: entry_name("ann") })
        .then(Write::Entry(new_entry(Project, "team/pay", "{}", &[])))
        .then(Write::Blob { repository: repo("team/pay/other"), blob: new_blob("a layer") })
        .then(Write::Entry(new_entry(Token, "t", "2", &[(User, "nobody")])));
    let outcome = on.commit(batch).await;
    assert!(matches!(outcome, Err(MetaError::OwnerMissing { .. })), "{outcome:?}");
    assert_eq!(on.entry(User, "ann").await.map(|entry| entry.value).as_deref(), Some("1"));
    assert_eq!(on.entry(User, "ben").await, None);
    assert_eq!(names(on.store.owned((User, &entry_name("ann")), Token, None, 9).await.unwrap()), ["t"]);
    assert_eq!(super::projects::repositories(&on, &["team"]).await, ["team/pay/app"]);
    assert_eq!(on.events().await, before);
}
