//! Who asked for what, who approved, what may run now: the request workflow as pure functions over ledger entries.
//!
//! Erin asks for `deploy@web-1` for an hour. [`decide`] looks at the [`State`] and answers with the facts that are to
//! be appended (`RequestMade`), or with a [`Denied`] that says why not. Alice approves: `RequestApproved`, and because
//! one approval was enough, `GrantIssued`. Erin connects: `SessionStarted`. Mallory's key is found in a pastebin and
//! Alice revokes the grant: `GrantRevoked`. Each entry goes through [`apply`], which is the only thing that changes a
//! [`State`], and which marks Erin's session with the reason it has to end.
//!
//! Nothing here does I/O, reads a clock or draws randomness: time and fresh ids are arguments. Who may *attempt* a
//! command is policy's business (`policy/`, asked by the API); what is true whatever policy says is here: nobody
//! approves for themselves, nothing starts without a live grant, nothing outlives its end.
//!
//! Read next: `command.rs`, `state.rs`, `decide/mod.rs`, `apply.rs`.

mod apply;
mod command;
mod decide;
mod denied;
mod effect;
mod index;
mod recording;
mod separation;
mod state;
#[cfg(test)]
mod tests;

pub use apply::apply;
pub use command::{Command, EndedRecording, Fresh, NewIdentity, RequestRule};
pub use decide::{decide, fitting_line};
pub use denied::Denied;
pub use effect::{Effect, GrantEnd, RequestEnd};
pub use recording::{AskedDeletion, AtHand, Deleted, Held, Recording};
pub use separation::Conflict;
pub use state::{Grant, Link, Node, Person, Request, Session, State};
