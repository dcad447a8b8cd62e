//! Passwords: one's own is changed by who knows it; that of another is given from standard input or typed in.

use anyhow::{Result, bail};
use client::{Credential, Keyring, Secret};
use serde_json::json;

use super::print;
use super::session::{Path, Session};
use super::terminal;
use crate::args::accounts::PasswordFlags;
use crate::out::Out;

pub(super) async fn change(flags: PasswordFlags, out: &mut Out) -> Result<()> {
    let host = &flags.session.host;
    let keyring = Keyring::of_this_user();
    let stored = keyring.find(host, None).await?;
    let user = match (flags.user, &stored) {
        (Some(user), _) => user,
        (None, Some(Credential::Password { username, .. })) => username.clone(),
        (None, _) => bail!("nobody is signed in to {host}: say who you are with --user"),
    };
    let [current, new] = match flags.password_stdin {
        true => terminal::lines("the current password and the new one, a line each").await?,
        false if terminal::is_there() => {
            let current = terminal::ask_secret(&format!("Current password of {user}")).await?;
            [current, terminal::ask_new_password().await?]
        }
        false => bail!("standard input is no terminal: hand both passwords over with --password-stdin"),
    };
    // Who must change their password can do nothing else with it, not even sign in.
    let body = json!({"user": user, "current": current, "new": new});
    let answer = Session::anonymous(&flags.session)?.send("PUT", &Path::of(&["password"]), body).await?;
    if stored == Some(Credential::password(user.clone(), current)) {
        keyring.store(host, &user, &Secret::new(new)).await?;
    }
    print::done(out, flags.session.json, &answer, format_args!("changed the password of {user}"))
}

/// The password that somebody else is to get.
pub(super) async fn of_another(from_stdin: bool) -> Result<String> {
    match from_stdin {
        true => Ok(terminal::lines::<1>("the password, on one line").await?.concat()),
        false if terminal::is_there() => terminal::ask_new_password().await,
        false => bail!(
            "standard input is no terminal: hand the password over with --password-stdin, or say --no-password"
        ),
    }
}
