//! The edge itself: finds out what is asked and by whom, runs the handler, and tells the observer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use access::{
    Action, Caller, Context, Denied, Gate, Grant, Listing, Presented, Projects, Subject, Target,
    Unauthenticated, allowed, authorise, authorise_listing,
};
use futures_util::future::BoxFuture;
use http::header::{ACCEPT_ENCODING, ALLOW, AUTHORIZATION, HOST, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_kit::{
    Body, BodyBudget, ConnInfo, Fair, Forwarded, Handler, Keys, PeerAddr, RequestBody, RequestId,
    TrustedProxies, X_REQUEST_ID, credential,
};
use oci::{Digest, Reference, RepoName};
use registry::{Located, Pull, Registry, RegistryError, ReplacedBy};

use crate::by_url::{ByUrl, Opened};
use crate::challenge::Challenge;
use crate::endpoint::{Endpoint, QUERY_MAX, RouteError};
use crate::error::{Code, WireError};
use crate::fair_use::{FairUse, crowded};
use crate::operation::{Operation, Permission};
use crate::reply::{DOCKER_CONTENT_DIGEST, OCI_NAMESPACE};
use crate::sites::{Sites, is_of_a_wharf};
use crate::{blobs, lists, manifests, reply, uploads, via};

/// The most characters of a `User-Agent` that are remembered.
const AGENT_MAX: usize = 200;

/// How many bytes the manifests that are being received may have together, however many clients send them.
const BODIES_MAX: u64 = 64 << 20;

/// One request that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// What was asked for; `None` where the request named nothing that there is.
    pub operation: Option<Operation>,
    /// The status of the response.
    pub status: StatusCode,
    /// How long the answer took, the sending of its body left out.
    pub took: Duration,
    /// Who asked; `None` where their credential was not accepted.
    pub subject: Option<&'a Subject>,
    /// From where.
    pub context: &'a Context,
    /// The method.
    pub method: &'a Method,
    /// The repository.
    pub repository: Option<&'a RepoName>,
    /// What the request named there.
    pub reference: Option<&'a Reference>,
    /// The digest of what was answered or taken.
    pub digest: Option<&'a str>,
    /// The upstream that it was read from, where that is the registry which the project replaces.
    pub replaced: Option<&'a str>,
    /// Whether a name and a secret were verified for this very request.
    pub signed_in: bool,
    /// Who they said they were, where that was not accepted.
    pub claimed: Option<&'a str>,
    /// Why it was not.
    pub why: Option<&'a Unauthenticated>,
}

/// Is told of each request before its answer goes out: metrics, audit.
pub trait Observe: Send + Sync {
    /// A request was answered.
    fn observe(&self, observation: &Observation<'_>);
}

/// Answers everything below `/v2`.
pub struct OciEdge {
    registry: Arc<Registry>,
    /// Answers who pulls: the registry, or what wraps it.
    pull: Arc<dyn Pull>,
    gate: Arc<dyn Gate>,
    proxies: TrustedProxies,
    observer: Arc<dyn Observe>,
    bodies: BodyBudget,
    fair: Option<FairUse>,
    /// Where else blobs are to be had.
    sites: Option<Arc<Sites>>,
    /// Answers who comes by a signed address.
    by_url: Option<Arc<ByUrl>>,
}

/// One request, taken apart.
pub(crate) struct Call<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) pull: &'a dyn Pull,
    /// For bodies that are collected in memory.
    pub(crate) bodies: &'a BodyBudget,
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    /// The path under which a proxy shows us, to be put before every path that is sent to the client.
    pub(crate) prefix: &'a str,
    /// Whether a proxy that might compress stands between.
    pub(crate) may_be_compressed: bool,
    gate: &'a dyn Gate,
    pub(crate) subject: Arc<Subject>,
    projects: Arc<Projects>,
    pub(crate) context: Arc<Context>,
    operation: Operation,
    /// Where the client sees us, for challenges.
    origin: Option<String>,
    /// Where the client may be sent.
    sites: Option<&'a Sites>,
}

