//! The control plane over HTTP, under `/api/v1`: parse, authorise, submit a command, show.
//!
//! One table ([`routes`](self), in `routes.rs`) drives routing, authorisation, the OpenAPI document and the tests. Erin
//! posts to `/requests`: `server.rs` redeems her token, the handler in `requests.rs` asks policy, looks up what must be
//! approved by whom, submits `MakeRequest` to the store and shows the request. Nothing here changes anything but
//! through the store, and nothing is forgotten by the ledger.
//!
//! Callers: HTTPS with a bearer token, the control socket and calls in process (both the machine's operator, who may do
//! everything but approve). What somebody may not see is not found. The live sessions are behind the small trait
//! [`Live`].

mod call;
mod closed;
mod deletions;
mod ended;
mod error;
mod find;
mod gate;
mod gone;
mod grants;
mod ledger;
mod live;
mod openapi;
mod people;
mod policies;
mod recordings;
mod requests;
mod reviewers;
mod routes;
mod server;
mod sessions;
mod sign_in;
mod status;
mod targets;
#[cfg(test)]
mod test_rows;
#[cfg(test)]
mod test_world;
#[cfg(test)]
mod tests;

pub use gate::{Context, NodeFacts};
pub use live::{Cut, Fetched, HostKey, Keeping, Later, Live, Refused, Room, Step, Witness};
pub use routes::leaves_entry;
pub use server::{Peer, router};
