//! The roles of database sessions on a real PostgreSQL server, through the library: made, used, cut, ended.
//!
//! What the binary can reach of this is in the suite (`suite/databases.rs`). Here are the parts that only a session
//! reaches, and every way out of them that somebody could try who holds one. Run it with `tests/run`, which installs
//! the server; `POSTERN_PGBIN=/usr/lib/postgresql/16/bin` runs it against another version.

#[cfg(test)]
#[expect(dead_code, reason = "the suite uses all of it")]
#[path = "suite/keeper.rs"]
mod keeper;
#[cfg(test)]
#[path = "suite/postgres.rs"]
mod server;
#[cfg(test)]
#[expect(dead_code, reason = "the suite uses all of it")]
#[path = "suite/wait.rs"]
mod wait;
#[cfg(test)]
#[path = "postgres/world.rs"]
mod world;

#[cfg(test)]
#[path = "postgres/ending.rs"]
mod ending;
#[cfg(test)]
#[path = "postgres/escape.rs"]
mod escape;
#[cfg(test)]
#[path = "postgres/minting.rs"]
mod minting;
#[cfg(test)]
#[path = "postgres/tenant.rs"]
mod tenant;
