//! Projects, their members and robots; and the members and robots of the registry as a whole, which differ by their
//! path alone.

use identity::RobotName;
use identity::model::{Member, NewProject, NewRobot, ProjectPatch, RobotPatch, Rotation};
use oci::ProjectName;
use serde::Deserialize;
use serde_json::json;

use crate::call::Call;
use crate::problem::Problem;
use crate::reply::Reply;

pub(crate) async fn projects(call: &Call) -> Result<Reply, Problem> {
    Reply::json(&call.directory()?.projects_for(&call.subject, call.after().as_deref()).await?)
}

/// What is said of a new project: its name is in the path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ProjectBody {
    description: String,
    public: Option<bool>,
    inherit_roles: bool,
    create_on_push: Option<bool>,
}

impl Default for ProjectBody {
    fn default() -> Self {
        Self { description: String::new(), public: None, inherit_roles: true, create_on_push: None }
    }
}

fn named(call: &Call) -> Result<ProjectName, Problem> {
    call.params.project.clone().ok_or_else(|| Problem::unknown("the path names no project"))
}

pub(crate) async fn create_project(call: &Call) -> Result<Reply, Problem> {
    let body: ProjectBody = call.read_or_default()?;
    let new = NewProject {
        name: named(call)?,
        description: body.description,
        public: body.public,
        inherit_roles: body.inherit_roles,
        create_on_push: body.create_on_push,
    };
    Reply::created(&call.directory()?.create_project(call.grant()?, new).await?)
}

pub(crate) async fn project(call: &Call) -> Result<Reply, Problem> {
    Reply::json(&call.directory()?.project(call.grant()?).await?)
}

pub(crate) async fn change_project(call: &Call) -> Result<Reply, Problem> {
    let patch: ProjectPatch = call.read()?;
    Reply::json(&call.directory()?.change_project(call.grant()?, patch).await?)
}

pub(crate) async fn delete_project(call: &Call) -> Result<Reply, Problem> {
    call.directory()?.delete_project(call.grant()?).await?;
    Ok(Reply::done())
}

pub(crate) async fn members(call: &Call) -> Result<Reply, Problem> {
    let members = call.directory()?.members(call.grant()?, call.params.project.as_ref()).await?;
    Reply::json(&json!({"items": members}))
}

fn member(call: &Call) -> Result<Member, Problem> {
    Ok(Member {
        principal: call.params.get("principal").parse()?,
        role: call.params.get("role").to_owned(),
        project: call.params.project.clone(),
    })
}

pub(crate) async fn add_member(call: &Call) -> Result<Reply, Problem> {
    let member = member(call)?;
    call.directory()?.add_member(call.grant()?, &call.subject, &member).await?;
    Ok(Reply::done())
}

pub(crate) async fn remove_member(call: &Call) -> Result<Reply, Problem> {
    let member = member(call)?;
    call.directory()?.remove_member(call.grant()?, &call.subject, &member).await?;
    Ok(Reply::done())
}

pub(crate) async fn robots(call: &Call) -> Result<Reply, Problem> {
    let robots = call.directory()?.robots(call.grant()?, call.params.project.as_ref()).await?;
    Reply::json(&json!({"items": robots}))
}

pub(crate) async fn create_robot(call: &Call) -> Result<Reply, Problem> {
    let new: NewRobot = call.read()?;
    let (grant, project) = (call.grant()?, call.params.project.as_ref());
    Reply::created(&call.directory()?.create_robot(grant, &call.subject, project, new).await?)
}

fn robot_name(call: &Call) -> Result<RobotName, Problem> {
    let name = RobotName::new(call.params.project.clone(), call.params.get("robot"));
    name.map_err(|error| Problem::invalid(&error))
}

pub(crate) async fn robot(call: &Call) -> Result<Reply, Problem> {
    Reply::json(&call.directory()?.robot(call.grant()?, &robot_name(call)?).await?)
}

pub(crate) async fn change_robot(call: &Call) -> Result<Reply, Problem> {
    let (name, patch): (_, RobotPatch) = (robot_name(call)?, call.read()?);
    Reply::json(&call.directory()?.change_robot(call.grant()?, &call.subject, &name, patch).await?)
}

pub(crate) async fn delete_robot(call: &Call) -> Result<Reply, Problem> {
    call.directory()?.delete_robot(call.grant()?, &robot_name(call)?).await?;
    Ok(Reply::done())
}

pub(crate) async fn rotate_robot(call: &Call) -> Result<Reply, Problem> {
    let (name, rotation): (_, Rotation) = (robot_name(call)?, call.read_or_default()?);
    Reply::json(&call.directory()?.rotate_robot(call.grant()?, &call.subject, &name, rotation).await?)
}
