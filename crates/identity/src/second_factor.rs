//! The second factor at the door: when a code is wanted, and that it is good once.
//!
//! Failures are counted like those of passwords, but by themselves: whoever knows the password could otherwise have
//! the count forgotten by signing in to a point before each guess.

use std::sync::Arc;
use std::time::Duration;

use access::{Context, Gate as _, Presented, Subject, Unauthenticated};

use crate::IdentityError;
use crate::directory::{NewCodes, no_factor, signed_in_by_hand};
use crate::gate::Identity;
use crate::model::{RecoveryCodesShown, TotpStart};
use crate::names::UserName;
use crate::proof::{By, SessionId, Standing, unavailable};
use crate::qr::Qr;
use crate::secret::Secret;
use crate::totp::TotpSecret;

/// How long after its beginning a session stands for a code of its own.
const FRESH: Duration = Duration::from_mins(5);

/// Who came to administer, and what is known of their second factor.
pub struct Caller {
    /// Who.
    pub subject: Arc<Subject>,
    /// Whether they must set a second factor up before anything else.
    pub must_enrol: bool,
    /// Whether a code came with this very request, and was used up.
    pub with_code: bool,
    /// Whether nothing more is wanted of them for what cannot be undone.
    is_fresh: bool,
    /// The session that they came in, where it was one.
    pub(crate) session: Option<SessionId>,
}

impl Caller {
    /// Somebody who has no second factor.
    pub const fn without(subject: Arc<Subject>) -> Self {
        Self { subject, must_enrol: false, with_code: false, is_fresh: true, session: None }
    }
}

impl Identity {
    /// Who came to administer: by any credential, in a session, or with a password and a code.
    pub async fn caller(
        &self,
        presented: Presented<'_>,
        code: Option<&Secret>,
        context: &Context,
    ) -> Result<Caller, Unauthenticated> {
        let Some(header) = presented.authorization else {
            return Ok(Caller::without(self.authenticate(presented).await?));
        };
        let verified = self.verify(header, code, context).await?;
        let with_code = verified.proof.is_spent();
        let session = match &verified.proof.by {
            By::Session(session) => Some(session.clone()),
            By::Itself | By::Token(..) => None,
        };
        let is_young =
            session.as_ref().is_some_and(|session| self.directory().now() < session.started.plus(FRESH));
        Ok(Caller {
            subject: Arc::clone(&verified.subject),
            must_enrol: verified.standing == Standing::Due,
            with_code,
            is_fresh: with_code || is_young || !matches!(verified.standing, Standing::Has(_)),
            session,
        })
    }

    /// Asks for a code once more before what cannot be undone, of whoever has a second factor.
    pub async fn step_up(
        &self,
        caller: &Caller,
        code: Option<&Secret>,
        context: &Context,
    ) -> Result<(), IdentityError> {
        if caller.is_fresh {
            return Ok(());
        }
        let code = code.ok_or(Unauthenticated::CodeWanted)?;
        let user = crate::directory::oneself(&caller.subject)?;
        self.spend_code(&user, code, context).await?;
        Ok(())
    }

    /// Begins to set up an app of the caller's own. `issuer` is what it shows above its codes. Who has passkeys already
    /// shows a code that did not come with the sign-in: else a session that was found open would be enough to make
    /// an app that is good for everything.
    pub async fn start_totp(
        &self,
        caller: &Caller,
        context: &Context,
        code: Option<&Secret>,
        issuer: &str,
    ) -> Result<TotpStart, IdentityError> {
        let factors = self.directory().factors(&signed_in_by_hand(&caller.subject)?).await?;
        if factors.is_on() && !factors.has_app() {
            self.own_code(caller, context, code).await?;
        }
        self.start_app(&caller.subject, context, issuer).await
    }

    /// The same for who has shown what is needed.
    pub(crate) async fn start_app(
        &self,
        subject: &Subject,
        context: &Context,
        issuer: &str,
    ) -> Result<TotpStart, IdentityError> {
        let (user, secret) = self.directory().start_factor(subject, context).await?;
        totp_start(&user, &secret, issuer)
    }

    /// Turns the caller's own second factor on, with the first code that their app shows.
    pub async fn confirm_totp(
        &self,
        subject: &Subject,
        context: &Context,
        code: &Secret,
    ) -> Result<RecoveryCodesShown, IdentityError> {
        let user = signed_in_by_hand(subject)?;
        let _one_after_another = self.codes.lock().await;
        let NewCodes { shown, .. } = self.turn_app_on(&user, context, code).await?;
        Ok(RecoveryCodesShown { recovery_codes: shown })
    }

