//! Who must have a second factor, who need not, and who helps when it is lost.

use std::sync::Arc;

use access::{Action, ActionSet, Gate, Grant, Subject, Target, Unauthenticated, authorise};
use identity::model::{Group, NewRobot, Permission, Role};
use identity::{GroupName, IdentityError, Limits, SecondFactorFor, UserName};

use crate::house::{House, basic, context, new_user, password_of, token_of, users, why};

/// Whether `ann`, in the group `ops`, must have a second factor when this principal has this role.
async fn check(policy: SecondFactorFor, given: Option<(&str, &str)>, expect: bool) {
    let house = House::new(policy).await;
    let (ops, ann): (GroupName, UserName) = ("ops".parse().unwrap(), "ann".parse().unwrap());
    let (grant, local) = (users(), Subject::local());
    let group = Group { name: ops.clone(), description: String::new(), external: None };
    house.directory().put_group(&grant, &local, group).await.unwrap();
    house.directory().add_to_group(&grant, &local, &ops, &ann).await.unwrap();
    // A token from before anything was required.
    let before = Limits { second_factor: SecondFactorFor::Volunteers, ..house.limits.clone() };
    let token = token_of(&*house.another(&before).await, "ann").await;
    if let Some((principal, role)) = given {
        house.give(principal, role).await;
    }

    let password = password_of("ann");
    let due = expect.then_some(Unauthenticated::SecondFactorDue);
    for header in [&password, &token] {
        assert_eq!(house.pulls(header).await.err(), due, "{given:?}");
        assert_eq!(house.pulls(header).await.err(), due, "{given:?}, when it is remembered");
        assert_eq!(why(house.token_for(header).await), due, "{given:?}");
        assert_eq!(house.caller(header, None).await.unwrap().must_enrol, expect, "{given:?}");
    }
    let session = house.session("ann", None).await.unwrap();
    assert_eq!(house.caller(&session, None).await.unwrap().must_enrol, expect, "{given:?}");
    if !expect {
        return;
    }
    let (app, _) = house.enrol("ann").await;
    house.pulls(&token).await.unwrap();
    let caller = house.caller(&password, Some(&app.code(&house))).await.unwrap();
    assert!(!caller.must_enrol);
    assert!(house.directory().second_factor(&caller.subject).await.unwrap().required);
    house.directory().delete_factor_of(&grant, &local, &ann).await.unwrap();
    assert_eq!(house.pulls(&token).await.err(), due, "it was taken away");
}

#[tokio::test]
async fn who_must_have_a_second_factor_sets_one_up_first() {
    let named = || SecondFactorFor::from_names(&["auditor".into(), "system-admin".into()]);
    check(named(), None, false).await;
    check(named(), Some(("user:ann", "guest")), false).await;
    check(named(), Some(("user:ann", "auditor")), true).await;
    check(named(), Some(("group:ops", "system-admin")), true).await;
    check(named(), Some(("user:bob", "system-admin")), false).await;
    check(SecondFactorFor::Everybody, None, true).await;
    check(SecondFactorFor::Volunteers, Some(("user:ann", "system-admin")), false).await;
}

#[tokio::test]
async fn robots_have_no_second_factor() {
    let house = House::new(SecondFactorFor::Everybody).await;
    let actions = ActionSet::of(&[Action::Pull]).into();
    let new = NewRobot {
        name: "ci".into(),
        description: String::new(),
        expires: None,
        permissions: Some(vec![Permission { project: None, actions }]),
    };
    let grant = Grant::system("test", Action::ManageRobots, Target::System);
    let robot = house.directory().create_robot(&grant, &Subject::local(), None, new).await.unwrap();
    let header = basic(&robot.about.name.to_string(), robot.secret.expose());
    house.pulls(&header).await.unwrap();
    let caller = house.caller(&header, None).await.unwrap();
    assert!(!caller.must_enrol);
    house.identity.step_up(&caller, None, &context()).await.unwrap();
}

#[tokio::test]
async fn a_lost_device_is_forgiven_by_who_may_do_as_much() {
    let house = House::volunteers().await;
    let (ann, bob): (UserName, UserName) = ("ann".parse().unwrap(), "bob".parse().unwrap());
    let role = Role {
        name: "registrar".into(),
        description: String::new(),
        actions: ActionSet::of(&[Action::ManageUsers]).into(),
        built_in: false,
    };
    let define = Grant::system("test", Action::ManageRoles, Target::System);
    house.directory().put_role(&define, &Subject::local(), role).await.unwrap();
    house.give("user:ann", "system-admin").await;
    house.give("user:bob", "registrar").await;
    house.enrol("ann").await;

    let delete = async |user: &UserName| {
        let subject = house.caller(&password_of("bob"), None).await.unwrap().subject;
        let (projects, context) = (house.identity.projects(), Arc::new(context()));
        let grant = authorise(&projects, &subject, &context, Action::ManageUsers, Target::System).unwrap();
        house.directory().delete_factor_of(&grant, &subject, user).await
    };
    let outcome = delete(&ann).await;
    assert!(matches!(outcome, Err(IdentityError::Exceeds { .. })), "{outcome:?}");
    let outcome = delete(&bob).await;
    assert!(matches!(outcome, Err(IdentityError::Unknown { what: "second factor of", .. })), "{outcome:?}");
    house.directory().delete_factor_of(&users(), &Subject::local(), &ann).await.unwrap();
    house.pulls(&password_of("ann")).await.unwrap();
}

#[tokio::test]
async fn with_a_user_goes_their_second_factor() {
    let house = House::volunteers().await;
    house.enrol("bob").await;
    house.directory().delete_user(&users(), &Subject::local(), &"bob".parse().unwrap()).await.unwrap();
    house.directory().create_user(&users(), new_user("bob")).await.unwrap();
    house.pulls(&password_of("bob")).await.unwrap();
}
