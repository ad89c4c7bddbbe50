//! Whether a recording is genuine and whole: signatures by a trusted key, and with an identity the content too.
//!
//! `FORMAT.md` part 7. The answer is a [`Verdict`] or the first error; nothing in between.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::digest::Digest;
use super::error::RecordingError;
use super::event::Event;
use super::frame::{Claim, Kind, Outcome};
use super::header::Header;
use super::key::ReviewerIdentity;
use super::reader::{Frames, Opener, RawFrame};
use crate::model::signer::{PUBLIC_KEY_BYTES, is_signed_by};

/// What a recording that holds is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    /// Who it belongs to and who signed it.
    pub header: Header,
    /// Whether the session finished or was cut off by the bastion's end.
    pub outcome: Outcome,
    /// The end frame's counter: what the ledger calls the recording's last frame.
    pub last_frame: u64,
    /// The chain digest the end frame signs: what the ledger calls its final digest.
    pub digest: Digest,
    /// The file's length.
    pub bytes: u64,
    /// How many checkpoints hold, the end included.
    pub checkpoints: u64,
    /// How many events were read; `None` without an identity.
    pub events: Option<u64>,
    /// The time of the last event, in microseconds; `None` without an identity.
    pub duration_us: Option<u64>,
}

/// Verifies a file. See [`verify_source`].
///
/// # Errors
/// The first thing wrong with it.
pub fn verify(
    path: &Path,
    trusted: &[[u8; PUBLIC_KEY_BYTES]],
    identity: Option<&ReviewerIdentity>,
) -> Result<Verdict, RecordingError> {
    verify_source(BufReader::with_capacity(256 << 10, File::open(path)?), trusted, identity, |_| {})
}

/// Verifies a recording from any source of bytes, showing each event on the way when there is an identity.
///
/// # Errors
/// The first thing wrong with it.
pub fn verify_source<R: Read>(
    source: R,
    trusted: &[[u8; PUBLIC_KEY_BYTES]],
    identity: Option<&ReviewerIdentity>,
    mut see: impl FnMut(&Event),
) -> Result<Verdict, RecordingError> {
    let mut frames = Frames::new(source)?;
    let header = frames.header().clone();
    if !trusted.contains(&header.signer) {
        return Err(RecordingError::UntrustedSigner { key: header.signer });
    }
    header.check_signature(&frames.prelude, &frames.header_body)?;
    let mut opener = identity.map(|identity| Opener::new(&header, identity)).transpose()?;
    let (mut checkpoints, mut events, mut duration) = (0, 0, 0);
    let mut last = None;
    while let Some(frame) = frames.next_frame()? {
        if let Some(claim) = Claim::parse(frame.kind, &frame.body) {
            check_claim(&header, &frame, &claim)?;
            checkpoints += 1;
            last = Some((frame.counter, claim));
        } else if let Some(opener) = &mut opener {
            for event in &opener.open(frame)? {
                events += 1;
                duration = event.at;
                see(event);
            }
        }
    }
    let Some((last_frame, Claim { outcome: Some(outcome), chain: digest, .. })) = last else {
        return Err(RecordingError::Truncated { last_good: last.map(|(counter, _)| counter) });
    };
    let has_key = identity.is_some();
    Ok(Verdict {
        header,
        outcome,
        last_frame,
        digest,
        bytes: frames.bytes(),
        checkpoints,
        events: has_key.then_some(events),
        duration_us: has_key.then_some(duration),
    })
}

/// Tests a checkpoint's or end's signature, then its digest.
pub(super) fn check_claim(header: &Header, frame: &RawFrame, claim: &Claim) -> Result<(), RecordingError> {
    debug_assert!(matches!(frame.kind, Kind::Checkpoint | Kind::End));
    let counter = frame.counter;
    let message = Claim::message(&header.hash(), counter, claim.outcome, &claim.chain);
    if !is_signed_by(&header.signer, &message, &claim.signature) {
        return Err(RecordingError::CheckpointForged { counter });
    }
    if claim.chain != frame.chain {
        return Err(RecordingError::ChainBroken { counter });
    }
    Ok(())
}
