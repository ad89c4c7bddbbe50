//! Whether somebody is kept waiting by a peer that does not read.
//!
//! A protocol library that says nothing may be waiting for a peer to take what it wrote, which is back-pressure and
//! harms nobody, or may be stuck for another reason. [`Busy`] tells the two apart: it is marked for as long as a write
//! waits, and remembers that it was marked since it was last looked at. [`Traffic`] is that of a stream, and counts
//! what moved on it, either way.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A mark that says "waiting for somebody else". Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Busy {
    marks: Arc<Marks>,
}

#[derive(Debug, Default)]
struct Marks {
    now: AtomicBool,
    lately: AtomicBool,
}

impl Busy {
    /// Sets or lifts the mark.
    pub fn mark(&self, is_busy: bool) {
        self.marks.now.store(is_busy, Ordering::Relaxed);
        if is_busy {
            self.marks.lately.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the mark is set, or was at any time since this was last asked.
    #[must_use]
    pub fn lately(&self) -> bool {
        let now = self.marks.now.load(Ordering::Relaxed);
        self.marks.lately.swap(now, Ordering::Relaxed) || now
    }

    /// Waits for `something` with the mark lifted, and sets it again afterwards.
    pub async fn except<T>(&self, something: impl Future<Output = T>) -> T {
        self.mark(false);
        let outcome = something.await;
        self.mark(true);
        outcome
    }
}

/// What can be seen of a stream from outside. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    writing: Busy,
    moved: Arc<AtomicU64>,
}

impl Traffic {
    /// Whether a write waits for the peer, or did at any time since this was last asked.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.writing.lately()
    }

    /// A number that is another one when anything was read or written since.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    fn note<T>(&self, outcome: &Poll<T>) {
        if outcome.is_ready() {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A stream that shows its traffic.
#[derive(Debug)]
pub struct WatchedStream<S> {
    stream: S,
    traffic: Traffic,
}

impl<S> WatchedStream<S> {
    /// Shows in `traffic` what goes through `stream`.
    pub const fn new(stream: S, traffic: Traffic) -> Self {
        Self { stream, traffic }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.traffic.note(&outcome);
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.traffic.writing.mark(outcome.is_pending());
        self.traffic.note(&outcome);
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_write_that_waits_is_remembered_until_looked_at() {
        let (mut peer, near) = tokio::io::duplex(4);
        let traffic = Traffic::default();
        let mut stream = WatchedStream::new(near, traffic.clone());
        let before = traffic.moved();
        stream.write_all(b"full").await.unwrap();
        assert_ne!(traffic.moved(), before);
        assert!(!traffic.is_waiting(), "nothing had to wait");
        let mut four = [0; 4];
        let (written, read) = tokio::join!(stream.write_all(b"more"), async {
            tokio::task::yield_now().await;
            let marked = traffic.is_waiting();
            peer.read_exact(&mut four).await.map(|_| marked)
        });
        written.unwrap();
        assert!(read.unwrap(), "while it waits");
        assert!(traffic.is_waiting(), "and once more after it went on");
        assert!(!traffic.is_waiting(), "but only once");
    }
}
