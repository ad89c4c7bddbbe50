//! The recorder of one session: gives events their time, seals them and hands them to the journal. Never waits.
//!
//! `record` works on the caller's thread under one short lock, so that times, counters and the chain agree and frames
//! leave in order. Waiting is separate: `written` before the operator may see output, `durable` before input may go
//! to the target. A recorder dropped without [`Recorder::finish`] ends its recording as cut.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::codec::{EVENT_DATA, contents};
use super::digest::{Digest, blake3};
use super::event::{Body, Event, SessionFacts};
use super::failure::RecorderError;
use super::frame::{Kind, Outcome};
use super::header::{Header, Parts};
use super::journal::keeper::Due;
use super::journal::track::Track;
use super::journal::waiting::Stage;
use super::journal::{DIRECT_FRAME, Journal, Shared, Submission};
use super::key::{self, KeyError, Recipient};
use super::live::{Watch, Watchers};
use super::seal::{Frame, Sealer};
use crate::model::EndReason;

/// A checkpoint follows after this many other frames…
const FRAMES_A_CHECKPOINT: u32 = 256;
/// …or this many bytes.
const BYTES_A_CHECKPOINT: usize = 4 << 20;

/// What a recording is begun with.
#[derive(Debug, Clone)]
pub struct RecordingSpec {
    /// Its first event.
    pub facts: SessionFacts,
    /// Who will be able to read it.
    pub recipients: Vec<Recipient>,
}

/// A place in a recording, to wait for. Later places are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

/// A checkpoint, as the ledger notes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// The checkpoint's or end's own counter.
    pub frame: u64,
    /// The chain digest it signs.
    pub digest: Digest,
}

/// A recording that is whole and at its final name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The end frame's counter.
    pub frames: u64,
    /// The chain digest the end signs.
    pub digest: Digest,
    /// The file's length.
    pub bytes: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// Records one session. Share it in an `Arc`; all methods take `&self`.
pub struct Recorder {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    track: Arc<Track>,
    header: Digest,
    state: Mutex<State>,
    /// Time since boot at event time zero.
    epoch: Duration,
    opened: Position,
}

struct State {
    sealer: Sealer,
    /// Time of the last event.
    last_at: u64,
    unsigned_frames: u32,
    unsigned_bytes: usize,
    /// When the first frame without a checkpoint was sealed.
    unsigned_since: Duration,
    /// Whether the keeper will ask for a checkpoint.
    is_kept: bool,
    last: Position,
    pinned: Option<Pin>,
    watchers: Watchers,
    is_over: bool,
}

impl Recorder {
    /// Begins a recording: makes its key, wraps it to the recipients, and submits the header and the first event.
    /// Wait for [`Self::opened`] to be durable before minting anything.
    ///
    /// # Errors
    /// When there is no room, no recipient, or already a recording of this session, or the journal has failed.
    pub fn open(journal: &Journal, spec: RecordingSpec) -> Result<Self, RecorderError> {
        let RecordingSpec { facts, recipients } = spec;
        let shared = Arc::clone(journal.shared());
        let track = Arc::new(Track::new(facts.session.clone()));
        shared.admit(&track)?;
        let key = key::fresh()?;
        let mut recording = [0; 16];
        aws_lc_rs::rand::fill(&mut recording).map_err(|_| KeyError::Unavailable)?;
        let parts = Parts {
            recording,
            session: facts.session.clone(),
            started: facts.started,
            commitment: key::commitment(&key, &recording)?,
            wrapped: key::wrap(&key, &recipients)?,
        };
        let (header, bytes) = Header::sign(parts, &*shared.signer)?;
        let sealer = Sealer::new(&key, header.hash(), Arc::clone(&shared.signer))?;
        let mut state = State::new(sealer);
        let epoch = shared.clock.since_boot();
        let mut first = Vec::with_capacity(1);
        state.seal(epoch, epoch, vec![(0, Body::SessionStarted(facts))], &mut first)?;
        let bytes = Bytes::from(bytes);
        let opening = Submission { digest: blake3(&bytes), bytes, is_end: false };
        let frames = std::iter::once(opening).chain(first.into_iter().map(submission)).collect();
        let opened = Position(shared.submit(&track, frames));
        state.last = opened;
        let state = Mutex::new(state);
        let inner = Arc::new(Inner { shared, track, header: header.hash(), state, epoch, opened });
        let recorder = Self { inner };
        recorder.keep_signed(&mut recorder.inner.lock());
        Ok(recorder)
    }

