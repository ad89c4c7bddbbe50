//! The SSH adapter: OpenSSH and its kin on one side, an OpenSSH server on the other.
//!
//! `ssh deploy@web-1@bastion` ends here, and so does the inner connection of `ssh -J bastion deploy@web-1`, whose
//! outer connection is only a `carrier`. Each client channel gets a target connection of its own, so that a channel
//! whose reader has stopped cannot hold up another; see `channel` for the shape of the relay and why it cannot hang.
//!
//! | file | what |
//! |---|---|
//! | `adapter` | implements [`session::Adapter`](crate::session::adapter::Adapter) |
//! | `client_side`, `callbacks`, `login` | the SSH server the client sees: its state, what the library calls, the login |
//! | `target_side`, `unasked` | the SSH client that logs in to the target, and what the target asks of its own |
//! | `channel`, `inbound`, `pulse` | one channel: two pumps, the queue before them, and whether they still turn |
//! | `carrier` | jump connections |
//! | `observe` | SFTP and SCP operations out of the bytes |
//! | `offer` | the algorithms we offer |

mod adapter;
mod callbacks;
mod carrier;
mod channel;
mod client_side;
mod inbound;
mod login;
mod observe;
mod offer;
mod output;
mod pulse;
mod target_side;
mod unasked;

pub use adapter::{Arrival, SshAdapter};
pub use carrier::{Carried, CarriedStream, Carriers, Front};
pub use target_side::{probe, scan_host_keys};