impl Call<'_> {
    pub(crate) fn is_head(&self) -> bool {
        *self.method == Method::HEAD
    }

    /// The grant that the operation needs.
    pub(crate) fn grant(&self, repository: &RepoName) -> Result<Grant, WireError> {
        let Permission::Repository(action) = self.operation.permission() else {
            // An operation without a repository has nothing to ask this for.
            return Err(self.denied(
                repository,
                Denied {
                    actor: self.subject.actor().clone(),
                    action: Action::Administer,
                    target: Target::Repository(repository.clone()),
                },
            ));
        };
        self.grant_of(action, repository)
    }

    /// The same for what adds to a repository, whose project may have to be made first.
    pub(crate) async fn push_grant(&self, repository: &RepoName) -> Result<Grant, WireError> {
        let grant = self.grant(repository)?;
        self.gate.prepare(&grant, &self.subject).await?;
        Ok(grant)
    }

    /// The grant for reading from the repository that a mount names.
    pub(crate) fn pull_grant(&self, source: &RepoName) -> Result<Grant, WireError> {
        self.grant_of(Action::Pull, source)
    }

    fn grant_of(&self, action: Action, repository: &RepoName) -> Result<Grant, WireError> {
        let target = Target::Repository(repository.clone());
        authorise(&self.projects, &self.subject, &self.context, action, target)
            .map_err(|denied| self.denied(repository, denied))
    }

    /// Where the client is to read a blob of this size that is here, if not from here.
    pub(crate) fn elsewhere(&self, repository: &RepoName, digest: &Digest, size: u64) -> Option<String> {
        self.sites?.send(self.context.address, repository, digest, size)
    }

    /// Whether the credential is one with which a client is about to push here: an access token that is good for it. Who
    /// only pulls asks for none.
    pub(crate) fn is_for_push(&self, repository: &RepoName) -> bool {
        let target = Target::Repository(repository.clone());
        self.subject.has_token_scope() && allowed(&self.projects, &self.subject, Action::Push, &target)
    }

    pub(crate) fn listing(&self) -> Result<Listing, WireError> {
        authorise_listing(&self.projects, &self.subject).map_err(|denied| self.refuse(None, denied))
    }

    /// Where there is something to sign in to, nobody in particular is asked to.
    pub(crate) fn signed_in(&self) -> Result<(), WireError> {
        if self.subject.is_anonymous() && !self.subject.has_token_scope() && self.gate.challenges() {
            return Err(self.challenge(None, None).refuse("sign in to use this registry".into()));
        }
        Ok(())
    }

    fn denied(&self, repository: &RepoName, denied: Denied) -> WireError {
        self.refuse(Some(repository), denied)
    }

    /// Who could have more with another credential is told so; others may not, whoever they say they are.
    fn refuse(&self, repository: Option<&RepoName>, denied: Denied) -> WireError {
        if !self.gate.challenges() {
            return denied.into();
        }
        if self.subject.is_anonymous() {
            return self.challenge(repository, None).refuse(denied.to_string());
        }
        let owner = self.subject.without_token_scopes();
        let could =
            self.subject.has_token_scope() && allowed(&self.projects, &owner, denied.action, &denied.target);
        if could {
            self.challenge(repository, Some("insufficient_scope")).refuse(denied.to_string())
        } else {
            denied.into()
        }
    }

    fn challenge<'a>(
        &'a self,
        repository: Option<&'a RepoName>,
        error: Option<&'static str>,
    ) -> Challenge<'a> {
        Challenge { origin: self.origin.as_deref(), operation: Some(self.operation), repository, error }
    }
}

