//! `wharf role`.

use anyhow::Result;
use serde_json::{Value, json};

use super::print::{self, Column, cell};
use super::session::{Path, Session};
use crate::args::accounts::{Named, RoleCommand, RoleDefine, SessionFlags};
use crate::out::Out;

const COLUMNS: &[Column] = &[
    Column("name", |role| cell(&role["name"])),
    Column("built in", |role| cell(&role["built_in"])),
    Column("description", |role| cell(&role["description"])),
    Column("actions", |role| cell(&role["actions"])),
];

pub(super) async fn run(command: RoleCommand, out: &mut Out) -> Result<()> {
    match command {
        RoleCommand::List(flags) => list(&flags, out).await,
        RoleCommand::Define(flags) => define(flags, out).await,
        RoleCommand::Delete(flags) => delete(&flags, out).await,
    }
}

fn path(role: &Named) -> Path {
    Path::of(&["roles", &role.name])
}

async fn list(flags: &SessionFlags, out: &mut Out) -> Result<()> {
    let roles = Session::open(flags)?.list(&Path::of(&["roles"])).await?;
    print::list(out, flags.json, roles, COLUMNS)
}

async fn define(flags: RoleDefine, out: &mut Out) -> Result<()> {
    let body = json!({"description": flags.description.unwrap_or_default(), "actions": flags.actions});
    let Named { session, name } = &flags.role;
    let role = Session::open(session)?.send("PUT", &path(&flags.role), body).await?;
    print::done(out, session.json, &role, format_args!("defined the role {name}"))
}

async fn delete(flags: &Named, out: &mut Out) -> Result<()> {
    let answer = Session::open(&flags.session)?.send("DELETE", &path(flags), Value::Null).await?;
    print::done(out, flags.session.json, &answer, format_args!("deleted the role {}", flags.name))
}
