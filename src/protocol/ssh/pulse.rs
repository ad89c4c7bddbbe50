//! Notices a peer that begins a key exchange and does not finish it.
//!
//! During a key exchange the library takes nothing that is to be sent, has no limit on how long that lasts, and tells
//! nobody. So a channel now and then hands it an empty piece of data, which it drops without sending anything, and sees
//! whether that happens. A piece that lies there while nobody waits for a peer to read means a key exchange that
//! stands still. A peer that merely stops reading is left alone: its session waits, as everywhere. And no key exchange
//! can have begun where no byte has moved since the last look: idle sessions cost a timer.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

/// How long between two pieces, and between two looks at one.
const BEAT: Duration = Duration::from_secs(8);
/// Looks in a row at which a piece still lies there: with the pause before it, 24 seconds at most.
const LOOKS: u32 = 2;

/// An empty piece of data that says when it is dropped.
struct Piece(#[expect(dead_code, reason = "its being dropped is what is heard")] oneshot::Sender<()>);

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}

/// Returns when what `give` hands over is not taken although nothing `is_waiting`; never otherwise. `moved` gives another
/// number when anything has gone to or come from the peer.
pub(super) async fn stopped<F: Future<Output = ()>>(
    give: impl Fn(Bytes) -> F,
    is_waiting: impl Fn() -> bool,
    moved: impl Fn() -> u64,
) {
    stopped_at(BEAT, give, is_waiting, moved).await;
}

async fn stopped_at<F: Future<Output = ()>>(
    beat: Duration,
    give: impl Fn(Bytes) -> F,
    is_waiting: impl Fn() -> bool,
    moved: impl Fn() -> u64,
) {
    let mut seen = None;
    loop {
        tokio::time::sleep(beat).await;
        // Looked at before the piece: what moves from here on is looked at next time.
        let now = Some(moved());
        if std::mem::replace(&mut seen, now) == now {
            continue;
        }
        let (piece, dropped) = oneshot::channel();
        let mut taken = pin!(async {
            give(Bytes::from_owner(Piece(piece))).await;
            dropped.await.ok();
        });
        let mut looks = 0;
        // What was before does not count.
        is_waiting();
        while tokio::time::timeout(beat, &mut taken).await.is_err() {
            looks = if is_waiting() { 0 } else { looks + 1 };
            if looks >= LOOKS {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Mutex;

    use super::*;

    const BRIEF: Duration = Duration::from_millis(2);

    /// Whether it is noticed; what is not is given the time of many beats.
    async fn is_noticed<F: Future<Output = ()>>(give: impl Fn(Bytes) -> F, is_waiting: bool) -> bool {
        let moved = Cell::new(0);
        let moved = || moved.replace(moved.get() + 1);
        tokio::time::timeout(BRIEF * 100, stopped_at(BRIEF, give, || is_waiting, moved)).await.is_ok()
    }

    #[tokio::test]
    async fn where_nothing_moves_nothing_is_handed_over_after_the_first_look() {
        let given = Cell::new(0);
        let give = |piece| {
            given.set(given.get() + 1);
            async { drop(piece) }
        };
        let watching = stopped_at(BRIEF, give, || false, || 7);
        assert!(tokio::time::timeout(BRIEF * 50, watching).await.is_err());
        assert_eq!(given.get(), 1);
    }

    #[tokio::test]
    async fn only_what_nobody_takes_and_nobody_waits_for_is_noticed() {
        let kept = Mutex::new(Vec::new());
        let keep = |piece| {
            kept.lock().unwrap().push(piece);
            std::future::ready(())
        };
        assert!(is_noticed(keep, false).await, "a loop that takes nothing");
        assert!(is_noticed(|_| std::future::pending(), false).await, "a queue that is full");
        assert!(!is_noticed(keep, true).await, "a peer that does not read");
        assert!(!is_noticed(|piece| async { drop(piece) }, false).await, "a loop that takes everything");
    }
}
