//! Ends a recording that a crash left open: whatever is whole stays, the rest is set aside, and a signed `cut` says
//! exactly where it stops.
//!
//! Works on the recording's file alone, after the journal was put into it, and needs no file key. What does not hold
//! together is never signed: such a file keeps its bytes and is reported as damaged.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::digest::Digest;
use super::disk::{Area, Disk};
use super::error::RecordingError;
use super::failure::JournalError;
use super::frame::{Claim, HEAD_BYTES, Outcome};
use super::journal::DIRECT_FRAME;
use super::reader::Frames;
use super::seal::sign_claim;
use super::spool::{Spool, locate};
use super::verify::check_claim;
use crate::model::{SessionId, Signer};

/// A frame's body above this may have been written past the journal.
const IN_DOUBT: usize = DIRECT_FRAME - HEAD_BYTES;
/// The most files with such bytes of one recording: one for each start that was itself cut short.
const TAILS: usize = 1_000;

/// A recording that the last run did not finish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Whose it is.
    pub session: SessionId,
    /// What it is now.
    pub state: RecoveredState,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes that followed the last whole frame, kept for whoever wants to know.
    pub set_aside: Option<PathBuf>,
}

/// What became of a recovered recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoveredState {
    /// It does not hold together and was not signed. `verify` says the same.
    Damaged {
        /// What is wrong.
        why: String,
    },
    /// It has an end, with these facts for the ledger.
    Ended {
        /// Cut by the crash, or finished just before it.
        outcome: Outcome,
        /// The end frame's counter.
        last_frame: u64,
        /// The chain digest the end signs.
        digest: Digest,
        /// The header's hash.
        header: Digest,
        /// The file's length.
        bytes: u64,
    },
}

/// How far a file is whole.
struct Walked {
    header: Digest,
    signer: [u8; 32],
    chain: Digest,
    next: u64,
    good: u64,
    /// Its end, when it has one.
    end: Option<(u64, Claim)>,
}

/// Ends every recording in the spool that is still open.
pub(super) fn recover(
    spool: &Spool,
    disk: &dyn Disk,
    signer: &dyn Signer,
) -> Result<Vec<Recovered>, JournalError> {
    let sessions = spool.unfinished().map_err(JournalError::io("read", spool.directory()))?;
    let mut recovered = Vec::with_capacity(sessions.len());
    for session in sessions {
        recovered.push(recover_one(session, spool, disk, signer)?);
    }
    if !recovered.is_empty() {
        spool.sync_directories().map_err(JournalError::io("sync", spool.directory()))?;
    }
    Ok(recovered)
}

/// How a recording that already has its final name ended; `None` when there is none, or it has no end.
///
/// # Errors
/// When it cannot be read or does not hold together.
pub fn end_of(directory: &Path, session: &SessionId) -> Result<Option<RecoveredState>, RecordingError> {
    let Some(path) = locate(directory, session) else { return Ok(None) };
    let walked = walk(&path)?;
    Ok(walked.end.map(|(last_frame, claim)| RecoveredState::Ended {
        outcome: claim.outcome.unwrap_or(Outcome::Cut),
        last_frame,
        digest: claim.chain,
        header: walked.header,
        bytes: walked.good,
    }))
}

fn recover_one(
    session: SessionId,
    spool: &Spool,
    disk: &dyn Disk,
    signer: &dyn Signer,
) -> Result<Recovered, JournalError> {
    let open = spool.open_path(&session);
    let io = |what| JournalError::io(what, &open);
    let walked = match walk(&open) {
        Ok(walked) => walked,
        Err(RecordingError::Io(error)) => return Err(io("read")(error)),
        Err(error) => return damaged(session, spool, error.to_string()),
    };
    let mut set_aside = None;
    let (last_frame, claim, bytes) = if let Some((counter, claim)) = walked.end {
        (counter, claim, walked.good)
    } else {
        if signer.public_key() != walked.signer {
            let why = "it was begun under another signing key, so its end cannot be signed";
            return damaged(session, spool, why.to_owned());
        }
        set_aside = save_tail(&session, spool, walked.good).map_err(io("copy the tail of"))?;
        let bytes = sign_claim(signer, &walked.header, walked.next, Some(Outcome::Cut), &walked.chain)?;
        let file = spool.writer(&session, false).map_err(io("open"))?;
        file.set_len(walked.good).map_err(io("shorten"))?;
        disk.write(Area::Recording, &file, &mut [IoSlice::new(&bytes)], walked.good).map_err(io("write"))?;
        disk.sync(Area::Recording, &file).map_err(io("sync"))?;
        let claim = Claim { outcome: Some(Outcome::Cut), chain: walked.chain, signature: [0; 64] };
        (walked.next, claim, walked.good + bytes.len() as u64)
    };
    spool.keep(&session).map_err(io("rename"))?;
    let state = RecoveredState::Ended {
        outcome: claim.outcome.unwrap_or(Outcome::Cut),
        last_frame,
        digest: claim.chain,
        header: walked.header,
        bytes,
    };
    Ok(Recovered { path: spool.kept_path(&session), session, state, set_aside })
}

/// Follows the frames from the start to the last whole one. Errors are what must not be signed.
///
/// A frame that came through the journal is there as a whole or not at all. A larger one may be torn, which without the
/// file key shows only at the next checkpoint; it, and what follows it, counts when that holds.
fn walk(path: &Path) -> Result<Walked, RecordingError> {
    let mut frames = Frames::open(path)?;
    let header = frames.header().clone();
    header.check_signature(&frames.prelude, &frames.header_body)?;
    let (mut end, mut is_in_doubt) = (None, false);
    let mut sure = (frames.position(), frames.bytes());
    while end.is_none() {
        match frames.next_frame() {
            Ok(Some(frame)) => {
                is_in_doubt |= frame.body.len() > IN_DOUBT;
                if let Some(claim) = Claim::parse(frame.kind, &frame.body) {
                    match check_claim(&header, &frame, &claim) {
                        Ok(()) => is_in_doubt = false,
                        Err(_) if is_in_doubt => break,
                        Err(error) => return Err(error),
                    }
                    end = claim.outcome.map(|_| (frame.counter, claim));
                }
                if !is_in_doubt {
                    sure = (frames.position(), frames.bytes());
                }
            }
            Ok(None) => break,
            Err(RecordingError::Io(error)) => return Err(error.into()),
            // Whatever else is wrong from here on is what the crash left half written.
            Err(_) => break,
        }
    }
    let ((chain, next), good) = sure;
    Ok(Walked { header: header.hash(), signer: header.signer, chain, next, good, end })
}

fn damaged(session: SessionId, spool: &Spool, why: String) -> Result<Recovered, JournalError> {
    let open = spool.open_path(&session);
    spool.keep(&session).map_err(JournalError::io("rename", &open))?;
    let state = RecoveredState::Damaged { why };
    Ok(Recovered { path: spool.kept_path(&session), session, state, set_aside: None })
}

/// Copies what follows the last whole frame to a file beside the recording.
fn save_tail(session: &SessionId, spool: &Spool, good: u64) -> io::Result<Option<PathBuf>> {
    let mut file = File::open(spool.open_path(session))?;
    if file.metadata()?.len() <= good {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(good))?;
    // A start that was itself cut short here has left one already, perhaps of other bytes.
    let paths = (1..=TAILS).map(|number| spool.tail_path(session, number));
    for path in paths {
        let mut tail = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            tail => tail?,
        };
        io::copy(&mut file, &mut tail)?;
        tail.sync_all()?;
        spool.sync_directories()?;
        return Ok(Some(path));
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
