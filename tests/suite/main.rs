//! The integration suite: real SSH servers and clients around the real `postern` binary, in one test binary.
//!
//! `world` makes a bastion with people and targets; `postern`, `client` and `terminal` are the hands and eyes. The
//! scenario files say what must hold: begin with `lifecycle`, which every protocol runs. Nothing here reaches into
//! the library: what cannot be seen from outside is tested beside the code. Run it with `tests/run`, which installs
//! the programs it needs.

#[cfg(test)]
mod adversarial;
#[cfg(test)]
mod asking;
#[cfg(test)]
mod between;
#[cfg(test)]
mod campaign;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod client;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod databases;
#[cfg(test)]
mod deleting;
#[cfg(test)]
mod drill;
#[cfg(test)]
mod evidence;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod grants;
#[cfg(test)]
mod hardware;
#[cfg(test)]
mod host_certificates;
#[cfg(test)]
mod hostile_target;
#[cfg(test)]
mod image;
#[cfg(test)]
mod keeper;
#[cfg(test)]
mod keeping;
#[cfg(test)]
mod killing;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod many;
#[cfg(test)]
mod operating;
#[cfg(test)]
mod passage;
#[cfg(test)]
mod past_flaws;
#[cfg(test)]
mod player;
#[cfg(test)]
mod postern;
#[cfg(test)]
#[expect(dead_code, reason = "the tests of the library use all of it")]
mod postgres;
#[cfg(test)]
mod power;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod registering;
#[cfg(test)]
mod rekey;
#[cfg(test)]
mod review;
#[cfg(test)]
mod rewrap;
#[cfg(test)]
mod second_reader;
#[cfg(test)]
mod security_keys;
#[cfg(test)]
mod separation;
#[cfg(test)]
mod service;
#[cfg(test)]
mod ssh;
#[cfg(test)]
mod sshd;
#[cfg(test)]
mod store;
#[cfg(test)]
mod terminal;
#[cfg(test)]
mod time;
#[cfg(test)]
mod trace;
#[cfg(test)]
mod wait;
#[cfg(test)]
mod wire;
#[cfg(test)]
mod witness;
#[cfg(test)]
mod world;
