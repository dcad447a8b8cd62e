//! Who is let in by a real directory, and who is not.

mod support;

use ldap::LdapError;
use support::{add_people, config, directory, people};
use test_kit::Slapd;
use test_kit::slapd::PEOPLE;

#[tokio::test]
async fn the_right_password_lets_in_and_nothing_else_does() {
    let slapd = people();
    let ldap = directory(&slapd, |_| {});
    for (user, password, name) in [
        ("ann", "ann's secret", Some("ann")),
        // The directory does not mind capitals; the name that counts is the directory's.
        ("ANN", "ann's secret", Some("ann")),
        ("ben", "ben's secret", Some("ben")),
        ("ann", "ben's secret", None),
        ("ann", "ANN'S SECRET", None),
        // A bind without a password would succeed.
        ("ann", "", None),
        ("nobody", "ann's secret", None),
        ("nobody", "", None),
        ("", "ann's secret", None),
        ("*", "ann's secret", None),
        ("an*", "ann's secret", None),
        ("ann)(uid=*", "ann's secret", None),
        ("*)(|(uid=*", "ann's secret", None),
        ("\\61nn", "ann's secret", None),
        ("ann\0", "ann's secret", None),
        ("ann\n", "ann's secret", None),
        ("uid=ann", "ann's secret", None),
        ("ann", "ann's secret\0", None),
        ("ann", &"x".repeat(2_000), None),
    ] {
        let person = ldap.sign_in(user, password).await.unwrap();
        assert_eq!(person.map(|person| person.name).as_deref(), name, "{user:?} with {password:?}");
    }
}

#[tokio::test]
async fn a_person_is_told_by_the_directory() {
    let slapd = people();
    let ldap = directory(&slapd, |_| {});
    let ann = ldap.sign_in("ann", "ann's secret").await.unwrap().unwrap();
    assert_eq!(ann.dn, format!("uid=ann,{PEOPLE}"));
    assert_eq!(ann.email.as_deref(), Some("ann@example.org"));
    assert_eq!(ann.display.as_deref(), Some("Ann Äther"));
    assert_eq!(ldap.look_up("ann").await.unwrap(), Some(ann));
    let ben = ldap.look_up("ben").await.unwrap().unwrap();
    assert_eq!((ben.email, ben.groups.len()), (None, 0));
}

#[tokio::test]
async fn a_name_with_every_special_character_is_a_name() {
    let slapd = people();
    let strange = "a*(b)\\c, d=\"e\" é";
    slapd.add(&format!(
        "dn: cn=Strange\\, \\\"One\\\" \\#1\\\\,{PEOPLE}\nobjectClass: inetOrgPerson\ncn: Strange, \"One\" #1\\\nsn: One\n\
         uid: {strange}\nuserPassword: secret\n\n\
         dn: cn=strangers (*),{}\nobjectClass: groupOfNames\ncn: strangers (*)\nmember: cn=Strange\\, \\\"One\\\" \\#1\\\\,{PEOPLE}\n",
        test_kit::slapd::GROUPS
    ));
    let ldap = directory(&slapd, |_| {});
    let person = ldap.sign_in(strange, "secret").await.unwrap().unwrap();
    assert_eq!((person.name.as_str(), person.groups), (strange, vec!["strangers (*)".to_owned()]));
}

#[tokio::test]
async fn a_name_of_two_people_is_refused() {
    let slapd = people();
    slapd.add(&format!("dn: ou=more,{PEOPLE}\nobjectClass: organizationalUnit\nou: more\n"));
    add_people(&slapd, &format!("ou=more,{PEOPLE}"), &["ann", "cem"]);
    let ldap = directory(&slapd, |_| {});
    for outcome in [ldap.sign_in("ann", "ann's secret").await, ldap.look_up("ann").await] {
        let error = outcome.unwrap_err();
        assert!(matches!(&error, LdapError::Ambiguous { name } if name == "ann"), "{error}");
    }
    assert!(ldap.sign_in("cem", "cem's secret").await.unwrap().is_some());
}

