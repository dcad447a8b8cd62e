//! `wharf project`.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::print::{self, Column, cell};
use super::session::{Path, Session};
use crate::args::accounts::{OneProject, ProjectCommand, ProjectFallback, ProjectSettings, SessionFlags};
use crate::out::Out;

const COLUMNS: &[Column] = &[
    Column("name", |project| cell(&project["name"])),
    Column("public", |project| match &project["public"] {
        Value::Null => format!("{} (inherited)", cell(&project["is_public"])),
        own => cell(own),
    }),
    Column("roles inherited", |project| cell(&project["inherit_roles"])),
    Column("create on push", |project| match &project["create_on_push"] {
        Value::Null => "inherited".into(),
        own => cell(own),
    }),
    Column("created", |project| cell(&project["created"])),
    Column("description", |project| cell(&project["description"])),
];

const FALLBACK: &[Column] = &[
    Column("upstream", |set| cell(&set["upstream"])),
    Column("path there", |set| cell(&set["prefix"])),
    Column("set in", |set| cell(&set["project"])),
    Column("read now", |set| cell(&set["active"])),
    Column("kept", |set| cell(&set["keep"])),
    Column("days left", |set| cell(&set["days_left"])),
    Column("since", |set| cell(&set["since"])),
    Column("until", |set| cell(&set["until"])),
];

const USES: &[Column] = &[
    Column("who", |used| cell(&used["actor"])),
    Column("repository", |used| cell(&used["repository"])),
    Column("reference", |used| cell(&used["reference"])),
    Column("times", |used| cell(&used["times"])),
    Column("first", |used| cell(&used["first"])),
    Column("last", |used| cell(&used["last"])),
];

pub(super) async fn run(command: ProjectCommand, out: &mut Out) -> Result<()> {
    match command {
        ProjectCommand::List(flags) => list(&flags, out).await,
        ProjectCommand::Show(flags) => show(&flags, out).await,
        ProjectCommand::Create(flags) => {
            send(&flags.project, "PUT", body(flags.settings), "made the project", out).await
        }
        ProjectCommand::Update(flags) => {
            send(&flags.project, "PATCH", body(flags.settings), "changed the project", out).await
        }
        ProjectCommand::Fallback(flags) => fallback(flags, out).await,
        ProjectCommand::Delete(flags) => {
            send(&flags, "DELETE", Value::Null, "deleted the project", out).await
        }
    }
}

async fn list(flags: &SessionFlags, out: &mut Out) -> Result<()> {
    let projects = Session::open(flags)?.list(&Path::of(&["projects"])).await?;
    print::list(out, flags.json, projects, COLUMNS)
}

async fn show(flags: &OneProject, out: &mut Out) -> Result<()> {
    let project = Session::open(&flags.session)?.get(&Path::project(&flags.name)).await?;
    print::show(out, flags.session.json, &project, COLUMNS)
}

async fn send(flags: &OneProject, method: &str, body: Value, done: &str, out: &mut Out) -> Result<()> {
    let answer = Session::open(&flags.session)?.send(method, &Path::project(&flags.name), body).await?;
    print::done(out, flags.session.json, &answer, format_args!("{done} {}", flags.name))
}

/// What is said of the registry that a project replaces: shown also after it was changed, with what is left of it.
async fn fallback(flags: ProjectFallback, out: &mut Out) -> Result<()> {
    let ProjectFallback { project, upstream, prefix, days, keep, extend, off, report } = flags;
    let session = Session::open(&project.session)?;
    let path = Path::within(Some(&project.name), &["fallback"]);
    let json = project.session.json;
    if report {
        let uses = session.list(&path.and(&["uses"])).await?;
        return print::list(out, json, uses, USES);
    }
    if off {
        let answer = session.send("DELETE", &path, Value::Null).await?;
        let done = format_args!("what is missing in {} is not read elsewhere any more", project.name);
        return print::done(out, json, &answer, done);
    }
    let shown = match (upstream, extend) {
        (Some(upstream), _) => session.send("PUT", &path, new_fallback(upstream, prefix, days, keep)).await?,
        (None, Some(more)) => session.send("PATCH", &path, json!({"days": more})).await?,
        (None, None) => session.get(&path).await?,
    };
    print::show(out, json, &shown, FALLBACK)
}

fn new_fallback(upstream: String, prefix: Option<String>, days: Option<u64>, keep: bool) -> Value {
    let mut body = Map::new();
    body.insert("upstream".into(), upstream.into());
    body.insert("keep".into(), keep.into());
    body.extend(prefix.map(|prefix| ("prefix".into(), prefix.into())));
    body.extend(days.map(|days| ("days".into(), days.into())));
    body.into()
}

/// The settings that are named. What is to be inherited is null, which is not the same as absent.
fn body(settings: ProjectSettings) -> Value {
    let mut body = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.into(), value);
        }
    };
    set("description", settings.description.map(Value::from));
    set("public", settings.public.map(|public| public.value().into()));
    set("inherit_roles", settings.inherit_roles.map(Value::from));
    set("create_on_push", settings.create_on_push.map(|create| create.value().into()));
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::accounts::Inheritable;

    #[test]
    fn what_is_inherited_is_null_and_what_is_not_named_is_absent() {
        let check = |public: Option<Inheritable>, inherit_roles: Option<bool>, expect: Value| {
            let settings = ProjectSettings { description: None, public, inherit_roles, create_on_push: None };
            assert_eq!(body(settings), expect);
        };
        check(None, None, json!({}));
        check(Some(Inheritable::Inherit), None, json!({"public": null}));
        check(Some(Inheritable::True), Some(false), json!({"public": true, "inherit_roles": false}));
    }
}
