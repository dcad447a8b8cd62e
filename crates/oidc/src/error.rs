//! What can go wrong with an issuer, a token or a sign-in.

/// Why a token or a sign-in is refused, or cannot be judged. No token and no secret is in the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OidcError {
    /// An address cannot be used.
    #[error("`{address}` cannot be used as {what}: {why}")]
    Address {
        /// The address.
        address: String,
        /// What it is for.
        what: &'static str,
        /// What to do about it.
        why: &'static str,
    },
    /// The certificates cannot be used.
    #[error("the certificates for the issuer {issuer} cannot be used: {why}. Give one or more in PEM form")]
    Certificates {
        /// Whose.
        issuer: String,
        /// What is wrong.
        why: String,
    },
    /// A set of keys cannot be used.
    #[error("the keys of the issuer {issuer} cannot be used: {why}")]
    Keys {
        /// Whose.
        issuer: String,
        /// What is wrong.
        why: String,
    },
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be set up: {0}")]
    Setup(String),
    /// There is no randomness.
    #[error("the system gives no random bytes, so no sign-in can begin")]
    Random,
    /// The issuer does not answer as it should.
    #[error(
        "{url} cannot be asked: {why}. Check that this host reaches the issuer and trusts its certificate"
    )]
    Unreachable {
        /// What was asked.
        url: String,
        /// What happened.
        why: String,
    },
    /// The issuer answers with something else than the specification says.
    #[error("{url} gives an answer that cannot be used: {why}")]
    Answer {
        /// What was asked.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// The discovery document speaks for somebody else.
    #[error(
        "the discovery document of {configured} says that its issuer is `{found}`: configure the issuer exactly as the document has it, if that is who you mean"
    )]
    OtherIssuer {
        /// Who was asked.
        configured: String,
        /// Who answers.
        found: String,
    },
    /// This is no token.
    #[error(
        "this is no signed token in the compact form (JWS): {0}. Send the token exactly as the issuer gave it"
    )]
    Malformed(&'static str),
    /// The token is larger than any should be.
    #[error("the token has more than {0} bytes: have the issuer put fewer claims into it")]
    TooLarge(usize),
    /// A claim is missing or is not what it should be.
    #[error("the token's `{claim}` {problem}")]
    Claim {
        /// Which.
        claim: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The token is somebody else's.
    #[error("the token is from the issuer `{found}`, and {wanted} is expected here")]
    WrongIssuer {
        /// Who is expected.
        wanted: String,
        /// Who issued it.
        found: String,
    },
    /// The token was made for somebody else.
    #[error("the token is for the audience {found}: ask the issuer for one with the audience `{wanted}`")]
    Audience {
        /// What is expected.
        wanted: String,
        /// What the token says.
        found: String,
    },
    /// The token has ended.
    #[error(
        "the token has expired: get a new one. If it is new, the clocks of this host and the issuer differ"
    )]
    Expired,
    /// The token has not begun.
    #[error("the token is from the future: compare the clocks of this host and the issuer")]
    NotYet,
    /// The key that signed it is not among the issuer's.
    #[error("the token is signed with a key that {issuer} does not publish{detail}")]
    UnknownKey {
        /// Whose keys were looked at.
        issuer: String,
        /// What may be the reason.
        detail: String,
    },
    /// The token is signed in another way than its key is for.
    #[error("the token says that it is signed with `{found}`, and its key is for {wanted}: it is refused")]
    Algorithm {
        /// What the key is for.
        wanted: &'static str,
        /// What the token says.
        found: String,
    },
    /// The signature is wrong.
    #[error("the token's signature is not by the key of {issuer} that it names: it was changed or made up")]
    Signature {
        /// Whose key.
        issuer: String,
    },
    /// The answer belongs to no sign-in that was begun here.
    #[error("this answer belongs to another sign-in (its {0} is another): begin again")]
    OtherSignIn(&'static str),
    /// The provider does not let somebody in.
    #[error(
        "the identity provider refuses the sign-in: {0}. Begin again; if that does not help, ask who runs it"
    )]
    Refused(String),
    /// The callback lacks what it should carry.
    #[error("the identity provider sent no code: begin again")]
    NoCode,
    /// The token that came along is not what the ID token was made with.
    #[error("the access token is not the one that the ID token belongs to: begin again")]
    AccessToken,
}
