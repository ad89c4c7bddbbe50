//! Reviewers: the age recipients that new recordings are encrypted to. At least one; old recordings stay as they are.
//!
//! Changing them is a ledger entry like any other. Who may fetch a recording's bytes is policy's business, and reading
//! them takes an identity that is never here.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::call::{Call, Reply};
use super::error::ApiError;
use crate::access::Command;
use crate::recording::parse_recipients;

/// Who can read new recordings.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reviewers {
    /// age recipients (`age1…`).
    recipients: BTreeSet<String>,
}

pub(super) async fn list(call: Call) -> Result<Reply, ApiError> {
    Reply::json(&Reviewers { recipients: call.look(|state| state.node().reviewers.clone()) })
}

pub(super) async fn replace(call: Call) -> Result<Reply, ApiError> {
    let given: Reviewers = call.body()?;
    parse_recipients(&given.recipients).map_err(|error| ApiError::bad_input(error.to_string()))?;
    call.submit(Command::SetReviewers { recipients: given.recipients }).await?;
    list(call).await
}
