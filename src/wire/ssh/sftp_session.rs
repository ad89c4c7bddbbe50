//! Follows an SFTP session: pairs requests with answers and says which files were touched, and how that ended.
//!
//! An upload is reported when its handle is closed, with its size and hash; everything else when it is answered. What
//! cannot be followed is an error, never a guess: beyond the caps, or when one side breaks the protocol, the caller
//! should end the channel. A handle counts from the moment the target has given it: a client that writes to one it only
//! expects is refused before the target hears of it, and one that reads from it before the client hears the answer. Never
//! here: deciding, or bytes of the protocol (`sftp.rs`).

use std::collections::BTreeMap;

use super::file::{Content, Operation, Outcome, Verb};
use super::sftp::{Answer, Ask, Framer, LONGEST_HANDLE, LONGEST_PATH, Reply, Request, SftpError};
use crate::wire::reader::Reader;

/// Most files and directories open at once, those asked for included: more than sshd's usual limit of descriptors.
pub const MOST_OPEN: usize = 2048;
/// Most memory that requests without an answer may take. Some clients ask for a whole file before they read the first
/// answer: at 32 KiB a request this is a file of about 8 GiB.
pub const MOST_WAITING: usize = 16 * 1024 * 1024;

/// What a waiting request takes, its paths aside.
const WAITING: usize = 64;

const FLAG_WRITE: u32 = 2;
const FLAG_APPEND: u32 = 4;
const STATUS_OK: u32 = 0;
const STATUS_END: u32 = 1;

/// One SFTP session, both directions.
#[derive(Debug, Default)]
pub struct SftpSession {
    client: Framer,
    target: Framer,
    tracker: Tracker,
    failed: Option<SftpError>,
}

impl SftpSession {
    /// A session about to begin.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Follows bytes from the client. Nothing ends with a request, so there is nothing to report.
    ///
    /// # Errors
    /// When the stream cannot be followed; every later call then returns the same error.
    pub fn client(&mut self, bytes: &[u8]) -> Result<(), SftpError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let tracker = &mut self.tracker;
        let followed = self.client.feed(bytes, |message| tracker.request(Request::parse(message)?));
        followed.inspect_err(|error| self.failed = Some(*error))
    }

    /// Follows bytes from the target; operations that ended with them are added to `found`.
    ///
    /// # Errors
    /// When the stream cannot be followed; every later call then returns the same error.
    pub fn target(&mut self, bytes: &[u8], found: &mut Vec<Operation>) -> Result<(), SftpError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let tracker = &mut self.tracker;
        let followed = self.target.feed(bytes, |message| tracker.answer(Answer::parse(message)?, found));
        followed.inspect_err(|error| self.failed = Some(*error))
    }

    /// The stream is over: what had not ended, ended here.
    #[must_use]
    pub fn finish(self) -> Vec<Operation> {
        let mut found = Vec::new();
        for waiting in self.tracker.waiting.into_values() {
            if let Waiting::Operation(operation) = waiting {
                found.push(Operation { outcome: Outcome::Interrupted, ..*operation });
            }
        }
        for file in self.tracker.open.into_values() {
            file.close(&Outcome::Interrupted, &mut found);
        }
        found
    }
}

/// What is open and what waits for an answer.
#[derive(Debug, Default)]
struct Tracker {
    waiting: BTreeMap<u32, Waiting>,
    waiting_bytes: usize,
    handles: BTreeMap<Vec<u8>, u64>,
    open: BTreeMap<u64, OpenFile>,
    /// Files and directories asked for.
    opening: usize,
    next: u64,
}

/// A request without an answer. Files are named by our own number: a target may give a handle out again after a close.
#[derive(Debug)]
enum Waiting {
    Close { file: Option<u64> },
    Open { path: Vec<u8>, flags: Option<u32> },
    Operation(Box<Operation>),
    Read { file: Option<u64>, offset: u64 },
    ReadDir { file: Option<u64> },
    Silent,
    Write { file: u64 },
}

