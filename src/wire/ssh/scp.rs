//! Follows the scp protocol, both ways: which files and directories crossed, their sizes and hashes, how each ended.
//!
//! The sending side writes records (`C0644 size name`, `D`, `E`, `T`) and content, the receiving side answers each with
//! one byte, or an error line. Whether content follows a record depends on that answer; so what comes from the sender is
//! held, up to a limit, until the answer is there. Which side is the client depends on the command line (`command.rs`).
//! There is no standard; this follows OpenSSH's scp.c, which is what the target runs.

use super::file::{Content, Operation, Outcome, Verb};

/// Longest record or error line.
pub const LONGEST_LINE: usize = 8 * 1024;
/// Deepest directory.
pub const DEEPEST: usize = 128;
/// Longest path of one.
pub const LONGEST_PATH: usize = 8 * 1024;
/// Most bytes held while an answer is awaited: senders wait, so this is for those that run ahead a little.
pub const MOST_HELD: usize = 256 * 1024;

/// A stream that cannot be followed. Final: whoever gets it should end the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScpError {
    /// More was sent without waiting for an answer than is held.
    #[error("the scp sender did not wait for answers")]
    Ahead,
    /// Directories are nested deeper than is followed.
    #[error("directories are nested more than {DEEPEST} deep, or more than {LONGEST_PATH} bytes long")]
    Deep,
    /// A line is longer than any may be.
    #[error("an scp line of more than {LONGEST_LINE} bytes")]
    Line,
    /// A record that scp does not have.
    #[error("an scp record that cannot be read")]
    Record,
    /// The receiving side answered when nothing was asked.
    #[error("an scp answer to nothing")]
    Unasked,
}

/// Which way files go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the target to the client (`scp -f`).
    Download,
    /// From the client to the target (`scp -t`).
    Upload,
}

/// One scp stream, both directions.
#[derive(Debug)]
pub struct ScpSession {
    way: Way,
    argument: Vec<u8>,
    /// Where the stream is, each part with its slash.
    path: Vec<u8>,
    /// How long the path was before each directory in it.
    directories: Vec<usize>,
    state: State,
    held: SentAhead,
    line: Vec<u8>,
    answer: Option<Vec<u8>>,
    failed: Option<ScpError>,
}

/// What is awaited, and from whom.
#[derive(Debug)]
enum State {
    /// The receiver says that it is ready.
    Start,
    /// The sender's next record.
    Record,
    /// The receiver's answer to a record.
    Answer(Record),
    /// Content, from the sender.
    Content { file: File, left: u64 },
    /// The sender's word on whether it could read all of it.
    SenderStatus(File),
    /// The receiver's word on whether it could write all of it.
    ReceiverStatus { file: File, sent: Outcome },
}

/// What the sender has sent ahead. Each byte is moved a few times at most, however many answers it takes to use them up.
#[derive(Debug, Default)]
struct SentAhead {
    bytes: Vec<u8>,
    used: usize,
}

impl SentAhead {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.used..).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), ScpError> {
        if self.rest().len() + bytes.len() > MOST_HELD {
            return Err(ScpError::Ahead);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// All but the last `left` bytes were used.
    fn keep_last(&mut self, left: usize) {
        self.used = self.bytes.len().saturating_sub(left);
        if self.used >= left {
            self.bytes.drain(..self.used);
            self.used = 0;
        }
    }
}

#[derive(Debug)]
enum Record {
    Directory(Vec<u8>),
    File { name: Vec<u8>, size: u64 },
    Up,
    Times,
}

#[derive(Debug)]
struct File {
    name: Vec<u8>,
    content: Content,
}

impl ScpSession {
    /// A stream about to begin; `argument` is the path on the command line.
    #[must_use]
    pub fn new(way: Way, mut argument: Vec<u8>) -> Self {
        // It stands beside every file.
        argument.truncate(LONGEST_PATH);
        Self {
            way,
            argument,
            path: Vec::new(),
            directories: Vec::new(),
            state: State::Start,
            held: SentAhead::default(),
            line: Vec::new(),
            answer: None,
            failed: None,
        }
    }

    /// Follows bytes from the client; operations that ended with them are added to `found`.
    ///
    /// # Errors
    /// When the stream cannot be followed; every later call then returns the same error.
    pub fn client(&mut self, bytes: &[u8], found: &mut Vec<Operation>) -> Result<(), ScpError> {
        self.follow(bytes, found, self.way == Way::Upload)
    }

    /// Follows bytes from the target's standard output; operations that ended with them are added to `found`.
    ///
    /// # Errors
    /// When the stream cannot be followed; every later call then returns the same error.
    pub fn target(&mut self, bytes: &[u8], found: &mut Vec<Operation>) -> Result<(), ScpError> {
        self.follow(bytes, found, self.way == Way::Download)
    }

