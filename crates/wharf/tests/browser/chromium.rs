//! A real browser: Chromium, driven by a small program for Node.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use test_kit::{npm, tools};

const VERSION: &str = "1.65.1";

/// One person's browser. Dropping it ends it.
pub struct Chromium {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// What a browser shows after it went somewhere.
pub struct Shown {
    /// The address, after all redirects.
    pub url: String,
    /// The status of the page.
    pub status: u64,
    headers: Value,
}

impl Shown {
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].as_str().unwrap_or_default()
    }
}

impl Chromium {
    /// A browser without cookies, where no page can use scripts.
    pub fn start() -> Self {
        Self::started(&[])
    }

    /// One where pages can use scripts, as passkeys need.
    pub fn with_scripts() -> Self {
        Self::started(&["scripts"])
    }

    fn started(arguments: &[&str]) -> Self {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let home = npm::install(cache, "playwright-core", VERSION, "driver.mjs", include_str!("driver.mjs"));
        let mut command = Command::new(tools::path("node"));
        command.arg(home.join("driver.mjs")).arg(tools::path("chromium")).args(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node can be started");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("standard output was asked for"));
        Self { child, input, output }
    }

    #[track_caller]
    fn act(&mut self, act: &str, mut what: Value) -> Value {
        what["act"] = act.into();
        let input = self.input.as_mut().expect("the browser runs");
        writeln!(input, "{what}").expect("the driver reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the driver answers");
        let mut outcome: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{what}: {line}"));
        assert!(outcome.get("failed").is_none(), "{what}: {outcome:#}");
        outcome["done"].take()
    }

    fn shown(value: &mut Value) -> Shown {
        Shown {
            url: value["url"].as_str().unwrap_or_default().to_owned(),
            status: value["status"].as_u64().unwrap_or_default(),
            headers: value["headers"].take(),
        }
    }

    /// Opens an address.
    #[track_caller]
    pub fn go(&mut self, url: &str) -> Shown {
        Self::shown(&mut self.act("go", json!({ "url": url })))
    }

    /// Clicks on what leads to another page.
    #[track_caller]
    pub fn click(&mut self, at: &str) -> Shown {
        Self::shown(&mut self.act("click", json!({ "at": at })))
    }

    #[track_caller]
    pub fn fill(&mut self, at: &str, value: &str) {
        self.act("fill", json!({ "at": at, "value": value }));
    }

    #[track_caller]
    pub fn select(&mut self, at: &str, value: &str) {
        self.act("select", json!({ "at": at, "value": value }));
    }

    /// What can be read at some place of the page.
    #[track_caller]
    pub fn text(&mut self, at: &str) -> String {
        self.act("text", json!({ "at": at })).as_str().unwrap_or_default().to_owned()
    }

    /// What stands in a field.
    #[track_caller]
    pub fn value(&mut self, at: &str) -> String {
        self.act("value", json!({ "at": at })).as_str().unwrap_or_default().to_owned()
    }

    /// How many of something are on the page.
    #[track_caller]
    pub fn count(&mut self, at: &str) -> u64 {
        self.act("count", json!({ "at": at })).as_u64().unwrap_or_default()
    }

    /// The cookie of this name, with what the browser knows of it.
    #[track_caller]
    pub fn cookie(&mut self, name: &str) -> Option<Value> {
        let cookies = self.act("cookies", json!({}));
        cookies.as_array()?.iter().find(|cookie| cookie["name"] == name).cloned()
    }

    /// Opens a page of another site.
    #[track_caller]
    pub fn go_elsewhere(&mut self, url: &str, html: &str) {
        self.act("elsewhere", json!({ "url": url, "html": html }));
    }

    /// Puts an authenticator in. It asks nobody, and holds passkeys.
    #[track_caller]
    pub fn authenticator(&mut self) -> String {
        self.act("authenticator", json!({})).as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub fn unplug(&mut self, authenticator: &str) {
        self.act("unplug", json!({ "authenticator": authenticator }));
    }

    /// The one credential that an authenticator holds.
    #[track_caller]
    pub fn credential(&mut self, authenticator: &str) -> Value {
        let mut held = self.act("credentials", json!({ "authenticator": authenticator }));
        assert_eq!(held.as_array().map(Vec::len), Some(1), "{held:#}");
        held[0].take()
    }

    /// Gives an authenticator a credential, as if somebody had copied it.
    #[track_caller]
    pub fn hold(&mut self, authenticator: &str, credential: &Value) {
        self.act("hold", json!({ "authenticator": authenticator, "credential": credential }));
    }

    /// Clicks on what leads nowhere, and waits until something shows.
    #[track_caller]
    pub fn press(&mut self, at: &str, shows: &str) {
        self.act("press", json!({ "at": at, "shows": shows }));
    }

    /// The last form that was sent.
    #[track_caller]
    pub fn form(&mut self) -> String {
        self.act("form", json!({})).as_str().unwrap_or_default().to_owned()
    }

    /// Takes pictures of the page in the folder of the target, as it looks by day, at night, and on a phone, where
    /// nothing may stand out at the side.
    #[track_caller]
    pub fn picture(&mut self, name: &str) {
        for (look, width, dark) in [("light", 1024, false), ("dark", 1024, true), ("phone", 390, false)] {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{name}-{look}.png"));
            let wide = self.act("picture", json!({ "path": path, "width": width, "dark": dark }));
            assert!(wide.as_u64().is_some_and(|wide| wide <= width), "{name} on {look} is {wide} wide");
        }
    }
}

impl Drop for Chromium {
    /// The driver ends the browser when there is nothing more to do.
    fn drop(&mut self) {
        drop(self.input.take());
        drop(self.child.wait());
    }
}
