//! A running server: from the configuration to the last transfer.

use std::io::Write;
use std::sync::Arc;

use access::{Gate, OpenGate};
use anyhow::{Context, Result, anyhow, bail};
use futures_util::future::{BoxFuture, FutureExt};
use http_admin::{AdminEdge, TokenEdge};
use http_kit::{Fair, Handler, Listener, Network, Tls, TrustedProxies};
use http_oci::OciEdge;
use identity::Identity;
use mirror::{Fallback, Mirror};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::audit::{self, Auditor, Observers};
use crate::config::Config;
use crate::console;
use crate::edge::Edge;
use crate::fallback;
use crate::log;
use crate::maintenance;
use crate::memory;
use crate::metrics::Metrics;
use crate::refusals::Refusals;
use crate::router::{Accounts, Local, Operation, Public};
use crate::store::{Store, socket};
use crate::upstreams;
use crate::users;

/// Serves until the process is told to stop (SIGTERM or SIGINT), then lets transfers end. A second signal ends it
/// at once. SIGHUP reads the certificate anew.
pub async fn serve(config: Config) -> Result<()> {
    config.check_serving()?;
    memory::keep_large_buffers();
    log::start(&config.log)?;
    let store = tokio::task::block_in_place(|| Store::open(&config))?;
    if store.registry.is_metadata_lost().await? {
        bail!(
            "{} has stored objects and no metadata for them: get meta.db back, or run `wharf rebuild --data {}` first",
            config.data.display(),
            config.data.display()
        );
    }
    let tls = load_tls(&config)?;
    let auditor = Auditor::open(&config, &*store.meta).await?;
    let identity = users::open(&config, &store).await?;
    let mirror =
        upstreams::open(&config.upstream, &config.mirror, config.auth.public_url(), &store.registry)?;
    let fallback = fallback::open(mirror.as_ref(), identity.as_ref());
    let edge = config.edge.open(mirror.as_ref())?;
    let metrics = Arc::new(Metrics::new().with_mirror(mirror.as_ref()).with_edge(&edge));
    let observers = Arc::new(Observers {
        metrics: Arc::clone(&metrics),
        auditor: auditor.clone(),
        refusals: Refusals::default(),
    });
    let listeners = listeners(
        &config,
        &store,
        &observers,
        identity.as_ref(),
        tls.as_ref(),
        (mirror, fallback.clone(), edge),
    )
    .await?;
    let (stopping, stopped) = watch::channel(false);
    let jobs =
        maintenance::runner(&config, &store, &metrics, identity.as_ref(), fallback.as_ref())?.run(stopped);
    let signals = signals(tls)?;
    // Nobody is let in before, and nothing can fail any more once the first password is told.
    if let Some(identity) = &identity {
        upstreams::make_projects(&config.upstream, identity).await?;
        users::first_start(identity, &config).await?;
    }
    let jobs = tokio::spawn(jobs);
    let (leaving, left) = watch::channel(false);
    let journal = auditor.map(|auditor| tokio::spawn(auditor.run(Arc::clone(&store.meta), left)));
    announce(&listeners, &config, identity.is_some());
    identity.iter().for_each(users::announce);
    let cut = http_kit::serve(listeners, config.http_limits(), signals).await;
    if cut > 0 {
        tracing::warn!(cut, "transfers were cut when the time to end them was over");
    }
    stopping.send_replace(true);
    jobs.await.context("the jobs ended by a mistake")?;
    store.registry.tend().await.context("the last notes of pulls were not written")?;
    if let Some(fallback) = &fallback {
        fallback.write_uses().await.context("the last uses of replaced registries were not written")?;
    }
    if let Some(identity) = &identity {
        identity.tend().await.context("the last uses of tokens were not written")?;
    }
    store.registry.write_segments().await.context("the last changes were not copied into a segment")?;
    leaving.send_replace(true);
    if let Some(journal) = journal {
        journal.await.context("the audit journal ended by a mistake")?;
    }
    tracing::info!("stopped");
    Ok(())
}

fn load_tls(config: &Config) -> Result<Option<Arc<Tls>>> {
    config
        .has_tls()
        .then(|| Tls::load(&config.tls.certificate, &config.tls.key))
        .transpose()
        .map_err(Into::into)
}

