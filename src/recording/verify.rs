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
use super::open::Opener;
use super::pool::{Opened, Pool};
use super::reader::{Frames, RawFrame};
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
    see: impl FnMut(&Event),
) -> Result<Verdict, RecordingError> {
    let mut frames = Frames::new(source)?;
    let header = frames.header().clone();
    if !trusted.contains(&header.signer) {
        return Err(RecordingError::UntrustedSigner { key: header.signer });
    }
    header.check_signature(&frames.prelude, &frames.header_body)?;
    let opener = identity.map(|identity| Opener::new(&header, identity)).transpose()?;
    let mut contents = opener.map(|opener| Contents::new(opener, see));
    let (mut checkpoints, mut last) = (0, None);
    loop {
        // What was read before is judged before what is wrong here.
        let frame = match frames.next_frame() {
            Ok(frame) => frame,
            Err(error) => return Err(contents.as_mut().and_then(Contents::finish).unwrap_or(error)),
        };
        let Some(frame) = frame else { break };
        if let Some(claim) = Claim::parse(frame.kind, &frame.body) {
            if let Err(error) = check_claim(&header, &frame, &claim) {
                return Err(contents.as_mut().and_then(Contents::finish).unwrap_or(error));
            }
            checkpoints += 1;
            last = Some((frame.counter, claim));
        } else if let Some(contents) = &mut contents {
            contents.take(frame)?;
        }
    }
    if let Some(error) = contents.as_mut().and_then(Contents::finish) {
        return Err(error);
    }
    let Some((last_frame, Claim { outcome: Some(outcome), chain: digest, .. })) = last else {
        return Err(RecordingError::Truncated { last_good: last.map(|(counter, _)| counter) });
    };
    Ok(Verdict {
        header,
        outcome,
        last_frame,
        digest,
        bytes: frames.bytes(),
        checkpoints,
        events: contents.as_ref().map(|contents| contents.events),
        duration_us: contents.map(|contents| contents.duration),
    })
}

/// What is inside: opened on several threads, shown in order.
struct Contents<See> {
    opener: Opener,
    pool: Pool,
    see: See,
    events: u64,
    duration: u64,
}

impl<See: FnMut(&Event)> Contents<See> {
    fn new(opener: Opener, see: See) -> Self {
        let pool = Pool::eager(opener.unsealer());
        Self { opener, pool, see, events: 0, duration: 0 }
    }

    fn take(&mut self, frame: RawFrame) -> Result<(), RecordingError> {
        self.pool.push(0..0, frame);
        while self.pool.is_full() {
            let Some(opened) = self.pool.pop() else { break };
            self.judge(opened)?;
        }
        Ok(())
    }

    /// Judges what is left; answers with the first thing wrong with it.
    fn finish(&mut self) -> Option<RecordingError> {
        while let Some(opened) = self.pool.pop() {
            if let Err(error) = self.judge(opened) {
                return Some(error);
            }
        }
        None
    }

    fn judge(&mut self, opened: Opened) -> Result<(), RecordingError> {
        let events = self.opener.admit(opened.content?)?;
        for event in &events {
            self.events += 1;
            self.duration = event.at;
            (self.see)(event);
        }
        Ok(())
    }
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
