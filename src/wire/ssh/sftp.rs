//! SFTP version 3 as bytes: frames out of a stream, and the messages in them (draft-ietf-secsh-filexfer-02).
//!
//! Only version 3 is read; it is what OpenSSH speaks, and later versions lay their messages out differently. Attributes
//! and names in answers are not decoded: nothing is decided on them. Next: `sftp_session.rs` pairs requests and answers.

use crate::wire::reader::{ReadError, Reader};

/// Longest message, its length field aside: OpenSSH's limit of 256 KiB, and room for a header around the data.
pub const LONGEST_MESSAGE: usize = 256 * 1024 + 1024;
/// Longest path.
pub const LONGEST_PATH: usize = 4096;
/// Longest handle: the draft's own limit.
pub const LONGEST_HANDLE: usize = 256;

/// Longest text of a status or name of an extension kept.
const LONGEST_TEXT: usize = 1024;
/// Size of the length field.
const LENGTH: usize = 4;

/// A stream that cannot be followed. Final: whoever gets it should end the channel, since what is done in it from here
/// on cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SftpError {
    /// The target sent content of a file that it had closed.
    #[error("the target sent content of a file that it had closed")]
    Closed,
    /// The target used one handle for two open files.
    #[error("the target gave the same handle twice")]
    HandleInUse,
    /// The client used one id for two requests at once.
    #[error("the client used the same request id twice at once")]
    IdInUse,
    /// A message is not as its type lays it out.
    #[error("a malformed SFTP message: {0}")]
    Malformed(#[from] ReadError),
    /// A message is longer than any may be, or empty.
    #[error("an SFTP message of {0} bytes; at most {LONGEST_MESSAGE} are allowed")]
    Length(u32),
    /// More files are open than are followed.
    #[error("more than {0} files are open at once")]
    TooManyHandles(usize),
    /// More requests wait for an answer than are followed.
    #[error("the SFTP requests that wait for an answer take more than {0} bytes to remember")]
    TooManyRequests(usize),
    /// The target answered what nobody asked.
    #[error("the target answered a request that was not made")]
    Unasked,
    /// The client used a handle that it has not been given, or has closed.
    #[error("the client used a handle that it does not hold")]
    UnknownHandle,
    /// A message type that version 3 does not have.
    #[error("SFTP message type {0} is unknown")]
    UnknownType(u8),
    /// Another version of the protocol.
    #[error("SFTP version {0}; only version 3 is followed")]
    Version(u32),
}

/// What a client asks. `id` ties it to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// The client's first message.
    Init,
    /// Everything else.
    Numbered {
        /// Its id.
        id: u32,
        /// What is asked.
        ask: Ask<'a>,
    },
}

