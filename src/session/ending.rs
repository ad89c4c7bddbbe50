//! The end of a session, whoever calls for it: the first reason wins, and the cut is made on the caller's own thread.
//!
//! A revocation reaches this from the change feed, a deadline from the guard, a full disk from the recorder. None of
//! them waits for the session's own tasks: when [`Ending::end`] returns, the target's side is dead, and the client's
//! side is too, unless it is given a moment to hear why (`last_word.rs`). [`Ending::sever`] ends that moment.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::last_word::LastWords;
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
    last_words: Option<LastWords>,
    phase: Mutex<Phase>,
    wake: Notify,
}

#[derive(Debug)]
enum Phase {
    Going,
    /// The target's side is dead; the client is being told.
    LastWord(Decided),
    Over(Ended),
}

/// Known, and not cut everywhere yet.
#[derive(Debug, Clone, Copy)]
struct Decided {
    reason: EndReason,
    at: Timestamp,
    /// The same moment, on the clock nobody can set.
    since_boot: Duration,
    targets_cut: Timestamp,
    severed: Severed,
}

/// Why and when a session was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub reason: EndReason,
    /// When the reason was known here.
    pub decided: Timestamp,
    /// When every connection to the target was dead.
    pub targets_cut: Timestamp,
    /// When the client's was too.
    pub cut: Timestamp,
    /// The time between, on the clock nobody can set.
    pub took: Duration,
    /// What was cut.
    pub severed: Severed,
}

impl Ending {
    /// A session that has not ended. Its client will hear a last word only where there is a thread to end that.
    #[must_use]
    pub fn new(clock: Clock, last_words: Option<LastWords>) -> Self {
        let (fuse, phase, wake) = (Fuse::default(), Mutex::new(Phase::Going), Notify::new());
        Self { shared: Arc::new(Shared { clock, fuse, last_words, phase, wake }) }
    }

    /// The fuse every socket of the session must be held by.
    #[must_use]
    pub fn fuse(&self) -> &Fuse {
        &self.shared.fuse
    }

    /// Ends the session, now: when this returns no further byte reaches the target, and nothing more is taken up for
    /// the client. Later calls change nothing.
    pub fn end(&self, reason: EndReason) {
        match &self.shared.last_words {
            Some(last_words) if reason.is_told() => {
                if let Some(decided) = self.cut(reason, Cut::Targets, Phase::LastWord) {
                    last_words.give(self.clone(), decided.since_boot);
                }
            }
            _ => self.end_unheard(reason),
        }
    }

    fn end_unheard(&self, reason: EndReason) {
        let how = if reason.is_departure() { Cut::ThisSession } else { Cut::Everything };
        self.cut(reason, how, |decided| Phase::Over(self.over(decided)));
    }

    /// Ends a session that never went live: the target's side is cut, and the client can still be told why until
    /// [`Self::hang_up`].
    pub(super) fn refuse(&self, reason: EndReason) {
        self.cut(reason, Cut::Targets, |decided| Phase::Over(self.over(decided)));
    }

    /// Cuts whatever is left, however the lifecycle came to its end.
    pub(super) fn hang_up(&self) {
        self.end_unheard(EndReason::ClientLeft);
        self.sever();
        self.shared.fuse.blow(Cut::ThisSession);
    }

    /// Ends the moment in which the client is told why, if there is one; says how the session ended.
    pub(super) fn sever(&self) -> Ended {
        let mut phase = self.phase();
        let mut decided = match &*phase {
            Phase::Over(ended) => return *ended,
            Phase::LastWord(decided) => *decided,
            Phase::Going => self.decided(EndReason::ClientLeft),
        };
        let more = self.shared.fuse.blow(Cut::Everything);
        decided.severed.targets += more.targets;
        decided.severed.failed += more.failed;
        let ended = self.over(decided);
        *phase = Phase::Over(ended);
        drop(phase);
        self.shared.wake.notify_waiters();
        ended
    }

