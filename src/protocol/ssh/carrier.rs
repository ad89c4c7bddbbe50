//! Jump connections: `ssh -J bastion deploy@web-1` logs in to the bastion under a plain name and asks for a channel to
//! `web-1`. That channel is not a connection to the target: we answer on it ourselves, as `web-1`, under a host
//! certificate, and everything inside is a session like any other.
//!
//! A carried session's fuse holds the carrier's socket, because only a reset of the real connection throws away what
//! is still under way to a client that has stopped reading. When a right ends, other sessions on the same carrier end
//! with it; a session that merely comes to its end leaves the carrier to them.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use russh::Channel;
use russh::keys::{Certificate, PrivateKey};
use russh::server::Msg;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf};

use super::inbound::{Inbound, Item};
use crate::model::TargetName;
use crate::net::{Held, Pressure};

/// What may be under way from a carried session to its client.
const OUTBOUND: usize = 64 << 10;

/// What the adapter needs of the node it runs on; composed in `serve`.
pub trait Front: Send + Sync {
    /// The key that proves the bastion.
    fn host_key(&self) -> &PrivateKey;

    /// A host certificate that lets the bastion answer as `target`.
    fn host_certificate(&self, target: &TargetName) -> Option<Certificate>;

    /// Whether a target of this name is registered.
    fn knows_target(&self, target: &TargetName) -> bool;

    /// Starts a lifecycle for a carried connection.
    ///
    /// # Errors
    /// Gives the connection back when the node takes no more.
    fn carry(&self, carried: Box<Carried>) -> Result<(), Box<Carried>>;
}

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
}

impl AsyncRead for CarriedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
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
        Pin::new(&mut self.outbound).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.outbound).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.outbound).poll_shutdown(cx)
    }
}
