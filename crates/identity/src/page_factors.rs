//! Second factors on the pages: the second step of a sign-in, showing one once more before factors change, and what
//! is done with passkeys, which only a browser can show.
//!
//! What is between two steps is kept on the server, for the browser that took the first (see [`crate::passkey`]).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use access::{Context, Subject, Unauthenticated};
use meta::Entry;
use sha2::{Digest as _, Sha256};

use crate::IdentityError;
use crate::browser::{Opened, SessionId, new_id};
use crate::directory::{
    Factors, NewCodes, check_passkey, fingerprint_of_passkey, no_factor, passkey_id, signed_in_by_hand,
};
use crate::gate::Identity;
use crate::model::{
    OneTimeCode, OneTimeCodeShown, PasskeyRecord, PasswordChange, RecoveryCodesShown, TotpStart,
};
use crate::names::UserName;
use crate::passkey::{ANSWER_MAX, Asking, CREDENTIAL_MAX, PasskeyError, Passkeys, Question};
use crate::proof::{Proof, unavailable};
use crate::recovery::RecoveryCodes;
use crate::second_factor::totp_start;
use crate::secret::Secret;

/// How long a code for the command line is good.
const ONE_TIME_FOR: Duration = Duration::from_mins(5);

/// What a passkey is asked for. An answer to one counts for no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To sign in.
    SignIn,
    /// To change factors afterwards.
    Confirm,
    /// To get a code for the command line.
    OneTimeCode,
}

impl Purpose {
    /// Where the question of a browser waits.
    fn key(self, browser: &SessionId) -> [u8; 32] {
        Sha256::new().chain_update(browser.hash()).chain_update([self as u8]).finalize().into()
    }
}

/// How a sign-in goes on.
pub enum SignIn {
    /// It is done.
    Open(Opened),
    /// The password was right, and a second factor is wanted of the browser that has this id from then on: the one
    /// that it came with may be known to others.
    Factor(SessionId),
}

/// A passkey that a browser was asked for.
pub(crate) struct Asked {
    /// As they were when it was asked: a counter is held against what it was then, and nothing else may have come in
    /// between.
    held: Vec<(Entry, PasskeyRecord)>,
    judge: Box<dyn Asking>,
}

/// A passkey that was shown.
struct PasskeyShown {
    fingerprint: String,
    name: String,
}

/// What somebody can show as their second factor.
pub struct Wanted {
    /// Who.
    pub user: UserName,
    /// What the browser is to ask a passkey for; none where there is no passkey, or none can be used here.
    pub passkey: Option<String>,
    /// Whether there is a passkey, and no app that shows codes.
    pub only_passkeys: bool,
}

/// Somebody who has shown their second factor just now in their session, or their password where they have none: so
/// they may change what they sign in with. Only [`Identity::session`] makes one.
#[derive(Clone, Debug)]
pub struct Confirmed {
    pub(crate) id: SessionId,
    pub(crate) subject: Arc<Subject>,
    /// What was shown; none where there was no second factor.
    pub(crate) factor: Option<String>,
}

impl Confirmed {
    /// What the forms of the session carry.
    pub fn csrf(&self) -> Secret {
        self.id.csrf()
    }

    /// Who it is.
    pub fn user(&self) -> String {
        self.subject.actor().to_string()
    }
}

impl Identity {
    /// The same, where passkeys are offered.
    #[must_use]
    pub fn with_passkeys(mut self, passkeys: Arc<dyn Passkeys>) -> Self {
        self.passkeys = Some(passkeys);
        self
    }

    /// Whether passkeys are offered.
    pub fn offers_passkeys(&self) -> bool {
        self.passkeys.is_some()
    }

    /// Signs somebody in by name and password on a page, or begins to, where there is a second factor.
    pub async fn begin_sign_in(
        &self,
        user: &str,
        password: Secret,
        address: Option<IpAddr>,
    ) -> Result<SignIn, Unauthenticated> {
        let credential = self.prove_first(user, password, address).await?;
        // The token of a CI job is a password, too, and nobody's who looks at pages.
        let user = credential.user().ok_or(Unauthenticated::Wrong)?;
        let proof = Proof::of(credential);
        if self.directory().factors(&user).await.map_err(unavailable)?.is_on() {
            let browser = new_id()?;
            self.pending.put(browser.hash(), user, proof, self.directory().now());
            return Ok(SignIn::Factor(browser));
        }
        self.open_browser(user, proof, None).await.map(SignIn::Open)
    }

    /// What is wanted of whoever began to sign in with this browser.
    pub async fn wanted_to_sign_in(&self, browser: &SessionId) -> Result<Wanted, IdentityError> {
        let (user, _) = self.pending_of(browser)?;
        self.wanted(browser, &user, Purpose::SignIn).await
    }

