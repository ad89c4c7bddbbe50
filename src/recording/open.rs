//! Opening sealed frames: what each holds, and whether its events may stand where they do.
//!
//! [`Unsealer`] needs nothing but the frame: its nonce is its counter, so frames open in any order and on any thread
//! (`pool.rs`). [`Opener`] holds what comes out to the rules about the order of events.

use std::sync::Arc;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use bytes::Bytes;

use super::codec;
use super::compress;
use super::digest::Digest;
use super::error::RecordingError;
use super::event::{Body, Event};
use super::frame::{Kind, MAX_CONTENT, TAG_BYTES, associated, nonce};
use super::header::Header;
use super::key::{self, ReviewerIdentity};
use super::reader::RawFrame;

/// Opens frames one by one.
pub(super) struct Unsealer {
    cipher: Aes256Gcm,
    header: Digest,
}

/// Opens sealed frames and holds them to the rules about their content.
pub(super) struct Opener {
    unsealer: Arc<Unsealer>,
    session: String,
    floor: u64,
    has_started: bool,
    /// Whether frames come from anywhere, and need not be the first or follow each other.
    anywhere: bool,
}

/// What a frame holds, not yet held to what came before it.
pub(super) struct Unsealed {
    counter: u64,
    kind: Kind,
    /// The time of its first event.
    begins: Option<u64>,
    /// Or what of it is malformed, which counts less than a time that goes back.
    events: Result<Vec<Event>, &'static str>,
}

impl Unsealer {
    /// What a sealed frame holds, wherever it stands.
    pub(super) fn open(&self, frame: RawFrame) -> Result<Unsealed, RecordingError> {
        let RawFrame { counter, kind, head, mut body, .. } = frame;
        let damaged = || RecordingError::FrameDamaged { counter, what: "its tag does not hold" };
        let split = body.len().checked_sub(TAG_BYTES).ok_or_else(damaged)?;
        let (sealed, tag) = body.split_at_mut_checked(split).ok_or_else(damaged)?;
        let tag: [u8; TAG_BYTES] = (&*tag).try_into().map_err(|_| damaged())?;
        self.cipher
            .decrypt_inout_detached(
                &nonce(counter, kind).into(),
                &associated(&self.header, &head),
                sealed.into(),
                &tag.into(),
            )
            .map_err(|_| damaged())?;
        body.truncate(split);
        let content = content(counter, body)?;
        Ok(Unsealed { counter, kind, begins: codec::begins(&content), events: codec::decode(&content) })
    }
}

impl Opener {
    pub(super) fn new(header: &Header, identity: &ReviewerIdentity) -> Result<Self, RecordingError> {
        let key = key::unlock(header, identity)?;
        let payload = key::payload(&key, &header.hash()).map_err(|_| RecordingError::CommitmentMismatch)?;
        let cipher = Aes256Gcm::new(payload.expose().into());
        let unsealer = Arc::new(Unsealer { cipher, header: header.hash() });
        let session = header.session.to_string();
        Ok(Self { unsealer, session, floor: 0, has_started: false, anywhere: false })
    }

    /// What opens frames on other threads.
    pub(super) fn unsealer(&self) -> Arc<Unsealer> {
        Arc::clone(&self.unsealer)
    }

    /// The same for frames from anywhere, which needs no identity again.
    pub(super) fn anywhere(&self) -> Self {
        let (unsealer, session) = (Arc::clone(&self.unsealer), self.session.clone());
        Self { unsealer, session, floor: 0, has_started: false, anywhere: true }
    }

    /// Goes on anywhere: the next frame need not follow the one before.
    pub(super) const fn resume(&mut self) {
        self.floor = 0;
    }

    /// The events of a sealed frame.
    pub(super) fn open(&mut self, frame: RawFrame) -> Result<Vec<Event>, RecordingError> {
        let unsealed = self.unsealer.open(frame)?;
        self.admit(unsealed)
    }

    /// The events of the next frame, when they may stand there.
    pub(super) fn admit(&mut self, unsealed: Unsealed) -> Result<Vec<Event>, RecordingError> {
        let Unsealed { counter, kind, begins, events } = unsealed;
        if begins.is_some_and(|begins| begins < self.floor) {
            return Err(RecordingError::TimeReversed { counter });
        }
        let malformed = |what| RecordingError::EventMalformed { counter, what };
        let events = events.map_err(malformed)?;
        self.check(&events, kind == Kind::LastChunk).map_err(malformed)?;
        self.floor = events.last().map_or(self.floor, |event| event.at);
        Ok(events)
    }

    fn check(&mut self, events: &[Event], is_last: bool) -> Result<(), &'static str> {
        for (index, event) in events.iter().enumerate() {
            let starts =
                matches!(&event.body, Body::SessionStarted(facts) if facts.session.as_str() == self.session);
            if !self.anywhere && !self.has_started && !starts {
                return Err("the first event does not name the header's session");
            }
            if !self.anywhere && self.has_started && matches!(&event.body, Body::SessionStarted(_)) {
                return Err("a session starts with the first event, and only there");
            }
            self.has_started = true;
            let ends = matches!(&event.body, Body::SessionEnded { .. });
            if ends != (is_last && index + 1 == events.len()) {
                return Err("a session ends with the last event of the last chunk, and only there");
            }
        }
        Ok(())
    }
}

fn content(counter: u64, mut plain: Vec<u8>) -> Result<Bytes, RecordingError> {
    let malformed = |what| RecordingError::EventMalformed { counter, what };
    let limit = |length: usize| RecordingError::LimitExceeded {
        counter,
        length: length as u64,
        limit: MAX_CONTENT as u64,
    };
    let mut fields = super::parse::Fields::new(&plain);
    match fields.u8() {
        Some(0) if fields.rest().len() > MAX_CONTENT => Err(limit(fields.rest().len())),
        Some(0) => Ok(Bytes::from(std::mem::take(&mut plain)).slice(1..)),
        Some(1) => {
            let length = fields.u32().and_then(|length| usize::try_from(length).ok());
            let length = length.ok_or_else(|| malformed("no content length"))?;
            if length > MAX_CONTENT {
                return Err(limit(length));
            }
            let content = compress::decompress(fields.rest(), length);
            content
                .map(Bytes::from)
                .ok_or_else(|| malformed("its compressed content does not expand to its length"))
        }
        _ => Err(malformed("its compression is unknown")),
    }
}
