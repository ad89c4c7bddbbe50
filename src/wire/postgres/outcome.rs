//! What became of something that a client asked for, and what cannot be told.
//!
//! Made by [`super::statements`].

use std::sync::Arc;

use bytes::Bytes;

use super::client::Bind;
use super::server::Report;

/// The server answered something that nobody asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfollowable {
    /// An answer to nothing, or to something else.
    #[error("the server answered {answer}, which nothing asked for")]
    Answer {
        /// What.
        answer: &'static str,
    },
    /// A message among data that is copied in.
    #[error("a message that is no data was sent while data was copied in")]
    InCopy,
}

/// A statement with its values, as the server ran it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ran {
    /// Its text; `None` when it was prepared or declared in SQL, whose text has a number of its own.
    pub text: Option<Bytes>,
    /// Types of its parameters as far as they are known.
    pub types: Vec<u32>,
    /// What was bound.
    pub bound: Option<Arc<Bind>>,
}

/// What became of something that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Its number.
    pub number: u64,
    /// What ran; nothing for messages that run nothing.
    pub ran: Option<Ran>,
    /// Tags of what was completed, in order. More than one only for several statements in one text.
    pub tags: Vec<Bytes>,
    /// How it ended.
    pub end: End,
    /// Rows that came.
    pub rows: u64,
    /// Bytes of rows, or copied out.
    pub bytes_out: u64,
    /// Bytes copied in.
    pub bytes_in: u64,
}

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The server did it.
    Complete,
    /// The connection ended before an answer.
    Cut,
    /// There was nothing in it to run.
    Empty,
    /// The server refused it.
    Failed(Report),
    /// It had completed, and the transaction it was part of did not.
    FailedAtCommit(Report),
    /// An error before it made the server pass over it.
    Skipped,
    /// It ran up to the client's limit of rows, and may go on.
    Suspended,
}
