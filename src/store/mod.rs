//! The ledger's database, and the only way anything changes: submit a command, get the entries it made.
//!
//! Alice revokes Erin's grant. The API calls [`Store::submit`]; the one writer thread decides it against the state
//! every earlier command left, appends `GrantRevoked` with its table rows and a freshly signed checkpoint in one
//! transaction and one sync, lets readers see the new state, and announces the entry on the change feed, where the
//! guard of Erin's session is listening. Then Alice gets her answer. Commands that arrive while a sync is under way
//! share the next one.
//!
//! What is in the database is checked whole at every start, entry by entry, against the checkpoint the node signed.
//! Storage does not act: nothing here ends a session. Read next: `store.rs`, `writer.rs`, `changes.rs`, `backend.rs`.

mod backend;
mod changes;
mod check;
#[cfg(test)]
mod conformance;
mod directory;
mod error;
mod history;
mod project;
mod sqlite;
#[expect(clippy::module_inception, reason = "the store is the one thing this module is about")]
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub use backend::{
    Filter, GrantRecord, RequestRecord, RewrapRecord, SessionEnd, SessionRecord, StoredEntry, StoredRecord,
};
pub use changes::{Changes, Interest, Subscription, Topic, Watcher};
pub use check::Checked;
pub use error::{BackendError, StoreError, SubmitError};
pub use history::EntryProof;
pub use store::Store;