/// What a request asks for, and who sends it.
struct Asked {
    endpoint: Result<Endpoint, WireError>,
    /// Whether the repository is an upstream's.
    mirrored: bool,
    caller: Caller,
    /// Why it is refused whoever sends it.
    refusal: Option<WireError>,
    /// For how many seconds the answer may be kept, where the request came by a signed address.
    kept_for: Option<u64>,
}

impl From<Opened> for Asked {
    fn from(opened: Opened) -> Self {
        let Opened { endpoint, caller, refusal, kept_for } = opened;
        Self { endpoint, mirrored: false, caller, refusal, kept_for: Some(kept_for) }
    }
}

/// What is known of a request before anybody looks at who sends it.
struct Arrived<'a> {
    head: &'a Parts,
    forwarded: Forwarded<'a>,
    context: Arc<Context>,
    local: bool,
}

impl Arrived<'_> {
    fn is_head(&self) -> bool {
        self.head.method == Method::HEAD
    }

    fn presented(&self) -> Result<Presented<'_>, Unauthenticated> {
        let authorization = credential(&self.head.headers).map_err(|_| Unauthenticated::Malformed)?;
        Ok(Presented { authorization, address: self.context.address, local: self.local })
    }

    fn origin(&self) -> Option<String> {
        self.forwarded.origin(&self.head.uri, &self.head.headers)
    }

    fn not_accepted(
        &self,
        operation: Option<Operation>,
        repository: Option<&RepoName>,
        error: &Unauthenticated,
    ) -> WireError {
        let origin = self.origin();
        let bearer = self
            .head
            .headers
            .get(AUTHORIZATION)
            .is_some_and(|value| value.as_bytes().starts_with(b"Bearer "));
        let challenge = Challenge { origin: origin.as_deref(), operation, repository, error: None };
        challenge.unauthenticated(error, bearer)
    }

    /// Turns an error into its response. What is our fault goes to the log, once, with its cause.
    fn refuse(&self, operation: &'static str, subject: Option<&Subject>, error: WireError) -> Response<Body> {
        let request = self.context.request.as_deref().unwrap_or_default();
        let client = self.context.address;
        let actor = subject.map(|subject| subject.actor().to_string()).unwrap_or_default();
        let status = error.status.as_u16();
        if error.status.is_server_error() {
            let cause = error.cause.as_deref().map(ToString::to_string).unwrap_or_default();
            tracing::error!(request, operation, ?client, actor, status, cause, "{}", error.message);
        } else if matches!(error.status, StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED) {
            // Clients ask for what may not be there before they push it, and sign in when they are asked to.
            tracing::debug!(request, operation, ?client, actor, status, "{}", error.message);
        } else {
            tracing::info!(request, operation, ?client, actor, status, "{}", error.message);
        }
        error.response(self.is_head())
    }
}

impl OciEdge {
    /// An edge for a registry behind a gate. Forwarding headers count only from `proxies`.
    pub fn new(
        registry: Arc<Registry>,
        gate: Arc<dyn Gate>,
        proxies: TrustedProxies,
        observer: Arc<dyn Observe>,
    ) -> Self {
        let pull = Arc::clone(&registry) as Arc<dyn Pull>;
        Self {
            registry,
            pull,
            gate,
            proxies,
            observer,
            bodies: BodyBudget::new(BODIES_MAX),
            fair: None,
            sites: None,
            by_url: None,
        }
    }

    /// The same, where `pull` answers who pulls.
    #[must_use]
    pub fn pulling_by(self, pull: Arc<dyn Pull>) -> Self {
        Self { pull, ..self }
    }

    /// The same, where nobody takes more than their share. `projects` have limits of their own.
    #[must_use]
    pub fn fairly(self, fair: Arc<Fair>, projects: impl IntoIterator<Item = String>) -> Self {
        let projects = projects.into_iter().map(Arc::from).collect();
        Self { fair: Some(FairUse { fair, projects }), ..self }
    }

    /// The same, where clients are sent to sites for blobs.
    #[must_use]
    pub fn sending_to(self, sites: Arc<Sites>) -> Self {
        Self { sites: Some(sites), ..self }
    }

