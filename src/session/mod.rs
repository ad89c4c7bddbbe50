//! THE lifecycle of a session, written once for every protocol.
//!
//! Start reading at [`lifecycle::run`]. Alice runs `ssh deploy@web-1@bastion`: the adapter proves who she is, a
//! [`Permit`] is obtained from a live grant, the recording is opened, a credential minted, the target connected, and
//! the relay runs inside a guard until her right ends, a limit is reached or one side leaves. Whatever the reason,
//! `close` does the same steps in the same order.
//!
//! Protocols supply pieces through [`adapter::Adapter`] and never sequence them; nothing here knows a protocol.

pub mod adapter;
mod close;
mod dialogue;
mod ending;
mod gate;
mod guard;
mod last_word;
pub mod lifecycle;
mod permit;
mod pin;
mod registry;
pub mod relay;
mod stage;
mod sweep;
mod witnesses;

pub use dialogue::demanded;
pub use ending::{Ended, Ending};
pub use gate::{Gate, Limits};
pub use last_word::LastWords;
pub use permit::{NoPermit, Permit};
pub use pin::pin;
pub use registry::{LiveSession, Registry};
pub use stage::{Armed, Live};
pub use sweep::{patrol, sweep};
pub use witnesses::{Standing, Trouble, Witnesses};
