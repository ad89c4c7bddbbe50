//! The bytes of one channel: between a client and a program, or a client and a forwarded socket.
//!
//! Three things go on at once, and none waits for another: the client's messages are queued, the queue is written to
//! the program, the program's output is sent. The queue is bounded; how full all of them are decides the window that
//! `session.rs` grants.

use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use russh::server::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::process::Child;
use tokio::sync::mpsc;

use super::process::{Group, size};

/// Bytes of input that may wait on one connection before its channels are closed.
const MOST_QUEUED: usize = 64 << 20;
/// Pieces of input in one channel's queue.
const MOST_PIECES: usize = 65_536;
/// Bytes of output read at once.
const READ_SIZE: usize = 32 << 10;
/// How long a terminal must be quiet after its program exited.
const LAST_WORDS: Duration = Duration::from_millis(100);

type Reading = Box<dyn AsyncRead + Send + Unpin>;
type Writing = Box<dyn AsyncWrite + Send + Unpin>;

/// What a channel's bytes go to and come from.
pub(super) struct Endpoints {
    input: Input,
    output: Reading,
    errors: Option<Reading>,
}

enum Input {
    Stream(Writing),
    Terminal(pty_process::OwnedWritePty),
}

/// What a client sent for the program.
enum Piece {
    Data(Bytes),
    End,
    Size(pty_process::Size),
}

/// Input that waits on one connection; each channel takes back its own when it ends.
#[derive(Debug, Default)]
pub(super) struct Inflow {
    all: Arc<AtomicUsize>,
    mine: AtomicUsize,
}

impl Endpoints {
    pub(super) fn of_pipes(
        input: impl AsyncWrite + Send + Unpin + 'static,
        output: impl AsyncRead + Send + Unpin + 'static,
        errors: impl AsyncRead + Send + Unpin + 'static,
    ) -> Self {
        let errors: Reading = Box::new(errors);
        Self { input: Input::Stream(Box::new(input)), output: Box::new(output), errors: Some(errors) }
    }

    pub(super) fn of_socket(
        output: impl AsyncRead + Send + Unpin + 'static,
        input: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        Self { input: Input::Stream(Box::new(input)), output: Box::new(output), errors: None }
    }

    pub(super) fn of_terminal(read: pty_process::OwnedReadPty, write: pty_process::OwnedWritePty) -> Self {
        Self { input: Input::Terminal(write), output: Box::new(read), errors: None }
    }
}

impl Inflow {
    /// One more channel of the same connection.
    pub(super) fn share(&self) -> Self {
        Self { all: Arc::clone(&self.all), mine: AtomicUsize::new(0) }
    }

