//! Second factors, and the sessions that they open.

use identity::model::NewSession;
use identity::{Secret, UserName};
use serde::Deserialize;

use crate::call::Call;
use crate::problem::Problem;
use crate::reply::Reply;

/// What an app shows above its codes, where the client has not said what it calls this host.
const ISSUER: &str = "Wharf";

/// A code of the second factor. Where it is wanted of who is signed in, it may stand in the header instead.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Code {
    code: Option<Secret>,
}

/// The code in the body, or else the one in the header.
fn code(call: &Call) -> Result<Option<Secret>, Problem> {
    let Code { code } = call.read_or_default()?;
    Ok(code.or_else(|| call.code.clone()))
}

pub(crate) async fn open_session(call: &Call) -> Result<Reply, Problem> {
    let mut new: NewSession = call.read()?;
    new.otp = new.otp.or_else(|| call.code.clone());
    Reply::created(&call.identity()?.open_session(new, call.context.address).await?)
}

pub(crate) async fn start(call: &Call) -> Result<Reply, Problem> {
    let issuer = call.host.as_deref().unwrap_or(ISSUER);
    Reply::created(&call.identity()?.start_totp(&call.subject, &call.context, issuer).await?)
}

pub(crate) async fn confirm(call: &Call) -> Result<Reply, Problem> {
    let code = code(call)?.ok_or_else(|| Problem::invalid(&"send the code that your app shows as `code`"))?;
    Reply::json(&call.identity()?.confirm_totp(&call.subject, &call.context, &code).await?)
}

pub(crate) async fn recovery_codes(call: &Call) -> Result<Reply, Problem> {
    let code = code(call)?;
    Reply::json(&call.identity()?.renew_recovery_codes(&call.caller, &call.context, code.as_ref()).await?)
}

pub(crate) async fn delete(call: &Call) -> Result<Reply, Problem> {
    let code = code(call)?;
    call.identity()?.delete_totp(&call.caller, &call.context, code.as_ref()).await?;
    Ok(Reply::done())
}

pub(crate) async fn delete_of(call: &Call) -> Result<Reply, Problem> {
    let name: UserName = call.param("user")?;
    call.directory()?.delete_factor_of(call.grant()?, &call.subject, &name).await?;
    Ok(Reply::done())
}
