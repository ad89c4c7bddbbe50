//! The signals that end programs, noticed so that the terminal is given back first.
//!
//! One thread with its own small runtime waits for them, so that the player's loop can stay plain and may be called
//! from anywhere.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Notices the signals that end programs, so that the terminal is given back first.
pub(super) struct Signals {
    came: Arc<AtomicBool>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Signals {
    /// Begins to watch.
    pub(super) fn watch() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut terminate, mut hangup, mut interrupt) = {
            let _entered = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
                signal(SignalKind::interrupt())?,
            )
        };
        let came = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let seen = Arc::clone(&came);
        let thread = std::thread::Builder::new().name("player-signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = terminate.recv() => seen.store(true, Ordering::Release),
                    _ = hangup.recv() => seen.store(true, Ordering::Release),
                    _ = interrupt.recv() => seen.store(true, Ordering::Release),
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { came, stop: Some(stop), thread: Some(thread) })
    }

    /// Whether one came.
    pub(super) fn came(&self) -> bool {
        self.came.load(Ordering::Acquire)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It only fails when the thread panicked, and there is nothing to give back then.
            drop(thread.join());
        }
    }
}
