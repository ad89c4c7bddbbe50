//! `postern search`: text in recordings, streamed and opened on this machine, several at once.
//!
//! Say Olga looks for `DROP TABLE` in two hundred recordings: they are fetched a few ahead, each is opened and searched
//! by one of as many threads as there are cores (`work.rs`), and what is found is told recording by recording, in the
//! order they were listed, as it is found (`desk.rs`).

mod command;
mod desk;
mod work;

pub(crate) use command::{SearchArgs, run};
