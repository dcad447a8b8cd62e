//! Whether there are users, and the configuration of those who are known elsewhere: `[auth.ldap]` and
//! `[[auth.workload]]`, of which docs/ldap.md and docs/workload-identity.md tell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use identity::model::Permission;
use identity::{External, LdapConfig, LdapSettings, WorkloadRule};
use meta::SystemClock;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::config::{AuthConfig, AuthMode, Config};
use crate::span::Span;

/// The most bytes of a file of authorities.
const AUTHORITIES_MAX: u64 = 1 << 20;

/// People whom an LDAP directory knows. Without a `url` there are none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Table")]
pub struct LdapSection {
    /// The directory.
    #[serde(flatten)]
    pub ldap: LdapConfig,
    /// Whether who signs in becomes a user at once; else users have to be made beforehand.
    pub create_users: bool,
    /// How long what the directory said of somebody counts.
    pub recheck: Span,
}

impl Default for LdapSection {
    fn default() -> Self {
        Self { ldap: LdapConfig::default(), create_users: true, recheck: Duration::from_secs(300).into() }
    }
}

impl TryFrom<Table> for LdapSection {
    type Error = toml::de::Error;

    /// What is not about users here is the directory's, which refuses keys that it does not know.
    fn try_from(mut table: Table) -> Result<Self, Self::Error> {
        let default = Self::default();
        let create_users = table.remove("create_users").map(Value::try_into).transpose()?;
        let recheck = table.remove("recheck").map(Value::try_into).transpose()?;
        Ok(Self {
            ldap: table.try_into()?,
            create_users: create_users.unwrap_or(default.create_users),
            recheck: recheck.unwrap_or(default.recheck),
        })
    }
}

/// CI jobs and pods: whose tokens are taken, and what they are good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSection {
    /// The name of the rule.
    pub name: String,
    /// Who signs the tokens.
    pub issuer: String,
    /// For whom they are made.
    pub audience: String,
    /// Claims, and what they must be.
    #[serde(default)]
    pub r#match: BTreeMap<String, String>,
    /// A file with certificates to trust besides the system's authorities.
    #[serde(default)]
    pub ca: PathBuf,
    /// The issuer's keys, where it cannot be asked for them.
    #[serde(default)]
    pub jwks: String,
    /// What a workload may do.
    #[serde(default)]
    pub permissions: Vec<Permission>,
    /// How long an access token is good that it gets.
    #[serde(default = "quarter_of_an_hour")]
    pub lifetime: Span,
}

fn quarter_of_an_hour() -> Span {
    Duration::from_secs(900).into()
}

impl WorkloadSection {
    fn rule(&self) -> Result<WorkloadRule> {
        let has_ca = !self.ca.as_os_str().is_empty();
        Ok(WorkloadRule {
            name: self.name.clone(),
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            conditions: self.r#match.clone(),
            ca: has_ca.then(|| read_authorities(&self.ca)).transpose()?,
            jwks: Some(self.jwks.clone()).filter(|jwks| !jwks.is_empty()),
            permissions: self.permissions.clone(),
            lifetime: self.lifetime.into(),
        })
    }
}

fn read_authorities(file: &Path) -> Result<Vec<u8>> {
    let wrong = || format!("cannot read {}, the `ca` of an [[auth.workload]] rule", file.display());
    if std::fs::metadata(file).with_context(wrong)?.len() > AUTHORITIES_MAX {
        bail!("{}: it is larger than {AUTHORITIES_MAX} bytes", wrong());
    }
    std::fs::read(file).with_context(wrong)
}

impl Config {
    /// Whether there are to be users, given whether there are some already.
    pub(crate) fn has_auth(&self, has_users: bool) -> bool {
        match self.auth.mode {
            AuthMode::On => true,
            AuthMode::Off => false,
            AuthMode::Auto => {
                let is_wanted = has_users || self.network_address().is_some() || self.auth.names_others();
                !self.allow_unauthenticated_network && is_wanted
            }
        }
    }
}

impl AuthConfig {
    /// Whether there is anybody who is known elsewhere.
    pub(crate) fn names_others(&self) -> bool {
        !self.ldap.ldap.url.is_empty() || !self.workload.is_empty()
    }

