//! Which edge answers which path.

use std::sync::Arc;

use ::console::Console;
use futures_util::future::{BoxFuture, FutureExt};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_admin::TokenEdge;
use http_kit::{Body, ConnInfo, Handler, RequestBody};
use http_oci::ByUrl;
use meta::MetaStore;

use crate::audit::Observers;

const TEXT: &str = "text/plain; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The public listeners: the registry, and what an operator's tools ask for.
pub(crate) struct Public {
    pub(crate) oci: Arc<dyn Handler>,
    /// Whether it answers signed addresses, too.
    pub(crate) answers_by_url: bool,
    pub(crate) operation: Arc<Operation>,
    /// What there is where there are users.
    pub(crate) accounts: Option<Accounts>,
}

/// What users and their clients ask for.
pub(crate) struct Accounts {
    pub(crate) admin: Arc<dyn Handler>,
    pub(crate) token: Arc<dyn Handler>,
    pub(crate) console: Arc<dyn Handler>,
}

/// The socket in the data folder: administration, and all that is public.
pub(crate) struct Local {
    pub(crate) admin: Arc<dyn Handler>,
    pub(crate) public: Arc<Public>,
}

/// Health and metrics.
pub(crate) struct Operation {
    pub(crate) meta: Arc<dyn MetaStore>,
    pub(crate) observers: Arc<Observers>,
}

fn is_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Handler for Public {
    fn call(
        self: Arc<Self>,
        conn: Arc<ConnInfo>,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Response<Body>> {
        let path = request.uri().path();
        if is_below(path, "/v2") || self.answers_by_url && ByUrl::answers(path) {
            return Arc::clone(&self.oci).call(conn, request);
        }
        if let Some(accounts) = &self.accounts {
            if is_below(path, "/api") {
                return Arc::clone(&accounts.admin).call(conn, request);
            }
            if TokenEdge::answers(path) {
                return Arc::clone(&accounts.token).call(conn, request);
            }
            if Console::answers(path, request.headers()) {
                return Arc::clone(&accounts.console).call(conn, request);
            }
        }
        let operation = Arc::clone(&self.operation);
        async move { operation.answer(&request).await }.boxed()
    }
}

impl Handler for Local {
    fn call(
        self: Arc<Self>,
        conn: Arc<ConnInfo>,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Response<Body>> {
        if is_below(request.uri().path(), "/api") {
            return Arc::clone(&self.admin).call(conn, request);
        }
        Arc::clone(&self.public).call(conn, request)
    }
}

impl Operation {
    async fn answer(&self, request: &Request<RequestBody>) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD are answered here\n");
        }
        match request.uri().path() {
            "/" => text(StatusCode::OK, TEXT, "wharf: an OCI registry. Its API is below /v2/\n"),
            "/livez" => text(StatusCode::OK, TEXT, "ok\n"),
            "/readyz" => self.ready().await,
            "/metrics" => self.metrics().await,
            _ => text(
                StatusCode::NOT_FOUND,
                TEXT,
                "there is nothing at this path; the registry is below /v2/\n",
            ),
        }
    }

    /// Ready means: the metadata can be read, and so everything can be answered.
    async fn ready(&self) -> Response<Body> {
        match self.meta.setting("ready").await {
            Ok(_) => text(StatusCode::OK, TEXT, "ok\n"),
            Err(error) => {
                tracing::error!(%error, "not ready");
                text(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the metadata cannot be read; the log says why\n")
            }
        }
    }

    async fn metrics(&self) -> Response<Body> {
        match self.meta.totals().await {
            Ok(totals) => self.observers.metrics.set_totals(&totals),
            Err(error) => tracing::error!(%error, "the totals in /metrics are old"),
        }
        if let Some(auditor) = &self.observers.auditor {
            self.observers.metrics.set_lost_records(auditor.lost());
        }
        match self.observers.metrics.encode() {
            Ok(encoded) => text(StatusCode::OK, OPENMETRICS, encoded),
            Err(error) => {
                tracing::error!(%error, "the metrics cannot be written");
                text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    TEXT,
                    "the metrics cannot be written; the log says why\n",
                )
            }
        }
    }
}

fn text(status: StatusCode, media_type: &'static str, body: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::full(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
