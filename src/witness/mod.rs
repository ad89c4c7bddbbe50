//! A witness: somebody elsewhere who remembers the newest head of a ledger, and signs only what continues it.
//!
//! A bastion that was rolled back to a backup, or that shows two histories, finds no witness who signs. The role is
//! small on purpose: a key, a file for each ledger, one call (C2SP `tlog-witness`, `add-checkpoint`). It knows nothing
//! of people, sessions or recordings, so an organisation can run one where nobody of the bastion's has a login.
//!
//! `request.rs` reads what a ledger submits, `ledgers.rs` decides and remembers, `files.rs` is what it keeps on disk.

mod files;
mod ledgers;
mod request;

pub use files::WitnessError;
pub use ledgers::{Answer, Known, Witness};
