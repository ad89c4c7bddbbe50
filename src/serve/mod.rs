//! Composition: opens the store, builds the parts, binds listeners, drains on shutdown. The only module that knows
//! everyone.
//!
//! | file | what |
//! |---|---|
//! | `node` | a running node: parts put together, started, stopped |
//! | `check` | whether a configuration can be used at all |
//! | `front` | what the SSH adapter asks of the node |
//! | `live` | what the API asks of live sessions |
//! | `look` | the API over a directory that nobody serves, to read from it |
//! | `listeners` | the accept loops |
//! | `keeping` | moves finished recordings to a store |
//! | `removing`, `registrations` | deletes what its target says is old, and removes it |
//! | `signals` | `postern serve`: readiness, SIGTERM, SIGHUP |
//! | `witnesses`, `witness` | has the ledger's heads signed elsewhere; signs other ledgers' heads |

mod check;
mod front;
mod keeping;
mod listeners;
mod live;
mod look;
mod node;
mod registrations;
mod removing;
mod signals;
mod witness;
mod witnesses;

pub use check::check;
pub use look::look_offline;
pub use node::{Addresses, Node, ServeError, open_offline};
pub use signals::run;
pub use witness::{WitnessListen, serve as serve_witness};
