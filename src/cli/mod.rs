//! The command line: one file for each family of subcommands, each a client of the API.
//!
//! Bob types `postern approve req_k3`: `args.rs` parses it and calls `requests.rs`, which fetches the request through
//! `client.rs` (HTTPS with the token `postern login` left in `profile.rs`), shows it through `out.rs`, signs it with
//! Bob's SSH key through `signer.rs`, and posts the approval. The same commands work on the bastion's own machine with
//! `--dir`, over its control socket or, when nobody serves, in process.
//!
//! Recordings are fetched encrypted and opened here, with the reviewer's own identity; the server never can. `out.rs`
//! is the only file that prints; `exit.rs` says what the exit codes mean. Start at `args.rs`.

mod args;
mod client;
mod completions;
pub mod demo;
mod doctor;
mod evidence;
mod exit;
mod export;
mod grants;
mod hardware;
mod init;
mod keep;
mod keygen;
mod keys;
mod ledger;
mod login;
mod out;
mod people;
mod pin;
mod play;
pub mod player_view;
mod policy;
mod profile;
mod progress;
mod recordings;
mod requests;
mod reviewers;
mod rewrap;
#[cfg(test)]
mod sample;
mod search;
mod serve;
mod sessions;
mod signer;
mod source;
mod space;
mod ssh_config;
mod status;
mod target_trust;
mod targets;
mod verify;
mod watch;
mod witness;
mod words;

pub use args::{Cli, run};
