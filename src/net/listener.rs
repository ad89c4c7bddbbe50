//! Accepting connections without ever waiting on a peer, within limits that hold before anybody has logged in.
//!
//! Connections that have not logged in are counted, in all and per source network, and a connection over either limit
//! is closed at once. A connection gives its [`Place`] back when it logs in or ends.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

/// How long to pause when the process is out of descriptors.
const BREATH: Duration = Duration::from_millis(50);

/// What may be open before login.
#[derive(Debug, Clone, Copy)]
pub struct ListenerLimits {
    /// Connections that have not logged in, in all.
    pub before_login: usize,
    /// Connections that have not logged in, from one source (an IPv4 address or an IPv6 /64).
    pub before_login_per_source: usize,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self { before_login: 1024, before_login_per_source: 256 }
    }
}

/// A listening socket with its limits.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    limits: ListenerLimits,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    all: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// A connection that was let in to log in.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub socket: TcpStream,
    /// The peer's address.
    pub peer: SocketAddr,
    /// Its place among those who have not logged in; drop it when it has.
    pub place: Place,
}

/// A place among the connections that have not logged in, given back when dropped.
#[derive(Debug)]
pub struct Place {
    waiting: Arc<Mutex<Waiting>>,
    source: IpAddr,
}

impl Listener {
    /// Listens on `address`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(address: SocketAddr, limits: ListenerLimits) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        Ok(Self { socket, limits, waiting: Arc::default() })
    }

    /// The address it listens on, with the port the system chose where 0 was asked for.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next connection within the limits. Cancel-safe.
    pub async fn accept(&self) -> Accepted {
        loop {
            match self.socket.accept().await {
                Ok((socket, peer)) => {
                    if let Some(place) = self.place(peer.ip()) {
                        return Accepted { socket, peer, place };
                    }
                    metrics::counter!("postern_connections_refused_total").increment(1);
                }
                // The peer left before we took it, or descriptors ran out: neither is a reason to stop listening.
                Err(_) => tokio::time::sleep(BREATH).await,
            }
        }
    }

    fn place(&self, peer: IpAddr) -> Option<Place> {
        let source = network(peer);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let from_source = waiting.by_source.get(&source).copied().unwrap_or(0);
        if waiting.all >= self.limits.before_login || from_source >= self.limits.before_login_per_source {
            return None;
        }
        waiting.all += 1;
        waiting.by_source.insert(source, from_source + 1);
        Some(Place { waiting: Arc::clone(&self.waiting), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.all = waiting.all.saturating_sub(1);
        let left = waiting.by_source.get(&self.source).copied().unwrap_or(0).saturating_sub(1);
        if left == 0 {
            waiting.by_source.remove(&self.source);
        } else {
            waiting.by_source.insert(self.source, left);
        }
    }
}

/// The network one source is counted by.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or_else(
            || {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            },
            IpAddr::V4,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_before_login_are_bounded_and_given_back() {
        let limits = ListenerLimits { before_login: 8, before_login_per_source: 2 };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), limits).await.unwrap();
        let address = listener.address().unwrap();
        let clients: Vec<_> =
            futures_util::future::join_all((0..3).map(|_| TcpStream::connect(address))).await;
        assert!(clients.iter().all(Result::is_ok));
        let first = listener.accept().await;
        let _second = listener.accept().await;
        let third = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
        assert!(third.is_err(), "the third from one source is closed, not handed out");
        drop(first.place);
        let _again = TcpStream::connect(address).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(5), listener.accept()).await.is_ok());
    }
}
