//! The tap: the one way a protocol's bytes and facts get past the gate.
//!
//! Record before forwarding. Input is forwarded when [`Tap::durable`] says so, output when [`Tap::written`] does; both
//! fail when the recorder has, and the session has then already been cut. Every channel and every use of a capability
//! is asked about here, against the same facts the permit was decided on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::adapter::Way;
use super::ending::Ending;
use super::gate::Gate;
use super::permit::Subject;
use crate::model::{Action, Clock, EndReason};
use crate::recording::event::Body;
use crate::recording::{Recorder, RecorderError};

pub use crate::recording::Position;

/// A client that leaves this soon after the target did leaves because of it.
const BECAUSE_MS: u64 = 5_000;

/// The session is over; why is already on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is over")]
pub struct Over;

/// A session's tap. Cloning shares it.
#[derive(Clone)]
pub struct Tap {
    shared: Arc<Shared>,
}

struct Shared {
    gate: Arc<Gate>,
    subject: Arc<Subject>,
    recorder: Arc<Recorder>,
    ending: Ending,
    way: Way,
    last_active_ms: AtomicU64,
    /// When the target closed a connection, in milliseconds since boot; 0 when it has not.
    target_left_ms: AtomicU64,
}

impl Tap {
    pub(super) fn new(
        gate: Arc<Gate>,
        subject: Arc<Subject>,
        recorder: Arc<Recorder>,
        ending: Ending,
        way: Way,
    ) -> Self {
        let last_active_ms = AtomicU64::new(millis(&gate.clock));
        let target_left_ms = AtomicU64::new(0);
        Self {
            shared: Arc::new(Shared { gate, subject, recorder, ending, way, last_active_ms, target_left_ms }),
        }
    }

    /// Asks whether this session may do `action` on `channel`, and records the answer.
    #[must_use]
    pub fn allows(&self, channel: u32, action: &Action) -> bool {
        let answer = self.shared.subject.ask(&self.shared.gate, action);
        let (allowed, why) = match answer {
            Ok(policies) => (true, policies),
            Err(no) => (false, no.words),
        };
        let name =
            if let Action::Use(capability) = action { capability.to_string() } else { action.to_string() };
        let refused = (!allowed).then(|| Body::Refused { what: name.clone(), why: why.clone() });
        let events = [Body::Decision { action: name, allowed, why }].into_iter().chain(refused).collect();
        self.submit(channel, events).is_ok() && allowed
    }

    /// Records that something was refused.
    pub fn refused(&self, channel: u32, what: &str, why: &str) {
        let body = Body::Refused { what: what.to_owned(), why: why.to_owned() };
        // When it cannot be recorded the session is over, and refused all the same.
        self.submit(channel, vec![body]).ok();
    }

    /// Hands events to the recorder as one chunk. Never waits.
    ///
    /// # Errors
    /// [`Over`] when the recorder has failed or the session has ended.
    pub fn submit(&self, channel: u32, events: Vec<Body>) -> Result<Position, Over> {
        if self.shared.ending.reason().is_some() {
            return Err(Over);
        }
        self.shared.last_active_ms.store(millis(&self.shared.gate.clock), Ordering::Relaxed);
        let events = events.into_iter().map(|body| (channel, body)).collect();
        self.shared.recorder.record(events).map_err(|error| self.failed(&error))
    }

    /// Waits until a chunk has been written, so that it survives the death of this process; and while memory is short
    /// and this session holds much of it, so that it reads no more meanwhile.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub async fn written(&self, at: Position) -> Result<(), Over> {
        self.shared.recorder.written(at).await.map_err(|error| self.failed(&error))?;
        self.shared.recorder.make_way().await;
        self.go_on()
    }

    /// Waits until a chunk and all before it are on disk; and for memory, as [`Self::written`] does.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub async fn durable(&self, at: Position) -> Result<(), Over> {
        self.shared.recorder.durable(at).await.map_err(|error| self.failed(&error))?;
        self.shared.recorder.make_way().await;
        self.go_on()
    }

    /// The way to the target, for further connections.
    #[must_use]
    pub fn way(&self) -> &Way {
        &self.shared.way
    }

    /// Ends the session.
    pub fn end(&self, reason: EndReason) {
        self.shared.ending.end(reason);
    }

    /// Notes that the target closed a connection; a client that leaves soon after leaves because of that.
    pub fn target_left(&self) {
        self.shared.target_left_ms.store(millis(&self.shared.gate.clock).max(1), Ordering::Relaxed);
    }

    /// Whether it was the target that left, just now.
    pub(super) fn has_target_left(&self) -> bool {
        let at = self.shared.target_left_ms.load(Ordering::Relaxed);
        at > 0 && millis(&self.shared.gate.clock).saturating_sub(at) < BECAUSE_MS
    }

    /// Time since anything was recorded.
    pub(super) fn idle(&self) -> Duration {
        let last = self.shared.last_active_ms.load(Ordering::Relaxed);
        Duration::from_millis(millis(&self.shared.gate.clock).saturating_sub(last))
    }

    /// Whether the session goes on; a wait may have outlived it.
    ///
    /// # Errors
    /// [`Over`] when it does not.
    pub fn go_on(&self) -> Result<(), Over> {
        if self.shared.ending.reason().is_some() { Err(Over) } else { Ok(()) }
    }

    fn failed(&self, error: &RecorderError) -> Over {
        self.shared.ending.end(reason_of(error));
        Over
    }
}

/// The end reason a recorder's failure is.
pub(super) const fn reason_of(error: &RecorderError) -> EndReason {
    match error {
        RecorderError::DiskFull | RecorderError::NoRoom { .. } => EndReason::DiskFull,
        RecorderError::Overrun => EndReason::RecorderOverrun,
        RecorderError::AlreadyExists(_)
        | RecorderError::Ended
        | RecorderError::FileFailed(_)
        | RecorderError::JournalClosed
        | RecorderError::JournalFailed(_)
        | RecorderError::Key(_)
        | RecorderError::Seal(_) => EndReason::RecorderFailed,
    }
}

fn millis(clock: &Clock) -> u64 {
    u64::try_from(clock.since_boot().as_millis()).unwrap_or(u64::MAX)
}
