//! The thread that looks after things once a second: free space, checkpoints that are due, spare segments.
//!
//! It never writes a session's bytes: it asks the recorders and lanes that do. What it finds wanting ends sessions
//! before the disk does it less politely.

use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::{Room, Shared};
use crate::recording::failure::RecorderError;

/// How often it looks.
const ROUND: Duration = Duration::from_secs(1);

/// A recording with frames that no checkpoint covers yet.
pub(in crate::recording) trait Due: Send + Sync {
    /// Adds a checkpoint if it is time to; says whether to ask again.
    fn tick(&self, now: Duration) -> bool;
}

/// The shared part of the keeper.
#[derive(Default)]
pub(super) struct Keeper {
    due: Mutex<Vec<Weak<dyn Due>>>,
    is_closing: Mutex<bool>,
    closing: Condvar,
}

impl Keeper {
    pub(super) fn watch(&self, recording: Weak<dyn Due>) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).push(recording);
    }

    pub(super) fn close(&self) {
        *self.is_closing.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.closing.notify_all();
    }

    fn tick(&self, now: Duration) {
        let mut due = std::mem::take(&mut *self.due.lock().unwrap_or_else(PoisonError::into_inner));
        due.retain(|recording| recording.upgrade().is_some_and(|recording| recording.tick(now)));
        self.due.lock().unwrap_or_else(PoisonError::into_inner).append(&mut due);
    }
}

/// The keeper thread.
pub(super) fn keep(shared: &Shared) {
    loop {
        let closing = shared.keeper.is_closing.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = shared.keeper.closing.wait_timeout_while(closing, ROUND, |closing| !*closing);
        if *waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0 {
            return;
        }
        measure(shared);
        shared.keeper.tick(shared.clock.since_boot());
        for lane in [&shared.small, &shared.bulk] {
            // A spare that cannot be made now is no failure: the writer makes one when it needs it, or fails then.
            if let Err(error) = lane.prepare_spare(shared) {
                tracing::warn!(%error, "no spare journal segment could be prepared");
            }
        }
    }
}

/// Measures free space; ends live recordings when there is next to none.
pub(super) fn measure(shared: &Shared) -> Room {
    let spaces = [shared.directory.as_path(), shared.spool.directory()].map(|path| shared.disk.space(path));
    let mut free = u64::MAX;
    let mut floors = (0, 0);
    for space in spaces {
        let Ok(space) = space else {
            // Nobody knows: nothing new begins, and what lives goes on until a write says otherwise.
            (free, floors) = (0, (1, 0));
            break;
        };
        if space.free < free {
            free = space.free;
            let share = |percent: u64, most: u64| (space.total / 100).saturating_mul(percent).min(most);
            floors = (
                share(shared.limits.floor_percent, shared.limits.floor_bytes),
                share(shared.limits.hard_floor_percent, shared.limits.hard_floor_bytes),
            );
        }
    }
    let room = Room { free, floor: floors.0, hard_floor: floors.1 };
    *shared.room.lock().unwrap_or_else(PoisonError::into_inner) = room;
    let is_full = room.free < room.hard_floor;
    if is_full && !shared.is_full.swap(true, Ordering::AcqRel) {
        shared.fail_tracks(&RecorderError::DiskFull);
    }
    if !is_full {
        shared.is_full.store(false, Ordering::Release);
    }
    room
}