    /// The stream is over: what had not ended, ended here.
    #[must_use]
    pub fn finish(mut self) -> Vec<Operation> {
        let (name, content) = match std::mem::replace(&mut self.state, State::Start) {
            State::Start | State::Record | State::Answer(Record::Up | Record::Times) => return Vec::new(),
            State::Answer(Record::Directory(name)) => {
                let operation = Operation {
                    path: self.path_of(&name),
                    verb: Verb::MakeDirectory,
                    other_path: Some(self.argument),
                    bytes: None,
                    sha256: None,
                    outcome: Outcome::Interrupted,
                };
                return if self.way == Way::Upload { vec![operation] } else { Vec::new() };
            }
            State::Answer(Record::File { name, .. }) => (name, Content::new()),
            State::Content { file, .. } | State::SenderStatus(file) | State::ReceiverStatus { file, .. } => {
                (file.name, file.content)
            }
        };
        let (bytes, sha256) = content.finish();
        vec![Operation {
            verb: self.way.verb(),
            path: self.path_of(&name),
            other_path: Some(self.argument),
            bytes: Some(bytes),
            sha256,
            outcome: Outcome::Interrupted,
        }]
    }

    fn follow(&mut self, bytes: &[u8], found: &mut Vec<Operation>, is_sender: bool) -> Result<(), ScpError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let followed = if is_sender { self.sender(bytes, found) } else { self.receiver(bytes, found) };
        followed.inspect_err(|error| self.failed = Some(*error))
    }

    fn sender(&mut self, bytes: &[u8], found: &mut Vec<Operation>) -> Result<(), ScpError> {
        // While something is held an answer is awaited.
        let left = if self.held.is_empty() { self.advance(bytes, found)? } else { bytes };
        self.held.add(left)
    }