    /// The same, which also answers below `/edge`.
    #[must_use]
    pub fn answering(self, by_url: Arc<ByUrl>) -> Self {
        Self { by_url: Some(by_url), ..self }
    }

    async fn answer(&self, conn: &ConnInfo, request: Request<RequestBody>) -> Response<Body> {
        let started = Instant::now();
        let (head, body) = request.into_parts();
        let forwarded = Forwarded::of(conn, &head.headers, &self.proxies);
        let id = RequestId::of(&head.headers);
        let arrived = Arrived {
            head: &head,
            forwarded,
            context: Arc::new(Context {
                address: forwarded.client,
                agent: agent(&head.headers),
                request: Some(id.as_str().to_owned()),
            }),
            // A proxy that speaks for somebody else is not at this machine's keyboard.
            local: matches!(conn.peer, PeerAddr::Unix { .. }) && forwarded.client.is_none(),
        };
        let namespace = namespace(&head);
        let Asked { endpoint, mirrored, caller, refusal, kept_for } =
            self.asked(&arrived, namespace.as_deref()).await;
        let operation = endpoint.as_ref().ok().map(Endpoint::operation);
        let name = operation.map_or("none", Operation::name);
        let repository = endpoint.as_ref().ok().and_then(Endpoint::repository).cloned();
        let reference = endpoint.as_ref().ok().and_then(Endpoint::reference);
        let Caller { subject, signed_in, claimed } = caller;
        let outcome = match (&subject, endpoint, refusal) {
            (Ok(_), Ok(_), Some(refusal)) => {
                Err(self.refused_in_turn(arrived.context.address, refusal).await)
            }
            (Ok(subject), Ok(endpoint), None) => {
                let outcome = self.dispatch(&arrived, subject, endpoint, body).await;
                if mirrored { outcome.map_err(WireError::at_a_mirror) } else { outcome }
            }
            (Ok(_), Err(error), _) => Err(error),
            (Err(error), ..) => {
                let refusal = arrived.not_accepted(operation, repository.as_ref(), error);
                Err(self.refused_in_turn(arrived.context.address, refusal).await)
            }
        };
        let (subject, why) = match subject {
            Ok(subject) => (Some(subject), None),
            Err(why) => (None, Some(why)),
        };
        let mut response = outcome.unwrap_or_else(|error| arrived.refuse(name, subject.as_deref(), error));
        if let Some(namespace) = namespace.filter(|_| mirrored) {
            response.headers_mut().insert(OCI_NAMESPACE, reply::value(&namespace));
        }
        if let (Some(by_url), Some(kept_for)) = (&self.by_url, kept_for) {
            by_url.finish(&mut response, kept_for);
        }
        let replaced = response.extensions_mut().remove::<ReplacedBy>();
        let digest = response.headers().get(DOCKER_CONTENT_DIGEST).and_then(|value| value.to_str().ok());
        let observation = Observation {
            operation,
            status: response.status(),
            took: started.elapsed(),
            subject: subject.as_deref(),
            context: &arrived.context,
            method: &head.method,
            repository: repository.as_ref(),
            reference: reference.as_ref(),
            digest,
            replaced: replaced.as_ref().map(|ReplacedBy(upstream)| upstream.as_str()),
            signed_in,
            claimed: claimed.as_deref(),
            why: why.as_ref(),
        };
        self.observer.observe(&observation);
        tracing::debug!(
            request = id.as_str(),
            client = ?arrived.context.address,
            method = %head.method,
            path = head.uri.path(),
            status = observation.status.as_u16(),
            took_us = observation.took.as_micros(),
            "answered"
        );
        if let Some(id) = id.to_header() {
            response.headers_mut().insert(X_REQUEST_ID, id);
        }
        response
    }

