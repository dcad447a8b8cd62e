//! `wharf group`.

use anyhow::Result;
use serde_json::{Value, json};

use super::print::{self, Column, cell};
use super::session::{Path, Session};
use crate::args::accounts::{GroupCommand, GroupCreate, GroupUser, Named, SessionFlags};
use crate::out::Out;

const COLUMNS: &[Column] = &[
    Column("name", |group| cell(&group["name"])),
    Column("external", |group| cell(&group["external"])),
    Column("description", |group| cell(&group["description"])),
];

const MEMBERS: &[Column] = &[Column("user", cell)];

pub(super) async fn run(command: GroupCommand, out: &mut Out) -> Result<()> {
    match command {
        GroupCommand::List(flags) => list(&flags, out).await,
        GroupCommand::Create(flags) => create(flags, out).await,
        GroupCommand::Delete(flags) => delete(&flags, out).await,
        GroupCommand::Members(flags) => members(&flags, out).await,
        GroupCommand::Add(flags) => change_member(&flags, "PUT", "put", "into", out).await,
        GroupCommand::Remove(flags) => change_member(&flags, "DELETE", "took", "out of", out).await,
    }
}

fn path(group: &Named) -> Path {
    Path::of(&["groups", &group.name])
}

async fn list(flags: &SessionFlags, out: &mut Out) -> Result<()> {
    let groups = Session::open(flags)?.list(&Path::of(&["groups"])).await?;
    print::list(out, flags.json, groups, COLUMNS)
}

async fn create(flags: GroupCreate, out: &mut Out) -> Result<()> {
    let body = json!({"description": flags.description.unwrap_or_default(), "external": flags.external});
    let Named { session, name } = &flags.group;
    let group = Session::open(session)?.send("PUT", &path(&flags.group), body).await?;
    print::done(out, session.json, &group, format_args!("there is the group {name}"))
}

async fn delete(flags: &Named, out: &mut Out) -> Result<()> {
    let answer = Session::open(&flags.session)?.send("DELETE", &path(flags), Value::Null).await?;
    print::done(out, flags.session.json, &answer, format_args!("deleted the group {}", flags.name))
}

async fn members(flags: &Named, out: &mut Out) -> Result<()> {
    let members = Session::open(&flags.session)?.list(&path(flags).and(&["members"])).await?;
    print::list(out, flags.session.json, members, MEMBERS)
}

async fn change_member(
    flags: &GroupUser,
    method: &str,
    verb: &str,
    where_to: &str,
    out: &mut Out,
) -> Result<()> {
    let Named { session, name } = &flags.group;
    let path = path(&flags.group).and(&["members", &flags.user]);
    let answer = Session::open(session)?.send(method, &path, Value::Null).await?;
    let sentence = format_args!("{verb} {} {where_to} the group {name}", flags.user);
    print::done(out, session.json, &answer, sentence)
}
