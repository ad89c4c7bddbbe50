//! `postern demo`: a bastion, a target and four people in a temporary directory, to walk the whole story by hand, or
//! with `--check` by itself.
//!
//! Everything is real: the bastion is the one `postern serve` runs, the target is the system's OpenSSH server (or the
//! small one in [`target`] where there is none), people sign in with fresh SSH keys, and every step goes through this
//! program's own command line and the system's `ssh`. Nothing outside the temporary directory is touched.

mod command;
mod sshd;
mod story;
pub mod target;
mod world;

pub(super) use command::run;
pub use command::{DemoArgs, DemoError};
