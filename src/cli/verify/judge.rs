//! One recording, judged: is it genuine, is it whole, and is it the one the ledger knows?
//!
//! Everything is checked against keys the caller trusts; what the recording says of itself counts for nothing. With an
//! identity, every event is opened too. Read next: `mod.rs`, which gets the recordings and prints the answers.

use serde::Serialize;

use super::super::exit::CliError;
use super::super::source::Held;
use super::super::words;
use super::deletion::Names;
use super::pins::{End, Pins};
use crate::recording::{Frames, Header, Outcome, RecordingError, ReviewerIdentity, Verdict, verify_source};

/// What a recording is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Whole up to where the bastion stopped, and signed there.
    Cut,
    /// Changed, or broken.
    Damaged,
    /// Not there, because two people or retention deleted it, as the ledger shows.
    Deleted,
    /// Not made by this bastion, or of no session its ledger knows.
    Foreign,
    /// Still being written, and whole so far.
    Live,
    /// The ledger knows it, and it is gone.
    Missing,
    /// Something was taken off its end.
    Shortened,
    /// Genuine, and another than the one the ledger knows under this name.
    Swapped,
    /// Whole, and what the ledger says.
    Verified,
}

impl State {
    /// Whether nothing was lost or changed.
    pub(crate) const fn is_good(self) -> bool {
        match self {
            Self::Cut | Self::Deleted | Self::Live | Self::Verified => true,
            Self::Damaged | Self::Foreign | Self::Missing | Self::Shortened | Self::Swapped => false,
        }
    }

    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Damaged => "damaged",
            Self::Deleted => "deleted",
            Self::Foreign => "foreign",
            Self::Live => "live",
            Self::Missing => "missing",
            Self::Shortened => "shortened",
            Self::Swapped => "swapped",
            Self::Verified => "verified",
        }
    }
}

/// The answer about one recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Item {
    /// The session, or the file when it says of none.
    pub(crate) session: String,
    pub(crate) state: State,
    /// The counter of its last whole frame.
    pub(crate) frames: Option<u64>,
    pub(crate) bytes: Option<u64>,
    /// Events opened; none without an identity that opens it.
    pub(crate) events: Option<u64>,
    /// What was found, in a sentence.
    pub(crate) detail: String,
    /// Whether there was an identity and it did not open this recording.
    #[serde(skip)]
    pub(crate) is_closed: bool,
}

/// What to check against.
pub(crate) struct Trust<'a> {
    /// The node keys trusted.
    pub(crate) keys: &'a [[u8; 32]],
    pub(crate) identity: Option<&'a ReviewerIdentity>,
}

/// Judges a recording; an error only when its bytes could not be had.
pub(crate) fn judge(held: &Held, trust: &Trust<'_>, pins: Option<&Pins>) -> Result<Item, CliError> {
    let header = match Frames::new(held.read()?) {
        Ok(frames) => frames.header().clone(),
        Err(error) => return damaged(Item::named(held), error),
    };
    let item = Item { session: header.session.to_string(), ..Item::named(held) };
    if !trust.keys.contains(&header.signer) {
        let error = RecordingError::UntrustedSigner { key: header.signer };
        return Ok(item.is(State::Foreign, error.to_string()));
    }
    if let Some(why) = pins.and_then(|pins| swapped(&header, pins)) {
        return Ok(item.is(State::Swapped, why));
    }
    if let Some(identity) = trust.identity {
        held.teach(identity, &header);
    }
    let (read, is_closed) = read(held, trust)?;
    let walked = pins.map(|pins| walk(held, pins)).transpose()?;
    let item = Item { is_closed, ..item };
    match read {
        Ok(verdict) => Ok(whole(item, &verdict, pins, walked.as_ref())),
        Err(RecordingError::Truncated { last_good }) => Ok(endless(item, last_good, pins, walked.as_ref())),
        Err(error) => damaged(item, error),
    }
}

impl Item {
    /// A recording that is not there.
    pub(crate) fn missing(session: &str) -> Self {
        let session = session.to_owned();
        let detail = "the ledger knows this session, and its recording is gone".to_owned();
        let (frames, bytes, events) = (None, None, None);
        Self { session, state: State::Missing, frames, bytes, events, detail, is_closed: false }
    }

    /// A recording that was deleted; missing when the ledger does not show the whole of that.
    pub(crate) fn deleted(pins: &Pins, names: &Names) -> Option<Self> {
        let missing = Self::missing(pins.session.as_str());
        Some(match pins.deletion.sentence(names)? {
            Ok(how) => missing.is(State::Deleted, how),
            Err(why) => missing.is(State::Missing, why),
        })
    }

    fn named(held: &Held) -> Self {
        Self { bytes: held.bytes(), ..Self::missing(held.name()) }
    }

    /// The answer as one line.
    pub(crate) fn sentence(&self) -> String {
        format!("{}: {}: {}", self.session, self.state.as_str(), self.detail)
    }

    /// The same with another answer.
    pub(crate) fn is(self, state: State, detail: impl Into<String>) -> Self {
        Self { state, detail: detail.into(), ..self }
    }
}

fn damaged(item: Item, error: RecordingError) -> Result<Item, CliError> {
    if let RecordingError::Io(error) = error {
        return Err(CliError::failed(format!("{}: {error}", item.session)));
    }
    Ok(item.is(State::Damaged, format!("{}: {error}", error.name())))
}

fn swapped(header: &Header, pins: &Pins) -> Option<String> {
    if header.session != pins.session {
        return Some(format!("under this name is the recording of {}", header.session));
    }
    let is_other = header.hash().to_string() != pins.header;
    is_other.then(|| "another recording of this session than the one the ledger knows".to_owned())
}

