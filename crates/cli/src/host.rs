//! What the command line asks of the program that it is part of.

use std::path::PathBuf;

use anyhow::Result;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde_json::Value;

use crate::ServeFlags;

/// The answer to an administration request, line by line.
pub type Lines = BoxStream<'static, Result<Value>>;

/// A request of the administration API.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: &'static str,
    /// The path, such as `/api/v1/gc`.
    pub path: String,
    /// The body; nothing is sent where it is null.
    pub body: Value,
}

impl Request {
    /// A request for some work.
    pub(crate) fn post(path: &str, body: Value) -> Self {
        Self { method: "POST", path: path.to_owned(), body }
    }
}

/// The server, as the command line sees it. The binary implements it.
pub trait Host: Send + Sync {
    /// Serves until a signal ends it.
    fn serve(&self, flags: ServeFlags) -> BoxFuture<'_, Result<()>>;

    /// Sends one administration request to the server that runs on a data folder, or does it on the store itself
    /// where none runs. The data folder may be named by the configuration file instead.
    fn admin(
        &self,
        data: Option<PathBuf>,
        config: Option<PathBuf>,
        request: Request,
    ) -> BoxFuture<'_, Result<Lines>>;
}