    /// The header's hash, for the ledger.
    #[must_use]
    pub fn header_hash(&self) -> Digest {
        self.inner.header
    }

    /// The place of the header and the first event.
    #[must_use]
    pub fn opened(&self) -> Position {
        self.inner.opened
    }

    /// Seals events, each with its channel, and submits them. All of one call have one time. Without events, answers
    /// with the place of what was recorded last.
    ///
    /// # Errors
    /// When the recording is over or has failed, or too much piled up. The session must end then.
    pub fn record(&self, events: Vec<(u32, Body)>) -> Result<Position, RecorderError> {
        let inner = &*self.inner;
        let mut state = inner.lock();
        inner.check(&state)?;
        let now = inner.shared.clock.since_boot();
        let mut frames = Vec::with_capacity(2);
        let sealed = state.seal(inner.epoch, now, events, &mut frames).and_then(|()| {
            // What is written past the journal is believed after a crash only when a checkpoint covers it.
            let is_bulky = frames.iter().any(|frame| frame.bytes.len() > DIRECT_FRAME);
            if is_bulky
                || state.unsigned_frames >= FRAMES_A_CHECKPOINT
                || state.unsigned_bytes >= BYTES_A_CHECKPOINT
            {
                frames.push(state.checkpoint()?.0);
            }
            Ok(())
        });
        inner.submit(&mut state, frames);
        self.keep_signed(&mut state);
        sealed.inspect_err(|error| inner.track.fail(error.clone()))?;
        Ok(state.last)
    }

    /// Waits until a place, and everything before it, is written: a killed process does not lose it.
    ///
    /// # Errors
    /// When the recording fails first.
    pub async fn written(&self, at: Position) -> Result<(), RecorderError> {
        self.inner.track.reached(at.0, Stage::Written).await
    }

    /// Waits while memory is short and this recording holds much of it. Whoever passes a stream on waits here before
    /// it reads more.
    pub async fn make_way(&self) {
        self.inner.shared.make_way(&self.inner.track).await;
    }

    /// Waits until a place, and everything before it, is durable: a machine that loses power does not lose it.
    ///
    /// # Errors
    /// When the recording fails first.
    pub async fn durable(&self, at: Position) -> Result<(), RecorderError> {
        self.inner.shared.want(&self.inner.track);
        self.inner.track.reached(at.0, Stage::Durable).await
    }

