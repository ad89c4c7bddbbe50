//! The reading side: the frames of a recording in order, and with an identity the events inside them.
//!
//! [`Frames`] tests everything that needs no key except signatures; [`Reader`] opens the frames as well. Whether a
//! recording is genuine is [`super::verify`]'s answer. Memory is bounded by one frame, whatever the file says.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::ops::Range;
use std::path::Path;

use super::again::Again;
use super::digest::{Digest, chain};
use super::error::RecordingError;
use super::event::Event;
use super::frame::{Claim, HEAD_BYTES, Head, Kind, MAX_BODY, Outcome};
use super::header::{Header, MAGIC, PRELUDE_BYTES, parse_prelude};
use super::key::ReviewerIdentity;
use super::open::Opener;
use super::pool::Pool;

/// One frame as it stands in the file.
#[derive(Debug)]
pub struct RawFrame {
    /// Its place in the recording.
    pub counter: u64,
    /// What it is.
    pub kind: Kind,
    pub(super) head: [u8; HEAD_BYTES],
    pub(super) body: Vec<u8>,
    /// The chain before this frame.
    pub(super) chain: Digest,
}

/// A frame's head and body, untested.
type WholeFrame = ([u8; HEAD_BYTES], Vec<u8>);

/// The frames of a recording, tested for everything that needs neither key nor trust.
pub struct Frames<R> {
    source: R,
    header: Header,
    chain: Digest,
    next: u64,
    before: Option<Kind>,
    outcome: Option<Outcome>,
    bytes: u64,
    pub(super) prelude: [u8; PRELUDE_BYTES],
    pub(super) header_body: Vec<u8>,
}

impl Frames<BufReader<File>> {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// When it cannot be read or has no sound header.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        Self::new(BufReader::with_capacity(256 << 10, File::open(path)?))
    }
}

impl<R: Read> Frames<R> {
    /// Reads the header from a source of bytes.
    ///
    /// # Errors
    /// When it cannot be read or has no sound header.
    pub fn new(mut source: R) -> Result<Self, RecordingError> {
        let mut prelude = [0; PRELUDE_BYTES];
        let got = fill(&mut source, &mut prelude)?;
        if got < PRELUDE_BYTES && prelude.starts_with(&MAGIC) {
            return Err(RecordingError::HeaderDamaged { what: "the file ends inside it" });
        }
        let length = parse_prelude(&prelude)?;
        let mut body = vec![0; length];
        if fill(&mut source, &mut body)? < length {
            return Err(RecordingError::HeaderDamaged { what: "the file ends inside it" });
        }
        let header = Header::parse(&prelude, &body)?;
        let bytes = (PRELUDE_BYTES + length) as u64;
        let chain = header.hash();
        Ok(Self {
            source,
            header,
            chain,
            next: 0,
            before: None,
            outcome: None,
            bytes,
            prelude,
            header_body: body,
        })
    }

    /// What the recording says about itself in clear.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// How the recording ended; known once its end was read.
    pub const fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// The chain over every frame read, and the counter due next.
    pub const fn position(&self) -> (Digest, u64) {
        (self.chain, self.next)
    }

    /// Bytes of whole frames read so far, the header included.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next frame, or `None` after the end.
    ///
    /// # Errors
    /// The first thing wrong from here on.
    pub fn next_frame(&mut self) -> Result<Option<RawFrame>, RecordingError> {
        if self.outcome.is_some() {
            let more = fill(&mut self.source, &mut [0; 1])?;
            return if more == 0 { Ok(None) } else { Err(RecordingError::TrailingData) };
        }
        let Some((head, body)) = self.frame()? else { return Err(self.truncated()) };
        let parsed = Head::parse(head);
        let counter = parsed.counter;
        if counter < self.next {
            return Err(RecordingError::Duplicate { counter });
        }
        if counter > self.next {
            return Err(self.gap());
        }
        let damaged = |what| RecordingError::FrameDamaged { counter, what };
        let kind = Kind::from_code(parsed.code).ok_or_else(|| damaged("its kind is unknown"))?;
        if !kind.allows(parsed.length) {
            return Err(damaged("its length does not fit its kind"));
        }
        self.place(kind, counter, &body)?;
        let frame = RawFrame { counter, kind, head, body, chain: self.chain };
        self.advance(&frame);
        Ok(Some(frame))
    }

    /// Reads one frame's bytes; `None` when the file ends first.
    fn frame(&mut self) -> Result<Option<WholeFrame>, RecordingError> {
        let mut head = [0; HEAD_BYTES];
        if fill(&mut self.source, &mut head)? < HEAD_BYTES {
            return Ok(None);
        }
        let Head { length, counter, .. } = Head::parse(head);
        if length > MAX_BODY {
            let (length, limit) = (u64::from(length), u64::from(MAX_BODY));
            return Err(RecordingError::LimitExceeded { counter, length, limit });
        }
        let mut body = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let whole = fill(&mut self.source, &mut body)? == body.len();
        Ok(whole.then_some((head, body)))
    }