#[tokio::test]
async fn a_person_who_has_gone_or_is_disabled_is_not_found() {
    let slapd = people();
    let filter = "(&(objectClass=person)(uid={user})(!(employeeType=disabled)))";
    let ldap = directory(&slapd, |config| config.user_filter = filter.into());
    assert!(ldap.look_up("ann").await.unwrap().is_some());
    slapd.change(&format!(
        "dn: uid=ann,{PEOPLE}\nchangetype: modify\nadd: employeeType\nemployeeType: disabled\n"
    ));
    slapd.change(&format!("dn: uid=ben,{PEOPLE}\nchangetype: delete\n"));
    for (user, password) in [("ann", "ann's secret"), ("ben", "ben's secret")] {
        assert_eq!(ldap.look_up(user).await.unwrap(), None);
        assert_eq!(ldap.sign_in(user, password).await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_entry_without_a_name_is_told() {
    let slapd = people();
    let ldap = directory(&slapd, |config| config.name_attribute = "employeeNumber".into());
    let error = ldap.sign_in("ann", "ann's secret").await.unwrap_err();
    assert!(
        matches!(&error, LdapError::NoName { attribute, .. } if attribute == "employeeNumber"),
        "{error}"
    );
}

#[tokio::test]
async fn hints_at_other_servers_are_not_followed() {
    let slapd = people();
    slapd.add(&format!(
        "dn: ou=elsewhere,{PEOPLE}\nobjectClass: referral\nobjectClass: extensibleObject\nou: elsewhere\n\
         ref: ldap://127.0.0.1:1/ou=elsewhere,{PEOPLE}\n"
    ));
    let ldap = directory(&slapd, |_| {});
    assert!(ldap.sign_in("ann", "ann's secret").await.unwrap().is_some());
    let ldap = directory(&slapd, |config| config.user_base = format!("ou=elsewhere,{PEOPLE}"));
    let error = ldap.sign_in("ann", "ann's secret").await.unwrap_err();
    assert!(matches!(error, LdapError::Refused { code: 10, .. }), "{error}");
}

#[tokio::test]
async fn a_check_says_what_is_there_and_what_is_not() {
    let slapd = people();
    let report = directory(&slapd, |_| {}).check().await.unwrap().to_string();
    for part in ["unencrypted", "bound as cn=admin", PEOPLE, test_kit::slapd::GROUPS] {
        assert!(report.contains(part), "{report}");
    }
    let check = async |change: fn(&mut ldap::LdapConfig), expect: &str| {
        let error = directory(&slapd, change).check().await.unwrap_err().to_string();
        assert!(error.contains(expect) && !error.contains("s3cret"), "{error}");
    };
    check(|config| config.user_base = "ou=none,dc=example,dc=org".into(), "auth.ldap.user_base").await;
    check(|config| config.group_base = "ou=none,dc=example,dc=org".into(), "auth.ldap.group_base").await;
    check(|config| config.bind_password = ldap::Secret::new("s3cret of another"), "auth.ldap.bind_password")
        .await;
    check(|config| config.bind_dn = "cn=other,dc=example,dc=org".into(), "auth.ldap.bind_dn").await;
}

#[tokio::test]
async fn nobody_needs_to_be_bound_where_everybody_may_search() {
    let slapd: Slapd = people();
    let mut anonymous = config(&slapd);
    anonymous.bind_dn.clear();
    anonymous.bind_password = ldap::Secret::default();
    let ldap = ldap::Ldap::new(anonymous).unwrap();
    assert!(ldap.check().await.unwrap().to_string().contains("bound as nobody"));
    assert!(ldap.sign_in("ann", "ann's secret").await.unwrap().is_some());
    assert!(ldap.sign_in("ann", "wrong").await.unwrap().is_none());
}
