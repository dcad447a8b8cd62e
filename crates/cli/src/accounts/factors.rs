//! `wharf two-factor`.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::print::{self, Column, cell};
use super::session::{Path, Session};
use super::terminal;
use crate::args::accounts::{RemovePasskey, SessionFlags, TwoFactorCommand};
use crate::out::Out;
use crate::text::clean;

const COLUMNS: &[Column] = &[
    Column("on", |factor| cell(&factor["on"])),
    Column("required", |factor| cell(&factor["required"])),
    Column("app", |factor| cell(&factor["totp"])),
    Column("passkeys", |factor| cell(&factor["passkeys"])),
    Column("recovery codes", |factor| cell(&factor["recovery_codes"])),
];

const PASSKEYS: &[Column] = &[
    Column("id", |passkey| cell(&passkey["id"])),
    Column("name", |passkey| cell(&passkey["name"])),
    Column("created", |passkey| cell(&passkey["created"])),
    Column("last used", |passkey| cell(&passkey["last_used"])),
];

pub(super) async fn run(command: TwoFactorCommand, out: &mut Out) -> Result<()> {
    match command {
        TwoFactorCommand::Enable(flags) => enable(&flags, out).await,
        TwoFactorCommand::Disable(flags) => disable(&flags, out).await,
        TwoFactorCommand::RecoveryCodes(flags) => recovery_codes(&flags, out).await,
        TwoFactorCommand::Status(flags) => status(&flags, out).await,
        TwoFactorCommand::Passkeys(flags) => passkeys(&flags, out).await,
        TwoFactorCommand::RemovePasskey(flags) => remove_passkey(&flags, out).await,
    }
}

fn path() -> Path {
    Path::of(&["me", "totp"])
}

async fn enable(flags: &SessionFlags, out: &mut Out) -> Result<()> {
    let session = Session::open(flags)?;
    let start = session.send("POST", &path(), Value::Null).await?;
    // What the app reads is a secret: it is for who sits here, and not for what the output is piped into.
    for field in ["qr_text", "uri"] {
        let text = start[field].as_str().context("the answer has nothing for an app to read")?;
        text.lines().for_each(|line| eprintln!("{}", clean(line)));
    }
    let prompt = "Code that the app shows";
    let code =
        if terminal::is_there() { terminal::ask_secret(prompt).await } else { terminal::ask(prompt).await }?;
    let answer = session.send("POST", &path().and(&["confirm"]), json!({"code": code})).await?;
    codes(out, flags.json, &answer, "the codes of the app are on")
}

async fn disable(flags: &SessionFlags, out: &mut Out) -> Result<()> {
    let answer = Session::open(flags)?.send("DELETE", &path(), Value::Null).await?;
    print::done(out, flags.json, &answer, "the codes of the app are off")
}

async fn recovery_codes(flags: &SessionFlags, out: &mut Out) -> Result<()> {
    let path = path().and(&["recovery-codes"]);
    let answer = Session::open(flags)?.send("POST", &path, Value::Null).await?;
    codes(out, flags.json, &answer, "the old recovery codes are good no more")
}

async fn status(flags: &SessionFlags, out: &mut Out) -> Result<()> {
    let answer = Session::open(flags)?.get(&Path::of(&["me"])).await?;
    print::show(out, flags.json, &answer["second_factor"], COLUMNS)
}

async fn passkeys(flags: &SessionFlags, out: &mut Out) -> Result<()> {
    let passkeys = Session::open(flags)?.list(&Path::of(&["me", "passkeys"])).await?;
    print::list(out, flags.json, passkeys, PASSKEYS)
}

async fn remove_passkey(flags: &RemovePasskey, out: &mut Out) -> Result<()> {
    let path = Path::of(&["me", "passkeys", &flags.id]);
    let answer = Session::open(&flags.session)?.send("DELETE", &path, Value::Null).await?;
    print::done(out, flags.session.json, &answer, format_args!("removed the passkey {}", flags.id))
}

/// Prints recovery codes alone, a line each.
fn codes(out: &mut Out, json: bool, answer: &Value, sentence: &str) -> Result<()> {
    if json {
        return out.line(answer);
    }
    let codes = answer["recovery_codes"].as_array().context("the answer has no recovery codes")?;
    eprintln!("{sentence}. Each of these stands for a code once, and they are shown this once:");
    codes.iter().try_for_each(|code| out.line(cell(code)))
}
