//! Threads of our own, by how urgent their work is.
//!
//! A node that is busy must still hear a revocation at once, and a keystroke waits for its sync. Where the system lets
//! us (`LimitNICE=` of systemd, `CAP_SYS_NICE`, root), these threads are run before the rest; where it does not, they
//! run like any other and nothing else changes.

use std::io;
use std::thread::{Builder, JoinHandle};

/// How urgent a thread's work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// It ends sessions, or a revocation waits for it.
    Cut,
    /// Somebody who types waits for it.
    Typing,
    /// It runs like everything else.
    Usual,
}

impl Urgency {
    /// The nice value wanted, from -20 (first) to 19; see setpriority(2).
    const fn nice(self) -> Option<i32> {
        match self {
            Self::Cut => Some(-15),
            Self::Typing => Some(-10),
            Self::Usual => None,
        }
    }
}

/// Starts a named thread.
///
/// # Errors
/// When the system has no thread left.
pub fn spawn<T: Send + 'static>(
    name: &str,
    urgency: Urgency,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(move || {
        if let Some(nice) = urgency.nice() {
            // `None` is the calling thread: Linux keeps a nice value for each. Refused without the privilege.
            if let Err(error) = rustix::process::setpriority_process(None, nice) {
                tracing::debug!(%error, "this thread runs no sooner than the rest");
            }
        }
        work()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nice() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[test]
    fn an_urgent_thread_runs_first_where_that_is_allowed_and_changes_no_other() {
        let before = nice();
        let inside = spawn("urgent", Urgency::Cut, nice).unwrap().join().unwrap();
        assert!(inside == -15 || inside == before, "it has the value asked for, or is refused it");
        assert_eq!(spawn("usual", Urgency::Usual, nice).unwrap().join().unwrap(), before);
        assert_eq!(nice(), before);
    }
}
