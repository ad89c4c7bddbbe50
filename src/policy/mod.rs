//! Decides: may this principal do this, now? With reasons. An error is a deny.
//!
//! Olga opens `deploy@web-1`. The session builds a [`Question`]: who she is, [`crate::model::Action::SessionOpen`],
//! the target and the grant she holds. [`Engine::decide`] puts it to Cedar and answers [`Decision::Allow`] with the
//! rules that said yes, or [`Decision::Deny`] with a sentence Olga may read. Revoke the grant, disable Olga or edit a
//! policy file, and the same question asked again gets another answer; nothing else ends sessions.
//!
//! The rules are files: `policies/` (the schema, the floor no site can lower, the defaults, approval rules, and a table
//! of decisions that must come out as written). Start at `engine`; `question` turns facts into Cedar's values, `load`
//! refuses bad sets, `approval` says how a request becomes a grant, `table` runs the table. No I/O but reading files.

mod approval;
mod engine;
mod load;
mod question;
mod table;
#[cfg(test)]
mod tests;

pub use approval::{ApprovalError, ApprovalRule};
pub use engine::{Allowed, Decision, Denied, Engine, ReloadError, Reloaded};
pub use load::PolicyError;
pub use question::{Grant, Principal, Question, Resource};
pub use table::{Outcome, TableError};
