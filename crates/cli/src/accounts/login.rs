//! `wharf login`, `wharf logout` and `wharf whoami`. The credential is kept where docker and podman keep theirs.

use anyhow::{Context, Result, bail};
use client::{
    AuthError, ClientError, Credential, Host, Keyring, Place, Remote, Secret, Settings, TokenError,
};
use serde_json::json;
use transfer::Retry;

use super::permission::{self, PERMISSIONS};
use super::print;
use super::print::cell;
use super::session::{Path, Session};
use super::terminal;
use crate::args::accounts::{LoginFlags, SessionFlags};
use crate::out::Out;
use crate::text::clean;

/// A wrong password gets no better by sending it again.
const ONCE: Retry =
    Retry { failures: 0, first: std::time::Duration::ZERO, longest: std::time::Duration::ZERO };

pub(super) async fn login(flags: LoginFlags, out: &mut Out) -> Result<()> {
    let host = &flags.session.host;
    let user = match flags.user {
        Some(user) => user,
        None if terminal::is_there() => terminal::ask("User").await?,
        None => bail!("say who signs in with --user, and hand the password over with --password-stdin"),
    };
    if user.is_empty() || user.contains(':') {
        bail!("`{}` is no user name: it is not empty and has no colon", clean(&user));
    }
    let password = match flags.password_stdin {
        true => terminal::lines::<1>("the password, on one line").await?.concat(),
        false if terminal::is_there() => terminal::ask_secret("Password").await?,
        false => bail!("standard input is no terminal: hand the password over with --password-stdin"),
    };
    let credential = Credential::password(user.clone(), password.clone());
    let keyring = Keyring::fixed(credential);
    let settings = Settings { keyring, retry: ONCE, ..flags.session.connect.settings() };
    let limit = match check(host, &user, &settings).await {
        // Not for images, but the commands for accounts work with it, and a second factor is set up with nothing else.
        Err(error) if error.to_string().contains("second factor") => {
            Session::with(&flags.session, settings)?.get(&Path::of(&["me"])).await?;
            ". It is good for the commands for accounts; for images, sign in with a personal access token"
        }
        checked => checked.map(|()| "")?,
    };
    let place = Keyring::of_this_user().store(host, &user, &Secret::new(password)).await?;
    let how = match &place {
        Place::File(_) => "the password is in",
        Place::Helper(_) => "the password is with",
    };
    let answer = json!({"host": host.as_str(), "user": user, "place": place.to_string()});
    print::done(
        out,
        flags.session.json,
        &answer,
        format_args!("signed in to {host} as {user}; {how} {place}{limit}"),
    )
}

/// Lets the registry, or its token service, look at the credential.
async fn check(host: &Host, user: &str, settings: &Settings) -> Result<()> {
    match Remote::open(host, settings)?.check_credential().await {
        Ok(true) => Ok(()),
        Ok(false) => bail!("{host} asks nobody who they are: there is nothing to sign in to"),
        Err(ClientError::Unauthorized { .. }) => bail!("{host} refuses the user name or the password"),
        Err(ClientError::Auth { error: AuthError::Token(TokenError::Refused { detail, .. }), .. }) => {
            bail!("{host} does not let {} in{detail}{}", clean(user), hint(host, user, &detail))
        }
        Err(error) => Err(error.into()),
    }
}

/// What to do where the password is right, and must be another.
fn hint(host: &Host, user: &str, detail: &str) -> String {
    if detail.contains("password must be changed") {
        format!(". Do it with `wharf password {host} --user {}`", clean(user))
    } else {
        String::new()
    }
}

pub(super) async fn logout(flags: SessionFlags, out: &mut Out) -> Result<()> {
    let host = &flags.host;
    if !Keyring::of_this_user().erase(host).await? {
        bail!("there is no credential for {host} here");
    }
    let answer = json!({"host": host.as_str()});
    print::done(out, flags.json, &answer, format_args!("forgot the credential for {host}"))
}

pub(super) async fn whoami(flags: &SessionFlags, out: &mut Out) -> Result<()> {
    let answer = Session::open(flags)?.get(&Path::of(&["me"])).await?;
    if flags.json {
        return out.line(answer);
    }
    out.line(format_args!("{} (by {})", cell(&answer["name"]), cell(&answer["via"])))?;
    let permissions = answer["permissions"].as_array().context("the answer has no permissions")?;
    let rows = permissions.iter().map(permission::row).collect();
    print::list(out, false, rows, PERMISSIONS)
}
