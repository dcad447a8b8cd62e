//! The pages of browsers, and the configuration of the OpenID provider, `[auth.oidc]`: docs/sign-in.md tells of both.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use ::console::{Console, Observe, Provider, ProviderSettings};
use anyhow::{Context, Result, bail};
use http_kit::TrustedProxies;
use identity::Identity;
use meta::{Clock, SystemClock};
use oidc::{Client, ClientSettings};
use serde::{Deserialize, Serialize};

use crate::config::{AuthConfig, Config};

/// The most bytes of a file with a secret, or with certificates.
const FILE_MAX: u64 = 1 << 20;

/// An OpenID provider. Without an issuer there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OidcConfig {
    /// Its address, exactly as its discovery document has it.
    pub issuer: String,
    /// What it calls this registry.
    pub client_id: String,
    /// The secret that it gave out with that.
    pub client_secret: Hidden,
    /// A file with the secret, instead.
    pub client_secret_file: PathBuf,
    /// What is asked for besides `openid`.
    pub scopes: Vec<String>,
    /// The claim that becomes the user's name.
    pub name_claim: String,
    /// The claim with the address.
    pub email_claim: String,
    /// The claim with the groups.
    pub groups_claim: String,
    /// A file of certificates (PEM) to trust besides the system's.
    pub ca: PathBuf,
    /// What people call the provider.
    pub display_name: String,
    /// Where browsers see this registry; as `auth.public_url` says where empty.
    pub public_url: String,
}

impl AuthConfig {
    /// Where browsers see this registry; empty where nobody has said.
    pub(crate) fn public_url(&self) -> &str {
        if self.public_url.is_empty() { &self.oidc.public_url } else { &self.public_url }
    }

    /// Refuses what no page could work with.
    pub(crate) fn check_pages(&self) -> Result<()> {
        let has_provider = !self.oidc.issuer.is_empty();
        for (key, url, needed) in [
            ("auth.public_url", self.public_url.as_str(), false),
            ("auth.oidc.public_url", self.provider_url(), has_provider),
        ] {
            check_public_url(key, url, needed)?;
        }
        self.oidc.check()
    }

    /// Where the provider sends browsers to.
    fn provider_url(&self) -> &str {
        if self.oidc.public_url.is_empty() { &self.public_url } else { &self.oidc.public_url }
    }
}

fn check_public_url(key: &str, url: &str, needed: bool) -> Result<()> {
    if url.is_empty() && !needed {
        return Ok(());
    }
    let is_loopback = ["http://127.0.0.1", "http://localhost", "http://[::1]"].iter().any(|start| {
        url.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    });
    let host = url.strip_prefix("https://").is_some_and(|host| !host.is_empty() && !host.starts_with('/'));
    if !(host || is_loopback) || url.contains(['?', '#', '@']) || url.ends_with('/') {
        bail!(
            "`{key}` must be where browsers see this registry, such as https://registry.example.com, without a slash \
             at the end"
        );
    }
    Ok(())
}

/// A text that nobody may see.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hidden(String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Default for OidcConfig {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            client_id: String::new(),
            client_secret: Hidden::default(),
            client_secret_file: PathBuf::new(),
            scopes: vec!["profile".into(), "email".into()],
            name_claim: "preferred_username".into(),
            email_claim: "email".into(),
            groups_claim: "groups".into(),
            ca: PathBuf::new(),
            display_name: "single sign-on".into(),
            public_url: String::new(),
        }
    }
}

impl OidcConfig {
    /// Refuses what nobody could sign in with.
    pub(crate) fn check(&self) -> Result<()> {
        if self.issuer.is_empty() {
            return Ok(());
        }
        if self.client_id.is_empty() {
            bail!(
                "`auth.oidc.client_id` is missing: the provider gave it out when this registry was made known there"
            );
        }
        if self.client_secret.0.is_empty() == self.client_secret_file.as_os_str().is_empty() {
            bail!(
                "give the secret of the OpenID client in `auth.oidc.client_secret_file` or `auth.oidc.client_secret`"
            );
        }
        Ok(())
    }

    fn secret(&self) -> Result<String> {
        if !self.client_secret.0.is_empty() {
            return Ok(self.client_secret.0.clone());
        }
        let bytes = read(&self.client_secret_file)?;
        let text = String::from_utf8(bytes);
        let text = text.with_context(|| format!("{} is no text", self.client_secret_file.display()))?;
        Ok(text.trim().to_owned())
    }

