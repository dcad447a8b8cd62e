//! `wharf user`.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::print::{self, Column, cell};
use super::session::{Path, Session};
use super::{password, tokens};
use crate::args::accounts::{AboutUser, Named, SessionFlags, UserCommand, UserCreate, UserToken, UserUpdate};
use crate::out::Out;

const COLUMNS: &[Column] = &[
    Column("name", |user| cell(&user["name"])),
    Column("display name", |user| cell(&user["display_name"])),
    Column("email", |user| cell(&user["email"])),
    Column("source", |user| cell(&user["source"])),
    Column("disabled", |user| cell(&user["disabled"])),
    Column("new password due", |user| cell(&user["must_change_password"])),
    Column("created", |user| cell(&user["created"])),
];

pub(super) async fn run(command: UserCommand, out: &mut Out) -> Result<()> {
    match command {
        UserCommand::List(flags) => list(&flags, out).await,
        UserCommand::Show(flags) => show(&flags, out).await,
        UserCommand::Create(flags) => create(flags, out).await,
        UserCommand::Update(flags) => update(flags, out).await,
        UserCommand::Delete(flags) => delete(&flags, out).await,
        UserCommand::ResetPassword(flags) => reset_password(&flags, out).await,
        UserCommand::ResetTwoFactor(flags) => reset_two_factor(&flags, out).await,
        UserCommand::TokenList(flags) => token_list(&flags, out).await,
        UserCommand::TokenRevoke(flags) => token_revoke(&flags, out).await,
    }
}

fn path(user: &Named) -> Path {
    Path::of(&["users", &user.name])
}

async fn list(flags: &SessionFlags, out: &mut Out) -> Result<()> {
    let users = Session::open(flags)?.list(&Path::of(&["users"])).await?;
    print::list(out, flags.json, users, COLUMNS)
}

async fn show(flags: &Named, out: &mut Out) -> Result<()> {
    let user = Session::open(&flags.session)?.get(&path(flags)).await?;
    print::show(out, flags.session.json, &user, COLUMNS)
}

async fn create(flags: UserCreate, out: &mut Out) -> Result<()> {
    let Named { session, name } = flags.user;
    let mut body = Map::new();
    body.insert("name".into(), name.clone().into());
    body.extend(about(flags.about));
    if !flags.no_password {
        body.insert("password".into(), password::of_another(flags.password_stdin).await?.into());
    }
    let user = Session::open(&session)?.send("POST", &Path::of(&["users"]), body.into()).await?;
    print::done(out, session.json, &user, format_args!("made the user {name}"))
}

async fn update(flags: UserUpdate, out: &mut Out) -> Result<()> {
    let mut body: Map<String, Value> = about(flags.about).collect();
    if let Some(disabled) = flags.access.disabled() {
        body.insert("disabled".into(), disabled.into());
    }
    if flags.password_stdin {
        body.insert("password".into(), password::of_another(true).await?.into());
    }
    let Named { session, name } = &flags.user;
    let user = Session::open(session)?.send("PATCH", &path(&flags.user), body.into()).await?;
    print::done(out, session.json, &user, format_args!("changed the user {name}"))
}

/// What is said of a user.
fn about(AboutUser { email, display_name }: AboutUser) -> impl Iterator<Item = (String, Value)> {
    let fields = [("email", email), ("display_name", display_name)];
    fields.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json!(text?))))
}

async fn delete(flags: &Named, out: &mut Out) -> Result<()> {
    let answer = Session::open(&flags.session)?.send("DELETE", &path(flags), Value::Null).await?;
    print::done(out, flags.session.json, &answer, format_args!("deleted the user {}", flags.name))
}

async fn reset_password(flags: &Named, out: &mut Out) -> Result<()> {
    let path = path(flags).and(&["reset-password"]);
    let answer = Session::open(&flags.session)?.send("POST", &path, Value::Null).await?;
    let sentence = format_args!("{} has a new password", flags.name);
    print::secret(out, flags.session.json, &answer, "password", sentence)
}

async fn reset_two_factor(flags: &Named, out: &mut Out) -> Result<()> {
    let path = path(flags).and(&["totp"]);
    let answer = Session::open(&flags.session)?.send("DELETE", &path, Value::Null).await?;
    print::done(
        out,
        flags.session.json,
        &answer,
        format_args!("{} has no second factor any more", flags.name),
    )
}

async fn token_list(flags: &Named, out: &mut Out) -> Result<()> {
    let tokens = Session::open(&flags.session)?.list(&path(flags).and(&["tokens"])).await?;
    print::list(out, flags.session.json, tokens, tokens::COLUMNS)
}

async fn token_revoke(flags: &UserToken, out: &mut Out) -> Result<()> {
    let Named { session, name } = &flags.user;
    let path = path(&flags.user).and(&["tokens", &flags.id]);
    let answer = Session::open(session)?.send("DELETE", &path, Value::Null).await?;
    print::done(out, session.json, &answer, format_args!("revoked the token {} of {name}", flags.id))
}
