//! The demo's target: a small SSH server on the loopback address that trusts one user CA.
//!
//! It behaves as an sshd with `TrustedUserCAKeys` would: a person gets in with a certificate of that CA that names
//! the login, is in its window and allows their address, and with nothing else. Shells, commands, real
//! pseudo-terminals, SFTP where the system has a server for it, and forwards to the loopback address. Everything runs
//! as the user who started the demo. It is for the demo and for tests: never bind it to another address.
//!
//! Read `server.rs` for its life, `login.rs` for who gets in, `session.rs` for what then happens, `process.rs` and
//! `relay.rs` for how.

mod login;
mod process;
mod relay;
mod server;
mod session;
#[cfg(test)]
mod tests;

pub use server::{Settings, StartError, Target};
