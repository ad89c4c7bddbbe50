//! `postern ledger`: read it, verify it, prove from it, copy it, and make its tables again.
//!
//! Carol asks `postern ledger verify` once a week: every entry is fetched and hashed here, the root is compared with
//! the checkpoint the bastion signed, and that with the one her machine remembered last week (`memory.rs`). A bastion
//! that lost, changed or took back anything cannot answer so that all three agree.
//!
//! Start at `audit.rs`; `prove.rs` does the same for one entry, `copy.rs` writes it all out, `tail.rs` and
//! `sentence.rs` are for reading.

pub(crate) mod audit;
mod command;
mod copy;
pub(crate) mod memory;
mod prove;
mod rebuild;
pub(crate) mod sentence;
mod tail;
mod verify;
pub(crate) mod witnessed;

pub(crate) use command::{LedgerCommand, run};
