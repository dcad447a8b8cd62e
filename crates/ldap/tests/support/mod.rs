//! A directory with Ann and Ben in it, and a configuration that fits.
#![allow(dead_code, reason = "each test binary uses another part")]

use ldap::{Ldap, LdapConfig, Secret};
use test_kit::Slapd;
use test_kit::slapd::{ADMIN, ADMIN_PASSWORD, GROUPS, PEOPLE};

/// A server that knows Ann, who has an address, and Ben.
pub fn people() -> Slapd {
    let slapd = Slapd::start();
    slapd.add(&format!(
        "dn: uid=ann,{PEOPLE}\nobjectClass: inetOrgPerson\nuid: ann\ncn: Ann Äther\nsn: Äther\n\
         mail: ann@example.org\nuserPassword: ann's secret\n"
    ));
    add_people(&slapd, PEOPLE, &["ben"]);
    slapd
}

/// Adds people, each with the password `NAME's secret`.
pub fn add_people(slapd: &Slapd, base: &str, names: &[&str]) {
    for name in names {
        slapd.add(&format!(
            "dn: uid={name},{base}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: {name}\n\
             userPassword: {name}'s secret\n"
        ));
    }
}

/// The settings for a server, without TLS.
pub fn config(slapd: &Slapd) -> LdapConfig {
    LdapConfig {
        url: slapd.url(),
        bind_dn: ADMIN.into(),
        bind_password: Secret::new(ADMIN_PASSWORD),
        user_base: PEOPLE.into(),
        group_base: GROUPS.into(),
        ..LdapConfig::default()
    }
}

/// The directory behind a server, with some settings changed.
pub fn directory(slapd: &Slapd, change: impl FnOnce(&mut LdapConfig)) -> Ldap {
    let mut config = config(slapd);
    change(&mut config);
    Ldap::new(config).unwrap()
}