    /// The same for who holds `codes`.
    pub(crate) async fn turn_app_on(
        &self,
        user: &UserName,
        context: &Context,
        code: &Secret,
    ) -> Result<NewCodes, IdentityError> {
        self.spend_in_turn(user, code, false, context).await?;
        self.directory().confirm_factor(user, context).await
    }

    /// New recovery codes, in place of those that are left. The code is one that did not come with the sign-in.
    pub async fn renew_recovery_codes(
        &self,
        caller: &Caller,
        context: &Context,
        code: Option<&Secret>,
    ) -> Result<RecoveryCodesShown, IdentityError> {
        let user = self.own_code(caller, context, code).await?;
        let _one_after_another = self.codes.lock().await;
        let NewCodes { shown, .. } = self.directory().renew_recovery_codes(&user, context).await?;
        Ok(RecoveryCodesShown { recovery_codes: shown })
    }

    /// Turns codes of the caller's own app off. The code is one that did not come with the sign-in.
    pub async fn delete_totp(
        &self,
        caller: &Caller,
        context: &Context,
        code: Option<&Secret>,
    ) -> Result<(), IdentityError> {
        let user = self.own_code(caller, context, code).await?;
        let _one_after_another = self.codes.lock().await;
        self.directory().drop_own_factor(&user, context).await
    }

    /// Removes one of the caller's own passkeys. The code is one that did not come with the sign-in.
    pub async fn delete_passkey(
        &self,
        caller: &Caller,
        context: &Context,
        code: Option<&Secret>,
        id: &str,
    ) -> Result<(), IdentityError> {
        let user = self.own_code(caller, context, code).await?;
        let _one_after_another = self.codes.lock().await;
        self.directory().drop_passkey(&user, context, id).await
    }

    /// A code of the caller's own second factor, with this very request, however young the session is.
    async fn own_code(
        &self,
        caller: &Caller,
        context: &Context,
        code: Option<&Secret>,
    ) -> Result<UserName, IdentityError> {
        let user = signed_in_by_hand(&caller.subject)?;
        if caller.with_code {
            return Ok(user);
        }
        if !self.directory().factors(&user).await?.is_on() {
            return Err(no_factor(&user));
        }
        let code = code.ok_or(Unauthenticated::CodeWanted)?;
        self.spend_code(&user, code, context).await?;
        Ok(user)
    }

    /// After the password was right: the second factor, where there is one. Gives what tells it from others.
    pub(crate) async fn check_factor(
        &self,
        user: &UserName,
        code: Option<&Secret>,
        context: &Context,
    ) -> Result<Option<String>, Unauthenticated> {
        let factors = self.directory().factors(user).await.map_err(unavailable)?;
        if !factors.is_on() {
            return Ok(None);
        }
        let code = code.ok_or(Unauthenticated::SecondFactor)?;
        self.spend_code(user, code, context).await.map(Some)
    }

    /// Uses a code up, and counts it where it is wrong. Gives what it stands for.
    async fn spend_code(
        &self,
        user: &UserName,
        code: &Secret,
        context: &Context,
    ) -> Result<String, Unauthenticated> {
        let _one_after_another = self.codes.lock().await;
        self.spend_in_turn(user, code, true, context).await
    }

    /// The same for who holds `codes`; or with a code of an app that waits to be confirmed.
    pub(crate) async fn spend_in_turn(
        &self,
        user: &UserName,
        code: &Secret,
        confirmed: bool,
        context: &Context,
    ) -> Result<String, Unauthenticated> {
        // No name that somebody signs in with has a control character.
        let counted = format!("{user}\ntotp");
        self.may_try(&counted, context.address)?;
        let used = self.directory().use_code(user, code, confirmed, context).await.map_err(unavailable)?;
        self.tried(&counted, context.address, used.is_some());
        used.ok_or(Unauthenticated::WrongCode)
    }
}

/// What an app is told of a secret.
pub(crate) fn totp_start(
    user: &UserName,
    secret: &TotpSecret,
    issuer: &str,
) -> Result<TotpStart, IdentityError> {
    let uri = secret.provisioning_uri(issuer, user);
    let too_long = || IdentityError::Invalid("the user name is too long for a QR code".into());
    let qr = Qr::new(uri.expose()).ok_or_else(too_long)?;
    Ok(TotpStart {
        secret: secret.base32(),
        qr_text: Secret::new(qr.terminal()),
        qr_svg: Secret::new(qr.svg()),
        uri,
    })
}