#[derive(Debug)]
struct OpenFile {
    path: Vec<u8>,
    /// `None` for a directory.
    flags: Option<u32>,
    read: Content,
    written: Content,
    failure: Option<String>,
}

impl Tracker {
    fn request(&mut self, request: Request<'_>) -> Result<(), SftpError> {
        let Request::Numbered { id, ask } = request else { return Ok(()) };
        let waiting = self.waiting_for(ask)?;
        let bytes = self.waiting_bytes.saturating_add(waiting.bytes());
        if bytes > MOST_WAITING {
            return Err(SftpError::TooManyRequests(MOST_WAITING));
        }
        if self.waiting.insert(id, waiting).is_some() {
            return Err(SftpError::IdInUse);
        }
        self.waiting_bytes = bytes;
        Ok(())
    }

    fn waiting_for(&mut self, ask: Ask<'_>) -> Result<Waiting, SftpError> {
        let one = |verb, path: &[u8]| Ok(operation(verb, path, None));
        let two = |verb, path: &[u8], other: &[u8]| Ok(operation(verb, path, Some(other)));
        match ask {
            Ask::Close { handle } => Ok(Waiting::Close { file: self.handles.remove(handle) }),
            Ask::Extended { name, data } => self.extended(name, data),
            Ask::FSetStat { handle } => one(Verb::SetAttributes, &self.file(handle)?.path),
            Ask::Look => Ok(Waiting::Silent),
            Ask::MkDir { path } => one(Verb::MakeDirectory, path),
            Ask::Open { path, flags } => self.open(path, Some(flags)),
            Ask::OpenDir { path } => self.open(path, None),
            // Some clients go on reading behind their own close: such a request is refused by the target, or else here.
            Ask::Read { handle, offset } => {
                Ok(Waiting::Read { file: self.handles.get(handle).copied(), offset })
            }
            Ask::ReadDir { handle } => Ok(Waiting::ReadDir { file: self.handles.get(handle).copied() }),
            Ask::Remove { path } => one(Verb::Remove, path),
            Ask::Rename { from, to } => two(Verb::Rename, from, to),
            Ask::RmDir { path } => one(Verb::RemoveDirectory, path),
            Ask::SetStat { path } => one(Verb::SetAttributes, path),
            Ask::SymLink { points_at, link } => two(Verb::SymbolicLink, link, points_at),
            Ask::Write { handle, offset, data } => {
                let file = self.held(handle)?;
                if let Some(open) = self.open.get_mut(&file) {
                    open.written.moved(offset, data);
                }
                Ok(Waiting::Write { file })
            }
        }
    }

    fn open(&mut self, path: &[u8], flags: Option<u32>) -> Result<Waiting, SftpError> {
        if self.open.len() + self.opening >= MOST_OPEN {
            return Err(SftpError::TooManyHandles(MOST_OPEN));
        }
        self.opening += 1;
        Ok(Waiting::Open { path: path.to_vec(), flags })
    }

    /// OpenSSH's extensions (its PROTOCOL, section 4); any other is reported by name, since its effect is not known.
    fn extended(&mut self, name: &[u8], data: &[u8]) -> Result<Waiting, SftpError> {
        let mut reader = Reader::new(data);
        match name {
            b"posix-rename@openssh.com" => {
                let from = reader.string(LONGEST_PATH)?;
                Ok(operation(Verb::Rename, from, Some(reader.string(LONGEST_PATH)?)))
            }
            b"hardlink@openssh.com" => {
                let existing = reader.string(LONGEST_PATH)?;
                Ok(operation(Verb::HardLink, reader.string(LONGEST_PATH)?, Some(existing)))
            }
            b"lsetstat@openssh.com" => Ok(operation(Verb::SetAttributes, reader.string(LONGEST_PATH)?, None)),
            b"copy-data" => {
                let from = reader.string(LONGEST_HANDLE)?;
                reader.u64()?;
                reader.u64()?;
                let to = reader.string(LONGEST_HANDLE)?;
                let (from, file) = (self.file(from)?.path.clone(), self.held(to)?);
                let into = self.file(to)?.path.clone();
                if let Some(file) = self.open.get_mut(&file) {
                    file.written.spoil();
                }
                Ok(operation(Verb::Copy, &into, Some(&from)))
            }
            b"statvfs@openssh.com"
            | b"fstatvfs@openssh.com"
            | b"fsync@openssh.com"
            | b"limits@openssh.com"
            | b"expand-path@openssh.com"
            | b"home-directory"
            | b"users-groups-by-id@openssh.com" => Ok(Waiting::Silent),
            unknown => Ok(operation(Verb::Extension, unknown, None)),
        }
    }