    /// Says what was decided, if it was decided here and now.
    fn cut(&self, reason: EndReason, how: Cut, next: impl FnOnce(Decided) -> Phase) -> Option<Decided> {
        let mut phase = self.phase();
        if !matches!(*phase, Phase::Going) {
            return None;
        }
        let mut decided = self.decided(reason);
        decided.severed = self.shared.fuse.blow(how);
        decided.targets_cut = self.shared.clock.now();
        *phase = next(decided);
        drop(phase);
        self.shared.wake.notify_waiters();
        Some(decided)
    }

    fn decided(&self, reason: EndReason) -> Decided {
        let clock = &self.shared.clock;
        let (at, since_boot) = (clock.now(), clock.since_boot());
        Decided { reason, at, since_boot, targets_cut: at, severed: Severed::default() }
    }

    fn over(&self, decided: Decided) -> Ended {
        let Decided { reason, at, since_boot, targets_cut, severed } = decided;
        let clock = &self.shared.clock;
        let took = clock.since_boot().saturating_sub(since_boot);
        Ended { reason, decided: at, targets_cut, cut: clock.now(), took, severed }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.shared.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it is over, if it is: from this moment nothing is forwarded any more.
    #[must_use]
    pub fn reason(&self) -> Option<EndReason> {
        match &*self.phase() {
            Phase::Going => None,
            Phase::LastWord(decided) => Some(decided.reason),
            Phase::Over(ended) => Some(ended.reason),
        }
    }

    /// How it ended, once both sides are cut.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        match &*self.phase() {
            Phase::Going | Phase::LastWord(_) => None,
            Phase::Over(ended) => Some(*ended),
        }
    }

    /// Whether the client may be told something.
    pub(super) fn has_last_word(&self) -> bool {
        matches!(*self.phase(), Phase::LastWord(_))
    }

    /// Waits until it is over and says why. Cancel-safe.
    pub async fn wait(&self) -> EndReason {
        loop {
            let woken = self.shared.wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            if let Some(reason) = self.reason() {
                return reason;
            }
            woken.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn the_target_is_dead_at_once_and_a_client_that_hears_nothing_is_cut_all_the_same() {
        let clock = Clock::system();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (target, client) = (TcpStream::connect(at).await.unwrap(), TcpStream::connect(at).await.unwrap());
        let (mut its_target, _) = listener.accept().await.unwrap();
        let (mut its_client, _) = listener.accept().await.unwrap();
        let ending = Ending::new(clock.clone(), Some(LastWords::start(&clock).unwrap()));
        ending.fuse().hold_client(&client).unwrap();
        let hold = ending.fuse().hold_target(&target).unwrap();
        ending.end(EndReason::GrantRevoked);
        assert!(its_target.read(&mut [0]).await.is_err(), "reset");
        assert_eq!(ending.reason(), Some(EndReason::GrantRevoked));
        // Nobody calls `sever`: the thread does.
        let end = tokio::time::timeout(Duration::from_secs(30), its_client.read(&mut [0])).await.unwrap();
        assert!(end.is_err(), "reset");
        assert_eq!(ending.sever().severed.targets, 1);
        drop(hold);
    }

    #[tokio::test]
    async fn a_client_that_floods_gets_no_last_word() {
        let clock = Clock::system();
        let ending = Ending::new(clock.clone(), Some(LastWords::start(&clock).unwrap()));
        ending.end(EndReason::ClientFlooded);
        assert!(ending.ended().is_some() && !ending.has_last_word());
    }

    #[tokio::test]
    async fn the_first_reason_wins_and_everybody_hears_it() {
        let ending = Ending::new(Clock::system(), None);
        let mut waiters = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let ending = ending.clone();
            waiters.spawn(async move { ending.wait().await });
        }
        tokio::task::yield_now().await;
        ending.end(EndReason::GrantRevoked);
        ending.end(EndReason::ClientLeft);
        while let Some(ended) = waiters.join_next().await {
            assert_eq!(ended.unwrap(), EndReason::GrantRevoked);
        }
        assert!(ending.fuse().is_blown());
        assert_eq!(ending.wait().await, EndReason::GrantRevoked);
    }
}
