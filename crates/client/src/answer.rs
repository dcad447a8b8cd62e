//! Answers that are failures: which may pass, and the JSON in which registries explain the others
//! (distribution-spec, "Error Codes").

use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde::Deserialize;
use tokio::time::timeout;

use crate::body::read_body;
use crate::headers;
use crate::host::shorten;

/// The most bytes of an explanation that are read.
const EXPLANATION: usize = 64 << 10;

/// Is this an answer that may be another a moment later?
pub(crate) fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// What a failure says about itself, after a colon; empty where it says nothing.
pub(crate) async fn detail(response: &mut Response, stall: Duration) -> String {
    let is_json = headers::media_type(response.headers()).is_some_and(|m| m.as_str().ends_with("json"));
    // What cannot be read, or not at once, explains nothing; the status says enough.
    let body = timeout(stall, read_body(response, EXPLANATION, stall)).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    let detail = if is_json { explanation(&body) } else { None };
    detail.map(|text| format!(": {text}")).unwrap_or_default()
}

/// `code: message` of each error, cleaned for a terminal.
fn explanation(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        errors: Vec<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let texts: Vec<String> = answer
        .errors
        .into_iter()
        .take(5)
        .map(|Error { code, message }| match (code.is_empty(), message.is_empty()) {
            (false, false) => format!("{}: {}", shorten(&code), clean(&message)),
            (false, true) => shorten(&code),
            _ => clean(&message),
        })
        .filter(|text| !text.is_empty())
        .collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

fn clean(text: &str) -> String {
    text.chars().take(500).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explanations_are_read() {
        let check = |body: &str, expect: Option<&str>| {
            assert_eq!(explanation(body.as_bytes()).as_deref(), expect, "{body}");
        };
        check(
            r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no\u001b[31m such"},{"code":"X"}]}"#,
            Some("NAME_UNKNOWN: no [31m such; X"),
        );
        check(r#"{"errors":[{"message":"only"}]}"#, Some("only"));
        for none in ["", "{}", "<html>", r#"{"errors":[]}"#, r#"{"errors":[{}]}"#, r#"{"errors":"x"}"#] {
            check(none, None);
        }
    }
}
