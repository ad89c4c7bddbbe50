//! The end of a session, whoever calls for it: the first reason wins, and the cut is made on the caller's own thread.
//!
//! A revocation reaches this from the change feed, a deadline from the guard, a full disk from the recorder. None of
//! them waits for the session's own tasks: [`Ending::end`] blows the fuse before it returns, and only then wakes the
//! guard to do the rest.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::model::{Clock, EndReason, Timestamp};
use crate::net::{Cut, Fuse, Severed};

/// The one end of one session. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Ending {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    fuse: Fuse,
    ended: Mutex<Option<Ended>>,
    wake: Notify,
}

/// Why and when a session was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub reason: EndReason,
    /// When the reason was known here.
    pub decided: Timestamp,
    /// When both sockets were dead.
    pub cut: Timestamp,
    /// The time between, on the clock nobody can set.
    pub took: Duration,
    /// What was cut.
    pub severed: Severed,
}

impl Ending {
    /// A session that has not ended.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let shared = Shared { clock, fuse: Fuse::default(), ended: Mutex::new(None), wake: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// The fuse every socket of the session must be held by.
    #[must_use]
    pub fn fuse(&self) -> &Fuse {
        &self.shared.fuse
    }

    /// Ends the session, now: when this returns no further byte is read or written. Later calls change nothing.
    pub fn end(&self, reason: EndReason) {
        self.cut(reason, if reason.is_departure() { Cut::ThisSession } else { Cut::Everything });
    }

    /// Ends a session that never went live: the target's side is cut, and the client can still be told why until
    /// [`Self::hang_up`].
    pub(super) fn refuse(&self, reason: EndReason) {
        self.cut(reason, Cut::Targets);
    }

    /// Cuts whatever is left, however the lifecycle came to its end.
    pub(super) fn hang_up(&self) {
        self.cut(EndReason::ClientLeft, Cut::ThisSession);
        self.shared.fuse.blow(Cut::ThisSession);
    }

    fn cut(&self, reason: EndReason, cut: Cut) {
        let mut ended = self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.is_some() {
            return;
        }
        let (decided, from) = (self.shared.clock.now(), self.shared.clock.since_boot());
        let severed = self.shared.fuse.blow(cut);
        let took = self.shared.clock.since_boot().saturating_sub(from);
        *ended = Some(Ended { reason, decided, cut: self.shared.clock.now(), took, severed });
        drop(ended);
        self.shared.wake.notify_waiters();
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        *self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end. Cancel-safe.
    pub async fn wait(&self) -> Ended {
        loop {
            let woken = self.shared.wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            if let Some(ended) = self.ended() {
                return ended;
            }
            woken.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_wins_and_everybody_hears_it() {
        let ending = Ending::new(Clock::system());
        let mut waiters = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let ending = ending.clone();
            waiters.spawn(async move { ending.wait().await });
        }
        tokio::task::yield_now().await;
        ending.end(EndReason::GrantRevoked);
        ending.end(EndReason::ClientLeft);
        while let Some(ended) = waiters.join_next().await {
            assert_eq!(ended.unwrap().reason, EndReason::GrantRevoked);
        }
        assert!(ending.fuse().is_blown());
        assert_eq!(ending.wait().await.reason, EndReason::GrantRevoked);
    }
}
