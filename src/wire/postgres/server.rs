//! What a server says after the login.
//!
//! Only what a record needs is read; the rest is named, so that a message nobody knows is noticed.

use bytes::Bytes;

use super::Malformed;
use super::fields::Fields;
use super::frame::Frame;

/// A server's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Values were bound.
    BindComplete,
    /// Something was given back.
    CloseComplete,
    /// A statement is done.
    CommandComplete {
        /// What it did, such as `INSERT 0 1`.
        tag: Bytes,
    },
    /// Data will go both ways.
    CopyBoth,
    /// A piece of what is copied out.
    CopyData(Bytes),
    /// All was copied out.
    CopyDone,
    /// The client may copy in.
    CopyIn,
    /// Data will be copied out.
    CopyOut,
    /// A row.
    DataRow {
        /// Bytes of its values, with their lengths.
        bytes: usize,
    },
    /// There was nothing to run.
    EmptyQuery,
    /// Something went wrong.
    Error(Report),
    /// What a function gave.
    FunctionCallResponse,
    /// What is described gives no rows.
    NoData,
    /// Something to know.
    Notice(Report),
    /// Somebody notified.
    Notification,
    /// Types of a statement's parameters.
    ParameterDescription {
        /// As numbered in `pg_type.oid`.
        types: Vec<u32>,
    },
    /// A setting that clients follow.
    ParameterStatus {
        /// Its name.
        name: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// A statement was prepared.
    ParseComplete,
    /// A portal was run up to the client's limit.
    PortalSuspended,
    /// The server waits for the next.
    Ready {
        /// Whether a transaction is open.
        transaction: Transaction,
    },
    /// What rows look like.
    RowDescription {
        /// Names of the columns.
        columns: Vec<Bytes>,
    },
}

/// Whether a transaction is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transaction {
    /// One is, and an error has happened in it.
    Failed,
    /// None is.
    None,
    /// One is.
    Open,
}

/// An error or a notice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// `ERROR`, `FATAL`, … as every language has it.
    pub severity: Bytes,
    /// SQLSTATE, five characters.
    pub code: Bytes,
    /// What happened, in the server's language.
    pub message: Bytes,
}

impl Report {
    /// Whether the connection ends with it.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity.as_ref(), b"FATAL" | b"PANIC")
    }
}

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// When no server may send it here, or it is not exactly one.
    pub fn parse(frame: &Frame) -> Result<Self, Malformed> {
        let mut fields = Fields::new(frame.kind, frame.body());
        let message = match frame.kind {
            b'1' => Self::ParseComplete,
            b'2' => Self::BindComplete,
            b'3' => Self::CloseComplete,
            b'A' => rest(&mut fields, Self::Notification),
            b'C' => Self::CommandComplete { tag: fields.string()? },
            b'D' => Self::DataRow { bytes: row(&mut fields)? },
            b'E' => Self::Error(report(&mut fields)?),
            b'G' => rest(&mut fields, Self::CopyIn),
            b'H' => rest(&mut fields, Self::CopyOut),
            b'I' => Self::EmptyQuery,
            b'N' => Self::Notice(report(&mut fields)?),
            b'S' => Self::ParameterStatus { name: fields.string()?, value: fields.string()? },
            b'T' => Self::RowDescription { columns: fields.list(column)? },
            b'V' => rest(&mut fields, Self::FunctionCallResponse),
            b'W' => rest(&mut fields, Self::CopyBoth),
            b'Z' => Self::Ready { transaction: transaction(&mut fields)? },
            b'c' => Self::CopyDone,
            b'd' => Self::CopyData(fields.rest()),
            b'n' => Self::NoData,
            b's' => Self::PortalSuspended,
            b't' => Self::ParameterDescription { types: fields.list(Fields::u32)? },
            kind => return Err(Malformed::Unexpected { kind: kind.into() }),
        };
        fields.end(message)
    }
}

/// A message whose fields matter to nobody here.
fn rest(fields: &mut Fields, message: Message) -> Message {
    fields.rest();
    message
}

fn row(fields: &mut Fields) -> Result<usize, Malformed> {
    let columns = fields.u16()?;
    let mut bytes = 0_usize;
    for _ in 0..columns {
        let length = fields.value()?.map_or(0, |value| value.len());
        bytes = bytes.saturating_add(length).saturating_add(4);
    }
    Ok(bytes)
}

fn column(fields: &mut Fields) -> Result<Bytes, Malformed> {
    let name = fields.string()?;
    // Table, attribute number, type, its size and modifier, format.
    fields.take(18)?;
    Ok(name)
}

fn transaction(fields: &mut Fields) -> Result<Transaction, Malformed> {
    match fields.u8()? {
        b'E' => Ok(Transaction::Failed),
        b'I' => Ok(Transaction::None),
        b'T' => Ok(Transaction::Open),
        _ => Err(fields.wrong()),
    }
}

fn report(fields: &mut Fields) -> Result<Report, Malformed> {
    let mut report = Report::default();
    loop {
        match fields.u8()? {
            0 => return Ok(report),
            b'C' => report.code = fields.string()?,
            b'M' => report.message = fields.string()?,
            b'V' => report.severity = fields.string()?,
            _ => drop(fields.string()?),
        }
    }
}
