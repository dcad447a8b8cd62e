//! Users, groups, roles, and what is one's own.

use identity::model::{Group, NewToken, NewUser, PasswordChange, Role, SecondFactor, UserPatch, Whoami};
use identity::{GroupName, UserName};
use serde::Deserialize;
use serde_json::json;

use crate::call::Call;
use crate::problem::Problem;
use crate::reply::Reply;

pub(crate) async fn whoami(call: &Call) -> Result<Reply, Problem> {
    let second_factor = match &call.edge.identity {
        Some(identity) => identity.directory().second_factor(&call.subject).await?,
        None => SecondFactor::default(),
    };
    Reply::json(&Whoami::of(&call.subject, second_factor))
}

/// Somebody's own password: for who must change it before they can sign in, too.
#[derive(Deserialize)]
struct OwnPassword {
    user: String,
    #[serde(flatten)]
    change: PasswordChange,
}

pub(crate) async fn change_password(call: &Call) -> Result<Reply, Problem> {
    let OwnPassword { user, change } = call.read()?;
    call.identity()?.change_password(&user, change, call.code.as_ref(), call.context.address).await?;
    Ok(Reply::done())
}

pub(crate) async fn own_tokens(call: &Call) -> Result<Reply, Problem> {
    Reply::json(&json!({"items": call.directory()?.own_tokens(&call.subject).await?}))
}

pub(crate) async fn create_token(call: &Call) -> Result<Reply, Problem> {
    let new: NewToken = call.read()?;
    Reply::created(&call.directory()?.create_token(&call.subject, &call.context, new).await?)
}

pub(crate) async fn delete_own_token(call: &Call) -> Result<Reply, Problem> {
    let id = call.params.get("token");
    call.directory()?.delete_own_token(&call.subject, &call.context, id).await?;
    Ok(Reply::done())
}

pub(crate) async fn users(call: &Call) -> Result<Reply, Problem> {
    Reply::json(&call.directory()?.users(call.grant()?, call.after().as_deref()).await?)
}

pub(crate) async fn create_user(call: &Call) -> Result<Reply, Problem> {
    let new: NewUser = call.read()?;
    Reply::created(&call.directory()?.create_user(call.grant()?, new).await?)
}

pub(crate) async fn user(call: &Call) -> Result<Reply, Problem> {
    let name: UserName = call.param("user")?;
    Reply::json(&call.directory()?.user(call.grant()?, &name).await?)
}

pub(crate) async fn change_user(call: &Call) -> Result<Reply, Problem> {
    let name: UserName = call.param("user")?;
    let patch: UserPatch = call.read()?;
    Reply::json(&call.directory()?.change_user(call.grant()?, &call.subject, &name, patch).await?)
}

pub(crate) async fn delete_user(call: &Call) -> Result<Reply, Problem> {
    let name: UserName = call.param("user")?;
    call.directory()?.delete_user(call.grant()?, &call.subject, &name).await?;
    Ok(Reply::done())
}

pub(crate) async fn reset_password(call: &Call) -> Result<Reply, Problem> {
    let name: UserName = call.param("user")?;
    let password = call.directory()?.reset_password(call.grant()?, &call.subject, &name).await?;
    Reply::json(&json!({"name": name, "password": password.expose()}))
}

pub(crate) async fn tokens(call: &Call) -> Result<Reply, Problem> {
    let name: UserName = call.param("user")?;
    Reply::json(&json!({"items": call.directory()?.tokens_of(call.grant()?, &name).await?}))
}

pub(crate) async fn delete_token(call: &Call) -> Result<Reply, Problem> {
    let name: UserName = call.param("user")?;
    call.directory()?.delete_token_of(call.grant()?, &name, call.params.get("token")).await?;
    Ok(Reply::done())
}

pub(crate) async fn groups(call: &Call) -> Result<Reply, Problem> {
    Reply::json(&call.directory()?.groups(call.grant()?, call.after().as_deref()).await?)
}

/// What is said of a group: its name is in the path.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GroupBody {
    description: String,
    external: Option<String>,
}

pub(crate) async fn put_group(call: &Call) -> Result<Reply, Problem> {
    let name: GroupName = call.param("group")?;
    let GroupBody { description, external } = call.read_or_default()?;
    let group = Group { name, description, external };
    Reply::json(&call.directory()?.put_group(call.grant()?, &call.subject, group).await?)
}

pub(crate) async fn delete_group(call: &Call) -> Result<Reply, Problem> {
    let name: GroupName = call.param("group")?;
    call.directory()?.delete_group(call.grant()?, &call.subject, &name).await?;
    Ok(Reply::done())
}

pub(crate) async fn group_members(call: &Call) -> Result<Reply, Problem> {
    let name: GroupName = call.param("group")?;
    Reply::json(&json!({"items": call.directory()?.group_members(call.grant()?, &name).await?}))
}

pub(crate) async fn add_to_group(call: &Call) -> Result<Reply, Problem> {
    let (group, user): (GroupName, UserName) = (call.param("group")?, call.param("user")?);
    call.directory()?.add_to_group(call.grant()?, &call.subject, &group, &user).await?;
    Ok(Reply::done())
}

pub(crate) async fn remove_from_group(call: &Call) -> Result<Reply, Problem> {
    let (group, user): (GroupName, UserName) = (call.param("group")?, call.param("user")?);
    call.directory()?.remove_from_group(call.grant()?, &call.subject, &group, &user).await?;
    Ok(Reply::done())
}

pub(crate) async fn roles(call: &Call) -> Result<Reply, Problem> {
    Reply::json(&json!({"items": call.directory()?.roles().await?}))
}

/// What is said of a role: its name is in the path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleBody {
    #[serde(default)]
    description: String,
    actions: identity::model::Actions,
}

pub(crate) async fn put_role(call: &Call) -> Result<Reply, Problem> {
    let RoleBody { description, actions } = call.read()?;
    let role = Role { name: call.params.get("role").to_owned(), description, actions, built_in: false };
    Reply::json(&call.directory()?.put_role(call.grant()?, &call.subject, role).await?)
}

pub(crate) async fn delete_role(call: &Call) -> Result<Reply, Problem> {
    call.directory()?.delete_role(call.grant()?, &call.subject, call.params.get("role")).await?;
    Ok(Reply::done())
}
