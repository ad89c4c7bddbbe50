//! Waiting for a recording to get on: written, durable, stored, failed, and for memory when that is short.
//!
//! Nothing here moves a byte; `track.rs` counts, and wakes whoever waits. Every wait is safe to drop.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;

use super::Shared;
use super::track::Track;
use crate::recording::failure::RecorderError;

/// What a recording may hold in memory while that is short: more than one chunk, so that whoever types goes on.
const FAIR_SHARE: usize = 512 << 10;
/// How often whoever waits for memory looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How far to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::recording) enum Stage {
    Submitted,
    Written,
    Durable,
}

impl Shared {
    /// Notes that bytes need not be held any more.
    pub(super) fn left(&self, bytes: usize) {
        let before = self.held.fetch_sub(bytes, Ordering::AcqRel);
        self.drained.1.notify_all();
        let crowded = self.limits.held_bytes / 2;
        if before > crowded && before - bytes <= crowded {
            self.eased.notify_waiters();
        }
    }

    /// Whether memory is so short that recordings which hold much of it must wait.
    fn is_crowded(&self) -> bool {
        self.held.load(Ordering::Acquire) > self.limits.held_bytes / 2
    }

    /// Waits while memory is short and this recording holds much of it. Whoever is about to record more of a stream
    /// waits here, and so stops reading from its peer.
    pub(in crate::recording) async fn make_way(&self, track: &Track) {
        // Almost always, and for every chunk: not worth a place among those who wait.
        if !self.is_crowded() {
            return;
        }
        loop {
            let mut eased = pin!(self.eased.notified());
            eased.as_mut().enable();
            if !self.is_crowded() || track.held() <= FAIR_SHARE || track.failure().is_some() {
                return;
            }
            tokio::select! {
                () = eased => {}
                // Its own share may have become fair while all together is still too much.
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                _ = track.failed() => {}
            }
        }
    }
}

impl Track {
    /// Waits until a position and everything before it has reached a stage. A full disk or a flood does not stop what
    /// is already on its way into the journal, which has its space.
    pub(in crate::recording) async fn reached(
        &self,
        position: u64,
        stage: Stage,
    ) -> Result<(), RecorderError> {
        match stage {
            Stage::Submitted => Ok(()),
            Stage::Written => {
                self.wait(&self.now_written, || self.written.load(Ordering::Acquire) > position).await
            }
            Stage::Durable => {
                self.wait(&self.now_durable, || self.durable.load(Ordering::Acquire) > position).await
            }
        }
    }

    /// Waits until the recording is whole at its final name, or that must wait for room on the disk: whoever has it
    /// durable in the journal need not wait for that.
    pub(in crate::recording) async fn stored(&self) -> Result<(), RecorderError> {
        let is_there = || self.is_stored.load(Ordering::Acquire) || self.is_stalled.load(Ordering::Acquire);
        self.wait(&self.now_stored, is_there).await
    }

    /// Resolves when the recording has failed.
    pub(in crate::recording) async fn failed(&self) -> RecorderError {
        loop {
            let mut failed = pin!(self.now_failed.notified());
            failed.as_mut().enable();
            if let Some(error) = self.failure() {
                return error.clone();
            }
            failed.await;
        }
    }

    async fn wait(&self, progress: &Notify, is_there: impl Fn() -> bool) -> Result<(), RecorderError> {
        if is_there() {
            return Ok(());
        }
        loop {
            let mut moved = pin!(progress.notified());
            let mut failed = pin!(self.now_failed.notified());
            moved.as_mut().enable();
            failed.as_mut().enable();
            if is_there() {
                return Ok(());
            }
            if let Some(error) = self.failure().filter(|error| error.prevents_the_end()) {
                return Err(error.clone());
            }
            tokio::select! {
                () = moved => {}
                () = failed => {}
            }
        }
    }
}
