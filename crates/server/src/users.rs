//! Users: whether there are to be some, and the first of them.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use access::{Action, Grant, Target};
use anyhow::{Context, Result};
use futures_util::future::{BoxFuture, FutureExt};
use identity::{Directory, FirstStart, Identity, SecondFactorFor};
use jobs::{Job, JobError};
use meta::{EntryKind, SystemClock};

use crate::config::{AuthConfig, Config};
use crate::store::Store;

/// Everybody, where the configuration or the store says that there are users.
pub(crate) async fn open(config: &Config, store: &Store) -> Result<Option<Arc<Identity>>> {
    if !config.has_auth(has_users(store).await?) {
        return Ok(None);
    }
    let external = config.auth.external()?;
    let identity = open_directory(config, store).await?.with_external(external);
    Ok(Some(Arc::new(with_passkeys(identity, &config.auth))))
}

/// Makes the first user where there is none, and tells the password. Only a server that has started does so: a start
/// that fails is tried again by whoever watches over it, and its output is lost among many.
pub(crate) async fn first_start(identity: &Identity, config: &Config) -> Result<()> {
    let grant = Grant::system("first-start", Action::ManageUsers, Target::System);
    if let Some(first) = identity.directory().first_start(&grant).await? {
        tell(&first, config);
    }
    Ok(())
}

/// Passkeys are bound to the public address. It is configured, and never what a client says.
#[cfg(feature = "passkeys")]
fn with_passkeys(identity: Identity, auth: &AuthConfig) -> Identity {
    let url = auth.public_url();
    if url.is_empty() {
        return identity;
    }
    match passkey::RelyingParty::at(url) {
        Ok(party) => identity.with_passkeys(Arc::new(party)),
        Err(error) => {
            tracing::warn!("no passkeys are offered at {url}: {error}");
            identity
        }
    }
}

#[cfg(not(feature = "passkeys"))]
fn with_passkeys(identity: Identity, _: &AuthConfig) -> Identity {
    identity
}

/// The same for one command, which makes nobody.
pub(crate) async fn open_existing(config: &Config, store: &Store) -> Result<Option<Arc<Identity>>> {
    if !has_users(store).await? {
        return Ok(None);
    }
    Ok(Some(Arc::new(open_directory(config, store).await?)))
}

async fn has_users(store: &Store) -> Result<bool> {
    let users = store.meta.entries(EntryKind::User, None, 1).await.context("the users cannot be read")?;
    Ok(!users.is_empty())
}

async fn open_directory(config: &Config, store: &Store) -> Result<Identity> {
    let meta = Arc::clone(&store.meta);
    let directory = Directory::open(meta, Arc::new(SystemClock), limits(&config.auth)).await?;
    Ok(Identity::open(Arc::new(directory)).await?)
}

/// Tells the log who lets people in, and whether the directory can be asked: a start does not wait for that.
pub(crate) fn announce(identity: &Arc<Identity>) {
    let others = identity.external().sources();
    let sources = std::iter::once("passwords and tokens of this registry".to_owned()).chain(others);
    tracing::info!("who comes in is known by: {}", sources.collect::<Vec<_>>().join("; "));
    let identity = Arc::clone(identity);
    tokio::spawn(async move {
        match identity.external().check().await {
            Some(Ok(report)) => tracing::info!("LDAP: {report}"),
            Some(Err(error)) => tracing::error!("LDAP: nobody can sign in by it at present: {error}"),
            None => {}
        }
    });
}

/// The bounds on what users may make, and what is asked of them.
fn limits(auth: &AuthConfig) -> identity::Limits {
    let days = |days: u64| (days > 0).then_some(days);
    identity::Limits {
        password: identity::PasswordPolicy { min_length: auth.password_length },
        token_days: days(auth.token_days),
        robot_days: days(auth.robot_days),
        tokens_per_user: auth.tokens_per_user,
        robots_per_project: auth.robots_per_project,
        second_factor: SecondFactorFor::from_names(&auth.require_second_factor),
        session_life: Duration::from_hours(auth.session_hours),
        session_idle: Duration::from_mins(auth.session_idle_minutes),
        browser: identity::BrowserLimits { idle: auth.browser_idle.into(), longest: auth.browser_max.into() },
    }
}

/// Says how to sign in, once, to who started the server: not in the log, which others may read.
fn tell(first: &FirstStart, config: &Config) {
    let FirstStart { user, password } = first;
    let mut stderr = std::io::stderr().lock();
    // Nobody reads standard error where this fails; a password can be set on the host later on.
    let _unread = writeln!(
        stderr,
        "first start: the administrator is `{user}`, with the password\n\n    {}\n\n\
         It is shown this once. Where it is lost: wharf admin reset-password {user} --data {}",
        password.expose(),
        config.data.display()
    );
}

/// What has to be done for users from time to time.
pub(crate) struct Tend(pub(crate) Arc<Identity>);

impl Job for Tend {
    fn name(&self) -> &'static str {
        "users"
    }

    fn run(&self) -> BoxFuture<'_, Result<(), JobError>> {
        async move { self.0.tend().await.map_err(|error| JobError(format!("{:#}", anyhow::Error::from(error)))) }
            .boxed()
    }
}
