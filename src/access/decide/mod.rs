//! From a command to the facts it makes, or the reason it may not. Pure: the same question always has one answer.
//!
//! One arm per command; each file here decides about one noun. A decision looks only at the state it is given, so the
//! store decides inside its one writer, against the state every earlier command left. Read next: `requests.rs`.

mod dispatch;
mod people;
mod recordings;
mod requests;
mod rights;
mod sessions;
mod targets;
mod text;

pub use dispatch::decide;
pub use text::fitting_line;
