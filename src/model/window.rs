//! When a grant's window begins: the one word about time that policy chooses, a request carries and a grant keeps.
//!
//! What the window means for a session is the access module's; deadlines are timers on [`super::Clock`].

use serde::{Deserialize, Serialize};

/// When a grant's clock starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WindowClock {
    /// When the last approval arrives.
    Approval,
    /// When the first session opens.
    FirstUse,
}
