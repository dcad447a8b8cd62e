//! One request, as far as the pages look at it.

use access::Context;
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_kit::{ConnInfo, Forwarded, Query, RequestBody, RequestId, TrustedProxies};
use identity::SessionId;

use crate::FORM_MAX;
use crate::cookie::{Cookie, Place};
use crate::guard;
use crate::next;
use crate::page::Reply;

/// The most characters of a `User-Agent` that are remembered.
const AGENT_MAX: usize = 200;

/// One request.
pub(crate) struct Visit<'a> {
    pub(crate) headers: &'a HeaderMap,
    pub(crate) query: Query<'a>,
    pub(crate) context: Context,
    pub(crate) place: Place<'a>,
    /// How the browser names us, such as `https://registry.example.com`.
    origin: Option<String>,
    /// How the configuration does.
    public: Option<String>,
}

impl<'a> Visit<'a> {
    pub(crate) fn of(
        conn: &ConnInfo,
        head: &'a Parts,
        id: &RequestId,
        proxies: &TrustedProxies,
        public: Option<&str>,
    ) -> Self {
        let forwarded = Forwarded::of(conn, &head.headers, proxies);
        let origin = forwarded.origin(&head.uri, &head.headers);
        let origin = origin.and_then(|origin| origin.strip_suffix(forwarded.prefix).map(str::to_owned));
        let agent = head.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        Self {
            headers: &head.headers,
            query: Query::form(head.uri.query().unwrap_or_default()),
            context: Context {
                address: forwarded.client,
                agent: agent.map(|agent| agent.get(..AGENT_MAX).unwrap_or(agent).to_owned()),
                request: Some(id.as_str().to_owned()),
            },
            place: Place { secure: forwarded.secure, prefix: forwarded.prefix },
            origin,
            public: public.map(str::to_owned),
        }
    }

    /// The path under which a proxy shows us: what links begin with.
    pub(crate) fn base(&self) -> &'a str {
        self.place.prefix
    }

    /// The host that clients sign in to.
    pub(crate) fn host(&self) -> &str {
        let origin = self.origin.as_deref().or(self.public.as_deref()).unwrap_or_default();
        origin.split_once("://").map_or("", |(_, host)| host)
    }

    /// Where to go after the sign-in, if that is here.
    pub(crate) fn next(&self, form: Option<&str>) -> Option<String> {
        let named = form.map_or(self.query, Query::form).first("next")?;
        next::local(&named).map(str::to_owned)
    }

    /// The browser's session, as it says itself.
    pub(crate) fn session_id(&self) -> Option<SessionId> {
        Cookie::Session.read(self.headers, self.place)
    }

    /// The browser that is about to sign in.
    pub(crate) fn login_id(&self) -> Option<SessionId> {
        Cookie::Login.read(self.headers, self.place)
    }

    /// Whether a form came from a page that was made for this very browser.
    pub(crate) fn is_own_form(&self, form: &str, id: Option<&SessionId>) -> bool {
        let origins: Vec<&str> =
            [&self.origin, &self.public].into_iter().flatten().map(String::as_str).collect();
        let token = Query::form(form).first("csrf").unwrap_or_default();
        let is_ours = guard::is_same_origin(self.headers, &origins) && id.is_some_and(|id| id.made(&token));
        if !is_ours {
            tracing::info!(client = ?self.context.address, request = ?self.context.request, "a form from elsewhere was refused");
        }
        is_ours
    }

    /// The text of a form.
    pub(crate) async fn read_form(&self, body: RequestBody) -> Result<String, Reply> {
        let kind = self.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if !kind.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            let message = "Only forms are taken here.";
            return Err(Reply::failure(self, StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let bytes = body.read_all(FORM_MAX).await.map_err(|error| match error {
            http_kit::Error::BodyTooLarge { .. } => {
                Reply::failure(self, StatusCode::PAYLOAD_TOO_LARGE, "The form is too large.")
            }
            _ => {
                Reply::failure(self, StatusCode::BAD_REQUEST, "The form did not arrive whole: send it again.")
            }
        })?;
        String::from_utf8(bytes.into())
            .map_err(|_| Reply::failure(self, StatusCode::BAD_REQUEST, "The form is no text."))
    }
}
