//! Leaving secrets out of copies: what looks like one is starred out, and the recording itself stays as it is.
//!
//! `web-1` prints `export TOKEN=abc…` in three pieces with colours in between: what is looked through is the line that
//! comes of it, and what is starred out are the bytes it came from. `patterns.rs` has what looks like a secret,
//! `line.rs` the ways to read a line, `look.rs` tries them all, `stream.rs` holds events back until their lines are whole, and
//! `texts.rs` has the texts of events that carry no bytes.
//!
//! This finds what has a known form. A password without its name beside it has none.

mod line;
mod look;
mod patterns;
mod stream;
#[cfg(test)]
mod tests;
mod texts;

pub use patterns::{Mask, PatternError};
pub use stream::Masked;
