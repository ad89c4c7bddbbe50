//! Other people's formats: asciicast for players, JSON lines for programs, a transcript for people, raw bytes.
//!
//! `postern export --format asciicast` gives a file that asciinema and its web player take; a reviewer who sends it on
//! should know that it proves nothing: only the recording itself can be verified. Typed input is left out unless it
//! is asked for, since it holds passwords that the screen never showed. [`super::mask`] stars secrets out on the way.
//!
//! Read `asciicast.rs` for the format that has the most rules; `write.rs` is the one entrance.

mod asciicast;
mod jsonl;
mod raw;
#[cfg(test)]
mod tests;
mod text;
mod write;

pub use write::{ExportError, Exported, Format, FormatError, Settings, export};
