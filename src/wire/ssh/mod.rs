//! What we parse above the SSH library: names, command lines, environment, and the two file protocols.
//!
//! The SSH library speaks the transport and hands us channels; what runs inside a channel is followed here so that a
//! recording can say "uploaded /srv/report.pdf, 48 213 bytes, SHA-256 …" and not only hold its bytes. Following changes
//! nothing about what is forwarded. When a stream cannot be followed the parser says so; it never guesses.

pub mod address;
pub mod command;
pub mod environment;
pub mod file;
pub mod scp;
pub mod sftp;
pub mod sftp_session;
#[cfg(test)]
mod tests;
