//! What a client says after it has logged in.
//!
//! Read exactly as the server reads it: every field, and nothing behind the last one.

use bytes::Bytes;

use super::Malformed;
use super::fields::Fields;
use super::frame::Frame;

/// A client's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Values for a prepared statement.
    Bind(Bind),
    /// A prepared statement or a portal is given back.
    Close {
        /// Which.
        what: Named,
    },
    /// A piece of what is copied in.
    CopyData(Bytes),
    /// All was copied in.
    CopyDone,
    /// The client gives up copying in.
    CopyFail {
        /// Why, in its words.
        why: Bytes,
    },
    /// What does it give, or take?
    Describe {
        /// Which.
        what: Named,
    },
    /// A portal is run.
    Execute {
        /// Its name.
        portal: Bytes,
        /// At most so many rows; 0: all.
        most: u32,
    },
    /// What was asked for so far is wanted now.
    Flush,
    /// A function called by its number.
    FunctionCall {
        /// `pg_proc.oid`.
        function: u32,
    },
    /// A statement to be prepared.
    Parse {
        /// Its name; empty is the unnamed one.
        name: Bytes,
        /// Its text.
        text: Bytes,
        /// Types of its parameters, as far as the client says them; 0: the server decides.
        types: Vec<u32>,
    },
    /// Statements to be run at once.
    Query {
        /// Their text.
        text: Bytes,
    },
    /// The end of a batch.
    Sync,
    /// The client leaves.
    Terminate,
}

/// Values for a prepared statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// What they are bound as.
    pub portal: Bytes,
    /// The statement.
    pub statement: Bytes,
    /// 0 is text and 1 is binary: none for all text, one for all, or one each.
    pub formats: Vec<u16>,
    /// The values; `None` is NULL.
    pub values: Vec<Option<Bytes>>,
    /// The same as `formats`, for results.
    pub results: Vec<u16>,
}

/// A prepared statement or a portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// A portal.
    Portal(Bytes),
    /// A prepared statement.
    Statement(Bytes),
}

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// When no client may send it here, or it is not exactly one.
    pub fn parse(frame: &Frame) -> Result<Self, Malformed> {
        let mut fields = Fields::new(frame.kind, frame.body());
        let message = match frame.kind {
            b'B' => Self::Bind(bind(&mut fields)?),
            b'C' => Self::Close { what: named(&mut fields)? },
            b'D' => Self::Describe { what: named(&mut fields)? },
            b'E' => Self::Execute { portal: fields.string()?, most: fields.u32()? },
            b'F' => Self::FunctionCall { function: function(&mut fields)? },
            b'H' => Self::Flush,
            b'P' => Self::Parse {
                name: fields.string()?,
                text: fields.string()?,
                types: fields.list(Fields::u32)?,
            },
            b'Q' => Self::Query { text: fields.string()? },
            b'S' => Self::Sync,
            b'X' => Self::Terminate,
            b'c' => Self::CopyDone,
            b'd' => Self::CopyData(fields.rest()),
            b'f' => Self::CopyFail { why: fields.string()? },
            kind => return Err(Malformed::Unexpected { kind: kind.into() }),
        };
        fields.end(message)
    }
}

fn bind(fields: &mut Fields) -> Result<Bind, Malformed> {
    let bind = Bind {
        portal: fields.string()?,
        statement: fields.string()?,
        formats: fields.list(Fields::u16)?,
        values: fields.list(Fields::value)?,
        results: fields.list(Fields::u16)?,
    };
    let fits = bind.formats.len() <= 1 || bind.formats.len() == bind.values.len();
    if fits { Ok(bind) } else { Err(fields.wrong()) }
}

fn named(fields: &mut Fields) -> Result<Named, Malformed> {
    let (kind, name) = (fields.u8()?, fields.string()?);
    match kind {
        b'P' => Ok(Named::Portal(name)),
        b'S' => Ok(Named::Statement(name)),
        _ => Err(fields.wrong()),
    }
}

fn function(fields: &mut Fields) -> Result<u32, Malformed> {
    let function = fields.u32()?;
    fields.list(Fields::u16)?;
    fields.list(Fields::value)?;
    fields.u16()?;
    Ok(function)
}
