//! Projects, their members and robots; and the members and robots of the registry as a whole, which differ by their
//! path alone.

use identity::model::{
    Member, NewProject, NewRobot, Project, ProjectPatch, Robot, RobotPatch, Rotation, Shown,
};
use identity::{Page, RobotName};
use oci::ProjectName;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::call::Call;
use crate::problem::Problem;
use crate::reply::Items;

pub(crate) async fn projects(call: &Call) -> Result<Page<Project>, Problem> {
    Ok(call.directory()?.projects_for(&call.subject, call.after().as_deref()).await?)
}

/// What is said of a new project: its name is in the path.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProjectBody {
    /// What it is for.
    description: String,
    /// Whether anybody may pull; as in the project around it where absent.
    public: Option<bool>,
    /// Whether roles from further out count.
    inherit_roles: bool,
    /// Whether a push makes the project that it names; as in the project around it where absent.
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

pub(crate) async fn create_project(call: &Call, body: ProjectBody) -> Result<Project, Problem> {
    let new = NewProject {
        name: named(call)?,
        description: body.description,
        public: body.public,
        inherit_roles: body.inherit_roles,
        create_on_push: body.create_on_push,
    };
    Ok(call.directory()?.create_project(call.grant()?, new).await?)
}

pub(crate) async fn project(call: &Call) -> Result<Project, Problem> {
    Ok(call.directory()?.project(call.grant()?).await?)
}

pub(crate) async fn change_project(call: &Call, patch: ProjectPatch) -> Result<Project, Problem> {
    Ok(call.directory()?.change_project(call.grant()?, patch).await?)
}

pub(crate) async fn delete_project(call: &Call) -> Result<(), Problem> {
    call.directory()?.delete_project(call.grant()?).await?;
    Ok(())
}

pub(crate) async fn members(call: &Call) -> Result<Items<Member>, Problem> {
    let members = call.directory()?.members(call.grant()?, call.params.project.as_ref()).await?;
    Ok(Items { items: members })
}

fn member(call: &Call) -> Result<Member, Problem> {
    Ok(Member {
        principal: call.params.get("principal").parse()?,
        role: call.params.get("role").to_owned(),
        project: call.params.project.clone(),
    })
}

pub(crate) async fn add_member(call: &Call) -> Result<(), Problem> {
    let member = member(call)?;
    call.directory()?.add_member(call.grant()?, &call.subject, &member).await?;
    Ok(())
}

pub(crate) async fn remove_member(call: &Call) -> Result<(), Problem> {
    let member = member(call)?;
    call.directory()?.remove_member(call.grant()?, &call.subject, &member).await?;
    Ok(())
}

pub(crate) async fn robots(call: &Call) -> Result<Items<Robot>, Problem> {
    let robots = call.directory()?.robots(call.grant()?, call.params.project.as_ref()).await?;
    Ok(Items { items: robots })
}

pub(crate) async fn create_robot(call: &Call, new: NewRobot) -> Result<Shown<Robot>, Problem> {
    let (grant, project) = (call.grant()?, call.params.project.as_ref());
    Ok(call.directory()?.create_robot(grant, &call.subject, project, new).await?)
}

fn robot_name(call: &Call) -> Result<RobotName, Problem> {
    let name = RobotName::new(call.params.project.clone(), call.params.get("robot"));
    name.map_err(|error| Problem::invalid(&error))
}

pub(crate) async fn robot(call: &Call) -> Result<Robot, Problem> {
    Ok(call.directory()?.robot(call.grant()?, &robot_name(call)?).await?)
}

pub(crate) async fn change_robot(call: &Call, patch: RobotPatch) -> Result<Robot, Problem> {
    let name = robot_name(call)?;
    Ok(call.directory()?.change_robot(call.grant()?, &call.subject, &name, patch).await?)
}

pub(crate) async fn delete_robot(call: &Call) -> Result<(), Problem> {
    call.directory()?.delete_robot(call.grant()?, &robot_name(call)?).await?;
    Ok(())
}

pub(crate) async fn rotate_robot(call: &Call, rotation: Rotation) -> Result<Shown<Robot>, Problem> {
    let name = robot_name(call)?;
    Ok(call.directory()?.rotate_robot(call.grant()?, &call.subject, &name, rotation).await?)
}