    /// What a request asks for, and who sends it: by what it shows of them, or by the address itself.
    async fn asked(&self, arrived: &Arrived<'_>, namespace: Option<&str>) -> Asked {
        let head = arrived.head;
        if let Some(by_url) = self.by_url.as_ref().filter(|_| ByUrl::answers(head.uri.path())) {
            return by_url.open(head).into();
        }
        let path = head.uri.path().strip_prefix("/v2").unwrap_or_default();
        let endpoint = Endpoint::parse(&head.method, path, head.uri.query());
        let (endpoint, mirrored) = self.locate(endpoint, namespace).await;
        let caller = Caller::of(&*self.gate, arrived.presented()).await;
        Asked { endpoint, mirrored, caller, refusal: None, kept_for: None }
    }

    /// Where the client may be sent. Another Wharf could be sent to itself; and who comes by a signed address has been sent
    /// already.
    fn sites(&self, head: &Parts) -> Option<&Sites> {
        let sites = self.sites.as_deref()?;
        let stays = ByUrl::answers(head.uri.path()) || is_of_a_wharf(&head.headers);
        (!stays).then_some(sites)
    }

    /// What a client means by the name that it uses, and whether that is an upstream's.
    async fn locate(
        &self,
        endpoint: Result<Endpoint, RouteError>,
        namespace: Option<&str>,
    ) -> (Result<Endpoint, WireError>, bool) {
        let mut endpoint = match endpoint {
            Ok(endpoint) => endpoint,
            Err(error) => return (Err(misrouted(error)), false),
        };
        let operation = endpoint.operation();
        let Some(repository) = endpoint.repository_mut() else { return (Ok(endpoint), false) };
        let pulls = operation.pulls();
        let refused = match self.pull.locate(repository, namespace, pulls).await {
            Ok(Located::Mirror(name)) if operation.adds() => RegistryError::Mirrored(name).into(),
            Ok(Located::Mirror(name)) => {
                *repository = name;
                return (Ok(endpoint), pulls);
            }
            Ok(Located::Here) => return (Ok(endpoint), false),
            Ok(Located::Nowhere) => unknown_namespace(namespace.unwrap_or_default()),
            Err(error) => error.into(),
        };
        (Err(refused), true)
    }

    /// A wrong credential waits for its turn like a right one: else it would be the way around the limits.
    async fn refused_in_turn(&self, address: Option<IpAddr>, refusal: WireError) -> WireError {
        let Some(fair_use) = &self.fair else { return refusal };
        let keys = Keys { address, identity: None, project: None };
        fair_use.fair.admit(keys).await.map_or_else(crowded, |_admitted| refusal)
    }

    async fn dispatch(
        &self,
        arrived: &Arrived<'_>,
        subject: &Arc<Subject>,
        endpoint: Endpoint,
        body: RequestBody,
    ) -> Result<Response<Body>, WireError> {
        let pull = self.pull.asked_through(&via::trail(&arrived.head.headers));
        let call = Call {
            registry: &self.registry,
            pull: pull.as_deref().unwrap_or(&*self.pull),
            bodies: &self.bodies,
            method: &arrived.head.method,
            headers: &arrived.head.headers,
            prefix: arrived.forwarded.prefix,
            may_be_compressed: may_be_compressed(&arrived.head.headers),
            gate: &*self.gate,
            subject: Arc::clone(subject),
            projects: self.gate.projects(),
            context: Arc::clone(&arrived.context),
            operation: endpoint.operation(),
            origin: self.gate.challenges().then(|| arrived.origin()).flatten(),
            sites: self.sites(arrived.head),
        };
        let Some(fair_use) = &self.fair else { return dispatch(&call, endpoint, body).await };
        let moves_a_blob = call.operation.moves_a_blob() && !call.is_head();
        let mut admitted = fair_use.admit(&call, endpoint.repository()).await?;
        if moves_a_blob {
            admitted.transfer().await.map_err(crowded)?;
        }
        let body = admitted.pace_request(body);
        let response = dispatch(&call, endpoint, body).await?;
        Ok(response.map(|body| admitted.pace(body)))
    }
}

