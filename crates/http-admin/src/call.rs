//! One request, taken apart and allowed.

use std::sync::{Arc, OnceLock};

use access::{Action, Context, Grant, Subject, Target, authorise};
use bytes::Bytes;
use http::StatusCode;
use http_kit::Query;
use identity::{Caller, Directory, Identity, IdentityError, Secret};
use serde::de::DeserializeOwned;

use crate::AdminEdge;
use crate::problem::Problem;
use crate::route::{Params, Permission, Route};

/// The most characters of a name that was made up.
const CLAIMED_MAX: usize = 80;

/// One request.
pub(crate) struct Call {
    pub(crate) edge: Arc<AdminEdge>,
    pub(crate) subject: Arc<Subject>,
    /// The same, and what is known of their second factor.
    pub(crate) caller: Caller,
    /// The code of a second factor that came along.
    pub(crate) code: Option<Secret>,
    /// Who they say they are, where the proof is in the body.
    pub(crate) claimed: Arc<OnceLock<String>>,
    /// What the client calls this host.
    pub(crate) host: Option<String>,
    pub(crate) context: Arc<Context>,
    pub(crate) params: Params,
    pub(crate) query: String,
    pub(crate) body: Bytes,
    /// What the route needs, where it needs anything.
    pub(crate) grant: Option<Grant>,
}

impl Call {
    /// Whether the caller may do this: asked before anything else of the request is looked at.
    pub(crate) fn admit(
        edge: &AdminEdge,
        subject: &Subject,
        context: &Arc<Context>,
        route: &Route,
        params: &Params,
    ) -> Result<Option<Grant>, Problem> {
        let (action, target) = match (route.permission, &params.project) {
            (Permission::Anyone, _) => return Ok(None),
            (Permission::SignedIn, _) if subject.is_anonymous() => {
                return Err(Problem::sign_in("sign in to see this"));
            }
            (Permission::SignedIn, _) => return Ok(None),
            (Permission::System(action), _) => (action, Target::System),
            (Permission::Project(action), Some(project)) => (action, Target::Project(project.clone())),
            (Permission::Around(action), Some(project)) => match &edge.identity {
                Some(identity) => (action, identity.directory().place_of(project)),
                None => (action, Target::System),
            },
            (Permission::Project(_) | Permission::Around(_), None) => (Action::Administer, Target::System),
        };
        let outcome = authorise(&edge.gate.projects(), subject, context, action, target);
        outcome.map(Some).map_err(|denied| {
            if subject.is_anonymous() && edge.gate.challenges() {
                Problem::sign_in(denied.to_string())
            } else {
                denied.into()
            }
        })
    }

    /// Notes who they say they are, for the record of what comes of it.
    pub(crate) fn claim(&self, name: &str) {
        self.claimed.get_or_init(|| name.chars().take(CLAIMED_MAX).collect());
    }

    /// What was allowed.
    pub(crate) fn grant(&self) -> Result<&Grant, Problem> {
        self.grant.as_ref().ok_or_else(|| IdentityError::WrongGrant.into())
    }

    /// Everybody.
    pub(crate) fn identity(&self) -> Result<&Identity, Problem> {
        self.edge.identity.as_deref().ok_or_else(|| {
            Problem::new(
                StatusCode::CONFLICT,
                "this registry has no users: start it with `--auth on`, or on an address that is not loopback",
            )
        })
    }

    /// Their directory.
    pub(crate) fn directory(&self) -> Result<&Directory, Problem> {
        Ok(self.identity()?.directory())
    }

    /// What stands in the path, as what it is.
    pub(crate) fn param<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        name: &str,
    ) -> Result<T, Problem> {
        self.params.get(name).parse().map_err(|error: T::Err| Problem::invalid(&error))
    }

    /// The name after which a page of a list begins.
    pub(crate) fn after(&self) -> Option<String> {
        Query::new(&self.query).first("after").map(std::borrow::Cow::into_owned)
    }

    /// The body.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Problem::invalid(&format!("the request cannot be read: {error}")))
    }

    /// The body, where nothing means: all defaults.
    pub(crate) fn read_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        if self.body.is_empty() { Ok(T::default()) } else { self.read() }
    }
}
