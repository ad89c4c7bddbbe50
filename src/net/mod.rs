//! Sockets: accepting them within limits, dialling targets, and cutting both from outside.
//!
//! A session's two sockets are held by its [`Fuse`] beside the code that reads and writes them, so that ending a
//! session never has to ask that code for anything: `fuse.blow()` resets both connections in the kernel, wherever
//! their owners are waiting.

mod busy;
mod dial;
mod fuse;
mod listener;
mod pressure;
mod stream;
mod tls;

pub use busy::{Busy, Traffic, WatchedStream};
pub use dial::{DialError, dial};
pub use fuse::{Blown, Cut, Fuse, Hold, Severed};
pub use listener::{Accepted, Listener, ListenerLimits, Place};
pub use pressure::{Held, Pressure};
pub use stream::{PacedStream, PromptStream, QuickStream};
pub use tls::{
    ClientCertificate, TlsError, anchor, by_certificate, is_key_pin, key_pin, tls_to_look, tls_to_target,
};