    /// Everybody who is known elsewhere.
    pub(crate) fn external(&self) -> Result<External> {
        let LdapSection { ldap, create_users, recheck } = &self.ldap;
        let ldap = (!ldap.url.is_empty()).then(|| LdapSettings {
            config: ldap.clone(),
            create_users: *create_users,
            recheck: (*recheck).into(),
        });
        let rules = self.workload.iter().map(WorkloadSection::rule).collect::<Result<_>>()?;
        Ok(External::new(ldap, rules, Arc::new(SystemClock))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wharf.toml");
        std::fs::write(&path, text).unwrap();
        let environment =
            |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Config::load(Some(&path), &environment, Overrides::default())
    }

    #[test]
    fn there_are_users_where_anybody_could_come_in() {
        let check = |file: &str, has_users: bool, expect: bool| {
            let config = load(file, &[]).unwrap();
            assert_eq!(config.has_auth(has_users), expect, "{file}");
        };
        let network = "listen = [\"0.0.0.0:5000\"]";
        check("", false, false);
        check("", true, true);
        check(network, false, true);
        check("listen = [\"127.0.0.1:1\", \"[::1]:1\"]", false, false);
        check("listen = [\"127.0.0.1:1\", \"192.0.2.1:1\"]", false, true);
        check(&format!("allow_unauthenticated_network = true\n{network}"), true, false);
        check("[auth]\nmode = \"on\"", false, true);
        check("[auth]\nmode = \"off\"", true, false);
    }

    const LDAP: &str = "[auth.ldap]\nurl = 'ldaps://a'\nuser_base = 'dc=a'\nbind_dn = 'cn=w'\n";

    const WORKLOAD: &str = "[[auth.workload]]\nname = 'main'\nissuer = 'https://issuer.test'\naudience = 'wharf'\n\
         match = { repository = 'org/app' }\npermissions = [{ project = 'team', actions = ['pull', 'push'] }]\n";

    #[test]
    fn a_directory_is_read_and_shows_no_password() {
        let text = format!("{LDAP}recheck = '10s'\ncreate_users = false\nmax_groups = 5\n");
        let config = load(&text, &[("WHARF_AUTH_LDAP_BIND_PASSWORD", "s3cret")]).unwrap();
        let LdapSection { ldap, create_users, recheck } = &config.auth.ldap;
        assert_eq!((ldap.max_groups, *create_users), (5, false));
        assert_eq!(Duration::from(*recheck), Duration::from_secs(10));
        assert_eq!(config.auth.external().unwrap().sources(), ["LDAP at ldaps://a"]);
        for shown in [format!("{config:?}"), toml::to_string(&config).unwrap()] {
            assert!(shown.contains("***") && !shown.contains("s3cret"), "{shown}");
        }
        assert!(config.has_auth(false), "a directory alone means that there are users");
        assert!(!load("", &[]).unwrap().has_auth(false));
    }

    #[test]
    fn a_rule_is_read() {
        let text = format!("{WORKLOAD}[auth.workload.match]\n");
        assert!(load(&text, &[]).is_err(), "a table is written once");
        let config = load(WORKLOAD, &[]).unwrap();
        let rule = &config.auth.workload[0];
        assert_eq!(Duration::from(rule.lifetime), Duration::from_secs(900));
        assert_eq!(rule.permissions[0].project.as_ref().unwrap().as_str(), "team");
        assert_eq!(config.auth.external().unwrap().sources(), ["workloads by `main`"]);
        assert!(config.has_auth(false));
    }

    #[test]
    fn mistakes_stop_the_start() {
        let check = |text: &str, expect: &str| {
            let outcome = load(text, &[]).and_then(|config| config.auth.external().map(drop));
            let error = format!("{:#}", outcome.unwrap_err());
            assert!(error.contains(expect), "{text}: {error}");
        };
        check(LDAP, "auth.ldap.bind_password");
        check("[auth.ldap]\nurl = 'ldap://ldap.example.org'\nuser_base = 'dc=a'", "unencrypted");
        check("[auth.ldap]\ninsecure = true", "insecure");
        check("[auth.ldap]\nrecheck = 'soon'", "soon");
        check("[auth.ldap]\nrecheck = '2h'", "between 1s and 1h");
        let changed = |from: &str, to: &str| WORKLOAD.replace(from, to);
        check(&changed("'org/app'", "'*'"), "everybody");
        check(&changed("match = { repository = 'org/app' }\n", ""), "everybody");
        check(&changed("'org/app'", "'org/**'"), "`**` has no meaning");
        check(&changed("'push'", "'pusch'"), "`pusch` is no action");
        check(&changed("'team'", "'Team'"), "Team");
        check(&changed("permissions", "nothing = 1\npermissions"), "nothing");
        check(&changed("['pull', 'push']", "[]"), "it allows nothing");
        check(&changed("'main'", "'Main rule'"), "`Main rule`");
        check(&changed("'wharf'", "''"), "no audience");
        check(&changed("https", "http"), "must begin with https://");
        check(&format!("{WORKLOAD}lifetime = '2h'\n"), "from 1s to 1h");
        check(&format!("{WORKLOAD}ca = '/nowhere/ca.pem'\n"), "/nowhere/ca.pem");
        check(&format!("{WORKLOAD}jwks = '{{}}'\n"), "keys");
        check(&format!("{WORKLOAD}{WORKLOAD}"), "`main`");
        check("[[auth.workload]]\nname = 'a'", "issuer");
    }
}
