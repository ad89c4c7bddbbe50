//! The append-only Merkle log through which everything changes. Pure.
//!
//! Entry 0 says who the node is; every later one what changed and who caused it. Its bytes ([`Entry::canonical`]) hash
//! to a leaf, leaves to a tree (RFC 6962), and the node signs the tree's head as a [`Checkpoint`] (C2SP
//! `tlog-checkpoint`). With a checkpoint from last month and one from today, [`verify_consistency`] shows that nothing
//! older was touched; with a receipt and its [`inclusion proof`](verify_inclusion), anyone shows that a session's end
//! was logged. Witnesses elsewhere add their own lines to a checkpoint ([`WitnessKey`]). [`tiles`] names the files (C2SP `tlog-tiles`) that hold a whole ledger for whoever wants a copy.
//!
//! Nothing here reads a file or a database: hashes come through [`HashSource`]. Read next: `entry.rs`, `tree.rs`.
//!
//! [`Entry::canonical`]: entry::Entry::canonical

mod canonical;
mod checkpoint;
mod cosignature;
pub mod entry;
#[cfg(test)]
mod golden;
mod note;
mod proof;
mod recordings;
pub mod tiles;
mod tree;

pub use canonical::CanonicalError;
pub use checkpoint::{Checkpoint, CheckpointError};
pub use cosignature::WitnessKey;
pub use note::{Note, NoteError, VerifierKey};
pub use proof::{
    HashSource, ProofError, consistency_proof, inclusion_proof, verify_consistency, verify_inclusion,
};
pub use tree::{Frontier, TILE_HEIGHT, TileNode, TreeHash};
