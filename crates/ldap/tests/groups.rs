//! In which groups people are.

mod support;

use ldap::{LdapConfig, LdapError};
use support::{directory, people};
use test_kit::Slapd;
use test_kit::slapd::{GROUPS, PEOPLE};

/// Ann is in groups of three kinds, and in one of the same name as another.
fn with_groups() -> Slapd {
    let slapd = people();
    let (ann, ben) = (format!("uid=ann,{PEOPLE}"), format!("uid=ben,{PEOPLE}"));
    slapd.add(&format!(
        "dn: cn=developers,{GROUPS}\nobjectClass: groupOfNames\ncn: developers\nmember: {ann}\nmember: {ben}\n\n\
         dn: cn=admins,{GROUPS}\nobjectClass: groupOfUniqueNames\ncn: admins\nuniqueMember: {ann}\n\n\
         dn: cn=builders,{GROUPS}\nobjectClass: posixGroup\ncn: builders\ngidNumber: 5\nmemberUid: ann\n\n\
         dn: cn=others\\, all,{GROUPS}\nobjectClass: groupOfNames\ncn: others, all\nmember: {ben}\n"
    ));
    slapd
}

#[tokio::test]
async fn groups_are_found_by_name_and_by_entry() {
    let slapd = with_groups();
    let check = async |user: &str, expect: &[&str], change: fn(&mut LdapConfig)| {
        let person = directory(&slapd, change).look_up(user).await.unwrap().unwrap();
        assert_eq!(person.groups, expect, "{user}");
    };
    check("ann", &["admins", "builders", "developers"], |_| {}).await;
    // `memberUid` minds capitals: the directory's name is looked for, not what was typed.
    check("ANN", &["admins", "builders", "developers"], |_| {}).await;
    check("ben", &["developers", "others, all"], |_| {}).await;
    check("ann", &["developers"], |config| config.group_filter = "(member={dn})".into()).await;
    check("ann", &["builders"], |config| config.group_filter = "(memberUid={user})".into()).await;
    check("ann", &[], |config| config.group_base.clear()).await;
    let of_the_entry: fn(&mut LdapConfig) = |config| {
        config.group_base.clear();
        config.member_of_attribute = "memberOf".into();
    };
    check("ben", &["developers", "others, all"], of_the_entry).await;
    check("ann", &["developers"], of_the_entry).await;
    check("ann", &["admins", "builders", "developers"], |config| {
        config.member_of_attribute = "memberof".into()
    })
    .await;
}

#[tokio::test]
async fn groups_come_with_the_sign_in_and_change_with_the_directory() {
    let slapd = with_groups();
    let ldap = directory(&slapd, |_| {});
    let ann = ldap.sign_in("ann", "ann's secret").await.unwrap().unwrap();
    assert_eq!(ann.groups, ["admins", "builders", "developers"]);
    slapd.change(&format!("dn: cn=admins,{GROUPS}\nchangetype: delete\n"));
    assert_eq!(ldap.look_up("ann").await.unwrap().unwrap().groups, ["builders", "developers"]);
}

#[tokio::test]
async fn too_many_groups_are_told_and_not_cut() {
    let slapd = with_groups();
    let check = async |change: fn(&mut LdapConfig)| {
        let error = directory(&slapd, change).look_up("ann").await.unwrap_err();
        assert!(matches!(&error, LdapError::TooManyGroups { name, .. } if name == "ann"), "{error}");
    };
    check(|config| config.max_groups = 2).await;
    slapd.add(&format!(
        "dn: cn=more,{GROUPS}\nobjectClass: groupOfNames\ncn: more\nmember: uid=ann,{PEOPLE}\n"
    ));
    check(|config| {
        config.max_groups = 1;
        config.group_base.clear();
        config.member_of_attribute = "memberOf".into();
    })
    .await;
    let ldap = directory(&slapd, |config| config.max_groups = 4);
    assert_eq!(ldap.look_up("ann").await.unwrap().unwrap().groups.len(), 4);
}

#[tokio::test]
async fn a_base_that_is_not_there_is_told() {
    let slapd = people();
    let ldap = directory(&slapd, |config| config.group_base = "ou=none,dc=example,dc=org".into());
    let error = ldap.sign_in("ann", "ann's secret").await.unwrap_err();
    assert!(matches!(error, LdapError::NoBase { key: "group_base", .. }), "{error}");
}
