//! The configuration, parsed once into values that cannot be wrong.
//!
//! `file.rs` is `postern.toml`, section by section; `retention.rs` is how long recordings are kept, which is asked about
//! one target at a time.

mod file;
mod retention;

pub use file::{
    Api, Authn, Config, ConfigError, Ledger, Limits, Lock, Metrics, Node, Policy, Recording, RecordingStore,
    Ssh, UserCa, Witness,
};
pub use retention::{Keep, OneOrMore, Retention, RetentionRule, RetentionWhen};
