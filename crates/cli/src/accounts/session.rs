//! Requests to the administration API of a registry, and what its refusals mean for who typed the command.

use anyhow::{Context, Error, Result, anyhow, bail};
use client::{Api, Host, Keyring, Settings};
use oci::ProjectName;
use serde_json::Value;

use crate::admin::encode;
use crate::args::accounts::SessionFlags;
use crate::text::clean;

/// The most pages of a list: a server that never comes to an end must not be followed for ever.
const PAGES: usize = 1_000;

/// The administration API of one registry, called by who is signed in there.
pub(super) struct Session {
    api: Api,
    host: Host,
}

impl Session {
    /// With the credential that is stored for the registry.
    pub(super) fn open(flags: &SessionFlags) -> Result<Self> {
        Self::with(flags, flags.connect.settings())
    }

    /// Without any credential.
    pub(super) fn anonymous(flags: &SessionFlags) -> Result<Self> {
        Self::with(flags, Settings { keyring: Keyring::empty(), ..flags.connect.settings() })
    }

    fn with(flags: &SessionFlags, settings: Settings) -> Result<Self> {
        Ok(Self { api: Api::open(&flags.host, &settings)?, host: flags.host.clone() })
    }

    /// Reads something.
    pub(super) async fn get(&self, path: &Path) -> Result<Value> {
        self.send("GET", path, Value::Null).await
    }

    /// Reads a list, all its pages.
    pub(super) async fn list(&self, path: &Path) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut after = None;
        for _ in 0..PAGES {
            let mut page = self.request("GET", &path.after(after.as_deref())?, Value::Null).await?;
            match page.get_mut("items").map(Value::take) {
                Some(Value::Array(more)) => items.extend(more),
                _ => bail!("the answer of {} is no list", self.host),
            }
            match page["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => return Ok(items),
            }
        }
        bail!("the list of {} has more than the {PAGES} pages that are read", self.host)
    }

    /// Sends a request; a body that is null is none. The answer is null where there is nothing to say.
    pub(super) async fn send(&self, method: &str, path: &Path, body: Value) -> Result<Value> {
        self.request(method, &path.after(None)?, body).await
    }

    async fn request(&self, method: &str, path: &str, body: Value) -> Result<Value> {
        let body = (!body.is_null()).then(|| body.to_string());
        let answer = self.api.call(method, path, body).await?;
        if !(200..300).contains(&answer.status) {
            return Err(refusal(&self.host, answer.status, &answer.body));
        }
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        // The parser's own message could quote a secret.
        let parsed = serde_json::from_slice(&answer.body).ok();
        parsed.with_context(|| format!("the answer of {} is not JSON", self.host))
    }
}

/// An answer that is none of success.
fn refusal(host: &Host, status: u16, body: &[u8]) -> Error {
    let body = serde_json::from_slice::<Value>(body).unwrap_or_default();
    match (status, body["message"].as_str().map(clean)) {
        (401, Some(message)) => anyhow!("{message}. Sign in with `wharf login {host}`"),
        (401, None) => anyhow!("{host} wants to know who asks: sign in with `wharf login {host}`"),
        (_, Some(message)) => anyhow!("{message}"),
        (404 | 405, None) => {
            anyhow!("{host} has no users: start it with `wharf serve --auth on`, if it is a Wharf")
        }
        (_, None) => anyhow!("{host} answers with the status {status}"),
    }
}

/// A path below `/api/v1`, made of words and names.
#[derive(Clone, Debug)]
pub(super) struct Path(Vec<String>);

impl Path {
    /// These parts, each as it is: names with slashes are one part.
    pub(super) fn of(parts: &[&str]) -> Self {
        Self(parts.iter().map(ToString::to_string).collect())
    }

    /// A project.
    pub(super) fn project(name: &ProjectName) -> Self {
        Self::of(&["projects"]).and(&name.as_str().split('/').collect::<Vec<_>>())
    }

    /// What is in a project, or in the registry as a whole.
    pub(super) fn within(project: Option<&ProjectName>, parts: &[&str]) -> Self {
        project.map_or_else(|| Self::of(&[]), |name| Self::project(name).and(&["-"])).and(parts)
    }

    /// With more parts at the end.
    pub(super) fn and(mut self, parts: &[&str]) -> Self {
        self.0.extend(parts.iter().map(ToString::to_string));
        self
    }

    /// As it is sent, for the page after this name.
    fn after(&self, after: Option<&str>) -> Result<String> {
        let mut text = String::from("/api/v1");
        for part in &self.0 {
            // An address swallows these, even encoded, and would mean something else.
            if matches!(part.as_str(), "" | "." | "..") {
                bail!("`{part}` is the name of nothing here");
            }
            text.push('/');
            text.push_str(&if part == "-" { "-".into() } else { encode(part) });
        }
        if let Some(after) = after {
            text.push_str("?after=");
            text.push_str(&encode(after));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_keep_names_apart() {
        let check = |path: Path, after: Option<&str>, expect: Option<&str>| {
            assert_eq!(path.after(after).ok().as_deref(), expect, "{path:?}");
        };
        let project: ProjectName = "team/app".parse().unwrap();
        check(Path::of(&["users", "ann"]), None, Some("/api/v1/users/ann"));
        check(Path::of(&["users"]), Some("a b"), Some("/api/v1/users?after=a%20b"));
        check(Path::of(&["groups", "a/b?c"]), None, Some("/api/v1/groups/a%2Fb%3Fc"));
        check(Path::project(&project), None, Some("/api/v1/projects/team/app"));
        check(
            Path::within(Some(&project), &["robots", "ci"]),
            None,
            Some("/api/v1/projects/team/app/-/robots/ci"),
        );
        check(Path::within(None, &["members"]), None, Some("/api/v1/members"));
        for swallowed in ["", ".", ".."] {
            check(Path::of(&["groups", swallowed]), None, None);
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let host: Host = "h.example".parse().unwrap();
        let check = |status: u16, body: &str, expect: &str| {
            assert_eq!(refusal(&host, status, body.as_bytes()).to_string(), expect);
        };
        let own = |message: &str| serde_json::json!({"type": "error", "message": message}).to_string();
        check(401, &own("wrong"), "wrong. Sign in with `wharf login h.example`");
        check(401, "", "h.example wants to know who asks: sign in with `wharf login h.example`");
        check(403, &own("no\u{1b}[2J"), "no [2J");
        check(404, &own("there is no user `x`"), "there is no user `x`");
        let none = "h.example has no users: start it with `wharf serve --auth on`, if it is a Wharf";
        check(404, r#"{"errors":[{"code":"NOT_FOUND"}]}"#, none);
        check(404, "<html>", none);
        check(502, "[]", "h.example answers with the status 502");
    }
}
