//! How long work shows itself: a bar on standard error, and nothing where that is no terminal.
//!
//! The bar goes away when the work is over, so what is left on the terminal is the result alone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often a bar without news moves.
const TICK: Duration = Duration::from_millis(120);

/// A bar over so many things; a spinner when nobody knows how many.
pub(crate) fn things(label: &'static str, total: Option<u64>) -> ProgressBar {
    bar(label, total, "{msg} {bar:30} {pos} of {len} ({eta})", "{spinner} {msg} {pos}")
}

/// A bar over bytes; a spinner when nobody knows how many.
pub(crate) fn bytes(label: &'static str, total: Option<u64>) -> ProgressBar {
    bar(
        label,
        total,
        "{msg} {bar:30} {bytes} of {total_bytes} ({eta})",
        "{spinner} {msg} {bytes} ({bytes_per_sec})",
    )
}

/// A bar over many recordings: how many are done, and how many of all their bytes were read.
pub(crate) struct Recordings {
    bar: ProgressBar,
    label: &'static str,
    done: AtomicU64,
    total: usize,
}

impl Recordings {
    /// Begins; `size` is that of the recordings whose size is known.
    pub(crate) fn new(label: &'static str, total: usize, size: u64) -> Self {
        let bar = bar(label, Some(size), "{msg} {bar:30} {bytes} of {total_bytes} ({eta})", "");
        let recordings = Self { bar, label, done: AtomicU64::new(0), total };
        recordings.say(0);
        recordings
    }

    /// More was read of one of them.
    pub(crate) fn read(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// One is done.
    pub(crate) fn done(&self) {
        self.say(self.done.fetch_add(1, Ordering::Relaxed).saturating_add(1));
    }

    /// Prints without tearing the bar.
    pub(crate) fn suspend(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// The work is over.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn say(&self, done: u64) {
        self.bar.set_message(format!("{}, {done} of {} recordings done", self.label, self.total));
    }
}

fn bar(label: &'static str, total: Option<u64>, known: &str, unknown: &str) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), known),
        None => (ProgressBar::new_spinner(), unknown),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(label);
    bar.enable_steady_tick(TICK);
    bar
}
