//! What a client has sent on one channel and the target has not yet taken.
//!
//! The SSH library runs one loop for a whole client connection, and that loop must never wait: it would hold up every
//! other channel, and two loops that wait for each other wait for ever. So pushing here never waits. What is waiting
//! is counted on the connection's [`Pressure`], which slows the client down; the count is given back when an item is
//! dropped, on whatever path.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use russh::Sig;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::net::{Held, Pressure};

/// Neighbouring writes are joined up to this size, which is also the most one chunk of a recording takes.
pub(super) const BATCH: usize = 256 << 10;
/// Requests (terminal, environment, resize, signal) that may wait on one channel.
const REQUESTS: usize = 256;

/// Something a client sent on a channel, in order.
#[derive(Debug)]
pub(super) enum Item {
    /// Bytes for the target's standard input.
    Data(Bytes, Held),
    /// The client will send no more.
    Eof,
    /// A request that was allowed.
    Request(Request),
}

/// A channel request, as allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    Environment { name: String, value: String },
    Exec { command: Bytes },
    Resize { columns: u32, rows: u32 },
    Sftp,
    Shell,
    Signal(Signal),
    Terminal { term: String, columns: u32, rows: u32, modes: Vec<(russh::Pty, u32)> },
}

/// A signal's name, comparable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signal(String);

impl Signal {
    pub(super) fn new(signal: &Sig) -> Self {
        Self(if let Sig::Custom(name) = signal {
            name.chars().filter(char::is_ascii_graphic).take(32).collect()
        } else {
            format!("{signal:?}")
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }

    pub(super) fn to_ssh(&self) -> Sig {
        match self.0.as_str() {
            "ABRT" => Sig::ABRT,
            "ALRM" => Sig::ALRM,
            "FPE" => Sig::FPE,
            "HUP" => Sig::HUP,
            "ILL" => Sig::ILL,
            "INT" => Sig::INT,
            "KILL" => Sig::KILL,
            "PIPE" => Sig::PIPE,
            "QUIT" => Sig::QUIT,
            "SEGV" => Sig::SEGV,
            "TERM" => Sig::TERM,
            "USR1" => Sig::USR1,
            other => Sig::Custom(other.to_owned()),
        }
    }
}

/// The queue of one channel.
#[derive(Debug)]
pub(super) struct Inbound {
    pressure: Pressure,
    waiting: Mutex<Waiting>,
    wake: Notify,
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Slot>,
    requests: usize,
    is_closed: bool,
    is_flooded: bool,
}

#[derive(Debug)]
enum Slot {
    Data(BytesMut, Held),
    Eof,
    Request(Request),
}

impl Inbound {
    pub(super) fn new(pressure: Pressure) -> Self {
        Self { pressure, waiting: Mutex::default(), wake: Notify::new(), closed: CancellationToken::new() }
    }

    /// Adds bytes. Never waits.
    pub(super) fn push(&self, bytes: &[u8]) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_closed {
            // It crossed our closing of the channel on the way.
            return;
        }
        match waiting.items.back_mut() {
            Some(Slot::Data(last, held)) if last.len() + bytes.len() <= BATCH => {
                last.extend_from_slice(bytes);
                held.grow(bytes.len());
            }
            _ => waiting.items.push_back(Slot::Data(BytesMut::from(bytes), self.pressure.hold(bytes.len()))),
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// Adds a request; `false` when too many wait already.
    pub(super) fn request(&self, request: Request) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.requests >= REQUESTS || waiting.is_closed {
            return false;
        }
        waiting.requests += 1;
        waiting.items.push_back(Slot::Request(request));
        drop(waiting);
        self.wake.notify_one();
        true
    }

    /// The client will send no more.
    pub(super) fn eof(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.is_closed {
            waiting.items.push_back(Slot::Eof);
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// The client has closed the channel: nothing more comes, and what waits is still for the target.
    pub(super) fn close(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
        self.closed.cancel();
        self.wake.notify_one();
    }

    /// Resolves when the client has closed the channel, if it ever does.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// The channel is gone: what waits is dropped, and [`Self::take`] ends.
    pub(super) fn discard(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.is_closed = true;
        waiting.items.clear();
        drop(waiting);
        self.wake.notify_one();
    }

    /// As [`Self::discard`], because the client sent more than is held for it.
    pub(super) fn flood(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_flooded = true;
        self.discard();
    }

    /// Whether that is why the channel is gone.
    pub(super) fn is_flooded(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_flooded
    }

    /// Whether the channel is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_closed
    }

    /// Everything waiting, up to [`BATCH`] bytes; empty when nothing waits and nothing more comes. One reader only.
    pub(super) async fn take(&self) -> Vec<Item> {
        loop {
            if let Some(items) = self.try_take() {
                return items;
            }
            self.wake.notified().await;
        }
    }

    fn try_take(&self) -> Option<Vec<Item>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_closed = waiting.is_closed;
        let mut items = Vec::new();
        let mut bytes = 0;
        while let Some(next) = waiting.items.front() {
            if let Slot::Data(data, _) = next {
                bytes += data.len();
                if bytes > BATCH && !items.is_empty() {
                    break;
                }
            }
            match waiting.items.pop_front() {
                Some(Slot::Data(data, held)) => items.push(Item::Data(data.freeze(), held)),
                Some(Slot::Eof) => items.push(Item::Eof),
                Some(Slot::Request(request)) => {
                    waiting.requests = waiting.requests.saturating_sub(1);
                    items.push(Item::Request(request));
                }
                None => break,
            }
        }
        (is_closed || !items.is_empty()).then_some(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn order_is_kept_small_writes_are_joined_and_batches_are_bounded() {
        let pressure = Pressure::default();
        let queue = Inbound::new(pressure.clone());
        queue.push(b"a");
        queue.push(b"b");
        assert!(queue.request(Request::Shell));
        queue.push(&vec![0; BATCH]);
        queue.eof();
        assert_eq!(pressure.waiting(), BATCH + 2);
        let first = queue.take().await;
        assert!(matches!(&first[..], [Item::Data(ab, _), Item::Request(Request::Shell)] if ab == "ab"));
        let second = queue.take().await;
        assert!(matches!(&second[..], [Item::Data(big, _), Item::Eof] if big.len() == BATCH));
        drop((first, second));
        assert_eq!(pressure.waiting(), 0);
        queue.push(b"last words");
        queue.close();
        queue.push(b"too late");
        let last = queue.take().await;
        assert!(matches!(&last[..], [Item::Data(words, _)] if words == "last words"));
        drop(last);
        assert!(queue.take().await.is_empty());
        let gone = Inbound::new(pressure.clone());
        gone.push(b"c");
        gone.discard();
        assert!(gone.take().await.is_empty());
        assert_eq!(pressure.waiting(), 0);
    }
}
