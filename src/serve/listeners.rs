//! The node's listeners: SSH for sessions, TLS and a Unix socket for the API, plain HTTP for metrics and health.
//!
//! Each runs its connections in a task set of its own and ends them when it is told to stop. No accept loop ever waits
//! for a peer: TLS handshakes and logins happen in the connection's task, under a deadline.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusHandle;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::node::ServeError;
use crate::api::Peer;
use crate::net::{Accepted, Listener, ListenerLimits, PromptStream};
use crate::protocol::ssh::{Arrival, Carried, Front, SshAdapter};
use crate::session::{Ending, Gate, lifecycle};

/// How long a TLS handshake and the head of a request may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(15);
/// How long an API connection may be silent before its first request, and between requests. A watched session counts.
const FIRST_WORD: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(15 * 60);
/// Requests one HTTP/2 connection may have open, and bytes of them it may have under way.
const STREAMS: u32 = 32;
const STREAM_WINDOW: u32 = 64 << 10;
const WINDOW: u32 = 256 << 10;
/// API and metrics connections at once: in all, and from one source, so that none can shut out a revocation from another.
pub(super) const API_LIMITS: ListenerLimits =
    ListenerLimits { before_login: 1024, before_login_per_source: 64 };
/// The mode of the control socket: the machine's operator, nobody else.
const OWNER_ONLY: u32 = 0o600;

/// The server's side of TLS: 1.3 and 1.2, no client certificates.
pub(super) fn tls(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<rustls::ServerConfig, ServeError> {
    let wrong = |error: rustls::Error| ServeError::Tls(error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(wrong)
}

/// Accepts SSH connections until `stop`; those inside a carrier come through `carried`.
pub(super) async fn ssh(
    gate: Arc<Gate>,
    front: Arc<dyn Front>,
    listener: Listener,
    mut carried: mpsc::Receiver<Box<Carried>>,
    connections: usize,
    mut stop: watch::Receiver<bool>,
) {
    let (mut lives, mut is_full) = (JoinSet::new(), false);
    loop {
        let arrival = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(ended) = lives.join_next(), if !lives.is_empty() => {
                if let Err(error) = ended {
                    metrics::counter!("postern_lifecycles_broken_total").increment(1);
                    tracing::error!(%error, "a connection's task broke; what it had open was cut");
                }
                continue;
            }
            Some(carried) = carried.recv() => Some(Arrival::carried(*carried)),
            Accepted { socket, peer, place } = listener.accept() => Arrival::direct(socket, peer, place).ok(),
        };
        let Some(arrival) = arrival else { continue };
        if lives.len() >= connections {
            metrics::counter!("postern_connections_refused_total").increment(1);
            if !std::mem::replace(&mut is_full, true) {
                tracing::warn!(connections, "all places are taken: whoever connects now is closed");
            }
            continue;
        }
        is_full = false;
        let (client, ending) =
            (arrival.client(), Ending::new(gate.clock.clone(), Some(gate.last_words.clone())));
        if arrival.hold_by(ending.fuse()).is_ok() {
            let adapter = SshAdapter::new(arrival, Arc::clone(&front));
            lives.spawn(lifecycle::run(Arc::clone(&gate), adapter, ending, client));
        }
    }
    // Carriers are told that nobody takes their connections any more.
    drop((listener, carried));
    // Sessions go on until the drain is over; the node ends them through the registry and then drops this.
    while lives.join_next().await.is_some() {}
}

/// Serves the API over TLS until `stop`.
pub(super) async fn https(
    listener: Listener,
    tls: TlsAcceptor,
    api: Router,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Accepted { socket, peer, place } = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let (tls, api) = (tls.clone(), api.clone());
        connections.spawn(async move {
            socket.set_nodelay(true).ok();
            let handshake = tokio::time::timeout(HANDSHAKE, tls.accept(socket)).await;
            if let Ok(Ok(stream)) = handshake {
                http(stream, api, Peer(Some(peer))).await;
            }
            // Kept to the end: who has not signed in by then may still hold a connection.
            drop(place);
        });
    }
}

/// Serves the API to the machine's operator on a Unix socket until `stop`.
pub(super) async fn control(listener: UnixListener, api: Router, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, _)) => {
                let api = api.clone();
                connections.spawn(async move { http(socket, api, Peer(None)).await });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Binds the control socket; a socket left by a crash is replaced, which the directory's lock makes safe.
pub(super) fn bind_control(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(OWNER_ONLY))?;
    Ok(listener)
}

/// Serves metrics and health until `stop`.
pub(super) async fn metrics(
    listener: Listener,
    handle: PrometheusHandle,
    is_well: Arc<dyn Fn() -> bool + Send + Sync>,
    stop: watch::Receiver<bool>,
) {
    let ready = move || {
        let status = if is_well() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        async move { status }
    };
    let router = Router::new()
        .route("/metrics", get(move || async move { handle.render() }))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready));
    plain(listener, router, stop).await;
}

/// Serves plain HTTP until `stop`.
pub(super) async fn plain(listener: Listener, router: Router, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let Accepted { socket, peer, place } = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let router = router.clone();
        connections.spawn(async move {
            http(socket, router, Peer(Some(peer))).await;
            drop(place);
        });
    }
}

/// Serves one HTTP connection; how it broke is the peer's affair.
async fn http<S>(stream: S, router: Router, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router.layer(axum::Extension(peer)));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(64 << 10);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
    builder.http2().initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(WINDOW);
    let stream = PromptStream::new(stream, FIRST_WORD, SILENCE);
    builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await.ok();
}
