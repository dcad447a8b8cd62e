//! Whether sites work: clients that were sent to one do not come back when it does not.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use client::{Api, ApiRequest, Host, Keyring, Settings, Timeouts};
use http_oci::Site;
use serde::Deserialize;
use tokio::time::timeout;
use transfer::Retry;

/// Failures in a row after which nobody is sent there any more.
const FAILURES: u32 = 2;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks one site, again and again.
pub(crate) struct Probe {
    site: Arc<Site>,
    /// What addresses call the key that signs.
    key: String,
    api: Api,
    path: String,
}

/// What a site tells of itself.
#[derive(Deserialize)]
struct State {
    keys: Vec<String>,
}

impl Probe {
    /// Asks for a site. Nothing is sent yet.
    pub(crate) fn new(site: Arc<Site>, key: String, ca: &Path) -> Result<Self> {
        let (host, path) = site.url().parts();
        let host: Host = host.parse().context("`url`")?;
        let is_secure = site.url().is_secure();
        let settings = Settings {
            plain_http: !is_secure,
            tls_verify: is_secure.then_some(true),
            ca: Some(ca.to_owned()).filter(|ca| !ca.as_os_str().is_empty()),
            keyring: Keyring::empty(),
            timeouts: Timeouts { connect: PATIENCE, answer: PATIENCE, stall: PATIENCE },
            ..Settings::default()
        };
        let path = format!("{path}/edge/v1/");
        let api = Api::open(&host, &settings)?;
        Ok(Self { site, key, api, path })
    }

    /// Asks at once, and then for ever, at times that are a little different each time.
    pub(crate) async fn run(self, every: Duration) {
        let pause = Retry { failures: u32::MAX, first: every, longest: every };
        let mut failures = 0_u32;
        loop {
            match self.ask().await {
                Ok(()) => {
                    failures = 0;
                    if !self.site.set_available(true) {
                        tracing::info!(site = %self.site.url(), "a site works: clients are sent there");
                    }
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.failed(failures, &error);
                }
            }
            tokio::time::sleep(pause.pause(1).unwrap_or(every)).await;
        }
    }

    fn failed(&self, failures: u32, error: &anyhow::Error) {
        if failures == FAILURES {
            let (site, error) = (self.site.url(), format!("{error:#}"));
            self.site.set_available(false);
            tracing::warn!(%site, error, "a site does not work: nobody is sent there");
        }
    }

    async fn ask(&self) -> Result<()> {
        let request = ApiRequest { method: "GET", path: &self.path, body: None, code: None, token: None };
        let answer =
            timeout(PATIENCE, self.api.call(request)).await.context("it does not answer in time")??;
        if answer.status == 503 {
            bail!("it cannot ask its upstream (503)");
        }
        let state = serde_json::from_slice::<State>(&answer.body).ok().filter(|_| answer.status == 200);
        let Some(State { keys }) = state else {
            bail!(
                "{} was answered with {}, and not by a Wharf with `edge.key_file`",
                self.path,
                answer.status
            );
        };
        if !keys.contains(&self.key) {
            bail!("it does not know the key {}, which signs: add it to `edge.key_file` there", self.key);
        }
        Ok(())
    }
}