/// Reads everything; an identity that does not open the recording is left out the second time.
fn read(held: &Held, trust: &Trust<'_>) -> Result<(Result<Verdict, RecordingError>, bool), CliError> {
    let read = verify_source(held.read()?, trust.keys, trust.identity, |_| {});
    if matches!(read, Err(RecordingError::WrongKey)) {
        return Ok((verify_source(held.read()?, trust.keys, None, |_| {}), true));
    }
    Ok((read, false))
}

/// How the frames of a file compare with what the ledger pinned.
#[derive(Debug, Default, PartialEq, Eq)]
struct Walked {
    /// The first pinned frame whose digest is another here.
    contradicted: Option<u64>,
    /// The last pinned frame that does not occur here.
    beyond: Option<u64>,
}

fn walk(held: &Held, pins: &Pins) -> Result<Walked, CliError> {
    let mut walked = Walked::default();
    let mut due = pins.checkpoints.clone();
    let Ok(mut frames) = Frames::new(held.read()?) else { return Ok(walked) };
    loop {
        let (chain, next) = frames.position();
        let is_other = due.remove(&next).is_some_and(|pinned| pinned != chain.to_string());
        if is_other && walked.contradicted.is_none() {
            walked.contradicted = Some(next);
        }
        // Errors are the verifier's to report; here they only end the walk.
        if !matches!(frames.next_frame(), Ok(Some(_))) {
            break;
        }
    }
    walked.beyond = due.into_keys().next_back();
    Ok(walked)
}

/// The answer about a recording that has its end and holds.
fn whole(item: Item, verdict: &Verdict, pins: Option<&Pins>, walked: Option<&Walked>) -> Item {
    let item =
        Item { frames: Some(verdict.last_frame), bytes: Some(verdict.bytes), events: verdict.events, ..item };
    let end = pins.and_then(|pins| pins.end.as_ref());
    if let Some((state, why)) = contradiction(verdict, end, walked) {
        return item.is(state, why);
    }
    let (state, mut detail) = match verdict.outcome {
        Outcome::Finished => {
            (State::Verified, format!("whole; signatures that hold: {}", verdict.checkpoints))
        }
        Outcome::Cut => {
            (State::Cut, format!("whole up to frame {}, then the bastion stopped", verdict.last_frame))
        }
    };
    match (pins, end) {
        (None, _) => detail.push_str("; not compared with the ledger"),
        (Some(_), None) => detail.push_str("; the ledger has no end of this session yet"),
        (Some(_), Some(end)) if end.came_first() => {
            let why = format!("; ended at a later start than the session ({})", end.reason);
            detail.push_str(&why);
        }
        (Some(_), Some(_)) => detail.push_str("; as the ledger says"),
    }
    detail.push_str(&opened(verdict, item.is_closed));
    item.is(state, detail)
}

/// What in the ledger speaks against a recording that holds in itself.
fn contradiction(verdict: &Verdict, end: Option<&End>, walked: Option<&Walked>) -> Option<(State, String)> {
    if let Some(frame) = walked.and_then(|walked| walked.contradicted) {
        let why = format!("frame {frame}: what comes before it is not what the ledger pinned");
        return Some((State::Damaged, why));
    }
    let last = verdict.last_frame;
    if let Some(frame) = walked.and_then(|walked| walked.beyond) {
        return Some((
            State::Shortened,
            format!("it ends at frame {last}, and the ledger pinned frame {frame}"),
        ));
    }
    let end = end?;
    // The bastion's signature under the end is as good as after a crash: nobody else could have ended it.
    if end.came_first() || end.frame == last && end.digest == verdict.digest.to_string() {
        return None;
    }
    if end.frame > last {
        return Some((
            State::Shortened,
            format!("it ends at frame {last}, and the ledger says {}", end.frame),
        ));
    }
    let why = if end.digest.is_empty() {
        format!(
            "the bastion found no sound recording after the session ended ({}), and now there is one",
            end.reason
        )
    } else {
        "its end is not the one in the ledger".to_owned()
    };
    Some((State::Damaged, why))
}

/// The answer about a recording without an end, whole so far.
fn endless(item: Item, last_good: Option<u64>, pins: Option<&Pins>, walked: Option<&Walked>) -> Item {
    let item = Item { frames: last_good, ..item };
    let reached =
        last_good.map_or_else(|| "before its first signature".to_owned(), |n| format!("after frame {n}"));
    if let Some(frame) = walked.and_then(|walked| walked.contradicted) {
        return item.is(
            State::Damaged,
            format!("frame {frame}: what comes before it is not what the ledger pinned"),
        );
    }
    if let Some(frame) = walked.and_then(|walked| walked.beyond) {
        return item.is(State::Shortened, format!("it stops {reached}, and the ledger pinned frame {frame}"));
    }
    match pins.map(|pins| pins.end.as_ref()) {
        Some(None) => item.is(State::Live, format!("being written, and whole so far; it stops {reached}")),
        Some(Some(end)) => {
            item.is(State::Shortened, format!("it stops {reached}, and the ledger says frame {}", end.frame))
        }
        None => item.is(
            State::Shortened,
            format!("it stops {reached}, without an end: it is still being written, or the rest was cut off"),
        ),
    }
}

fn opened(verdict: &Verdict, is_closed: bool) -> String {
    match (verdict.events, verdict.duration_us) {
        (Some(events), Some(duration)) => {
            format!("; all {events} events opened, {}", words::recording_time(duration))
        }
        _ if is_closed => "; not opened: this identity was not among its reviewers".to_owned(),
        _ => "; not opened (no identity)".to_owned(),
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
