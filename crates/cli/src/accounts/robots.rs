//! `wharf robot`.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::permission;
use super::print::{self, Column, cell};
use super::session::{Path, Session};
use crate::args::accounts::{AllIn, OneRobot, RobotCommand, RobotCreate, RobotRotate, RobotUpdate};
use crate::out::Out;

const COLUMNS: &[Column] = &[
    Column("name", |robot| cell(&robot["name"])),
    Column("may", |robot| permission::together(&robot["permissions"])),
    Column("disabled", |robot| cell(&robot["disabled"])),
    Column("expires", |robot| cell(&robot["expires"])),
    Column("secrets", |robot| cell(&robot["secrets"])),
    Column("last used", |robot| cell(&robot["last_used"])),
    Column("created", |robot| cell(&robot["created"])),
    Column("description", |robot| cell(&robot["description"])),
];

pub(super) async fn run(command: RobotCommand, out: &mut Out) -> Result<()> {
    match command {
        RobotCommand::List(flags) => list(&flags, out).await,
        RobotCommand::Show(flags) => show(&flags, out).await,
        RobotCommand::Create(flags) => create(flags, out).await,
        RobotCommand::Update(flags) => update(flags, out).await,
        RobotCommand::Delete(flags) => delete(&flags, out).await,
        RobotCommand::Rotate(flags) => rotate(&flags, out).await,
    }
}

/// The name that a robot signs in with.
pub(super) fn full_name(robot: &OneRobot) -> String {
    match &robot.place.project {
        Some(project) => format!("robot${project}+{}", robot.name),
        None => format!("robot${}", robot.name),
    }
}

/// All robots of a robot's place.
pub(super) fn all(robot: &OneRobot) -> Path {
    Path::within(robot.place.project.as_ref(), &["robots"])
}

/// One of them.
pub(super) fn path(robot: &OneRobot) -> Path {
    all(robot).and(&[&robot.name])
}

async fn list(flags: &AllIn, out: &mut Out) -> Result<()> {
    let path = Path::within(flags.place.project.as_ref(), &["robots"]);
    let robots = Session::open(&flags.session)?.list(&path).await?;
    print::list(out, flags.session.json, robots, COLUMNS)
}

async fn show(flags: &OneRobot, out: &mut Out) -> Result<()> {
    let robot = Session::open(&flags.session)?.get(&path(flags)).await?;
    print::show(out, flags.session.json, &robot, COLUMNS)
}

async fn create(flags: RobotCreate, out: &mut Out) -> Result<()> {
    let robot = &flags.robot;
    let body = json!({
        "name": robot.name,
        "description": flags.description.unwrap_or_default(),
        "expires": permission::end(flags.expires, chrono::Utc::now()),
        "permissions": permission::value(&flags.allow),
    });
    let answer = Session::open(&robot.session)?.send("POST", &all(robot), body).await?;
    let sentence = format_args!("made {}, with a secret", full_name(robot));
    print::secret(out, robot.session.json, &answer, "secret", sentence)
}

async fn update(flags: RobotUpdate, out: &mut Out) -> Result<()> {
    let mut body = Map::new();
    if let Some(description) = flags.description {
        body.insert("description".into(), description.into());
    }
    if let Some(disabled) = flags.access.disabled() {
        body.insert("disabled".into(), disabled.into());
    }
    if !flags.allow.is_empty() {
        body.insert("permissions".into(), permission::value(&flags.allow));
    }
    let session = &flags.robot.session;
    let robot = Session::open(session)?.send("PATCH", &path(&flags.robot), body.into()).await?;
    print::done(out, session.json, &robot, format_args!("changed {}", full_name(&flags.robot)))
}

async fn delete(flags: &OneRobot, out: &mut Out) -> Result<()> {
    let answer = Session::open(&flags.session)?.send("DELETE", &path(flags), Value::Null).await?;
    print::done(out, flags.session.json, &answer, format_args!("deleted {}", full_name(flags)))
}

async fn rotate(flags: &RobotRotate, out: &mut Out) -> Result<()> {
    let session = &flags.robot.session;
    let path = path(&flags.robot).and(&["rotate"]);
    let body = json!({"overlap_seconds": flags.overlap.as_secs()});
    let answer = Session::open(session)?.send("POST", &path, body).await?;
    let sentence = format_args!("{} has a new secret", full_name(&flags.robot));
    print::secret(out, session.json, &answer, "secret", sentence)
}