    /// Resolves when the recording has failed, with the reason. The session must end then.
    pub fn failed(&self) -> impl Future<Output = RecorderError> + Send + 'static {
        let track = Arc::clone(&self.inner.track);
        async move { track.failed().await }
    }

    /// The events from now on, from memory.
    #[must_use]
    pub fn watch(&self) -> Watch {
        let mut state = self.inner.lock();
        let watch = state.watchers.add();
        if state.is_over {
            state.watchers.close();
        }
        watch
    }

    /// Signs everything so far, for the ledger. Wait for it with [`Self::durable`].
    ///
    /// # Errors
    /// When the recording is over or has failed.
    pub fn checkpoint(&self) -> Result<(Pin, Position), RecorderError> {
        let inner = &*self.inner;
        let mut state = inner.lock();
        inner.check(&state)?;
        let (frame, pin) = state.checkpoint()?;
        inner.submit(&mut state, vec![frame]);
        Ok((pin, state.last))
    }

    /// The last checkpoint made, when the ledger does not have it yet as `before`. It is durable then: what the ledger
    /// says of a recording must be found in it after any crash.
    ///
    /// # Errors
    /// When the recording fails first.
    pub async fn last_checkpoint(&self, before: Option<u64>) -> Result<Option<Pin>, RecorderError> {
        let (pinned, last) = {
            let state = self.inner.lock();
            (state.pinned, state.last)
        };
        match pinned.filter(|pin| before != Some(pin.frame)) {
            Some(pin) => self.durable(last).await.map(|()| Some(pin)),
            None => Ok(None),
        }
    }

    /// Ends the recording with its reason, and waits until it is durable and at its final name. What is sealed stays
    /// sealed when this future is dropped. A full disk does not prevent it: the journal has its space, and the file
    /// gets its final name when there is room for it; nor does a flood.
    ///
    /// # Errors
    /// When the recording is over or has failed; the next start then ends it as cut.
    pub async fn finish(&self, reason: EndReason) -> Result<Finished, RecorderError> {
        let inner = &*self.inner;
        let (at, pin) = inner.end(Some(reason))?;
        let bytes = inner.track.length();
        self.durable(at).await?;
        inner.track.stored().await?;
        let path = inner.shared.spool.kept_path(&inner.track.session);
        Ok(Finished { frames: pin.frame, digest: pin.digest, bytes, path })
    }

    /// Sees to it that a checkpoint comes for frames that have none, when nothing else is recorded.
    fn keep_signed(&self, state: &mut State) {
        if state.unsigned_frames > 0 && !state.is_kept {
            state.is_kept = true;
            let inner: Arc<dyn Due> = Arc::<Inner>::clone(&self.inner);
            self.inner.shared.watch_unsigned(Arc::downgrade(&inner));
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let is_over = self.inner.lock().is_over;
        if !is_over && let Err(error) = self.inner.end(None) {
            tracing::warn!(session = %self.inner.track.session, %error, "a recording is left for the next start to end");
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, state: &State) -> Result<(), RecorderError> {
        if state.is_over {
            return Err(RecorderError::Ended);
        }
        if let Some(error) = self.track.failure() {
            return Err(error.clone());
        }
        if let Some(error) = self.shared.refusal(&self.track) {
            self.track.fail(error.clone());
            return Err(error);
        }
        Ok(())
    }

    fn end(&self, reason: Option<EndReason>) -> Result<(Position, Pin), RecorderError> {
        let mut state = self.lock();
        if state.is_over {
            return Err(RecorderError::Ended);
        }
        if let Some(error) = self.track.failure().filter(|error| error.prevents_the_end()) {
            return Err(error.clone());
        }
        if let Some(reason) = reason {
            let at = state.time(self.epoch, self.shared.clock.since_boot());
            for content in contents(at, &[(0, Body::SessionEnded { reason })])? {
                let chunk = state.one_chunk(content, Kind::LastChunk)?;
                self.submit(&mut state, vec![chunk]);
            }
        }
        let (digest, frame) = state.sealer.position();
        let outcome = if reason.is_some() { Outcome::Finished } else { Outcome::Cut };
        let end = state.sealer.end(outcome)?;
        state.is_over = true;
        state.watchers.close();
        let end = Submission { bytes: end.bytes, digest: end.digest, is_end: true };
        let at = Position(self.shared.submit(&self.track, vec![end]));
        Ok((at, Pin { frame, digest }))
    }

    /// Submits frames. Whatever was sealed is: a counter that is missing would read as a frame taken out.
    fn submit(&self, state: &mut State, frames: Vec<Frame>) {
        if !frames.is_empty() {
            let frames = frames.into_iter().map(submission).collect();
            state.last = Position(self.shared.submit(&self.track, frames));
        }
    }
}

impl Due for Inner {
    fn tick(&self, now: Duration) -> bool {
        let mut state = self.lock();
        let is_alive = !state.is_over && self.track.failure().is_none();
        let is_due = now.saturating_sub(state.unsigned_since) >= self.shared.limits.checkpoint_within;
        if is_alive && state.unsigned_frames > 0 && is_due {
            match state.checkpoint() {
                Ok((frame, _)) => self.submit(&mut state, vec![frame]),
                Err(error) => self.track.fail(error),
            }
        }
        state.is_kept = is_alive && state.unsigned_frames > 0;
        state.is_kept
    }
}

impl State {
    fn new(sealer: Sealer) -> Self {
        Self {
            sealer,
            last_at: 0,
            unsigned_frames: 0,
            unsigned_bytes: 0,
            unsigned_since: Duration::ZERO,
            is_kept: false,
            last: Position(0),
            pinned: None,
            watchers: Watchers::default(),
            is_over: false,
        }
    }

    /// Microseconds since the recording began, never less than before.
    fn time(&mut self, epoch: Duration, now: Duration) -> u64 {
        let at = u64::try_from(now.saturating_sub(epoch).as_micros()).unwrap_or(u64::MAX);
        self.last_at = self.last_at.max(at);
        self.last_at
    }

    /// Seals events into as many frames as they need, behind those in `frames`. What is there on an error was sealed.
    fn seal(
        &mut self,
        epoch: Duration,
        now: Duration,
        events: Vec<(u32, Body)>,
        frames: &mut Vec<Frame>,
    ) -> Result<(), RecorderError> {
        let at = self.time(epoch, now);
        let events = split(events);
        if self.unsigned_frames == 0 {
            self.unsigned_since = now;
        }
        for content in contents(at, &events)? {
            frames.push(self.one_chunk(content, Kind::Chunk)?);
        }
        if !self.watchers.is_empty() {
            self.watchers
                .tell(events.into_iter().map(|(channel, body)| Event { at, channel, body }).collect());
        }
        Ok(())
    }

    fn one_chunk(&mut self, content: Vec<u8>, kind: Kind) -> Result<Frame, RecorderError> {
        let frame = self.sealer.chunk(content, kind)?;
        self.unsigned_frames += 1;
        self.unsigned_bytes += frame.bytes.len();
        Ok(frame)
    }

    fn checkpoint(&mut self) -> Result<(Frame, Pin), RecorderError> {
        let (digest, frame) = self.sealer.position();
        let pin = Pin { frame, digest };
        let frame = self.sealer.checkpoint()?;
        (self.unsigned_frames, self.unsigned_bytes) = (0, 0);
        self.pinned = Some(pin);
        Ok((frame, pin))
    }
}

fn submission(frame: Frame) -> Submission {
    Submission { bytes: frame.bytes, digest: frame.digest, is_end: false }
}

/// Cuts data that is too long for one event into several.
fn split(events: Vec<(u32, Body)>) -> Vec<(u32, Body)> {
    let is_long = |body: &Body| matches!(body, Body::Input { data } | Body::Output { data, .. } if data.len() > EVENT_DATA);
    if !events.iter().any(|(_, body)| is_long(body)) {
        return events;
    }
    let mut out = Vec::new();
    for (channel, body) in events {
        let parts = |data: &Bytes| {
            let data = data.clone();
            (0..data.len()).step_by(EVENT_DATA).map(move |at| data.slice(at..data.len().min(at + EVENT_DATA)))
        };
        if let Body::Input { data } = &body {
            out.extend(parts(data).map(|data| (channel, Body::Input { data })));
        } else if let Body::Output { stream, data } = &body {
            out.extend(parts(data).map(|data| (channel, Body::Output { stream: *stream, data })));
        } else {
            out.push((channel, body));
        }
    }
    out
}

#[cfg(test)]
#[path = "recorder_fault_tests.rs"]
mod fault_tests;
#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