    /// Bytes waiting on the connection.
    pub(super) fn waiting(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.mine.fetch_add(bytes, Ordering::Relaxed);
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) {
        self.mine.fetch_sub(bytes, Ordering::Relaxed);
        self.all.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Inflow {
    fn drop(&mut self) {
        self.all.fetch_sub(self.mine.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Moves bytes until the program ended and its output was sent; nothing when the client left first.
pub(super) async fn with_program(
    read: ChannelReadHalf,
    write: &ChannelWriteHalf<Msg>,
    ends: Endpoints,
    child: &mut Child,
    group: &Group,
    inflow: Inflow,
) -> Option<ExitStatus> {
    let (pieces, waiting) = mpsc::channel(MOST_PIECES);
    let outgoing = async {
        // A terminal has no stream of its own for errors.
        let Some(errors) = ends.errors else { return send_until_quiet(ends.output, write, child).await };
        tokio::join!(send(ends.output, write, None), send(errors, write, Some(1)));
        child.wait().await.ok()
    };
    tokio::select! {
        status = outgoing => status,
        () = receive(read, pieces, Some(group), &inflow) => None,
        () = async { supply(waiting, ends.input, &inflow).await; std::future::pending().await } => None,
    }
}

/// Moves bytes of a forward both ways until both are over or the client left.
pub(super) async fn with_socket(channel: Channel<Msg>, ends: Endpoints, inflow: Inflow) {
    let (read, write) = channel.split();
    let (pieces, waiting) = mpsc::channel(MOST_PIECES);
    let outgoing = async {
        send(ends.output, &write, None).await;
        write.eof().await.is_ok()
    };
    let both = async { tokio::join!(outgoing, supply(waiting, ends.input, &inflow)).0 };
    tokio::select! {
        is_there = both => {
            if is_there {
                // An error means that the client has gone, which is what was wanted.
                drop(write.close().await);
            }
        }
        () = receive(read, pieces, None, &inflow) => {}
    }
}

/// Queues what the client sends; ends when the client closes the channel or sends past the limit.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "russh's messages may grow; what we do not know means nothing"
)]
async fn receive(
    mut read: ChannelReadHalf,
    pieces: mpsc::Sender<Piece>,
    group: Option<&Group>,
    inflow: &Inflow,
) {
    while let Some(message) = read.wait().await {
        let piece = match message {
            ChannelMsg::Data { data } if inflow.waiting() > MOST_QUEUED => return drop(data),
            ChannelMsg::Data { data } => {
                inflow.add(data.len());
                Piece::Data(data)
            }
            ChannelMsg::Eof => Piece::End,
            ChannelMsg::WindowChange { col_width, row_height, .. } => {
                Piece::Size(size(col_width, row_height))
            }
            ChannelMsg::Signal { signal } => {
                if let Some(group) = group {
                    group.signal(&signal);
                }
                continue;
            }
            ChannelMsg::Close => return,
            _ => continue,
        };
        if let Err(mpsc::error::TrySendError::Full(_)) = pieces.try_send(piece) {
            return;
        }
    }
}

/// Writes queued input; goes on taking it when nobody reads it any more.
async fn supply(mut waiting: mpsc::Receiver<Piece>, input: Input, inflow: &Inflow) {
    let mut input = Some(input);
    while let Some(piece) = waiting.recv().await {
        match (piece, &mut input) {
            (Piece::Data(data), Some(open)) => {
                let written = match open {
                    Input::Stream(to) => to.write_all(&data).await,
                    Input::Terminal(to) => to.write_all(&data).await,
                };
                if written.is_err() {
                    input = None;
                }
                inflow.take(data.len());
            }
            (Piece::Data(data), None) => inflow.take(data.len()),
            // A terminal has no end of its own to close.
            (Piece::End, Some(Input::Terminal(_))) => {}
            (Piece::End, _) => {
                if let Some(Input::Stream(mut to)) = input.take() {
                    // An error means that the other side has closed already.
                    drop(to.shutdown().await);
                }
                return;
            }
            (Piece::Size(size), Some(Input::Terminal(terminal))) => {
                // An error means that the program has gone, which its status will say.
                drop(terminal.resize(size));
            }
            (Piece::Size(_), _) => {}
        }
    }
}

/// Sends one stream of output until it is over or the client is.
async fn send(mut from: Reading, write: &ChannelWriteHalf<Msg>, kind: Option<u32>) {
    let mut buffer = vec![0; READ_SIZE];
    while let Ok(count) = from.read(&mut buffer).await
        && count > 0
    {
        if !send_piece(buffer.get(..count).unwrap_or_default(), write, kind).await {
            return;
        }
    }
}

/// Sends a terminal's output; it is over when its program exited and nothing more came.
async fn send_until_quiet(
    mut from: Reading,
    write: &ChannelWriteHalf<Msg>,
    child: &mut Child,
) -> Option<ExitStatus> {
    let mut buffer = vec![0; READ_SIZE];
    let mut exited = None;
    loop {
        tokio::select! {
            read = from.read(&mut buffer) => match read {
                Ok(count) if count > 0 => {
                    if !send_piece(buffer.get(..count).unwrap_or_default(), write, None).await {
                        return None;
                    }
                }
                // Nobody holds the terminal any more.
                Ok(_) | Err(_) => return child.wait().await.ok(),
            },
            status = child.wait(), if exited.is_none() => exited = Some(status.ok()?),
            () = tokio::time::sleep(LAST_WORDS), if exited.is_some() => return exited,
        }
    }
}

async fn send_piece(data: &[u8], write: &ChannelWriteHalf<Msg>, kind: Option<u32>) -> bool {
    let data = Bytes::copy_from_slice(data);
    let sent = match kind {
        None => write.data_bytes(data).await,
        Some(kind) => write.extended_data_bytes(kind, data).await,
    };
    sent.is_ok()
}
