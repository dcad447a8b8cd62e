//! `wharf token`: one's own personal access tokens.

use anyhow::Result;
use serde_json::{Value, json};

use super::permission;
use super::print::{self, Column, cell};
use super::session::{Path, Session};
use crate::args::accounts::{SessionFlags, TokenCommand, TokenCreate, TokenRevoke};
use crate::out::Out;

pub(super) const COLUMNS: &[Column] = &[
    Column("id", |token| cell(&token["id"])),
    Column("label", |token| cell(&token["label"])),
    Column("may", |token| permission::together(&token["permissions"])),
    Column("expires", |token| cell(&token["expires"])),
    Column("last used", |token| cell(&token["last_used"])),
    Column("created", |token| cell(&token["created"])),
];

pub(super) async fn run(command: TokenCommand, out: &mut Out) -> Result<()> {
    match command {
        TokenCommand::List(flags) => list(&flags, out).await,
        TokenCommand::Create(flags) => create(flags, out).await,
        TokenCommand::Revoke(flags) => revoke(&flags, out).await,
    }
}

fn own() -> Path {
    Path::of(&["me", "tokens"])
}

async fn list(flags: &SessionFlags, out: &mut Out) -> Result<()> {
    let tokens = Session::open(flags)?.list(&own()).await?;
    print::list(out, flags.json, tokens, COLUMNS)
}

async fn create(flags: TokenCreate, out: &mut Out) -> Result<()> {
    let body = json!({
        "label": flags.label,
        "expires": permission::end(flags.expires, chrono::Utc::now()),
        "permissions": permission::value(&flags.allow),
    });
    let answer = Session::open(&flags.session)?.send("POST", &own(), body).await?;
    let sentence = format_args!("made the token {}", cell(&answer["id"]));
    print::secret(out, flags.session.json, &answer, "secret", sentence)
}

async fn revoke(flags: &TokenRevoke, out: &mut Out) -> Result<()> {
    let path = own().and(&[&flags.id]);
    let answer = Session::open(&flags.session)?.send("DELETE", &path, Value::Null).await?;
    print::done(out, flags.session.json, &answer, format_args!("revoked the token {}", flags.id))
}