async fn listeners(
    config: &Config,
    store: &Store,
    observers: &Arc<Observers>,
    identity: Option<&Arc<Identity>>,
    tls: Option<&Arc<Tls>>,
    (mirror, fallback, edge): (Option<Arc<Mirror>>, Option<Arc<Fallback>>, Edge),
) -> Result<Vec<Listener>> {
    let gate: Arc<dyn Gate> = match identity {
        Some(identity) => Arc::clone(identity) as Arc<dyn Gate>,
        None => Arc::new(OpenGate::default()),
    };
    let registry = &store.registry;
    let observer = Arc::clone(observers);
    let oci = OciEdge::new(Arc::clone(registry), Arc::clone(&gate), proxies(config)?, observer);
    let oci = match (&fallback, &mirror) {
        (Some(fallback), _) => oci.pulling_by(Arc::clone(fallback) as _),
        (None, Some(mirror)) => oci.pulling_by(Arc::clone(mirror) as _),
        (None, None) => oci,
    };
    let oci = match Fair::new(&config.fair.limits()) {
        Some(fair) => oci.fairly(fair, config.fair.projects.keys().cloned()),
        None => oci,
    };
    let answers_by_url = edge.by_url.is_some();
    let oci = edge.around(oci);
    let operation = Arc::new(Operation { meta: Arc::clone(&store.meta), observers: Arc::clone(observers) });
    let admin = AdminEdge::new(Arc::clone(registry), gate, identity.cloned(), proxies(config)?)
        .observed(Arc::clone(observers) as Arc<dyn http_admin::Observe>)
        .with_mirror(mirror.clone())
        .with_fallback(fallback);
    let admin = match audit::place(config, observers.auditor.as_deref())? {
        Some(place) => admin.with_journal(place),
        None => admin,
    };
    let admin: Arc<dyn Handler> = Arc::new(admin);
    let accounts = match identity {
        Some(identity) => {
            let token = TokenEdge::new(Arc::clone(identity), proxies(config)?, Arc::clone(observers) as _);
            let token = match mirror {
                Some(mirror) => token.pulling_by(mirror),
                None => token,
            };
            let pages =
                console::open(config, Arc::clone(identity), proxies(config)?, Arc::clone(observers) as _)?;
            Some(Accounts { admin: Arc::clone(&admin), token: Arc::new(token), console: Arc::new(pages) })
        }
        None => None,
    };
    let public = Arc::new(Public { oci: Arc::new(oci), answers_by_url, operation, accounts });
    let local = Arc::new(Local { admin, public: Arc::clone(&public) });
    let mut listeners = vec![Listener::unix(&socket(&config.data), local).await?];
    for address in &config.listen {
        let listener = Listener::tcp(*address, Arc::clone(&public) as Arc<dyn http_kit::Handler>)?;
        listeners.push(match tls {
            Some(tls) => listener.with_tls(Arc::clone(tls)),
            None => listener,
        });
    }
    Ok(listeners)
}

fn proxies(config: &Config) -> Result<TrustedProxies> {
    let parse = |text: &String| {
        text.parse::<Network>().map_err(|error| anyhow!("in `http.trusted_proxies`: {error}"))
    };
    Ok(TrustedProxies::new(config.http.trusted_proxies.iter().map(parse).collect::<Result<_>>()?))
}

/// Says where the server can be reached, for people and for who started it.
fn announce(listeners: &[Listener], config: &Config, has_users: bool) {
    let scheme = if config.has_tls() { "https" } else { "http" };
    let mut stderr = std::io::stderr().lock();
    for address in listeners.iter().filter_map(Listener::local_addr) {
        // Nobody reads standard error where this fails, and the server serves all the same.
        let _unread = writeln!(stderr, "listening on {scheme}://{address}");
    }
    if has_users && !config.has_tls() && config.network_address().is_some() {
        tracing::warn!(
            "passwords cross the network as they are, unless a proxy in front speaks TLS: set tls.certificate and tls.key"
        );
    }
    if !has_users && config.network_address().is_some() {
        tracing::warn!(
            "there is no authentication: everyone who reaches these addresses may pull, push and delete"
        );
    }
}

/// Ready when the server is to stop. Later signals end the process.
fn signals(tls: Option<Arc<Tls>>) -> Result<BoxFuture<'static, ()>> {
    let listen = |kind: SignalKind| signal(kind).context("cannot listen for signals");
    let (mut terminate, mut interrupt, hangup) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?, listen(SignalKind::hangup())?);
    tokio::spawn(reload(hangup, tls));
    Ok(async move {
        either(&mut terminate, &mut interrupt).await;
        tracing::info!("stopping: running transfers may end, a second signal ends them");
        tokio::spawn(async move {
            either(&mut terminate, &mut interrupt).await;
            tracing::warn!("stopped by a second signal");
            std::process::exit(1);
        });
    }
    .boxed())
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn reload(mut hangup: Signal, tls: Option<Arc<Tls>>) {
    while hangup.recv().await.is_some() {
        match tls.as_ref().map(|tls| tls.reload()) {
            Some(Ok(())) => tracing::info!("the certificate was read anew"),
            Some(Err(error)) => tracing::error!(%error, "the old certificate stays in use"),
            None => tracing::info!("there is nothing to read anew"),
        }
    }
}
