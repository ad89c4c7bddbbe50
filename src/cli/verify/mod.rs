//! `postern verify`: is a recording genuine, whole, and the one the ledger knows?
//!
//! For a session's id, Olga's recording is fetched and held against the node's key, the header's hash, the checkpoints
//! and the end that the ledger has. For a file with `--key`, nothing but the file and the key is needed. `--all` first
//! recomputes the ledger itself, then goes through every session in it and every file in a directory.
//!
//! `judge.rs` gives the answer about one recording, `pins.rs` and `deletion.rs` are what the ledger says of it, `every.rs` is
//! `--all`.

mod command;
mod deletion;
mod every;
mod judge;
mod pins;

pub(crate) use command::{VerifyArgs, run};
pub(crate) use judge::{Trust, judge};
pub(crate) use pins::Book;
