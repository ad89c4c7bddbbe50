//! What a recording is, how it is written, read and checked. Knows no protocol and no session.

pub mod event;
