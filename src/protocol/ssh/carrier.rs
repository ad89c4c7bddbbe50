//! Jump connections: `ssh -J bastion deploy@web-1` logs in to the bastion under a plain name and asks for a channel to
//! `web-1`. That channel is not a connection to the target: we answer on it ourselves, as `web-1`, under a host
//! certificate, and everything inside is a session like any other.
//!
//! A carried session's fuse holds the carrier's socket, because only a reset of the real connection throws away what
//! is still under way to a client that has stopped reading. When a right ends, other sessions on the same carrier end
//! with it; a session that merely comes to its end leaves the carrier to them. A carrier is somebody's, who has only so
//! many, and one that carries nothing for long is closed.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use russh::Channel;
use russh::keys::{Certificate, PrivateKey};
use russh::server::Msg;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf};

use super::channel::Use;
use super::inbound::{Inbound, Item};
use crate::model::{PersonId, TargetName};
use crate::net::{Held, Pressure};

/// What may be under way from a carried session to its client.
const OUTBOUND: usize = 64 << 10;
/// Carriers one person may have open at once.
pub(super) const CARRIERS: usize = 256;
/// How often it is looked whether a carrier carries anything, and how many looks in a row may find nothing: half an hour.
const LOOK: Duration = Duration::from_secs(60);
const LOOKS: u32 = 30;

/// What the adapter needs of the node it runs on; composed in `serve`.
pub trait Front: Send + Sync {
    /// The key that proves the bastion.
    fn host_key(&self) -> &PrivateKey;

    /// A host certificate that lets the bastion answer as `target`.
    fn host_certificate(&self, target: &TargetName) -> Option<Certificate>;

    /// The carriers that are open on this node.
    fn carriers(&self) -> &Carriers;

    /// Whether a target of this name is registered.
    fn knows_target(&self, target: &TargetName) -> bool;

    /// Starts a lifecycle for a carried connection.
    ///
    /// # Errors
    /// Gives the connection back when the node takes no more.
    fn carry(&self, carried: Box<Carried>) -> Result<(), Box<Carried>>;
}

/// How many carriers each person has open. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Carriers {
    open: Arc<Mutex<BTreeMap<PersonId, usize>>>,
}

/// One of a person's carriers, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    carriers: Carriers,
    person: PersonId,
}

impl Carriers {
    /// Counts one more of `person`'s, unless they have as many as one may.
    pub(super) fn count(&self, person: &PersonId) -> Option<Counted> {
        let mut carriers = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = carriers.entry(person.clone()).or_default();
        if *open >= CARRIERS {
            return None;
        }
        *open += 1;
        Some(Counted { carriers: self.clone(), person: person.clone() })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut carriers = self.carriers.open.lock().unwrap_or_else(PoisonError::into_inner);
        match carriers.get_mut(&self.person) {
            Some(open) if *open > 1 => *open -= 1,
            _ => {
                carriers.remove(&self.person);
            }
        }
    }
}

/// Returns when a carrier has carried nothing for long.
pub(super) async fn unused(use_so_far: impl Fn() -> Use) {
    unused_at(LOOK, use_so_far).await;
}

async fn unused_at(look: Duration, use_so_far: impl Fn() -> Use) {
    let (mut empty, mut begun) = (0, 0);
    while empty < LOOKS {
        tokio::time::sleep(look).await;
        let now = use_so_far();
        let is_unused = now.running == 0 && now.begun == begun;
        begun = now.begun;
        empty = if is_unused { empty + 1 } else { 0 };
    }
}

/// The client sent more on a carrier than is held for it; what the streams inside it say to whoever reads them.
#[derive(Debug, thiserror::Error)]
#[error("the client sent more than is held for it")]
pub(super) struct Flooded;

/// Where a connection really comes from.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    pub(super) socket: Arc<OwnedFd>,
}

/// A connection inside a carrier, on its way to a lifecycle of its own.
pub struct Carried {
    pub(super) stream: CarriedStream,
    pub(super) target: TargetName,
    pub(super) origin: Origin,
}

/// The bytes of a carried connection, as a stream.
pub struct CarriedStream {
    inbound: Arc<Inbound>,
    taking: Option<Pin<Box<dyn Future<Output = Vec<Item>> + Send>>>,
    ready: Vec<(Bytes, Held)>,
    is_over: bool,
    outbound: DuplexStream,
}

