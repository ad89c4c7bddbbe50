//! Hostile bytes to bytes that are safe on a reviewer's terminal.
//!
//! A target chose these bytes; the reviewer's terminal is the thing it would like to reach. For example
//! `ESC ] 52 ; c ; … BEL` fills a clipboard, `ESC [ 6 n` makes the terminal type an answer, and `ESC P + q … ESC \`
//! did that and more. [`Sanitiser`] is an ECMA-48 state machine that reads all of it and writes only what is on the
//! list in `allowlist.rs`: text, SGR, cursor movement, erasing, scrolling, insert and delete, the alternate screen.
//! It never keeps more than one short sequence, and gives the same result however the input is cut.
//!
//! [`escape_text`] is for single lines: lists, logs, prompts. Read `filter.rs`, then `allowlist.rs`. Anything that is
//! not on the list is dropped; adding to it needs a reason that no terminal ever answers that sequence.

mod allowlist;
mod escape;
mod filter;
#[cfg(test)]
mod tests;

pub use escape::escape_text;
pub use filter::Sanitiser;
pub(super) use filter::{colour, plain_run};