impl Handler for OciEdge {
    fn call(
        self: Arc<Self>,
        conn: Arc<ConnInfo>,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Response<Body>> {
        if let Some(state) = self.by_url.as_ref().and_then(|by_url| by_url.state(&request)) {
            return Box::pin(std::future::ready(state));
        }
        Box::pin(async move { self.answer(&conn, request).await })
    }
}

async fn dispatch(
    call: &Call<'_>,
    endpoint: Endpoint,
    body: RequestBody,
) -> Result<Response<Body>, WireError> {
    match endpoint {
        Endpoint::Version => call.signed_in().map(|()| lists::version()),
        Endpoint::Catalog { page } => lists::catalog(call, &page).await,
        Endpoint::Tags { repository, page } => lists::tags(call, &repository, &page).await,
        Endpoint::GetManifest { repository, reference } => {
            manifests::get(call, &repository, &reference).await
        }
        Endpoint::PutManifest { repository, reference, tags } => {
            manifests::put(call, &repository, &reference, &tags, body).await
        }
        Endpoint::DeleteManifest { repository, reference } => {
            manifests::delete(call, &repository, &reference).await
        }
        Endpoint::GetBlob { repository, digest } => blobs::get(call, &repository, &digest).await,
        Endpoint::DeleteBlob { repository, digest } => blobs::delete(call, &repository, &digest).await,
        Endpoint::StartUpload { repository, start } => uploads::start(call, &repository, start, body).await,
        Endpoint::UploadStatus { repository, id } => uploads::status(call, &repository, id).await,
        Endpoint::UploadChunk { repository, id } => uploads::chunk(call, &repository, id, body).await,
        Endpoint::FinishUpload { repository, id, digest } => {
            uploads::finish(call, &repository, id, digest, body).await
        }
        Endpoint::CancelUpload { repository, id } => uploads::cancel(call, &repository, id).await,
        Endpoint::Referrers { repository, subject, artifact_type, last } => {
            lists::referrers(call, &repository, subject, artifact_type, last).await
        }
    }
}

/// Which registry's content a client asks for, where it says so (distribution-spec, "Registry Proxying").
fn namespace(head: &Parts) -> Option<String> {
    let query = head.uri.query().filter(|query| query.contains("ns=") && query.len() <= QUERY_MAX)?;
    let namespace = http_kit::Query::form(query).first("ns")?.into_owned();
    // A mirror that is asked for what is its own.
    let is_own = head.headers.get(HOST).is_some_and(|host| host.as_bytes() == namespace.as_bytes());
    (!namespace.is_empty() && !is_own).then_some(namespace)
}

fn unknown_namespace(namespace: &str) -> WireError {
    let shown: String = namespace.chars().filter(|c| c.is_ascii_graphic()).take(100).collect();
    let message = format!("`{shown}` is not mirrored here: ask that registry itself");
    WireError::new(StatusCode::NOT_FOUND, Code::NameUnknown, message)
}

pub(crate) fn misrouted(error: RouteError) -> WireError {
    let mut headers = HeaderMap::new();
    if let RouteError::Method(methods) = &error {
        headers.insert(ALLOW, HeaderValue::from_static(methods));
    }
    WireError::from(error).with_headers(headers)
}

fn agent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(USER_AGENT)?.to_str().ok()?;
    Some(text.get(..AGENT_MAX).unwrap_or(text).to_owned())
}

/// A proxy may compress what it passes on when the client takes gzip.
fn may_be_compressed(headers: &HeaderMap) -> bool {
    let proxied = || {
        via::has_others(headers)
            || headers.contains_key("forwarded")
            || headers.contains_key("x-forwarded-for")
            || headers.contains_key("x-forwarded-proto")
    };
    headers.contains_key(ACCEPT_ENCODING) && proxied()
}
