//! Requests to the administration API of a registry, and what its refusals mean for who typed the command.

use anyhow::{Context, Error, Result, anyhow, bail};
use client::{Api, ApiAnswer, ApiRequest, ApiStream, Host, Keyring, Secret, Settings};
use futures_util::TryStreamExt;
use oci::ProjectName;
use serde_json::Value;

use super::terminal;
use crate::admin::encode;
use crate::args::accounts::SessionFlags;
use crate::out::Out;
use crate::text::clean;

/// The most pages of a list: a server that never comes to an end must not be followed for ever.
const PAGES: usize = 1_000;

/// Where sessions are opened and signed out.
const SESSION: &str = "/api/v1/session";

/// The administration API of one registry, called by who is signed in there.
pub(crate) struct Session {
    api: Api,
    host: Host,
    code: Option<Secret>,
}

impl Session {
    /// With the credential that is stored for the registry.
    pub(crate) fn open(flags: &SessionFlags) -> Result<Self> {
        Self::with(flags, flags.connect.settings())
    }

    /// Without any credential.
    pub(crate) fn anonymous(flags: &SessionFlags) -> Result<Self> {
        Self::with(flags, Settings { keyring: Keyring::empty(), ..flags.connect.settings() })
    }

    /// With the credential that these settings have.
    pub(crate) fn with(flags: &SessionFlags, settings: Settings) -> Result<Self> {
        let code = flags.otp.clone();
        Ok(Self { api: Api::open(&flags.host, &settings)?, host: flags.host.clone(), code })
    }

    /// Reads something.
    pub(crate) async fn get(&self, path: &Path) -> Result<Value> {
        self.send("GET", path, Value::Null).await
    }

    /// Reads a list, all its pages.
    pub(crate) async fn list(&self, path: &Path) -> Result<Vec<Value>> {
        let work = async |pages: &mut Pages<'_>| {
            let mut items = Vec::new();
            let mut query = Vec::new();
            for _ in 0..PAGES {
                let mut page = pages.read(path, &query).await?;
                items.extend(self.items(&mut page)?);
                match page["next"].as_str() {
                    Some(next) => query = vec![("after", next.to_owned())],
                    None => return Ok(items),
                }
            }
            bail!("the list of {} has more than the {PAGES} pages that are read", self.host)
        };
        self.pages(work).await
    }

    /// Reads pages. A code of the second factor is good once, and so opens a session for all of them, which is signed
    /// out at the end, whatever comes of the work.
    pub(crate) async fn pages<T>(&self, work: impl AsyncFnOnce(&mut Pages<'_>) -> Result<T>) -> Result<T> {
        let mut pages = Pages { session: self, token: None };
        if let Some(code) = &self.code {
            pages.sign_in(code).await?;
        }
        let outcome = work(&mut pages).await;
        pages.sign_out().await;
        outcome
    }

    /// Takes what is on a page.
    pub(crate) fn items(&self, page: &mut Value) -> Result<Vec<Value>> {
        match page.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => bail!("the answer of {} is no list", self.host),
        }
    }

    /// Sends a request; a body that is null is none. The answer is null where there is nothing to say.
    pub(crate) async fn send(&self, method: &str, path: &Path, body: Value) -> Result<Value> {
        let path = &path.encoded(&[])?;
        let body = (!body.is_null()).then(|| Secret::new(body.to_string()));
        let request = ApiRequest { method, path, body: body.as_ref(), code: self.code.as_ref(), token: None };
        let mut answer = self.api.call(request).await?;
        if answer.wants_code && terminal::is_there() {
            let code = self.ask_code(&answer).await?;
            answer = self.api.call(ApiRequest { code: Some(&code), ..request }).await?;
        }
        self.said(&answer)
    }

    /// What an answer says, where it is one of success.
    fn said(&self, answer: &ApiAnswer) -> Result<Value> {
        if !(200..300).contains(&answer.status) {
            return Err(refusal(&self.host, answer));
        }
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        // The parser's own message could quote a secret.
        let parsed = serde_json::from_slice(&answer.body).ok();
        parsed.with_context(|| format!("the answer of {} is not JSON", self.host))
    }

    /// Reads something long, and writes it out as it comes.
    pub(crate) async fn pour(&self, path: &Path, query: &[(&str, String)], out: &mut Out) -> Result<()> {
        let path = &path.encoded(query)?;
        let request = ApiRequest { method: "GET", path, body: None, code: self.code.as_ref(), token: None };
        let mut answer = self.api.stream(request).await?;
        if let ApiStream::Refusal(refused) = &answer
            && refused.wants_code
            && terminal::is_there()
        {
            let code = self.ask_code(refused).await?;
            answer = self.api.stream(ApiRequest { code: Some(&code), ..request }).await?;
        }
        match answer {
            ApiStream::Refusal(answer) => Err(refusal(&self.host, &answer)),
            ApiStream::Body(mut body) => {
                while let Some(piece) = body.try_next().await? {
                    out.bytes(&piece)?;
                }
                Ok(())
            }
        }
    }

    /// Asks for a code of the second factor. A code is good once: whoever gave one already learns what became of it.
    async fn ask_code(&self, refused: &ApiAnswer) -> Result<Secret> {
        if self.code.is_some() {
            eprintln!("wharf: {}", message(refused).unwrap_or_default());
        }
        terminal::ask_secret("Code of the second factor").await.map(Secret::new)
    }
}