/// What a numbered request asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the draft's own, named as there")]
pub enum Ask<'a> {
    /// Close a file or directory.
    Close { handle: &'a [u8] },
    /// Something beyond the draft, by name.
    Extended { name: &'a [u8], data: &'a [u8] },
    /// Set an open file's attributes.
    FSetStat { handle: &'a [u8] },
    /// Ask for attributes or resolve a name: nothing changes and no content moves.
    Look,
    /// Make a directory.
    MkDir { path: &'a [u8] },
    /// Open a file.
    Open { path: &'a [u8], flags: u32 },
    /// Open a directory.
    OpenDir { path: &'a [u8] },
    /// Read from a file.
    Read { handle: &'a [u8], offset: u64 },
    /// Read a directory's next names.
    ReadDir { handle: &'a [u8] },
    /// Remove a file.
    Remove { path: &'a [u8] },
    /// Rename a file.
    Rename { from: &'a [u8], to: &'a [u8] },
    /// Remove a directory.
    RmDir { path: &'a [u8] },
    /// Set attributes by path.
    SetStat { path: &'a [u8] },
    /// Make a symbolic link. In OpenSSH's order, which is the reverse of the draft's: first what it points at.
    SymLink { points_at: &'a [u8], link: &'a [u8] },
    /// Write to a file.
    Write { handle: &'a [u8], offset: u64, data: &'a [u8] },
}

/// What a target answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The target's first message, with the version it speaks.
    Version(u32),
    /// Everything else.
    Numbered {
        /// The request's id.
        id: u32,
        /// What is answered.
        reply: Reply<'a>,
    },
}

/// What a numbered answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// Content of a file.
    Data(&'a [u8]),
    /// A file or directory is open.
    Handle(&'a [u8]),
    /// Attributes, names, or an extension's answer.
    Other,
    /// Done, or why not.
    Status {
        /// 0 is done, 1 is end of file.
        code: u32,
        /// The target's words.
        message: &'a [u8],
    },
}

impl<'a> Request<'a> {
    /// Reads one message: its type and body, without the length.
    ///
    /// # Errors
    /// When it is not a request of version 3.
    pub fn parse(message: &'a [u8]) -> Result<Self, SftpError> {
        let mut reader = Reader::new(message);
        let kind = reader.u8()?;
        let id = reader.u32()?;
        let ask = match kind {
            1 => return Ok(Self::Init),
            3 => Ask::Open { path: path(&mut reader)?, flags: reader.u32()? },
            4 => Ask::Close { handle: handle(&mut reader)? },
            5 => Ask::Read { handle: handle(&mut reader)?, offset: reader.u64()? },
            6 => Ask::Write {
                handle: handle(&mut reader)?,
                offset: reader.u64()?,
                data: reader.string(LONGEST_MESSAGE)?,
            },
            7 | 16 | 17 | 19 => path(&mut reader).map(|_| Ask::Look)?,
            8 => handle(&mut reader).map(|_| Ask::Look)?,
            9 => Ask::SetStat { path: path(&mut reader)? },
            10 => Ask::FSetStat { handle: handle(&mut reader)? },
            11 => Ask::OpenDir { path: path(&mut reader)? },
            12 => Ask::ReadDir { handle: handle(&mut reader)? },
            13 => Ask::Remove { path: path(&mut reader)? },
            14 => Ask::MkDir { path: path(&mut reader)? },
            15 => Ask::RmDir { path: path(&mut reader)? },
            18 => Ask::Rename { from: path(&mut reader)?, to: path(&mut reader)? },
            20 => Ask::SymLink { points_at: path(&mut reader)?, link: path(&mut reader)? },
            200 => Ask::Extended { name: reader.string(LONGEST_TEXT)?, data: reader.rest() },
            unknown => return Err(SftpError::UnknownType(unknown)),
        };
        Ok(Self::Numbered { id, ask })
    }
}

impl<'a> Answer<'a> {
    /// Reads one message: its type and body, without the length.
    ///
    /// # Errors
    /// When it is not an answer of version 3.
    pub fn parse(message: &'a [u8]) -> Result<Self, SftpError> {
        let mut reader = Reader::new(message);
        let kind = reader.u8()?;
        let id = reader.u32()?;
        let reply = match kind {
            2 => return Ok(Self::Version(id)),
            101 => {
                let code = reader.u32()?;
                // Very old servers leave the message out.
                let message =
                    if reader.rest().is_empty() { &[][..] } else { reader.string(LONGEST_MESSAGE)? };
                Reply::Status { code, message: message.get(..LONGEST_TEXT).unwrap_or(message) }
            }
            102 => Reply::Handle(handle(&mut reader)?),
            103 => Reply::Data(reader.string(LONGEST_MESSAGE)?),
            104 | 105 | 201 => Reply::Other,
            unknown => return Err(SftpError::UnknownType(unknown)),
        };
        Ok(Self::Numbered { id, reply })
    }
}

/// Cuts a stream into messages, however its bytes arrive. Holds at most one message.
#[derive(Debug, Default)]
pub struct Framer {
    held: Vec<u8>,
}

impl Framer {
    /// Takes bytes of the stream and hands on each whole message, its type and body, without the length.
    ///
    /// # Errors
    /// When a length is out of bounds, or `each` returns an error; the rest of the stream is then lost.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), SftpError>,
    ) -> Result<(), SftpError> {
        while !self.held.is_empty() {
            let Some(missing) = missing(&self.held)? else {
                each(self.held.get(LENGTH..).unwrap_or_default())?;
                self.held.clear();
                break;
            };
            if bytes.is_empty() {
                return Ok(());
            }
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            self.held.extend_from_slice(now);
            bytes = later;
        }
        while let (None, Some(length)) = (missing(bytes)?, length(bytes)?) {
            let (whole, later) = bytes.split_at_checked(LENGTH + length).ok_or(ReadError::Short)?;
            each(whole.get(LENGTH..).unwrap_or_default())?;
            bytes = later;
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether the stream is between messages.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        self.held.is_empty()
    }
}

/// How many bytes the message at the start still lacks; `None` when it is whole.
fn missing(bytes: &[u8]) -> Result<Option<usize>, SftpError> {
    let wanted = length(bytes)?.map_or(LENGTH, |length| LENGTH + length);
    let is_whole = bytes.len() >= wanted && bytes.len() > LENGTH;
    Ok(if is_whole { None } else { Some(wanted.saturating_sub(bytes.len())) })
}

fn length(bytes: &[u8]) -> Result<Option<usize>, SftpError> {
    let Ok(given) = Reader::new(bytes).u32() else { return Ok(None) };
    match usize::try_from(given) {
        Ok(length) if (1..=LONGEST_MESSAGE).contains(&length) => Ok(Some(length)),
        Ok(_) | Err(_) => Err(SftpError::Length(given)),
    }
}

fn path<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], ReadError> {
    reader.string(LONGEST_PATH)
}

fn handle<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], ReadError> {
    reader.string(LONGEST_HANDLE)
}
