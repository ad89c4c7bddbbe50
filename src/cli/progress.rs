//! How long work shows itself: a bar on standard error, and nothing where that is no terminal.
//!
//! The bar goes away when the work is over, so what is left on the terminal is the result alone.

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
