//! The modules under test, compiled by themselves: those that read bytes somebody else chose.
//!
//! They are levels 0 to 2 of the product (`docs/architecture.md`) and can reach nothing above, so they stand without
//! the SSH library, the policy engine and the web server: the fuzzers build in a fraction of the time, and coverage
//! points at our own parsers. Nothing is written here: whatever a target needs must be public there.

#![allow(dead_code, unreachable_pub, reason = "what only the modules above use is not used here")]

#[path = "../../../src/ledger/mod.rs"]
pub mod ledger;
#[path = "../../../src/model/mod.rs"]
pub mod model;
#[path = "../../../src/playback/mod.rs"]
pub mod playback;
#[path = "../../../src/recording/mod.rs"]
pub mod recording;
#[path = "../../../src/thread.rs"]
pub mod thread;
#[path = "../../../src/wire/mod.rs"]
pub mod wire;