    fn place(&mut self, kind: Kind, counter: u64, body: &[u8]) -> Result<(), RecordingError> {
        let after_last = self.before == Some(Kind::LastChunk);
        if after_last && kind != Kind::End {
            return Err(RecordingError::Misplaced { counter });
        }
        if kind == Kind::End {
            let claim = Claim::parse(kind, body)
                .ok_or(RecordingError::FrameDamaged { counter, what: "its state is unknown" })?;
            if claim.outcome == Some(Outcome::Finished) && !after_last {
                return Err(RecordingError::Misplaced { counter });
            }
            self.outcome = claim.outcome;
        }
        Ok(())
    }

    fn advance(&mut self, frame: &RawFrame) {
        let mut hasher = ::blake3::Hasher::new();
        hasher.update(&frame.head).update(&frame.body);
        self.chain = chain(&self.chain, &Digest::new(*hasher.finalize().as_bytes()));
        self.bytes += (HEAD_BYTES + frame.body.len()) as u64;
        self.before = Some(frame.kind);
        self.next += 1;
    }

    /// What a counter above the one due means: the one due is gone, or comes later.
    fn gap(&mut self) -> RecordingError {
        let counter = self.next;
        while let Ok(Some((head, _))) = self.frame() {
            if Head::parse(head).counter == counter {
                return RecordingError::OutOfOrder { counter };
            }
        }
        RecordingError::Missing { counter }
    }

    const fn truncated(&self) -> RecordingError {
        RecordingError::Truncated { last_good: self.next.checked_sub(1) }
    }
}

/// The events of a recording, opened with a reviewer's identity. An iterator: the first error ends it.
pub struct Reader<R> {
    frames: Frames<R>,
    opener: Opener,
    pool: Pool,
    pending: std::vec::IntoIter<Event>,
    place: Range<u64>,
    /// Why no more frames are read, once none are.
    ended: Option<Result<(), RecordingError>>,
    is_over: bool,
}

impl Reader<BufReader<File>> {
    /// Opens a file with an identity.
    ///
    /// # Errors
    /// When it has no sound header, or the identity does not open it.
    pub fn open(path: &Path, identity: &ReviewerIdentity) -> Result<Self, RecordingError> {
        Self::new(Frames::open(path)?, identity)
    }
}

impl<R: Read> Reader<R> {
    /// Reads events from frames.
    ///
    /// # Errors
    /// When the identity does not open the recording.
    pub fn new(frames: Frames<R>, identity: &ReviewerIdentity) -> Result<Self, RecordingError> {
        let opener = Opener::new(frames.header(), identity)?;
        let pool = Pool::calm(opener.unsealer());
        let pending = Vec::new().into_iter();
        Ok(Self { frames, opener, pool, pending, place: 0..0, ended: None, is_over: false })
    }

    /// Opens frames on all cores, some way ahead of the events: for whoever waits for one long recording.
    #[must_use]
    pub fn on_all_cores(self) -> Self {
        Self { pool: Pool::eager(self.opener.unsealer()), ..self }
    }

    /// What the recording says about itself in clear.
    pub const fn header(&self) -> &Header {
        self.frames.header()
    }

    /// How the recording ended; known once its last event was read.
    pub const fn outcome(&self) -> Option<Outcome> {
        self.frames.outcome()
    }

    /// Bytes of whole frames read so far, the header included.
    pub const fn bytes(&self) -> u64 {
        self.frames.bytes()
    }

    /// A way to read any part again; `file` is the one that this reads.
    pub fn again(&self, file: File) -> Again {
        Again::new(file, self.header().clone(), &self.opener)
    }

    /// Where in the file the frame of the last event lies.
    pub fn place(&self) -> Range<u64> {
        self.place.clone()
    }

    /// Reads frames to be opened.
    fn read_ahead(&mut self) {
        while self.ended.is_none() && !self.pool.is_full() {
            let begin = self.frames.bytes();
            match self.frames.next_frame() {
                Ok(Some(frame)) if matches!(frame.kind, Kind::Chunk | Kind::LastChunk) => {
                    self.pool.push(begin..self.frames.bytes(), frame);
                }
                Ok(Some(_)) => {}
                Ok(None) => self.ended = Some(Ok(())),
                Err(error) => self.ended = Some(Err(error)),
            }
        }
    }

    /// Goes on to the next frame's events; says whether there is one.
    fn refill(&mut self) -> Result<bool, RecordingError> {
        self.read_ahead();
        let Some(opened) = self.pool.pop() else {
            // What stopped the reading comes after everything that was read.
            return self.ended.take().unwrap_or(Ok(())).map(|()| false);
        };
        let events = self.opener.admit(opened.content?)?;
        self.place = opened.place;
        self.pending = events.into_iter();
        Ok(true)
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Event, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.pending.next() {
                return Some(Ok(event));
            }
            if self.is_over {
                return None;
            }
            match self.refill() {
                Ok(is_more) => self.is_over = !is_more,
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// Reads until the buffer is full or the source ends; says how much there was.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize, RecordingError> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}