    /// Follows the sender until the receiver has to answer; gives what comes behind that.
    fn advance<'a>(&mut self, mut bytes: &'a [u8], found: &mut Vec<Operation>) -> Result<&'a [u8], ScpError> {
        while let Some((first, rest)) = bytes.split_first() {
            match &mut self.state {
                State::Start | State::Answer(_) | State::ReceiverStatus { .. } => return Ok(bytes),
                State::Content { file, left } => {
                    let take = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                    let (now, later) = bytes.split_at(take);
                    file.content.moved(file.content.bytes(), now);
                    *left = left.saturating_sub(u64::try_from(take).unwrap_or(u64::MAX));
                    bytes = later;
                    self.content_over();
                }
                State::Record | State::SenderStatus(_) => {
                    bytes = rest;
                    self.line_byte(*first, found)?;
                }
            }
        }
        Ok(bytes)
    }

    /// All content is there: what follows is the sender's word on it.
    fn content_over(&mut self) {
        if matches!(self.state, State::Content { left: 0, .. }) {
            let state = std::mem::replace(&mut self.state, State::Record);
            if let State::Content { file, .. } = state {
                self.state = State::SenderStatus(file);
            }
        }
    }

    /// One byte of a record, or of the sender's word after content.
    fn line_byte(&mut self, byte: u8, found: &mut Vec<Operation>) -> Result<(), ScpError> {
        let is_zero = byte == 0 && self.line.is_empty();
        if byte != b'\n' && !is_zero {
            if self.line.len() >= LONGEST_LINE {
                return Err(ScpError::Line);
            }
            self.line.push(byte);
            return Ok(());
        }
        let line = std::mem::take(&mut self.line);
        match std::mem::replace(&mut self.state, State::Record) {
            State::SenderStatus(mut file) => {
                let sent = if is_zero { Outcome::Done } else { Outcome::Failed(words(&line)) };
                if !is_zero {
                    file.content.spoil();
                }
                self.state = State::ReceiverStatus { file, sent };
                Ok(())
            }
            State::Record if is_zero => Err(ScpError::Record),
            State::Record => self.record(&line, found),
            State::Start | State::Answer(_) | State::Content { .. } | State::ReceiverStatus { .. } => {
                Err(ScpError::Record)
            }
        }
    }

    fn record(&mut self, line: &[u8], found: &mut Vec<Operation>) -> Result<(), ScpError> {
        let (kind, rest) = line.split_first().ok_or(ScpError::Record)?;
        let record = match kind {
            // The sender's own errors want no answer: a file it could not read.
            1 | 2 => {
                found.push(self.report(&[], None, Outcome::Failed(words(rest))));
                return Ok(());
            }
            b'C' | b'D' => {
                let (size, name) = sized(rest).ok_or(ScpError::Record)?;
                let name = name.to_vec();
                if *kind == b'C' { Record::File { name, size } } else { Record::Directory(name) }
            }
            b'E' if rest.is_empty() && !self.directories.is_empty() => Record::Up,
            b'T' => Record::Times,
            _ => return Err(ScpError::Record),
        };
        self.state = State::Answer(record);
        Ok(())
    }

    fn receiver(&mut self, bytes: &[u8], found: &mut Vec<Operation>) -> Result<(), ScpError> {
        for byte in bytes {
            match (&mut self.answer, byte) {
                (None, 0) => self.answered(Outcome::Done, found)?,
                (None, 1 | 2) => self.answer = Some(Vec::new()),
                (None, other) => self.answer = Some(vec![*other]),
                (Some(line), b'\n') => {
                    let why = words(line);
                    self.answer = None;
                    self.answered(Outcome::Failed(why), found)?;
                }
                (Some(line), other) if line.len() < LONGEST_LINE => line.push(*other),
                (Some(_), _) => return Err(ScpError::Line),
            }
        }
        Ok(())
    }

    fn answered(&mut self, outcome: Outcome, found: &mut Vec<Operation>) -> Result<(), ScpError> {
        match std::mem::replace(&mut self.state, State::Record) {
            State::Start | State::Answer(Record::Times) => {}
            State::Answer(Record::Up) => {
                self.path.truncate(self.directories.pop().unwrap_or_default());
            }
            State::Answer(Record::Directory(name)) => self.entered(&name, outcome, found)?,
            State::Answer(Record::File { name, size }) => match outcome {
                Outcome::Done => {
                    self.state = State::Content { file: File { name, content: Content::new() }, left: size };
                    self.content_over();
                }
                Outcome::Failed(_) | Outcome::Interrupted => {
                    found.push(self.report(&name, Some(Content::new()), outcome));
                }
            },
            State::ReceiverStatus { file, sent } => {
                let outcome = if sent == Outcome::Done { outcome } else { sent };
                found.push(self.report(&file.name, Some(file.content), outcome));
            }
            // A receiver that could not set a directory's times says so after it has answered.
            State::Record if outcome != Outcome::Done => found.push(self.report(&[], None, outcome)),
            State::Record | State::Content { .. } | State::SenderStatus(_) => return Err(ScpError::Unasked),
        }
        let mut held = std::mem::take(&mut self.held);
        let left = self.advance(held.rest(), found)?.len();
        held.keep_last(left);
        self.held = held;
        Ok(())
    }

    fn entered(&mut self, name: &[u8], outcome: Outcome, found: &mut Vec<Operation>) -> Result<(), ScpError> {
        let is_done = outcome == Outcome::Done;
        if self.way == Way::Upload {
            let mut made = self.report(name, None, outcome);
            made.verb = Verb::MakeDirectory;
            found.push(made);
        }
        if is_done {
            if self.directories.len() >= DEEPEST || self.path.len() + name.len() >= LONGEST_PATH {
                return Err(ScpError::Deep);
            }
            self.directories.push(self.path.len());
            self.path.extend_from_slice(name);
            self.path.push(b'/');
        }
        Ok(())
    }

    /// A name in the directory where the stream is; without a name, that directory.
    fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let directory = if name.is_empty() { self.path.strip_suffix(b"/") } else { None };
        [directory.unwrap_or(&self.path), name].concat()
    }

    fn report(&self, name: &[u8], content: Option<Content>, outcome: Outcome) -> Operation {
        let (bytes, sha256) = content.map_or((None, None), |content| {
            let (bytes, sha256) = content.finish();
            (Some(bytes), sha256.filter(|_| outcome == Outcome::Done))
        });
        Operation {
            verb: self.way.verb(),
            path: self.path_of(name),
            other_path: Some(self.argument.clone()),
            bytes,
            sha256,
            outcome,
        }
    }
}

impl Way {
    const fn verb(self) -> Verb {
        match self {
            Self::Download => Verb::Download,
            Self::Upload => Verb::Upload,
        }
    }
}

/// `0644 size name`: a mode of four octal digits, a decimal size, a name.
fn sized(rest: &[u8]) -> Option<(u64, &[u8])> {
    let mut parts = rest.splitn(3, |b| *b == b' ');
    let mode = parts.next()?;
    let size = std::str::from_utf8(parts.next()?).ok()?;
    let name = parts.next()?;
    let is_mode = mode.len() == 4 && mode.iter().all(|b| (b'0'..=b'7').contains(b));
    let is_size = size.bytes().all(|b| b.is_ascii_digit());
    if is_mode && is_size && !name.is_empty() { Some((size.parse().ok()?, name)) } else { None }
}

fn words(line: &[u8]) -> String {
    let line = line.strip_prefix(&[1]).or_else(|| line.strip_prefix(&[2])).unwrap_or(line);
    String::from_utf8_lossy(line).into_owned()
}
