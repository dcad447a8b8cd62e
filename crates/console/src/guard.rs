//! Whether a form was sent from a page of ours: browsers say which origin a request comes from.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue, ORIGIN};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether the browser says that a page of one of these origins sent the request.
///
/// `Sec-Fetch-Site` decides where it is sent: no page can set it, and it does not depend on how a proxy in front is
/// reached. Browsers that leave it out, as all do over plain HTTP, send `Origin` with every form.
pub(crate) fn is_same_origin(headers: &HeaderMap, origins: &[&str]) -> bool {
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return site == "same-origin";
    }
    let origin = headers.get(ORIGIN).map(HeaderValue::to_str);
    origin.is_some_and(|origin| origin.is_ok_and(|origin| origins.contains(&origin)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_other_pages_are_told() {
        let check = |fields: &[(HeaderName, &'static str)], expect: bool| {
            let fields = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            let headers: HeaderMap = fields.collect();
            let ours = ["https://r.example", "http://r.example:5000"];
            assert_eq!(is_same_origin(&headers, &ours), expect, "{headers:?}");
        };
        check(&[(SEC_FETCH_SITE, "same-origin")], true);
        for site in ["same-site", "cross-site", "none", "", "Same-Origin"] {
            check(&[(SEC_FETCH_SITE, site), (ORIGIN, "https://r.example")], false);
        }
        check(&[(ORIGIN, "https://r.example")], true);
        check(&[(ORIGIN, "http://r.example:5000")], true);
        for origin in ["null", "", "https://r.example.evil", "https://r.example:5000", "http://r.example"] {
            check(&[(ORIGIN, origin)], false);
        }
        check(&[], false);
    }
}