    /// Ends a sign-in with a code.
    pub async fn sign_in_with_code(
        &self,
        browser: &SessionId,
        code: &Secret,
        context: &Context,
    ) -> Result<Opened, IdentityError> {
        let (user, proof) = self.pending_of(browser)?;
        let factor = self.check_factor(&user, Some(code), context).await?;
        self.finish_sign_in(browser, user, Proof { factor, ..proof }).await
    }

    /// Ends a sign-in with a passkey. Gives its name, too.
    pub async fn sign_in_with_passkey(
        &self,
        browser: &SessionId,
        answer: &str,
        context: &Context,
    ) -> Result<(Opened, String), IdentityError> {
        let (user, proof) = self.pending_of(browser)?;
        let shown = self.show_passkey(browser, &user, Purpose::SignIn, answer, context).await?;
        let proof = Proof { factor: Some(shown.fingerprint), ..proof };
        Ok((self.finish_sign_in(browser, user, proof).await?, shown.name))
    }

    /// Whose sign-in this browser has begun.
    pub fn pending_user(&self, browser: &SessionId) -> Option<UserName> {
        self.pending_of(browser).ok().map(|(user, _)| user)
    }

    fn pending_of(&self, browser: &SessionId) -> Result<(UserName, Proof), IdentityError> {
        self.pending.look(&browser.hash(), self.directory().now()).ok_or(IdentityError::Expired)
    }

    async fn finish_sign_in(
        &self,
        browser: &SessionId,
        user: UserName,
        proof: Proof,
    ) -> Result<Opened, IdentityError> {
        self.pending.take(&browser.hash(), &user, self.directory().now());
        let outcome = self.open_browser(user.clone(), proof.clone(), None).await;
        if matches!(outcome, Err(Unauthenticated::PasswordExpired)) {
            // The new password needs no second factor once more: maybe there is none that can be typed.
            self.pending.put(browser.hash(), user, proof, self.directory().now());
        }
        Ok(outcome?)
    }

    /// Gives somebody the password that they chose, as [`Identity::change_password`] does, and asks for no code of who
    /// has shown a second factor with this browser just now, to sign in or in the session.
    pub async fn change_password_on_page(
        &self,
        shown_by: Result<&SessionId, &Confirmed>,
        user: &str,
        change: PasswordChange,
        code: Option<&Secret>,
        context: &Context,
    ) -> Result<(), IdentityError> {
        let is_shown = match shown_by {
            Ok(browser) => self
                .pending_of(browser)
                .is_ok_and(|(pending, proof)| pending.as_str() == user && proof.factor.is_some()),
            Err(confirmed) => confirmed.subject.actor().to_string() == user,
        };
        if !is_shown {
            return self.change_password(user, change, code, context).await;
        }
        self.change_proven_password(user, change, context).await
    }

    /// What is wanted of whoever is to show their second factor once more; nothing but the password where they have
    /// none.
    pub async fn wanted_to_confirm(
        &self,
        id: &SessionId,
        subject: &Subject,
        purpose: Purpose,
    ) -> Result<Option<Wanted>, IdentityError> {
        let user = signed_in_by_hand(subject)?;
        if !self.directory().factors(&user).await?.is_on() {
            return Ok(None);
        }
        self.wanted(id, &user, purpose).await.map(Some)
    }

    /// Takes the password of who has no second factor, for what is done in the session from now on.
    pub async fn confirm_with_password(
        &self,
        id: &SessionId,
        subject: &Subject,
        password: Secret,
        context: &Context,
    ) -> Result<(), IdentityError> {
        let user = signed_in_by_hand(subject)?;
        let credential = self.prove_first(user.as_str(), password, context.address).await?;
        if credential.user().as_ref() != Some(&user) {
            return Err(Unauthenticated::Wrong.into());
        }
        if self.directory().factors(&user).await?.is_on() {
            return Err(Unauthenticated::CodeWanted.into());
        }
        self.browsers.confirm(id, None, self.directory().now());
        Ok(())
    }

    /// Takes a code, for what is done in the session from now on.
    pub async fn confirm_with_code(
        &self,
        id: &SessionId,
        subject: &Subject,
        code: &Secret,
        context: &Context,
    ) -> Result<(), IdentityError> {
        let user = signed_in_by_hand(subject)?;
        if !self.directory().factors(&user).await?.is_on() {
            return Err(no_factor(&user));
        }
        let _one_after_another = self.codes.lock().await;
        let factor = self.spend_in_turn(&user, code, true, context).await?;
        self.browsers.confirm(id, Some(factor), self.directory().now());
        Ok(())
    }

