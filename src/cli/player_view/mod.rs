//! The interactive player: a recording on the reviewer's own terminal, with keys.
//!
//! `postern play` opens a recording and hands its events to [`play`]. On a terminal, the screen is drawn from the
//! player's cells, never by passing recorded bytes on, so nothing a target printed can reach this terminal; the last
//! line is ours. Where standard output is no terminal, the recording is printed through at once, sanitised.
//!
//! `run.rs` is the loop and its keys, `view.rs` the drawing, `signals.rs` what ends it from outside. The playback
//! itself is in [`crate::playback::player`]; nothing here knows how a recording is stored.

mod run;
mod signals;
mod view;

pub use run::{ViewError, ViewOptions, is_interactive, play, print_through};
