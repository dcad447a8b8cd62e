//! The accept loops, from the first connection to the end of the last transfer.

use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use tokio::sync::{oneshot, watch};
use tokio::task::{Id, JoinSet};

use crate::conn::PeerAddr;
use crate::connection::Serving;
use crate::io::Socket;
use crate::limits::Limits;
use crate::listener::{Listener, Source};

/// How long to wait after a failed accept: what it lacks (descriptors, memory) does not come back at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves all listeners until `stop` is ready, then lets running requests end within `limits.drain`.
///
/// From the moment of `stop` no connection is accepted and idle ones are closed. Returns how many connections had
/// to be cut at the end.
pub async fn serve(listeners: Vec<Listener>, limits: Limits, stop: BoxFuture<'static, ()>) -> usize {
    let limits = Arc::new(limits);
    let (stopping, stopped) = watch::channel(false);
    let mut followers = JoinSet::new();
    for tls in listeners.iter().filter_map(|listener| listener.tls.clone()) {
        followers.spawn(tls.follow());
    }
    let loops = listeners.into_iter().map(|listener| {
        let open = Connections::new(&listener, &limits);
        tokio::spawn(open.accept_until(listener.source, stopped.clone()))
    });
    let loops = join_all(loops.collect::<Vec<_>>());
    stop.await;
    stopping.send_replace(true);
    loops.await.into_iter().map(|cut| cut.unwrap_or_default()).sum()
}

/// The open connections of one listener. Only its own loop touches it, so there is no lock.
struct Connections {
    serving: Arc<Serving>,
    limits: Arc<Limits>,
    tasks: JoinSet<()>,
    /// Dropping one asks its connection to end.
    stops: HashMap<Id, oneshot::Sender<()>>,
}

impl Connections {
    fn new(listener: &Listener, limits: &Arc<Limits>) -> Connections {
        let tls = listener.tls.as_ref().map(|tls| tls.acceptor());
        let serving = Serving::new(Arc::clone(&listener.handler), tls, Arc::clone(limits));
        Connections {
            serving: Arc::new(serving),
            limits: Arc::clone(limits),
            tasks: JoinSet::new(),
            stops: HashMap::new(),
        }
    }

    async fn accept_until(mut self, source: Source, mut stopped: watch::Receiver<bool>) -> usize {
        let mut failing = false;
        let mut stop = pin!(async move { drop(stopped.wait_for(|stopped| *stopped).await) });
        loop {
            tokio::select! {
                biased;
                () = stop.as_mut() => break,
                Some(ended) = self.tasks.join_next_with_id() => self.forget(ended.map(|(id, ())| id)),
                accepted = source.accept(), if self.tasks.len() < self.limits.connections => match accepted {
                    Ok((socket, peer)) => {
                        failing = false;
                        self.begin(socket, peer);
                    }
                    Err(error) => pause(&error, &mut failing).await,
                },
            }
        }
        drop(source);
        self.end().await
    }

    fn begin(&mut self, socket: Socket, peer: PeerAddr) {
        let (stop, stopped) = oneshot::channel();
        let task = self.tasks.spawn(Arc::clone(&self.serving).connection(socket, peer, stopped));
        self.stops.insert(task.id(), stop);
    }

    fn forget(&mut self, ended: Result<Id, tokio::task::JoinError>) {
        let id = ended.unwrap_or_else(|failed| {
            tracing::error!(error = %failed, "a connection's task failed");
            failed.id()
        });
        self.stops.remove(&id);
    }

    /// Lets connections end, and cuts those that have not when the time is over.
    async fn end(mut self) -> usize {
        self.stops.clear();
        let all_ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(self.limits.drain, all_ended).await.is_ok() {
            return 0;
        }
        let cut = self.tasks.len();
        self.tasks.shutdown().await;
        cut
    }
}

/// A client that went away before it was accepted is no reason to wait.
async fn pause(error: &io::Error, failing: &mut bool) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, NotConnected};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | NotConnected) {
        return;
    }
    if !std::mem::replace(failing, true) {
        tracing::error!(%error, "cannot accept connections; trying again");
    }
    tokio::time::sleep(ACCEPT_PAUSE).await;
}
