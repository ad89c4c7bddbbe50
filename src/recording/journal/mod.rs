//! The node's journal: makes every session's frames durable together, and keeps them until their own files have them.
//!
//! ```text
//! Recorder ── frames ──▶ lane small ─ writer ─▶ segment ─ syncer ─▶ acknowledged ─▶ filler ─▶ open/SESSION.pstn
//!                    ├─▶ lane bulk  ─ writer ─▶ segment ─ syncer ─▶      ″                └─▶ SESSION.pstn when over
//!                    └─▶ lane direct ─ writer ─▶ open/SESSION.pstn ─ syncer ─▶ ″
//! ```
//!
//! `lane.rs` is one lane and its two threads, `direct.rs` what is special about the one without segments, `segment.rs`
//! the files and records, `track.rs` how far one recording has come, `waiting.rs` waiting for it,
//! `filler.rs` the thread that fills the recordings' files, `rescue.rs` what it keeps of one whose file failed,
//! `keeper.rs` the thread that watches the disk, and `replay.rs` what a start does with an earlier run's journal. `node.rs` puts them together.

mod direct;
mod filler;
pub(super) mod keeper;
mod lane;
mod node;
mod replay;
mod rescue;
mod segment;
pub(super) mod track;
pub(super) mod waiting;

pub(super) use direct::DIRECT_FRAME;
pub use node::{Journal, JournalLimits, JournalSettings, Room};
pub(super) use node::{Shared, Submission};
