//! A peer's stream as the gate reads it: acknowledged at once while a conversation starts, and slowed by pressure.
//!
//! OpenSSH leaves Nagle's algorithm on until a session is interactive, so a delayed acknowledgement (40 ms on Linux)
//! would be paid several times at every start; [`QuickStream`] asks for quick acknowledgements on the first reads. The
//! kernel forgets the wish, hence again and again. [`PacedStream`] slows reading, and only reading, by a [`Pressure`].

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::pressure::Pressure;

/// How many reads ask for a quick acknowledgement.
const QUICK_READS: u32 = 200;
/// A peer that is silent for this long is asked by the kernel whether it is still there.
const SILENCE: Duration = Duration::from_secs(60);
/// How often the kernel asks again, and how often it asks in all.
const AGAIN: Duration = Duration::from_secs(15);
const ASKS: u32 = 4;

/// A TCP stream without delays at the start.
#[derive(Debug)]
pub struct QuickStream {
    socket: TcpStream,
    quick_reads: u32,
}

impl QuickStream {
    /// Takes a socket, turns Nagle's algorithm off on it and keep-alive on.
    ///
    /// # Errors
    /// When the socket is already dead.
    pub fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new().with_time(SILENCE).with_interval(AGAIN).with_retries(ASKS);
        SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
        Ok(Self { socket, quick_reads: QUICK_READS })
    }
}

impl AsyncRead for QuickStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = ready!(Pin::new(&mut self.socket).poll_read(cx, buffer));
        if self.quick_reads > 0 {
            self.quick_reads -= 1;
            // Only a hint: where it is refused the start is slower and nothing else.
            SockRef::from(&self.socket).set_tcp_quickack(true).ok();
        }
        Poll::Ready(outcome)
    }
}

impl AsyncWrite for QuickStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// A stream that is read more slowly the more of what it brought is still waiting.
pub struct PacedStream<S> {
    stream: S,
    pressure: Pressure,
    pause: Option<Pin<Box<Sleep>>>,
    turn: usize,
}

impl<S> PacedStream<S> {
    /// Reads `stream` at the pace of `pressure`.
    pub const fn new(stream: S, pressure: Pressure) -> Self {
        Self { stream, pressure, pause: None, turn: 0 }
    }

    /// Waits while the peer is too far ahead; then allows one more turn of reading.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.turn > 0 {
            return Poll::Ready(());
        }
        let mut pause = match self.pause.take() {
            Some(pause) => pause,
            None => match self.pressure.pause() {
                Duration::ZERO => return Poll::Ready(()),
                wait => Box::pin(tokio::time::sleep(wait)),
            },
        };
        if pause.as_mut().poll(cx).is_pending() {
            self.pause = Some(pause);
            return Poll::Pending;
        }
        self.turn = Pressure::TURN;
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PacedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_turn(cx));
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let got = buffer.filled().len().saturating_sub(before);
        self.turn = if outcome.is_pending() { 0 } else { self.turn.saturating_sub(got) };
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PacedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A stream that fails when its peer says nothing for too long: at first, and between what it says. Writing to it counts
/// as being spoken with.
pub struct PromptStream<S> {
    stream: S,
    between: Duration,
    silence: Pin<Box<Sleep>>,
}

impl<S> PromptStream<S> {
    /// Waits `first` for the first byte and `between` from then on.
    pub fn new(stream: S, first: Duration, between: Duration) -> Self {
        Self { stream, between, silence: Box::pin(tokio::time::sleep(first)) }
    }

    fn heard(&mut self) {
        self.silence.as_mut().reset(deadline(self.between));
    }
}

#[expect(clippy::disallowed_methods, reason = "a timer of the runtime's wants the runtime's own clock")]
fn deadline(after: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + after
}

impl<S: AsyncRead + Unpin> AsyncRead for PromptStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(outcome) => {
                self.heard();
                Poll::Ready(outcome)
            }
            Poll::Pending => {
                ready!(self.silence.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PromptStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.heard();
        Poll::Ready(outcome)
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
    async fn silence_ends_a_stream_and_speech_does_not() {
        let (mut peer, near) = tokio::io::duplex(64);
        let long = Duration::from_secs(3600);
        let mut stream = PromptStream::new(near, long, Duration::from_millis(20));
        let mut byte = [0];
        peer.write_all(b"x").await.unwrap();
        stream.read_exact(&mut byte).await.unwrap();
        assert_eq!(stream.read(&mut byte).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (mut peer, near) = tokio::io::duplex(64);
        let mut stream = PromptStream::new(near, Duration::from_millis(20), long);
        assert_eq!(stream.read(&mut byte).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        stream.write_all(b"y").await.unwrap();
        peer.write_all(b"z").await.unwrap();
        stream.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"z");
    }
}
