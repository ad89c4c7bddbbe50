//! Dialling a registered target: its name is resolved once, and only its registered address is ever dialled.
//!
//! An operator cannot influence where a dial goes (a forward is opened by the target, not by us). What is said on the
//! socket is the protocol's; holding it by the session's fuse is the caller's.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::model::Endpoint;

/// How long one dial may take in all.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why a target could not be dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No address accepted the connection.
    #[error("cannot connect to {endpoint}: {source}")]
    Connect {
        /// Where to.
        endpoint: String,
        /// The last address's answer.
        source: io::Error,
    },
    /// The name has no address.
    #[error("cannot resolve {endpoint}: {source}")]
    Resolve {
        /// Where to.
        endpoint: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// Nobody answered in time.
    #[error("no answer from {endpoint} within {} s", DEADLINE.as_secs())]
    TimedOut {
        /// Where to.
        endpoint: String,
    },
}

/// Connects to a registered endpoint.
///
/// # Errors
/// See [`DialError`]; ten seconds at most.
pub async fn dial(endpoint: &Endpoint) -> Result<TcpStream, DialError> {
    let shown = endpoint.to_string();
    tokio::time::timeout(DEADLINE, connect(endpoint))
        .await
        .map_err(|_| DialError::TimedOut { endpoint: shown })?
}

async fn connect(endpoint: &Endpoint) -> Result<TcpStream, DialError> {
    let shown = endpoint.to_string();
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(|source| DialError::Resolve { endpoint: shown.clone(), source })?
        .collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(DialError::Connect { endpoint: shown, source: last })
}
