//! Evidence of one session, as a directory that needs no bastion: `postern export --evidence`, and `postern verify` of it.
//!
//! Carol writes one for the court: `collect.rs` recomputes the whole ledger and keeps what concerns the session,
//! `write.rs` lays it out with the sealed recording and the proofs, `page.rs` says in words how each thing is checked
//! with tools that everybody has. Years later `check.rs` reads the directory alone, and believes only the keys it is
//! given; `derived.rs` makes what only repeats that in other forms; `approvals.rs` asks whether the session was allowed.

mod approvals;
mod check;
mod collect;
mod contents;
mod derived;
mod page;
mod write;

pub(crate) use check::{CheckArgs, check};
pub(crate) use write::{EvidenceArgs, write};
