//! Postern: the one gate through which operators, automation and agents reach servers, recorded and revocable.
//!
//! Start reading at [`session`]: the life of a session is one function there. The modules, lowest level first (each
//! may use only those above it; `tests/architecture.rs` holds the table):
//!
//! | level | module | what it is |
//! |---|---|---|
//! | 0 | [`model`] | the shared vocabulary |
//! | 0 | [`wire`] | parsers of a peer's bytes, pure |
//! | 0 | [`thread`] | threads by how urgent their work is |
//! | 1 | [`policy`], [`ledger`], [`recording`], [`config`], [`telemetry`] | rules and formats, no database |
//! | 2 | [`access`], [`playback`], [`net`] | the request workflow; what reviewers see; sockets |
//! | 2 | [`keeping`] | where finished recordings are moved to |
//! | 2 | [`witness`] | remembers other ledgers' heads, for `postern witness` |
//! | 3 | [`store`] | the ledger's database |
//! | 4 | [`authn`], [`credential`] | who somebody is; what is minted for a session |
//! | 5 | [`session`] | the lifecycle |
//! | 6 | [`protocol`], [`api`] | adapters; the control plane |
//! | 8 | [`serve`], [`cli`] | composition |

pub mod access;
pub mod api;
pub mod authn;
pub mod cli;
pub mod config;
pub mod credential;
pub mod keeping;
pub mod ledger;
pub mod model;
pub mod net;
pub mod playback;
pub mod policy;
pub mod protocol;
pub mod recording;
pub mod serve;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod thread;
pub mod wire;
pub mod witness;
