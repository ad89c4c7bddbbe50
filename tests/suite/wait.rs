//! Waiting with a bound, and the suite's only clock.
//!
//! Bounds are generous: they catch hangs, they measure nothing. No test sleeps for a result; what is awaited is named, so
//! that a failure says what did not happen.

use std::time::{Duration, Instant};

/// Long enough for anything that works, on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// After this, a command that should have ended by itself counts as hung.
pub(crate) const HUNG: Duration = Duration::from_secs(150);

/// How long something local may take before it counts as not happening.
pub(crate) const SHORT: Duration = Duration::from_secs(10);

/// Calls `look` until it gives something, or fails the test after `bound`, saying `what` was awaited.
pub(crate) fn until<T>(bound: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < bound, "waited {bound:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Now, for bounds and for reports.
#[expect(
    clippy::disallowed_methods,
    reason = "the suite runs beside the product and has no clock to share with it"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock's time, to compare with the bastion's own.
#[expect(
    clippy::disallowed_methods,
    reason = "the suite runs beside the product and has no clock to share with it"
)]
pub(crate) fn wall() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
