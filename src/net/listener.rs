//! Accepting connections without ever waiting on a peer, within limits that hold before anybody has logged in.
//!
//! Connections that have not logged in are counted, in all and per source network. Over a source's own limit a
//! connection is closed at once; when all places are taken, the source that holds the most loses its oldest, so that a
//! few strangers who say nothing cannot shut the others out. Where they are many, each with a few, the oldest of all goes,
//! once it has had time to log in. A connection gives its [`Place`] back when it logs in or ends.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::fuse::reset;
use crate::model::Clock;

/// How long to pause when the process is out of descriptors.
const BREATH: Duration = Duration::from_millis(50);

/// How long a connection has to log in before it makes room for another, when all places are taken.
const TO_LOG_IN: Duration = Duration::from_secs(10);

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
    clock: Clock,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    all: usize,
    next: u64,
    /// Each source's connections, by age.
    by_source: HashMap<IpAddr, BTreeMap<u64, Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    handle: OwnedFd,
    /// When it came, on the clock that counts since boot.
    since: Duration,
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
    number: u64,
}

impl Listener {
    /// Listens on `address`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(address: SocketAddr, limits: ListenerLimits) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        Ok(Self { socket, limits, clock: Clock::system(), waiting: Arc::default() })
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
                    if let Some(place) = self.place(&socket, peer.ip()) {
                        return Accepted { socket, peer, place };
                    }
                    metrics::counter!("postern_connections_refused_total").increment(1);
                }
                // The peer left before we took it, or descriptors ran out: neither is a reason to stop listening.
                Err(_) => tokio::time::sleep(BREATH).await,
            }
        }
    }

    fn place(&self, socket: impl AsFd, peer: IpAddr) -> Option<Place> {
        let source = network(peer);
        let handle = socket.as_fd().try_clone_to_owned().ok()?;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let from_source = waiting.by_source.get(&source).map_or(0, BTreeMap::len);
        if from_source >= self.limits.before_login_per_source {
            return None;
        }
        let since = self.clock.since_boot();
        if waiting.all >= self.limits.before_login && !waiting.make_room(from_source, since) {
            return None;
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.all += 1;
        waiting.by_source.entry(source).or_default().insert(number, Waiter { handle, since });
        Some(Place { waiting: Arc::clone(&self.waiting), source, number })
    }
}

impl Waiting {
    /// Closes the oldest connection of the source that has the most, if that has more than the newcomer's `few`; else
    /// the oldest of all, if it has had its time.
    fn make_room(&mut self, few: usize, now: Duration) -> bool {
        let most = self.by_source.iter().max_by_key(|(_, places)| places.len());
        let of_most = most
            .filter(|(_, places)| places.len() > few + 1)
            .and_then(|(source, places)| Some((source, places.first_key_value()?)));
        let of_all = || {
            let firsts = self.by_source.iter();
            let firsts = firsts.filter_map(|(source, places)| Some((source, places.first_key_value()?)));
            let oldest = firsts.min_by_key(|(_, (number, _))| **number);
            oldest.filter(|(_, (_, waiter))| now.saturating_sub(waiter.since) >= TO_LOG_IN)
        };
        let Some((source, (number, waiter))) = of_most.or_else(of_all) else { return false };
        // What it was doing hears the end of its stream.
        reset(&waiter.handle);
        let (source, number) = (*source, *number);
        metrics::counter!("postern_connections_displaced_total").increment(1);
        self.give_back(source, number);
        true
    }

    /// Given back twice when it was displaced, which is once.
    fn give_back(&mut self, source: IpAddr, number: u64) {
        let Some(places) = self.by_source.get_mut(&source) else { return };
        if places.remove(&number).is_some() {
            self.all = self.all.saturating_sub(1);
        }
        if places.is_empty() {
            self.by_source.remove(&source);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).give_back(self.source, self.number);
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

    #[tokio::test]
    async fn a_crowd_from_one_place_makes_room_for_a_newcomer_and_not_for_its_own() {
        let limits = ListenerLimits { before_login: 4, before_login_per_source: 4 };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), limits).await.unwrap();
        let address = listener.address().unwrap();
        let connect = || async {
            let far = TcpStream::connect(address).await.unwrap();
            let (near, _) = listener.socket.accept().await.unwrap();
            (far, near)
        };
        let [crowd, other]: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        let mut silent = Vec::new();
        for _ in 0..4 {
            let (far, near) = connect().await;
            let place = listener.place(&near, crowd).unwrap();
            silent.push((far, near, place));
        }
        let (_far, near) = connect().await;
        assert!(listener.place(&near, crowd).is_none());
        let place = listener.place(&near, other).expect("the oldest of the crowd makes room");
        let (oldest, ..) = &mut silent[0];
        let mut byte = [0];
        let end = tokio::io::AsyncReadExt::read(oldest, &mut byte);
        assert!(tokio::time::timeout(Duration::from_secs(5), end).await.unwrap().is_err(), "reset");
        drop(silent.remove(0));
        assert_eq!(listener.waiting.lock().unwrap().all, 4, "a displaced place is not given back twice");
        drop((silent, place));
        assert_eq!(listener.waiting.lock().unwrap().all, 0);
        assert!(listener.waiting.lock().unwrap().by_source.is_empty());
    }

    #[tokio::test]
    async fn many_sources_with_one_connection_each_keep_their_places_only_as_long_as_a_login_takes() {
        let limits = ListenerLimits { before_login: 4, before_login_per_source: 4 };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), limits).await.unwrap();
        let address = listener.address().unwrap();
        let mut held = Vec::new();
        let mut come = async |host: u16| {
            let far = TcpStream::connect(address).await.unwrap();
            let (near, _) = listener.socket.accept().await.unwrap();
            let source = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, host, 0, 0, 0, 1));
            let place = listener.place(&near, source);
            let is_in = place.is_some();
            held.push((far, near, place));
            is_in
        };
        for host in 0..4 {
            assert!(come(host).await);
        }
        assert!(!come(4).await, "whoever has just come is not sent away");
        for places in listener.waiting.lock().unwrap().by_source.values_mut() {
            places.values_mut().for_each(|waiter| waiter.since = waiter.since.saturating_sub(TO_LOG_IN));
        }
        assert!(come(5).await, "the oldest of all makes room");
        let (oldest, ..) = &mut held[0];
        let end = tokio::io::AsyncReadExt::read(oldest, &mut [0]).await;
        assert!(end.is_err(), "reset");
        assert_eq!(listener.waiting.lock().unwrap().all, 4);
    }
}