    fn answer(&mut self, answer: Answer<'_>, found: &mut Vec<Operation>) -> Result<(), SftpError> {
        let (id, reply) = match answer {
            Answer::Version(3) => return Ok(()),
            Answer::Version(other) => return Err(SftpError::Version(other)),
            Answer::Numbered { id, reply } => (id, reply),
        };
        let waiting = self.waiting.remove(&id).ok_or(SftpError::Unasked)?;
        self.waiting_bytes = self.waiting_bytes.saturating_sub(waiting.bytes());
        self.opening = self.opening.saturating_sub(usize::from(matches!(waiting, Waiting::Open { .. })));
        match (waiting, reply) {
            (Waiting::Open { path, flags }, Reply::Handle(handle)) => self.opened(path, flags, handle, found),
            (Waiting::Open { path, flags }, Reply::Status { code, message }) if code != STATUS_OK => {
                found.push(refused_open(path, flags, failure(code, message)));
                Ok(())
            }
            (Waiting::Read { file, offset }, Reply::Data(data)) => {
                let file = file.ok_or(SftpError::UnknownHandle)?;
                self.open.get_mut(&file).ok_or(SftpError::Closed)?.read.moved(offset, data);
                Ok(())
            }
            (Waiting::Read { file, .. }, Reply::Status { code, message }) if code != STATUS_OK => {
                if let Some(file) = file.filter(|_| code != STATUS_END) {
                    self.fail(file, code, message);
                }
                Ok(())
            }
            (Waiting::ReadDir { file }, Reply::Other) => file.map(|_| ()).ok_or(SftpError::UnknownHandle),
            (Waiting::ReadDir { .. }, Reply::Status { .. }) => Ok(()),
            (Waiting::Write { file }, Reply::Status { code, message }) => {
                if code != STATUS_OK {
                    self.fail(file, code, message);
                }
                Ok(())
            }
            (Waiting::Close { file }, Reply::Status { code, message }) => {
                let open = file.and_then(|file| self.open.remove(&file));
                let outcome = outcome(code, message);
                match (open, &outcome) {
                    (None, Outcome::Done) => return Err(SftpError::UnknownHandle),
                    (None, Outcome::Failed(_) | Outcome::Interrupted) => {}
                    (Some(open), _) => open.close(&outcome, found),
                }
                Ok(())
            }
            (Waiting::Operation(operation), Reply::Status { code, message }) => {
                found.push(Operation { outcome: outcome(code, message), ..*operation });
                Ok(())
            }
            (Waiting::Operation(operation), Reply::Other) if operation.verb == Verb::Extension => {
                found.push(*operation);
                Ok(())
            }
            (Waiting::Silent, Reply::Status { .. } | Reply::Other) => Ok(()),
            (
                Waiting::Close { .. }
                | Waiting::Open { .. }
                | Waiting::Operation(_)
                | Waiting::Read { .. }
                | Waiting::ReadDir { .. }
                | Waiting::Silent
                | Waiting::Write { .. },
                Reply::Data(_) | Reply::Handle(_) | Reply::Other | Reply::Status { .. },
            ) => Err(SftpError::Unasked),
        }
    }

    fn opened(
        &mut self,
        path: Vec<u8>,
        flags: Option<u32>,
        handle: &[u8],
        found: &mut Vec<Operation>,
    ) -> Result<(), SftpError> {
        if self.handles.insert(handle.to_vec(), self.next).is_some() {
            return Err(SftpError::HandleInUse);
        }
        if flags.is_none() {
            found.push(Operation::done(Verb::List, &path, None));
        }
        let mut written = Content::new();
        if flags.is_some_and(|flags| flags & FLAG_APPEND != 0) {
            written.spoil();
        }
        self.open.insert(self.next, OpenFile { path, flags, read: Content::new(), written, failure: None });
        self.next += 1;
        Ok(())
    }