/// Pages that are read, and requests that are sent, one after another by one sign-in.
pub(crate) struct Pages<'a> {
    session: &'a Session,
    /// Stands for the password and a code.
    token: Option<Secret>,
}

impl Pages<'_> {
    /// Reads one.
    pub(crate) async fn read(&mut self, path: &Path, query: &[(&str, String)]) -> Result<Value> {
        self.ask("GET", &path.encoded(query)?, None).await
    }

    /// Sends a request among them; a body that is null is none.
    pub(crate) async fn send(&mut self, method: &str, path: &Path, body: &Value) -> Result<Value> {
        let body = (!body.is_null()).then(|| Secret::new(body.to_string()));
        self.ask(method, &path.encoded(&[])?, body.as_ref()).await
    }

    async fn ask(&mut self, method: &str, path: &str, body: Option<&Secret>) -> Result<Value> {
        let mut answer = self.call(method, path, body).await?;
        if answer.wants_code && self.token.is_none() && terminal::is_there() {
            let code = self.session.ask_code(&answer).await?;
            self.sign_in(&code).await?;
            answer = self.call(method, path, body).await?;
        }
        self.session.said(&answer)
    }

    async fn call(&self, method: &str, path: &str, body: Option<&Secret>) -> Result<ApiAnswer> {
        let request = ApiRequest { method, path, body, code: None, token: self.token.as_ref() };
        Ok(self.session.api.call(request).await?)
    }

    /// Opens a session with the stored password, where it is one.
    async fn sign_in(&mut self, code: &Secret) -> Result<()> {
        let Some(answer) = self.session.api.open_session(SESSION, code).await? else { return Ok(()) };
        let opened = self.session.said(&answer)?;
        let token = opened["token"].as_str().context("the answer has no token")?;
        self.token = Some(Secret::new(token.to_owned()));
        Ok(())
    }

    /// Ends the session, where one was opened.
    async fn sign_out(self) {
        if self.token.is_none() {
            return;
        }
        let outcome = self.call("DELETE", SESSION, None).await.and_then(|answer| self.session.said(&answer));
        if let Err(error) = outcome {
            let host = &self.session.host;
            eprintln!("wharf: the session at {host} was not signed out, and ends by itself: {error:#}");
        }
    }
}

/// What a refusal says of itself, in Wharf's own form.
fn message(answer: &ApiAnswer) -> Option<String> {
    let body = serde_json::from_slice::<Value>(&answer.body).ok()?;
    body["message"].as_str().map(clean)
}

/// An answer that is none of success.
fn refusal(host: &Host, answer: &ApiAnswer) -> Error {
    match (answer.status, message(answer)) {
        (_, Some(message)) if answer.wants_code => anyhow!("{message}. Here, that is --otp CODE"),
        (401, Some(message)) => anyhow!("{message}. Sign in with `wharf login {host}`"),
        (401, None) => anyhow!("{host} wants to know who asks: sign in with `wharf login {host}`"),
        (_, Some(message)) => anyhow!("{message}"),
        (404 | 405, None) => {
            anyhow!("{host} has no users: start it with `wharf serve --auth on`, if it is a Wharf")
        }
        (status, None) => anyhow!("{host} answers with the status {status}"),
    }
}

