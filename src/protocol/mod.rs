//! Thin adapters: one folder for each protocol, the same file names in each.
//!
//! An adapter speaks to the person's tool (`client_side`), speaks to the target (`target_side`) and turns frames into
//! events (`observe`). No policy, no store, no audit, no files: all of that is [`session`](crate::session)'s.

pub mod ssh;