    /// The number of an open file.
    fn held(&self, handle: &[u8]) -> Result<u64, SftpError> {
        self.handles.get(handle).copied().ok_or(SftpError::UnknownHandle)
    }

    fn file(&self, handle: &[u8]) -> Result<&OpenFile, SftpError> {
        self.open.get(&self.held(handle)?).ok_or(SftpError::UnknownHandle)
    }

    /// Something about an open file failed: its transfer did, too.
    fn fail(&mut self, file: u64, code: u32, message: &[u8]) {
        if let Some(open) = self.open.get_mut(&file) {
            open.written.spoil();
            open.read.spoil();
            open.failure.get_or_insert_with(|| failure(code, message));
        }
    }
}

impl Waiting {
    fn bytes(&self) -> usize {
        WAITING
            + match self {
                Self::Open { path, .. } => path.len(),
                Self::Operation(operation) => {
                    operation.path.len()
                        + operation.other_path.as_ref().map_or(0, Vec::len)
                        + size_of::<Operation>()
                }
                Self::Close { .. }
                | Self::Read { .. }
                | Self::ReadDir { .. }
                | Self::Silent
                | Self::Write { .. } => 0,
            }
    }
}

impl OpenFile {
    /// Reports what moved while it was open.
    fn close(self, ended: &Outcome, found: &mut Vec<Operation>) {
        let Some(flags) = self.flags else { return };
        let outcome = self.failure.map_or_else(|| ended.clone(), Outcome::Failed);
        let is_written = flags & FLAG_WRITE != 0;
        let is_read = self.read.bytes() > 0 || !is_written;
        let transfers = [(is_written, Verb::Upload, self.written), (is_read, Verb::Download, self.read)];
        for (_, verb, content) in transfers.into_iter().filter(|(is_done, ..)| *is_done) {
            let (bytes, sha256) = content.finish();
            found.push(Operation {
                verb,
                path: self.path.clone(),
                other_path: None,
                bytes: Some(bytes),
                sha256,
                outcome: outcome.clone(),
            });
        }
    }
}

impl Operation {
    /// An operation on names alone.
    fn done(verb: Verb, path: &[u8], other: Option<&[u8]>) -> Self {
        Self {
            verb,
            path: path.to_vec(),
            other_path: other.map(<[u8]>::to_vec),
            bytes: None,
            sha256: None,
            outcome: Outcome::Done,
        }
    }
}

fn operation(verb: Verb, path: &[u8], other: Option<&[u8]>) -> Waiting {
    Waiting::Operation(Box::new(Operation::done(verb, path, other)))
}

fn refused_open(path: Vec<u8>, flags: Option<u32>, why: String) -> Operation {
    let verb = match flags {
        None => Verb::List,
        Some(flags) if flags & FLAG_WRITE != 0 => Verb::Upload,
        Some(_) => Verb::Download,
    };
    let bytes = flags.map(|_| 0);
    Operation { verb, path, other_path: None, bytes, sha256: None, outcome: Outcome::Failed(why) }
}

fn outcome(code: u32, message: &[u8]) -> Outcome {
    if code == STATUS_OK { Outcome::Done } else { Outcome::Failed(failure(code, message)) }
}

/// The target's words, or the draft's name of the code when it says nothing.
fn failure(code: u32, message: &[u8]) -> String {
    if !message.is_empty() {
        return String::from_utf8_lossy(message).into_owned();
    }
    match code {
        1 => "end of file".to_owned(),
        2 => "no such file".to_owned(),
        3 => "permission denied".to_owned(),
        4 => "failure".to_owned(),
        5 => "bad message".to_owned(),
        8 => "operation unsupported".to_owned(),
        other => format!("status {other}"),
    }
}