    /// Takes a passkey, for what is done in the session from now on.
    pub async fn confirm_with_passkey(
        &self,
        id: &SessionId,
        subject: &Subject,
        answer: &str,
        context: &Context,
    ) -> Result<(), IdentityError> {
        let user = signed_in_by_hand(subject)?;
        let shown = self.show_passkey(id, &user, Purpose::Confirm, answer, context).await?;
        self.browsers.confirm(id, Some(shown.fingerprint), self.directory().now());
        Ok(())
    }

    /// A code for the command line, for who shows a passkey with this very request.
    pub async fn one_time_code(
        &self,
        id: &SessionId,
        subject: &Subject,
        context: &Context,
        answer: &str,
    ) -> Result<OneTimeCodeShown, IdentityError> {
        let user = signed_in_by_hand(subject)?;
        let shown = self.show_passkey(id, &user, Purpose::OneTimeCode, answer, context).await?;
        let (code, kept) = RecoveryCodes::one()?;
        let one_time = OneTimeCode {
            code: kept,
            until: self.directory().now().plus(ONE_TIME_FOR),
            fingerprint: shown.fingerprint,
        };
        self.directory().keep_one_time_code(&user, context, one_time).await?;
        Ok(OneTimeCodeShown { code, minutes: ONE_TIME_FOR.as_secs() / 60 })
    }

    /// What the browser is to ask an authenticator for a new passkey.
    pub async fn begin_passkey(&self, by: &Confirmed) -> Result<String, IdentityError> {
        let judge = self.passkeys.as_ref().ok_or_else(not_offered)?;
        let (user, factors) = self.still(by).await?;
        let known: Vec<_> = factors.passkeys;
        let known: Vec<_> = known.into_iter().map(|(_, record)| record.credential).collect();
        // The same for a user at all times, and nothing to read for who finds the authenticator.
        let hash = Sha256::new().chain_update("wharf passkey\n").chain_update(user.as_str()).finalize();
        let mut handle = [0; 16];
        handle.copy_from_slice(&hash[..16]);
        let Question { options, judge } = judge.register(&user, handle, &known)?;
        self.registering.put(by.id.hash(), user, judge, self.directory().now());
        Ok(options)
    }

    /// Keeps a new passkey. Gives recovery codes where there was no second factor before.
    pub async fn finish_passkey(
        &self,
        by: &Confirmed,
        context: &Context,
        label: &str,
        answer: &str,
    ) -> Result<Option<RecoveryCodesShown>, IdentityError> {
        let user = signed_in_by_hand(&by.subject)?;
        let waiting = self.registering.take(&by.id.hash(), &user, self.directory().now());
        let judge = waiting.ok_or(IdentityError::Expired)?;
        check_passkey(&self.directory().factors(&user).await?, label)?;
        let credential = judge.finish(bounded(answer)?)?;
        if credential.key.to_string().len() > CREDENTIAL_MAX {
            return Err(PasskeyError::Refused("what it says of itself is too long".into()).into());
        }
        // So that two at once do not make one too many, and the session stands on it before anybody looks.
        let _one_after_another = self.codes.lock().await;
        self.still(by).await?;
        let (id, codes) = self.directory().add_passkey(&user, context, label, credential).await?;
        self.browsers.confirm(&by.id, Some(fingerprint_of_passkey(&id)), self.directory().now());
        Ok(codes.map(|recovery_codes| RecoveryCodesShown { recovery_codes }))
    }

    /// Removes a passkey.
    pub async fn remove_passkey(
        &self,
        by: &Confirmed,
        context: &Context,
        id: &str,
    ) -> Result<(), IdentityError> {
        let _one_after_another = self.codes.lock().await;
        let (user, _) = self.still(by).await?;
        self.directory().drop_passkey(&user, context, id).await
    }

    /// Begins to set an app up. `issuer` is what it shows above its codes.
    pub async fn begin_app(
        &self,
        by: &Confirmed,
        context: &Context,
        issuer: &str,
    ) -> Result<TotpStart, IdentityError> {
        self.still(by).await?;
        self.start_app(&by.subject, context, issuer).await
    }

    /// The same secret once more, for who mistyped its first code.
    pub async fn resume_app(&self, by: &Confirmed, issuer: &str) -> Result<TotpStart, IdentityError> {
        let (user, _) = self.still(by).await?;
        let secret = self.directory().waiting_secret(&user).await?;
        totp_start(&user, &secret, issuer)
    }

