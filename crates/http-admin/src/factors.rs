//! Second factors, and the sessions that they open.

use identity::model::{NewSession, Passkey, RecoveryCodesShown, Session, TotpStart};
use identity::{Secret, UserName};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::call::Call;
use crate::problem::Problem;
use crate::reply::Items;

/// What an app shows above its codes, where the client has not said what it calls this host.
const ISSUER: &str = "Wharf";

/// A code of the second factor. Where it is wanted of who is signed in, it may stand in the header instead.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Code {
    /// The code that the app shows, or a recovery code.
    code: Option<Secret>,
}

/// The code in the body, or else the one in the header.
fn code(call: &Call, body: Code) -> Option<Secret> {
    body.code.or_else(|| call.code.clone())
}

pub(crate) async fn open_session(call: &Call, mut new: NewSession) -> Result<Session, Problem> {
    new.otp = new.otp.or_else(|| call.code.clone());
    call.claim(&new.user);
    Ok(call.identity()?.open_session(new, &call.context).await?)
}

pub(crate) async fn end_session(call: &Call) -> Result<(), Problem> {
    Ok(call.identity()?.end_session(&call.caller, &call.context).await?)
}

pub(crate) async fn start(call: &Call) -> Result<TotpStart, Problem> {
    let issuer = call.host.as_deref().unwrap_or(ISSUER);
    Ok(call.identity()?.start_totp(&call.caller, &call.context, call.code.as_ref(), issuer).await?)
}

pub(crate) async fn confirm(call: &Call, body: Code) -> Result<RecoveryCodesShown, Problem> {
    let code =
        code(call, body).ok_or_else(|| Problem::invalid(&"send the code that your app shows as `code`"))?;
    Ok(call.identity()?.confirm_totp(&call.subject, &call.context, &code).await?)
}

pub(crate) async fn recovery_codes(call: &Call, body: Code) -> Result<RecoveryCodesShown, Problem> {
    let code = code(call, body);
    Ok(call.identity()?.renew_recovery_codes(&call.caller, &call.context, code.as_ref()).await?)
}

pub(crate) async fn delete(call: &Call, body: Code) -> Result<(), Problem> {
    let code = code(call, body);
    call.identity()?.delete_totp(&call.caller, &call.context, code.as_ref()).await?;
    Ok(())
}

pub(crate) async fn passkeys(call: &Call) -> Result<Items<Passkey>, Problem> {
    Ok(Items { items: call.directory()?.own_passkeys(&call.subject).await? })
}

pub(crate) async fn delete_passkey(call: &Call, body: Code) -> Result<(), Problem> {
    let code = code(call, body);
    let id = call.params.get("passkey");
    call.identity()?.delete_passkey(&call.caller, &call.context, code.as_ref(), id).await?;
    Ok(())
}

pub(crate) async fn delete_of(call: &Call) -> Result<(), Problem> {
    let name: UserName = call.param("user")?;
    call.directory()?.delete_factor_of(call.grant()?, &call.subject, &name).await?;
    Ok(())
}