/// A path below `/api/v1`, made of words and names.
#[derive(Clone, Debug)]
pub(crate) struct Path(Vec<String>);

impl Path {
    /// These parts, each as it is: names with slashes are one part.
    pub(crate) fn of(parts: &[&str]) -> Self {
        Self(parts.iter().map(ToString::to_string).collect())
    }

    /// A project.
    pub(crate) fn project(name: &ProjectName) -> Self {
        Self::of(&["projects"]).and(&name.as_str().split('/').collect::<Vec<_>>())
    }

    /// What is in a project, or in the registry as a whole.
    pub(crate) fn within(project: Option<&ProjectName>, parts: &[&str]) -> Self {
        project.map_or_else(|| Self::of(&[]), |name| Self::project(name).and(&["-"])).and(parts)
    }

    /// With more parts at the end.
    pub(crate) fn and(mut self, parts: &[&str]) -> Self {
        self.0.extend(parts.iter().map(ToString::to_string));
        self
    }

    /// As it is sent, with a query.
    pub(crate) fn encoded(&self, query: &[(&str, String)]) -> Result<String> {
        let mut text = String::from("/api/v1");
        for part in &self.0 {
            // An address swallows these, even encoded, and would mean something else.
            if matches!(part.as_str(), "" | "." | "..") {
                bail!("`{part}` is the name of nothing here");
            }
            text.push('/');
            text.push_str(&if part == "-" { "-".into() } else { encode(part) });
        }
        for (at, (name, value)) in query.iter().enumerate() {
            text.push(if at == 0 { '?' } else { '&' });
            text.push_str(name);
            text.push('=');
            text.push_str(&encode(value));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_keep_names_apart() {
        let check = |path: Path, query: &[(&str, &str)], expect: Option<&str>| {
            let query: Vec<_> = query.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            assert_eq!(path.encoded(&query).ok().as_deref(), expect, "{path:?}");
        };
        let project: ProjectName = "team/app".parse().unwrap();
        check(Path::of(&["users", "ann"]), &[], Some("/api/v1/users/ann"));
        check(
            Path::of(&["users"]),
            &[("after", "a b"), ("text", "&")],
            Some("/api/v1/users?after=a%20b&text=%26"),
        );
        check(Path::of(&["groups", "a/b?c"]), &[], Some("/api/v1/groups/a%2Fb%3Fc"));
        check(Path::project(&project), &[], Some("/api/v1/projects/team/app"));
        check(
            Path::within(Some(&project), &["robots", "ci"]),
            &[],
            Some("/api/v1/projects/team/app/-/robots/ci"),
        );
        check(Path::within(None, &["members"]), &[], Some("/api/v1/members"));
        for swallowed in ["", ".", ".."] {
            check(Path::of(&["groups", swallowed]), &[], None);
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let host: Host = "h.example".parse().unwrap();
        let check = |status: u16, body: &str, expect: &str| {
            let wants_code = body.contains("a code");
            let answer = ApiAnswer { status, body: body.to_owned().into(), wants_code };
            assert_eq!(refusal(&host, &answer).to_string(), expect);
        };
        let own = |message: &str| serde_json::json!({"type": "error", "message": message}).to_string();
        check(401, &own("wrong"), "wrong. Sign in with `wharf login h.example`");
        check(401, &own("send a code"), "send a code. Here, that is --otp CODE");
        check(401, "", "h.example wants to know who asks: sign in with `wharf login h.example`");
        check(403, &own("no\u{1b}[2J"), "no [2J");
        check(404, &own("there is no user `x`"), "there is no user `x`");
        let none = "h.example has no users: start it with `wharf serve --auth on`, if it is a Wharf";
        check(404, r#"{"errors":[{"code":"NOT_FOUND"}]}"#, none);
        check(404, "<html>", none);
        check(502, "[]", "h.example answers with the status 502");
    }
}
