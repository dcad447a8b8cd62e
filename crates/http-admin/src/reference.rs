//! The description of the API, served: as a document for programs, and as a page for people.
//!
//! The page is made from the document, here: it needs no script and nothing from elsewhere.

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Response;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use http_kit::Body;
use sha2::{Digest, Sha256};

use crate::call::Call;
use crate::openapi::openapi;
use crate::problem::Problem;
use crate::reply::{HTML, JSON, Reply};

mod html;

/// How the page looks.
const STYLE: &str = include_str!("reference/style.css");

static DOCUMENT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", openapi()));
static PAGE: LazyLock<String> = LazyLock::new(|| html::page(&openapi(), STYLE));
/// Nothing but the page's own style.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

pub(crate) async fn document(_: &Call) -> Result<Reply, Problem> {
    Ok(Reply(response(&DOCUMENT, JSON)))
}

pub(crate) async fn page(_: &Call) -> Result<Reply, Problem> {
    let mut response = response(&PAGE, HTML);
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    Ok(Reply(response))
}

fn response(text: &'static str, media_type: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ROUTES;

    #[test]
    fn the_page_has_every_route_and_nothing_from_elsewhere() {
        for route in ROUTES {
            let line =
                format!(r#"<span class="method">{}</span> <code>/api/v1{}</code>"#, route.method, route.path);
            assert!(PAGE.contains(&line), "{line}");
            assert!(PAGE.contains(route.summary), "{}", route.summary);
        }
        assert!(PAGE.contains("<code>/token</code>") && PAGE.contains("<code>/.well-known/jwks.json</code>"));
        for foreign in ["<script", "<link", "src=", "style=\"", "@import", "url("] {
            assert!(!PAGE.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn the_policy_names_the_style_that_is_on_the_page() {
        let (_, rest) = PAGE.split_once("<style>").unwrap();
        let (style, _) = rest.split_once("</style>").unwrap();
        let hash = BASE64_STANDARD.encode(Sha256::digest(style));
        assert!(POLICY.contains(&format!("'sha256-{hash}'")));
    }
}
