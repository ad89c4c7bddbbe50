//! Serves a witness: one call over HTTP, with TLS where a certificate is given.
//!
//! The call is C2SP `tlog-witness`'s `add-checkpoint`; `GET /` says who the witness is. Nobody signs in: what counts is
//! the ledger's signature inside. What is decided is `crate::witness`'s.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::listeners;
use super::node::{ServeError, bind};
use crate::model::Clock;
use crate::witness::{Answer, Witness, WitnessError};

/// The longest submission: a proof of 63 hashes and a note with many signatures.
const LONGEST: usize = 64 << 10;
/// What a size is sent as (C2SP `tlog-witness`).
const SIZE: &str = "text/x.tlog.size";

/// Where and how a witness listens.
#[derive(Debug, Clone)]
pub struct WitnessListen {
    /// The address.
    pub address: std::net::SocketAddr,
    /// The certificate chain and its key, as PEM files; plain HTTP without.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// Serves the witness in a directory until it is told to stop.
///
/// # Errors
/// When its files, the certificate or the address cannot be used.
pub async fn serve(
    directory: &Path,
    listen: WitnessListen,
    clock: Clock,
    ready: impl FnOnce(std::net::SocketAddr),
) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let witness = Arc::new(Witness::open(directory, clock)?);
    let tls = listen.tls.map(|(chain, key)| acceptor(&chain, &key)).transpose()?;
    let listener = bind(listen.address, listeners::API_LIMITS).await?;
    ready(listener.address()?);
    sd_notify::notify(&[sd_notify::NotifyState::Ready]).ok();
    let (stop, stopping) = watch::channel(false);
    let router = router(witness);
    let serving = async {
        match tls {
            Some(tls) => listeners::https(listener, tls, router, stopping).await,
            None => listeners::plain(listener, router, stopping).await,
        }
    };
    tokio::select! {
        () = serving => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    drop(stop);
    Ok(())
}

fn router(witness: Arc<Witness>) -> Router {
    Router::new()
        .route("/", get(who))
        .route("/add-checkpoint", post(add_checkpoint))
        .layer(DefaultBodyLimit::max(LONGEST))
        .with_state(witness)
}

async fn who(State(witness): State<Arc<Witness>>) -> String {
    format!("{}\n", witness.key())
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, body: String) -> Response {
    let answer = tokio::task::spawn_blocking(move || witness.add_checkpoint(&body)).await;
    match answer {
        Ok(Ok(answer)) => respond(answer),
        Ok(Err(error)) => failed(&error),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn respond(answer: Answer) -> Response {
    match answer {
        Answer::Cosigned(line) => line.into_response(),
        Answer::Conflict(size) => {
            (StatusCode::CONFLICT, [(header::CONTENT_TYPE, SIZE)], format!("{size}\n")).into_response()
        }
        Answer::Inconsistent => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
        Answer::Malformed => StatusCode::BAD_REQUEST.into_response(),
        Answer::NotSigned => StatusCode::FORBIDDEN.into_response(),
        Answer::UnknownLedger => StatusCode::NOT_FOUND.into_response(),
    }
}

fn failed(error: &WitnessError) -> Response {
    tracing::error!(%error, "a checkpoint was not signed");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

fn acceptor(chain: &Path, key: &Path) -> Result<TlsAcceptor, ServeError> {
    let wrong = |error: &dyn std::fmt::Display| ServeError::Tls(error.to_string());
    let chain = CertificateDer::pem_file_iter(chain).map_err(|error| wrong(&error))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|error| wrong(&error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(&error))?;
    Ok(TlsAcceptor::from(Arc::new(listeners::tls(chain, key)?)))
}