    /// The provider, where there is one. It is asked when somebody signs in.
    fn provider(&self, public_url: &str) -> Result<Option<Provider>> {
        if self.issuer.is_empty() {
            return Ok(None);
        }
        let ca = (!self.ca.as_os_str().is_empty()).then(|| read(&self.ca)).transpose()?;
        let clock: oidc::Clock = Arc::new(|| {
            let micros = u64::try_from(SystemClock.now().micros()).unwrap_or_default();
            UNIX_EPOCH + Duration::from_micros(micros)
        });
        let settings = ClientSettings {
            issuer: self.issuer.clone(),
            ca,
            client_id: self.client_id.clone(),
            client_secret: self.secret()?.into(),
            redirect_uri: format!("{public_url}/login/oidc/callback"),
            scopes: self.scopes.clone(),
            groups_claim: self.groups_claim.clone(),
            name_claim: self.name_claim.clone(),
            email_claim: self.email_claim.clone(),
        };
        let client = Client::new(settings, Arc::clone(&clock)).context("in `auth.oidc`")?;
        let settings = ProviderSettings {
            issuer: self.issuer.clone(),
            name: self.display_name.clone(),
            public_url: public_url.to_owned(),
        };
        Ok(Some(Provider::new(client, settings, clock)))
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let name = file.display();
    let size = std::fs::metadata(file).with_context(|| format!("cannot read {name}"))?.len();
    if size > FILE_MAX {
        bail!("{name} is larger than {FILE_MAX} bytes");
    }
    std::fs::read(file).with_context(|| format!("cannot read {name}"))
}

/// The pages.
pub(crate) fn open(
    config: &Config,
    identity: Arc<Identity>,
    proxies: TrustedProxies,
    observer: Arc<dyn Observe>,
) -> Result<Console> {
    let mut console = Console::new(identity, proxies, observer);
    if let Some((scheme, rest)) = config.auth.public_url().split_once("://") {
        console = console.at(format!("{scheme}://{}", rest.split('/').next().unwrap_or_default()));
    }
    Ok(match config.auth.oidc.provider(config.auth.provider_url())? {
        Some(provider) => console.with_provider(provider),
        None => console,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_needs_what_it_needs() {
        let check = |change: fn(&mut OidcConfig), expect: &str| {
            let mut config = OidcConfig {
                issuer: "https://id.example".into(),
                client_id: "wharf".into(),
                client_secret: Hidden("hush".into()),
                public_url: "https://r.example".into(),
                ..OidcConfig::default()
            };
            change(&mut config);
            let config = AuthConfig { oidc: config, ..AuthConfig::default() };
            let error = config.check_pages().err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(expect) && error.is_empty() == expect.is_empty(), "{error}");
            assert!(!format!("{config:?}").contains("hush"));
        };
        check(|_| {}, "");
        check(|config| config.public_url = "http://127.0.0.1:5000".into(), "");
        check(|config| config.public_url = "https://r.example/registry".into(), "");
        check(|config| config.public_url = "http://r.example".into(), "public_url");
        check(|config| config.public_url = "http://127.0.0.1.evil".into(), "public_url");
        check(|config| config.public_url = "https://r.example/".into(), "public_url");
        check(|config| config.public_url = String::new(), "public_url");
        check(|config| config.client_id = String::new(), "client_id");
        check(|config| config.client_secret = Hidden::default(), "client_secret_file");
        check(|config| config.client_secret_file = "also".into(), "client_secret_file");
        check(|config| *config = OidcConfig::default(), "");
    }

    #[test]
    fn one_public_address_is_enough() {
        let oidc = OidcConfig {
            issuer: "https://id.example".into(),
            client_id: "wharf".into(),
            client_secret: Hidden("hush".into()),
            ..OidcConfig::default()
        };
        let config = AuthConfig { oidc, public_url: "https://r.example".into(), ..AuthConfig::default() };
        config.check_pages().unwrap();
        assert_eq!((config.public_url(), config.provider_url()), ("https://r.example", "https://r.example"));
        let wrong = AuthConfig { public_url: "http://r.example".into(), ..AuthConfig::default() };
        assert!(wrong.check_pages().unwrap_err().to_string().contains("`auth.public_url`"));
    }
}
