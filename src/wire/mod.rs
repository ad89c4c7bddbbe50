//! Every parser of bytes from a peer: pure, bounded and panic-free. No sockets, no clock.
//!
//! A client types `scp report.pdf deploy@web-1@bastion:/srv/`. [`ssh::address`] splits the name, [`ssh::command`] says
//! which file protocol the command line speaks, and [`ssh::scp`] or [`ssh::sftp_session`] follows both directions of the
//! stream and says which files moved, with their sizes and SHA-256. All of it takes slices and returns values or errors;
//! it imports nothing of ours, because hostile bytes are met by code that can reach nothing.
//!
//! Rules here: every length, count and depth has a named limit that is checked before anything is allocated; an error is
//! final for its stream; the same bytes cut differently give the same answer (properties beside each parser say so).

pub mod postgres;
pub mod reader;
pub mod ssh;
