//! The append-only Merkle log through which everything changes. Pure.

pub mod entry;
