//! The only source of time: the real clocks, or one a test drives by hand.
//!
//! Wall time is for display and for the ledger; durations and deadlines use time since boot, which counts while the
//! machine sleeps and which nobody can set back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use jiff::Timestamp;

/// A pair of clocks. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Clock {
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    System,
    Manual(Arc<Mutex<(Timestamp, Duration)>>),
}

impl Clock {
    /// The machine's clocks.
    #[must_use]
    pub const fn system() -> Self {
        Self { kind: Kind::System }
    }

    /// A clock that stands at `start` until [`Self::advance`] moves it.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self { kind: Kind::Manual(Arc::new(Mutex::new((start, Duration::ZERO)))) }
    }

    /// Wall time, to the microsecond.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    pub fn now(&self) -> Timestamp {
        match &self.kind {
            Kind::System => Timestamp::now().round(jiff::Unit::Microsecond).unwrap_or(Timestamp::UNIX_EPOCH),
            Kind::Manual(hands) => hands.lock().unwrap_or_else(PoisonError::into_inner).0,
        }
    }

    /// Time since the machine started, including sleep (`CLOCK_BOOTTIME`).
    #[must_use]
    pub fn since_boot(&self) -> Duration {
        match &self.kind {
            Kind::System => {
                let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                Duration::new(t.tv_sec.try_into().unwrap_or(0), t.tv_nsec.try_into().unwrap_or(0))
            }
            Kind::Manual(hands) => hands.lock().unwrap_or_else(PoisonError::into_inner).1,
        }
    }

    /// Moves a manual clock; the machine's clocks are not ours to move.
    pub fn advance(&self, by: Duration) {
        if let Kind::Manual(hands) = &self.kind {
            let mut hands = hands.lock().unwrap_or_else(PoisonError::into_inner);
            hands.0 = hands.0.checked_add(by).unwrap_or(Timestamp::MAX);
            hands.1 += by;
        }
    }
}
