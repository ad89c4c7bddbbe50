//! Where finished recordings go: a directory, or a store that speaks S3. Knows neither sessions nor the ledger.
//!
//! What is sent is read back before anybody believes it, and nothing that is there is ever overwritten. A long recording
//! is sent in parts, while it is still written; what was sent is noted beside it, so that a restart goes on or begins
//! anew, and in neither case leaves two objects.
//!
//! `address.rs` is what the configuration says, `place.rs` the two kinds of place, `upload.rs` the way of one file there,
//! `removal.rs` the end of an object in a bucket.

mod address;
mod bucket;
mod directory;
mod fault;
mod note;
mod place;
mod removal;
mod standing;
mod upload;

pub use address::{Address, NotAnAddress};
pub use fault::Fault;
pub use place::{Place, Removal, Stream};
pub use standing::{Refusal, Standing, Status};
pub use upload::{Job, Sent};
