//! How much a client has sent that its target has not yet taken, and what is done about it.
//!
//! The SSH library acknowledges input on receipt, so its windows alone do not hold a client back. The bytes waiting in
//! a connection's queues are counted here; the window offered shrinks and the socket is read more slowly as they grow
//! (a ladder, never a stop, so that control messages still pass), and past [`Pressure::LIMIT`] the session ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Below this many waiting bytes: the window to offer, and the pause before each turn of reading.
const LADDER: [(usize, u32, u64); 6] = [
    (MIB, 2 << 20, 0),
    (4 * MIB, 256 << 10, 0),
    (8 * MIB, 32 << 10, 2),
    (10 * MIB, 2 << 10, 10),
    (12 * MIB, 128, 20),
    (16 * MIB, 8, 50),
];

/// What is waiting for a target on one client connection. Cloning shares the count.
#[derive(Debug, Clone, Default)]
pub struct Pressure {
    waiting: Arc<AtomicUsize>,
}

impl Pressure {
    /// A client that gets this far ahead of its target ignores its window: its session ends.
    pub const LIMIT: usize = 20 * MIB;
    /// How many bytes are read between two pauses.
    pub const TURN: usize = 64 * KIB;

    /// Counts `bytes` as waiting until the returned value is dropped.
    #[must_use]
    pub fn hold(&self, bytes: usize) -> Held {
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        Held { pressure: self.clone(), bytes }
    }

    /// Bytes waiting now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether the client is past [`Self::LIMIT`].
    #[must_use]
    pub fn is_past_limit(&self) -> bool {
        self.waiting() > Self::LIMIT
    }

    /// The window to offer now, in bytes; never zero, because a window that was never granted again would never open.
    #[must_use]
    pub fn window(&self) -> u32 {
        self.rung().map_or(2, |(_, window, _)| window)
    }

    /// How long to wait before reading the next [`Self::TURN`] bytes.
    #[must_use]
    pub fn pause(&self) -> Duration {
        Duration::from_millis(self.rung().map_or(1000, |(_, _, pause)| pause))
    }

    fn rung(&self) -> Option<(usize, u32, u64)> {
        let waiting = self.waiting();
        LADDER.into_iter().find(|(below, ..)| waiting < *below)
    }
}

/// A share of the waiting bytes; dropping it, on whatever path, gives the share back.
#[derive(Debug)]
pub struct Held {
    pressure: Pressure,
    bytes: usize,
}

impl Held {
    /// Counts more bytes on the same share.
    pub fn grow(&mut self, bytes: usize) {
        self.pressure.waiting.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.pressure.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_narrows_and_what_is_dropped_is_given_back() {
        let pressure = Pressure::default();
        let mut last = (u32::MAX, Duration::ZERO);
        let mut held = pressure.hold(0);
        for _ in 0..40 {
            let now = (pressure.window(), pressure.pause());
            assert!(now.0 <= last.0 && now.1 >= last.1 && now.0 >= 2);
            last = now;
            held.grow(MIB / 2 + 1);
        }
        assert_eq!(last, (2, Duration::from_secs(1)));
        held.grow(MIB);
        assert!(pressure.is_past_limit());
        drop(held);
        assert_eq!(pressure.waiting(), 0);
    }
}
