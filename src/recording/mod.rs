//! What a recording is, how it is written, read and checked. Knows no protocol and no session.
//!
//! `recordings-schema/FORMAT.md` is the law here. Writing: a [`Recorder`] seals the session's [`event`]s into frames
//! (`seal`) and hands them to the node's one [`Journal`], which makes them durable together with everybody else's and
//! fills each recording's own file from memory (`spool`). Reading: [`Frames`] walks the container, [`Reader`] opens it
//! with a [`ReviewerIdentity`], [`verify()`] answers whether it is genuine.
//!
//! ```text
//! let (journal, recovered) = Journal::open(settings)?;       // finishes what a crash left
//! let recorder = Recorder::open(&journal, spec)?;
//! let at = recorder.record(vec![(1, Body::Input { data })])?; // sealed and submitted, never waits
//! recorder.durable(at).await?;                                // now it may go to the target
//! let finished = recorder.finish(EndReason::ClientLeft).await?;
//! ```

mod again;
mod codec;
mod compress;
mod digest;
mod disk;
mod error;
pub mod event;
mod failure;
mod frame;
mod hardware;
mod header;
mod hpke;
mod hybrid;
mod journal;
mod key;
mod live;
mod open;
mod parse;
mod plugin;
mod pool;
mod reader;
mod recorder;
mod recover;
mod seal;
mod spool;
mod verify;

pub use again::Again;
pub use digest::{Digest, NotADigest};
pub use disk::{Area, Disk, RealDisk, Space};
pub use error::RecordingError;
pub use failure::{JournalError, RecorderError};
pub use frame::{Kind, Outcome};
pub use header::Header;
pub use journal::{Journal, JournalLimits, JournalSettings, Room};
pub use key::{KeyError, MAX_RECIPIENTS, Recipient, ReviewerIdentity, RewrapError, parse_recipients, rewrap};
pub use live::Watch;
pub use plugin::Ask;
pub use reader::{Frames, RawFrame, Reader};
pub use recorder::{Finished, Pin, Position, Recorder, RecordingSpec};
pub use recover::{Recovered, RecoveredState, end_of};
pub use seal::SealError;
pub use spool::{EXTENSION, locate};
pub use verify::{Verdict, verify, verify_source};
