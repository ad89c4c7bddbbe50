//! The roles of PostgreSQL sessions: one is made for each session on the target, and ended with it.
//!
//! Alice's session on `readonly@orders` gets the role `pst_` and 16 random characters: it may log in until her window
//! ends, is a member of `readonly` and of nothing else that has rights, and its comment says which session of which
//! bastion it is. What makes and ends it is the target's administrative role, which is no superuser, and which the
//! bastion is by a certificate of its database CA, good for minutes ([`Administration`]). The session's password is
//! made here, known to the server as a SCRAM verifier only, and wiped when the session's [`PostgresLease`] is taken
//! back. What an administrator runs on a server once is in `setup.rs`; start reading in `administration.rs`.

mod administration;
mod ending;
mod error;
mod lease;
mod link;
mod note;
mod probe;
mod setup;
mod sql;

pub use administration::{Administration, Administrations, Administrator, Mint};
pub use ending::{RoleEnding, Step, Swept};
pub use error::PostgresError;
pub use lease::{PostgresCredential, PostgresLease};
pub use note::Origin;
pub use probe::{Tried, look, probe};
pub use setup::setup;