    /// Turns an app's codes on, with the first of them.
    pub async fn finish_app(
        &self,
        by: &Confirmed,
        context: &Context,
        code: &Secret,
    ) -> Result<RecoveryCodesShown, IdentityError> {
        let _one_after_another = self.codes.lock().await;
        let (user, _) = self.still(by).await?;
        let NewCodes { shown, record, .. } = self.turn_app_on(&user, context, code).await?;
        self.browsers.confirm(&by.id, Some(record.fingerprint()), self.directory().now());
        Ok(RecoveryCodesShown { recovery_codes: shown })
    }

    /// Turns an app's codes off.
    pub async fn remove_app(&self, by: &Confirmed, context: &Context) -> Result<(), IdentityError> {
        let _one_after_another = self.codes.lock().await;
        let (user, _) = self.still(by).await?;
        self.directory().drop_own_factor(&user, context).await
    }

    /// New recovery codes in place of all others. What the old ones opened ends, but for this session.
    pub async fn renew_codes(
        &self,
        by: &Confirmed,
        context: &Context,
    ) -> Result<RecoveryCodesShown, IdentityError> {
        let _one_after_another = self.codes.lock().await;
        let (user, _) = self.still(by).await?;
        let NewCodes { shown, before, record } =
            self.directory().renew_recovery_codes(&user, context).await?;
        self.browsers.follow(&by.id, &before, record.fingerprint_of_mark());
        Ok(RecoveryCodesShown { recovery_codes: shown })
    }

    /// Whose session it is, while what was shown in it still counts: the password no longer does once there is a second
    /// factor, however short before it was taken.
    async fn still(&self, by: &Confirmed) -> Result<(UserName, Factors), IdentityError> {
        let user = signed_in_by_hand(&by.subject)?;
        let factors = self.directory().factors(&user).await?;
        let counts = by.factor.as_ref().is_some_and(|factor| factors.fingerprints().contains(factor));
        if factors.is_on() && !counts {
            return Err(IdentityError::Expired);
        }
        Ok((user, factors))
    }

    async fn wanted(
        &self,
        browser: &SessionId,
        user: &UserName,
        purpose: Purpose,
    ) -> Result<Wanted, IdentityError> {
        let factors = self.directory().factors(user).await?;
        let only_passkeys = !factors.has_app();
        let judge = self.passkeys.as_ref().filter(|_| !factors.passkeys.is_empty());
        let passkey = match judge {
            None => None,
            Some(judge) => {
                let known: Vec<_> =
                    factors.passkeys.iter().map(|(_, record)| record.credential.clone()).collect();
                // Where one cannot be read, there still are the recovery codes.
                let asking = judge.ask(&known).inspect_err(
                    |error| tracing::error!(%user, %error, "the passkeys of a user cannot be asked for"),
                );
                asking.ok().map(|Question { options, judge }| {
                    let asked = Asked { held: factors.passkeys, judge };
                    self.asked.put(purpose.key(browser), user.clone(), asked, self.directory().now());
                    options
                })
            }
        };
        Ok(Wanted { user: user.clone(), passkey, only_passkeys })
    }

    /// A passkey that this browser was asked for, for this user and this purpose.
    async fn show_passkey(
        &self,
        browser: &SessionId,
        user: &UserName,
        purpose: Purpose,
        answer: &str,
        context: &Context,
    ) -> Result<PasskeyShown, IdentityError> {
        let waiting = self.asked.take(&purpose.key(browser), user, self.directory().now());
        let Asked { held, judge } = waiting.ok_or(IdentityError::Expired)?;
        let find = |id: &str| held.iter().find(|(_, record)| record.credential.id == id);
        let credential = judge.finish(bounded(answer)?).map_err(|error| match error {
            PasskeyError::Copied { id } => {
                let name = find(&id).map_or(id, |(entry, record)| format!("{} ({})", record.name, passkey_id(entry)));
                tracing::warn!(%user, passkey = name, "the counter of a passkey went back: it may have been copied");
                PasskeyError::Copied { id: name }
            }
            error => error,
        })?;
        let unknown = || PasskeyError::Refused("it is not known here".into());
        let (entry, record) = find(&credential.id).ok_or_else(unknown)?;
        let used =
            PasskeyRecord { name: record.name.clone(), credential, last_used: Some(self.directory().now()) };
        if !self.directory().note_passkey(user, context, entry, &used).await? {
            return Err(IdentityError::Expired);
        }
        Ok(PasskeyShown { fingerprint: fingerprint_of_passkey(passkey_id(entry)), name: used.name })
    }
}

/// An answer that is not too long to be one.
fn bounded(answer: &str) -> Result<&str, PasskeyError> {
    if answer.len() > ANSWER_MAX {
        return Err(PasskeyError::Refused("the answer is too long".into()));
    }
    Ok(answer)
}

fn not_offered() -> IdentityError {
    IdentityError::Invalid("passkeys are not offered here: set `auth.public_url`".into())
}
