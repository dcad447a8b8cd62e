//! A real OpenID provider (npm `oidc-provider` on Node), and a way through its forms without a browser.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Client, Response};
use crate::{Daemon, free_port, npm, temp_dir, tools};

/// The version that is installed.
const VERSION: &str = "9.13.3";

/// The program that runs it.
const PROGRAM: &str = include_str!("oidc_provider.mjs");

/// The client that it knows.
pub const CLIENT_ID: &str = "wharf";
/// Its client's secret.
pub const CLIENT_SECRET: &str = "a secret of the tests";

/// A running provider; dropping it ends it.
pub struct OidcProvider {
    issuer: String,
    _daemon: Daemon,
    _dir: TempDir,
}

impl OidcProvider {
    /// Installs the provider in `cache` (`env!("CARGO_TARGET_TMPDIR")`) where it is not there yet, and starts it.
    ///
    /// `client` is added to what the provider knows of its client: `redirect_uris`, `post_logout_redirect_uris` and the
    /// like. `accounts` are the claims of everybody who can log in, by their login; the login is their `sub`.
    pub fn start(cache: &Path, client: Value, accounts: Value) -> Self {
        let home = npm::install(cache, "oidc-provider", VERSION, "provider.mjs", PROGRAM);
        let (dir, port) = (temp_dir(), free_port());
        let issuer = format!("http://127.0.0.1:{port}");
        let mut all = json!({ "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET });
        let more = client.as_object().expect("a client is an object").clone();
        all.as_object_mut().expect("it was made as an object").extend(more);
        let config = json!({ "issuer": issuer, "port": port, "client": all, "accounts": accounts });
        let mut command = Command::new(tools::path("node"));
        command.arg(home.join("provider.mjs")).arg(config.to_string());
        let mut daemon = Daemon::start(&mut command, &dir.path().join("log"));
        daemon.wait_for_port(port);
        Self { issuer, _daemon: daemon, _dir: dir }
    }

    /// Its address.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// A browser of one person, that has no cookies yet.
    pub fn browser(&self) -> Browser {
        Browser { client: Client::new(&self.issuer), issuer: self.issuer.clone(), cookies: BTreeMap::new() }
    }
}

/// Follows redirects and fills in forms as a person does, with the cookies of one browser.
pub struct Browser {
    client: Client,
    issuer: String,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    /// Opens an address of the provider, logs in and agrees where it asks, and returns the address elsewhere to which it
    /// finally leads.
    pub fn sign_in(&mut self, url: &str, login: &str) -> String {
        let mut response = self.send("GET", url, "");
        for _ in 0..20 {
            let url = match response.header("location") {
                Some(to) if !to.starts_with('/') && !to.starts_with(&self.issuer) => return to.to_owned(),
                Some(to) => {
                    let to = to.to_owned();
                    response = self.send("GET", &to, "");
                    continue;
                }
                None => form_action(&response),
            };
            let page = String::from_utf8_lossy(&response.body).into_owned();
            let form = if page.contains(r#"name="login""#) {
                format!("prompt=login&login={login}&password=any")
            } else {
                "prompt=consent".to_owned()
            };
            response = self.send("POST", &url, &form);
        }
        panic!("the provider leads nowhere: {response}");
    }

    /// Opens the address of a logout, agrees, and returns where it finally leads.
    pub fn log_out(&mut self, url: &str) -> String {
        let page = self.send("GET", url, "").expect(200);
        let action = form_action(&page);
        let text = String::from_utf8_lossy(&page.body).into_owned();
        let token = between(&text, r#"name="xsrf" value=""#, "\"").expect("the form has its token");
        let response = self.send("POST", &action, &format!("xsrf={token}&logout=yes"));
        response.require("location").to_owned()
    }

    fn send(&mut self, method: &str, url: &str, form: &str) -> Response {
        let path = url.strip_prefix(&self.issuer).unwrap_or(url);
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = self.client.request(method, path).header("Cookie", cookies.join("; "));
        if method == "POST" {
            request = request.header("Content-Type", "application/x-www-form-urlencoded").body(form);
        }
        let response = request.send();
        assert!(response.status < 400, "{response}");
        for (_, cookie) in response.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let pair = cookie.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').expect("a cookie has a name");
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        response
    }
}

/// Where the form of a page is sent to.
fn form_action(page: &Response) -> String {
    let text = String::from_utf8_lossy(&page.body);
    between(&text, "action=\"", "\"").unwrap_or_else(|| panic!("no form: {page}")).to_owned()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}
