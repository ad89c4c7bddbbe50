//! PostgreSQL's frontend/backend protocol 3 (protocol-flow and protocol-message-formats in its manual), as far as a gate
//! has to understand it: where a message ends, what a client asks for, and what the server answered.
//!
//! [`startup`] reads the first packet, [`frame`] cuts a stream into messages, [`client`] and [`server`] read the messages
//! that matter, [`scram`] judges a password's proof, and [`statements`] pairs both directions, so that a record can say which
//! statement ended how. Messages are
//! forwarded as they came; what cannot be read exactly as the server would read it is an error, and not forwarded.

pub mod client;
mod fields;
pub mod frame;
pub mod outcome;
mod queue;
pub mod scram;
pub mod server;
pub mod startup;
pub mod statements;
#[cfg(test)]
mod tests;

/// What a peer sent is not what the protocol allows. Final for its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A message ends before its last field does, or goes on behind it.
    #[error("a message of kind {kind:?} does not end where its fields do")]
    Fields {
        /// Its first byte.
        kind: char,
    },
    /// A message's length is below its own four bytes, or above what is allowed.
    #[error("a message of kind {kind:?} says it is {length} bytes long")]
    Length {
        /// Its first byte.
        kind: char,
        /// What it says.
        length: u32,
    },
    /// A message that nobody may send here.
    #[error("a message of kind {kind:?} has no place here")]
    Unexpected {
        /// Its first byte.
        kind: char,
    },
    /// The first packet is none.
    #[error("the first packet is no start of a PostgreSQL connection: {0}")]
    Startup(&'static str),
}
