//! `wharf member`.

use anyhow::Result;
use oci::ProjectName;
use serde_json::Value;

use super::print::{self, Column, cell};
use super::session::{Path, Session};
use crate::args::accounts::{AllIn, MemberCommand, MemberFlags};
use crate::out::Out;

const COLUMNS: &[Column] = &[
    Column("member", |member| cell(&member["principal"])),
    Column("role", |member| cell(&member["role"])),
    Column(
        "project",
        |member| if member["project"].is_null() { "*".into() } else { cell(&member["project"]) },
    ),
];

pub(super) async fn run(command: MemberCommand, out: &mut Out) -> Result<()> {
    match command {
        MemberCommand::List(flags) => list(&flags, out).await,
        MemberCommand::Add(flags) => change(&flags, "PUT", "has the role", out).await,
        MemberCommand::Remove(flags) => change(&flags, "DELETE", "no longer has the role", out).await,
    }
}

async fn list(flags: &AllIn, out: &mut Out) -> Result<()> {
    let path = Path::within(flags.place.project.as_ref(), &["members"]);
    let members = Session::open(&flags.session)?.list(&path).await?;
    print::list(out, flags.session.json, members, COLUMNS)
}

async fn change(flags: &MemberFlags, method: &str, verb: &str, out: &mut Out) -> Result<()> {
    let MemberFlags { session, principal, role, place } = flags;
    let path = Path::within(place.project.as_ref(), &["members", principal, role]);
    let answer = Session::open(session)?.send(method, &path, Value::Null).await?;
    let sentence = format_args!("{principal} {verb} {role} {}", wording(place.project.as_ref()));
    print::done(out, session.json, &answer, sentence)
}

/// A place in words.
fn wording(project: Option<&ProjectName>) -> String {
    project.map_or_else(|| "everywhere".into(), |project| format!("in {project}"))
}
