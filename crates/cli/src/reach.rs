//! A server that is asked something: over the network by who is signed in, or on this machine by its socket.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use serde_json::Value;

use crate::accounts::session::{Pages, Path, Session};
use crate::args::accounts::SessionFlags;
use crate::args::upstreams::ServerFlags;
use crate::host::{Host, Request};

/// Somebody who answers requests of the administration API.
pub(crate) enum Server<'a, 's> {
    /// Over the network.
    Remote(&'a mut Pages<'s>),
    /// On this machine.
    Local {
        /// What reaches it.
        host: &'a dyn Host,
        /// Its data folder.
        data: Option<PathBuf>,
        /// Its configuration.
        config: Option<PathBuf>,
    },
}

/// Does some work with a server, by one sign-in.
pub(crate) async fn with<T>(
    flags: &ServerFlags,
    host: &dyn Host,
    work: impl AsyncFnOnce(Server<'_, '_>) -> Result<T>,
) -> Result<T> {
    let Some(registry) = &flags.host else {
        return work(Server::Local { host, data: flags.data.clone(), config: flags.config.clone() }).await;
    };
    let session = SessionFlags {
        host: registry.clone(),
        json: flags.json,
        otp: flags.otp.clone(),
        connect: flags.connect.clone(),
    };
    let session = Session::open(&session)?;
    session.pages(async |pages: &mut Pages<'_>| work(Server::Remote(pages)).await).await
}

impl Server<'_, '_> {
    /// Sends a request; a body that is null is none. The answer is null where there is nothing to say.
    pub(crate) async fn send(&mut self, method: &'static str, path: &Path, body: &Value) -> Result<Value> {
        match self {
            Self::Remote(pages) => pages.send(method, path, body).await,
            Self::Local { host, data, config } => {
                let request = Request { method, path: path.encoded(&[])?, body: body.clone() };
                let mut lines = host.admin(data.clone(), config.clone(), request).await?;
                lines.next().await.transpose().map(Option::unwrap_or_default)
            }
        }
    }

    /// The upstreams that it has.
    pub(crate) async fn upstreams(&mut self) -> Result<Vec<Value>> {
        let mut answer = self.send("GET", &Path::of(&["upstreams"]), &Value::Null).await?;
        match answer.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => bail!("the answer is no list of upstreams: is the server older than this program?"),
        }
    }

    /// One of them.
    pub(crate) async fn upstream(&mut self, key: &str) -> Result<Value> {
        let found = self.upstreams().await?.into_iter().find(|upstream| upstream["key"] == key);
        found.with_context(|| {
            format!("there is no upstream `{key}`: `wharf upstream list` shows those that there are")
        })
    }
}