/// Makes a stream of a channel: what the client sends is pushed to the queue returned, and the future returned carries
/// what is written to the stream back to the client until either side is done.
pub(super) fn open(
    channel: Channel<Msg>,
    target: TargetName,
    origin: Origin,
    pressure: Pressure,
) -> (Box<Carried>, Arc<Inbound>, impl Future<Output = ()> + Send) {
    let (unused, client) = channel.split();
    drop(unused);
    let inbound = Arc::new(Inbound::new(pressure));
    let (outbound, mut written) = tokio::io::duplex(OUTBOUND);
    let stream = CarriedStream {
        inbound: Arc::clone(&inbound),
        taking: None,
        ready: Vec::new(),
        is_over: false,
        outbound,
    };
    let pump = async move {
        let mut buffer = vec![0_u8; OUTBOUND / 2];
        while let Ok(n @ 1..) = written.read(&mut buffer).await {
            let bytes = Bytes::copy_from_slice(buffer.get(..n).unwrap_or_default());
            if client.data_bytes(bytes).await.is_err() {
                break;
            }
        }
        client.eof().await.ok();
        client.close().await.ok();
    };
    (Box::new(Carried { stream, target, origin }), inbound, pump)
}

impl CarriedStream {
    /// Ends the stream for whoever reads it, from anywhere and without waiting.
    pub(super) fn leave(&self) -> impl Fn() + Send + Sync + 'static {
        let inbound = Arc::clone(&self.inbound);
        move || inbound.discard()
    }

    fn go_on(&self) -> io::Result<()> {
        if self.inbound.is_flooded() { Err(io::Error::other(Flooded)) } else { Ok(()) }
    }
}

impl AsyncRead for CarriedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.go_on()?;
        loop {
            if let Some((bytes, _)) = self.ready.last_mut() {
                let n = bytes.len().min(buffer.remaining());
                buffer.put_slice(&bytes.split_to(n));
                if bytes.is_empty() {
                    self.ready.pop();
                }
                return Poll::Ready(Ok(()));
            }
            if self.is_over {
                return Poll::Ready(Ok(()));
            }
            let inbound = Arc::clone(&self.inbound);
            let taking = self.taking.get_or_insert_with(|| Box::pin(async move { inbound.take().await }));
            let items = ready!(taking.as_mut().poll(cx));
            self.taking = None;
            self.go_on()?;
            self.is_over = items.is_empty();
            for item in items {
                match item {
                    Item::Data(bytes, held) => self.ready.push((bytes, held)),
                    Item::Eof => self.is_over = true,
                    Item::Request(_) => {}
                }
            }
            self.ready.reverse();
        }
    }
}

impl AsyncWrite for CarriedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.go_on()?;
        Pin::new(&mut self.outbound).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.outbound).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.outbound).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::model::EndReason;
    use crate::protocol::ssh::client_side::Hangup;

    #[test]
    fn one_person_has_few_carriers_and_gives_them_back() {
        let carriers = Carriers::default();
        let [alice, bob] = [PersonId::random().unwrap(), PersonId::random().unwrap()];
        let mut open: Vec<_> = (0..CARRIERS).map(|_| carriers.count(&alice).unwrap()).collect();
        assert!(carriers.count(&alice).is_none());
        assert!(carriers.count(&bob).is_some(), "another person is not held up");
        open.pop();
        assert!(carriers.count(&alice).is_some());
        open.clear();
        assert!(carriers.open.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn only_a_carrier_that_carries_nothing_for_long_is_unused() {
        let looks = Cell::new(0_u32);
        // Something is carried at every tenth look, and from the hundredth on nothing is.
        let carried = || {
            looks.set(looks.get() + 1);
            Use { running: usize::from(looks.get().is_multiple_of(10) && looks.get() <= 100), begun: 0 }
        };
        unused_at(Duration::from_micros(10), carried).await;
        assert_eq!(looks.get(), 100 + LOOKS);
        // What begins and ends between two looks counts as well.
        looks.set(0);
        let between = || {
            looks.set(looks.get() + 1);
            Use { running: 0, begun: u64::from(looks.get().min(100) / 10) }
        };
        unused_at(Duration::from_micros(10), between).await;
        assert_eq!(looks.get(), 100 + LOOKS);
    }

    #[tokio::test]
    async fn whoever_floods_a_carrier_is_said_to_have_by_the_sessions_in_it() {
        let inbound = Arc::new(Inbound::new(Pressure::default()));
        let (outbound, _written) = tokio::io::duplex(OUTBOUND);
        let (taking, ready, is_over) = (None, Vec::new(), false);
        let mut stream = CarriedStream { inbound: Arc::clone(&inbound), taking, ready, is_over, outbound };
        inbound.push(b"before");
        assert_eq!(stream.read(&mut [0; 3]).await.unwrap(), 3);
        inbound.flood();
        let read = stream.read(&mut [0; 3]).await.unwrap_err();
        let written = tokio::io::AsyncWriteExt::write(&mut stream, b"x").await.unwrap_err();
        for error in [read, written] {
            assert_eq!(Hangup::Library(russh::Error::IO(error)).reason(), EndReason::ClientFlooded);
        }
    }
}
