//! A moment to tell a client why its session has ended, and a thread that sees to it that it stays a moment.
//!
//! The target's side is dead before this begins, and nothing more is handed to the client's side. What the client is
//! told depends on its protocol and on the client reading it, so it is tried by the session's own task; the end of the
//! moment depends on neither. A node too busy to say a word still cuts on time, from here.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::ending::Ending;
use crate::model::Clock;
use crate::thread::{Urgency, spawn};

/// The moment: a healthy client needs a millisecond, and one that does not read gets no more than this.
pub(super) const MOMENT: Duration = Duration::from_millis(20);

/// The thread that cuts what was given a moment. Cloning shares it; it ends with the last clone.
#[derive(Debug, Clone)]
pub struct LastWords {
    given: Sender<(Duration, Ending)>,
}

impl LastWords {
    /// Starts it.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(clock: &Clock) -> io::Result<Self> {
        let (given, waiting) = channel();
        let clock = clock.clone();
        spawn("last-words", Urgency::Cut, move || run(&clock, &waiting))?;
        Ok(Self { given })
    }

    /// Cuts `ending` for good when its moment is over: at once if the thread is gone.
    pub(super) fn give(&self, ending: Ending, now: Duration) {
        if let Err(back) = self.given.send((now.saturating_add(MOMENT), ending)) {
            back.0.1.sever();
        }
    }
}

/// Each gets the same time, so they come due in the order they came.
fn run(clock: &Clock, waiting: &Receiver<(Duration, Ending)>) {
    while let Ok((due, ending)) = waiting.recv() {
        let left = due.saturating_sub(clock.since_boot());
        if !left.is_zero() {
            std::thread::sleep(left);
        }
        ending.sever();
    }
}
