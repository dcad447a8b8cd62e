//! Administration from the command line: by the socket of the server that runs on a data folder, or on the store
//! itself where none runs. Both speak the same API, so there is one way for everything.

use std::io;
use std::sync::Arc;

use access::{Gate, OpenGate};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::{Method, Request, Response, StatusCode};
use http_admin::AdminEdge;
use http_body_util::{BodyDataStream, BodyExt, Full};
use http_kit::{ConnInfo, Handler, PeerAddr, RequestBody, TrustedProxies};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::audit;
use crate::config::Config;
use crate::store::{Store, socket};
use crate::users;

/// The longest line that an answer may have, in bytes.
const LINE_MAX: usize = 1 << 20;

/// The lines of an answer.
pub type AdminReply = BoxStream<'static, Result<Value>>;

type Chunks = BoxStream<'static, io::Result<Bytes>>;

/// A request of the administration API.
#[derive(Clone, Debug)]
pub struct AdminRequest {
    /// The method, such as `POST`.
    pub method: Method,
    /// The path, such as `/api/v1/gc`.
    pub path: String,
    /// The body; nothing is sent where it is null.
    pub body: Value,
}

impl AdminRequest {
    fn bytes(&self) -> Bytes {
        if self.body.is_null() { Bytes::new() } else { self.body.to_string().into() }
    }
}

/// Sends one request of the administration API, and gives the lines of its answer as they come.
pub async fn admin(config: Config, request: &AdminRequest) -> Result<AdminReply> {
    let socket = socket(&config.data);
    let (status, chunks) = match UnixStream::connect(&socket).await {
        Ok(stream) => {
            by_socket(stream, request).await.with_context(|| format!("asking {}", socket.display()))?
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            if !config.data.join("format").exists() {
                bail!("{} is not a data folder of wharf: name it with --data", config.data.display());
            }
            by_store(&config, request).await?
        }
        Err(error) => return Err(error).with_context(|| format!("cannot connect to {}", socket.display())),
    };
    let lines = lines(chunks);
    if status.is_success() { Ok(lines) } else { Err(refusal(status, lines).await) }
}

async fn refusal(status: StatusCode, mut lines: AdminReply) -> anyhow::Error {
    let message = match lines.next().await {
        Some(Ok(line)) => line.get("message").and_then(Value::as_str).map(ToOwned::to_owned),
        _ => None,
    };
    anyhow::anyhow!("refused with {status}: {}", message.unwrap_or_else(|| "no reason was given".into()))
}

async fn by_socket(stream: UnixStream, request: &AdminRequest) -> Result<(StatusCode, Chunks)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // An error of the connection shows up in the answer's body, too.
    tokio::spawn(connection);
    let head = Request::builder().method(&request.method).uri(&request.path).header("host", "wharf");
    let response: Response<hyper::body::Incoming> =
        sender.send_request(head.body(Full::new(request.bytes()))?).await?;
    let status = response.status();
    // The connection ends with its sender, so the sender stays with the body.
    let chunks = BodyDataStream::new(response.into_body()).map(move |chunk| {
        let _connection = &sender;
        chunk.map_err(io::Error::other)
    });
    Ok((status, chunks.boxed()))
}

async fn by_store(config: &Config, request: &AdminRequest) -> Result<(StatusCode, Chunks)> {
    let store = tokio::task::block_in_place(|| Store::open(config))?;
    let identity = users::open_existing(config, &store).await?;
    let gate: Arc<dyn Gate> = match &identity {
        Some(identity) => Arc::clone(identity) as Arc<dyn Gate>,
        None => Arc::new(OpenGate::default()),
    };
    let registry = Arc::clone(&store.registry);
    let edge = AdminEdge::new(registry, gate, identity, TrustedProxies::new(Vec::new())).alone();
    let edge = Arc::new(match audit::place(config, None)? {
        Some(place) => edge.with_journal(place),
        None => edge,
    });
    // SAFETY: getuid has no preconditions and cannot fail.
    let uid = unsafe { libc::getuid() };
    let conn = Arc::new(ConnInfo::new(PeerAddr::Unix { uid }, false));
    let head = Request::builder().method(&request.method).uri(&request.path);
    let response = edge.call(conn, head.body(RequestBody::full(request.bytes()))?).await;
    let status = response.status();
    // The store stays open, and locked, while its answer is read.
    let chunks = response.into_body().into_data_stream().map(move |chunk| {
        let _store = &store;
        chunk
    });
    Ok((status, chunks.boxed()))
}

/// Cuts chunks into lines, and reads each as JSON.
fn lines(chunks: Chunks) -> AdminReply {
    let state = (chunks, Vec::<u8>::new(), false);
    let lines = futures_util::stream::try_unfold(state, |(mut chunks, mut buffer, mut ended)| async move {
        loop {
            if let Some(at) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=at).collect();
                let value = serde_json::from_slice(&line).context("the answer is not JSON")?;
                return Ok(Some((value, (chunks, buffer, ended))));
            }
            if ended && buffer.is_empty() {
                return Ok(None);
            }
            if ended || buffer.len() > LINE_MAX {
                bail!("the answer broke off, or has a line that is too long");
            }
            match chunks.next().await {
                Some(chunk) => buffer.extend_from_slice(&chunk.context("the answer broke off")?),
                None => ended = true,
            }
        }
    });
    lines.boxed()
}
