//! Users, groups, roles, and what is one's own.

use identity::model::{
    Group, NewToken, NewUser, PasswordChange, Role, SecondFactor, Shown, Token, User, UserPatch, Whoami,
};
use identity::{GroupName, Page, Secret, UserName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::problem::Problem;
use crate::reply::Items;

pub(crate) async fn whoami(call: &Call) -> Result<Whoami, Problem> {
    let second_factor = match &call.edge.identity {
        Some(identity) => identity.directory().second_factor(&call.subject).await?,
        None => SecondFactor::default(),
    };
    Ok(Whoami::of(&call.subject, second_factor))
}

/// Somebody's own password: for who must change it before they can sign in, too.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnPassword {
    /// The name that they sign in with.
    user: String,
    /// The one that is to be replaced.
    #[schemars(with = "String")]
    current: Secret,
    /// The new one.
    #[schemars(with = "String")]
    new: Secret,
}

pub(crate) async fn change_password(
    call: &Call,
    OwnPassword { user, current, new }: OwnPassword,
) -> Result<(), Problem> {
    let change = PasswordChange { current, new };
    call.claim(&user);
    call.identity()?.change_password(&user, change, call.code.as_ref(), &call.context).await?;
    Ok(())
}

pub(crate) async fn own_tokens(call: &Call) -> Result<Items<Token>, Problem> {
    Ok(Items { items: call.directory()?.own_tokens(&call.subject).await? })
}

pub(crate) async fn create_token(call: &Call, new: NewToken) -> Result<Shown<Token>, Problem> {
    Ok(call.directory()?.create_token(&call.subject, &call.context, new).await?)
}

pub(crate) async fn delete_own_token(call: &Call) -> Result<(), Problem> {
    let id = call.params.get("token");
    call.directory()?.delete_own_token(&call.subject, &call.context, id).await?;
    Ok(())
}

pub(crate) async fn users(call: &Call) -> Result<Page<User>, Problem> {
    Ok(call.directory()?.users(call.grant()?, call.after().as_deref()).await?)
}

pub(crate) async fn create_user(call: &Call, new: NewUser) -> Result<User, Problem> {
    Ok(call.directory()?.create_user(call.grant()?, new).await?)
}

pub(crate) async fn user(call: &Call) -> Result<User, Problem> {
    let name: UserName = call.param("user")?;
    Ok(call.directory()?.user(call.grant()?, &name).await?)
}

pub(crate) async fn change_user(call: &Call, patch: UserPatch) -> Result<User, Problem> {
    let name: UserName = call.param("user")?;
    Ok(call.directory()?.change_user(call.grant()?, &call.subject, &name, patch).await?)
}

pub(crate) async fn delete_user(call: &Call) -> Result<(), Problem> {
    let name: UserName = call.param("user")?;
    call.directory()?.delete_user(call.grant()?, &call.subject, &name).await?;
    Ok(())
}

/// A password that was made for a user: shown this once.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NewPassword {
    /// Whose it is.
    name: UserName,
    /// The password. It must be changed at the next sign-in.
    password: String,
}

pub(crate) async fn reset_password(call: &Call) -> Result<NewPassword, Problem> {
    let name: UserName = call.param("user")?;
    let password = call.directory()?.reset_password(call.grant()?, &call.subject, &name).await?;
    Ok(NewPassword { name, password: password.expose().to_owned() })
}

pub(crate) async fn tokens(call: &Call) -> Result<Items<Token>, Problem> {
    let name: UserName = call.param("user")?;
    Ok(Items { items: call.directory()?.tokens_of(call.grant()?, &name).await? })
}

pub(crate) async fn delete_token(call: &Call) -> Result<(), Problem> {
    let name: UserName = call.param("user")?;
    call.directory()?.delete_token_of(call.grant()?, &call.subject, &name, call.params.get("token")).await?;
    Ok(())
}

pub(crate) async fn groups(call: &Call) -> Result<Page<Group>, Problem> {
    Ok(call.directory()?.groups(call.grant()?, call.after().as_deref()).await?)
}

/// What is said of a group: its name is in the path.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GroupBody {
    /// What it is for.
    description: String,
    /// The name that a directory or an OpenID provider has for it: its members there are members here.
    external: Option<String>,
}

pub(crate) async fn put_group(
    call: &Call,
    GroupBody { description, external }: GroupBody,
) -> Result<Group, Problem> {
    let name: GroupName = call.param("group")?;
    let group = Group { name, description, external };
    Ok(call.directory()?.put_group(call.grant()?, &call.subject, group).await?)
}

pub(crate) async fn delete_group(call: &Call) -> Result<(), Problem> {
    let name: GroupName = call.param("group")?;
    call.directory()?.delete_group(call.grant()?, &call.subject, &name).await?;
    Ok(())
}

pub(crate) async fn group_members(call: &Call) -> Result<Items<UserName>, Problem> {
    let name: GroupName = call.param("group")?;
    Ok(Items { items: call.directory()?.group_members(call.grant()?, &name).await? })
}

pub(crate) async fn add_to_group(call: &Call) -> Result<(), Problem> {
    let (group, user): (GroupName, UserName) = (call.param("group")?, call.param("user")?);
    call.directory()?.add_to_group(call.grant()?, &call.subject, &group, &user).await?;
    Ok(())
}

pub(crate) async fn remove_from_group(call: &Call) -> Result<(), Problem> {
    let (group, user): (GroupName, UserName) = (call.param("group")?, call.param("user")?);
    call.directory()?.remove_from_group(call.grant()?, &call.subject, &group, &user).await?;
    Ok(())
}

pub(crate) async fn roles(call: &Call) -> Result<Items<Role>, Problem> {
    Ok(Items { items: call.directory()?.roles().await? })
}

/// What is said of a role: its name is in the path.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleBody {
    /// What it is for.
    #[serde(default)]
    description: String,
    /// What it allows.
    actions: identity::model::Actions,
}

pub(crate) async fn put_role(
    call: &Call,
    RoleBody { description, actions }: RoleBody,
) -> Result<Role, Problem> {
    let role = Role { name: call.params.get("role").to_owned(), description, actions, built_in: false };
    Ok(call.directory()?.put_role(call.grant()?, &call.subject, role).await?)
}

pub(crate) async fn delete_role(call: &Call) -> Result<(), Problem> {
    call.directory()?.delete_role(call.grant()?, &call.subject, call.params.get("role")).await?;
    Ok(())
}
