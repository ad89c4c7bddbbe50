//! `postern recordings hold`, `release`, `delete`: what becomes of a recording.
//!
//! Deleting takes two people: one asks, another confirms. What the bastion answers is shown as it stands then. Read
//! next: `recordings.rs`.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::json;

use super::args::Invocation;
use super::client::{segment, shaped};
use super::exit::Outcome;
use super::{out, words};
use crate::model::{SessionId, Timestamp};

/// Let nothing and nobody delete a recording until it is released.
#[derive(Debug, clap::Args)]
pub(crate) struct HoldArgs {
    /// Whose: a session's id, or the beginning of one.
    session: String,
    /// Why; kept for ever.
    #[arg(long)]
    reason: String,
}

/// Ask that a recording be deleted, or answer what another person asked.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["reason", "confirm", "withdraw"]))]
pub(crate) struct DeleteArgs {
    /// Whose: a session's id, or the beginning of one.
    session: String,
    /// Ask, and say why; kept for ever. Another person has a week to confirm.
    #[arg(long)]
    reason: Option<String>,
    /// Delete what another person asked to delete, for good.
    #[arg(long)]
    confirm: bool,
    /// Keep what somebody asked to delete.
    #[arg(long)]
    withdraw: bool,
}

/// Why a recording may not be deleted.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Held {
    by: String,
    reason: String,
}

/// That somebody asked to delete a recording.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct AskedDeletion {
    by: String,
    reason: String,
    lapses: Timestamp,
}

/// That a recording is deleted.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Deleted {
    by: String,
    at: Timestamp,
    asked_by: Option<String>,
    reason: Option<String>,
    kept_s: Option<u64>,
    removed: Option<Timestamp>,
    remains: Option<Remains>,
}

/// A copy of a deleted recording that its store does not give up.
#[derive(Debug, Clone, Deserialize)]
struct Remains {
    location: String,
    why: String,
    until: Option<Timestamp>,
}

/// A recording as the bastion shows it after that.
#[derive(Debug, Deserialize)]
struct Shown {
    session: SessionId,
    held: Option<Held>,
    asked: Option<AskedDeletion>,
    deleted: Option<Deleted>,
}

/// Holds a recording, or with `release` holds it no longer.
pub(crate) async fn hold(args: &HoldArgs, release: bool, run: &Invocation) -> Outcome {
    let verb = if release { "release" } else { "hold" };
    send(&args.session, verb, &json!({ "reason": args.reason }), run).await
}

/// Asks, confirms or withdraws.
pub(crate) async fn delete(args: &DeleteArgs, run: &Invocation) -> Outcome {
    match &args.reason {
        Some(reason) => send(&args.session, "deletion", &json!({ "reason": reason }), run).await,
        None if args.confirm => send(&args.session, "deletion/confirm", &json!({}), run).await,
        None => send(&args.session, "deletion/withdraw", &json!({}), run).await,
    }
}

async fn send(session: &str, verb: &str, body: &serde_json::Value, run: &Invocation) -> Outcome {
    let path = format!("/recordings/{}/{verb}", segment(session));
    let value = run.connect().await?.post(&path, body).await?;
    if run.json {
        out::json(&value);
        return Ok(ExitCode::SUCCESS);
    }
    let shown: Shown = shaped(value)?;
    out::line(&shown.sentence(run.clock.now()));
    Ok(ExitCode::SUCCESS)
}

impl Shown {
    fn sentence(&self, now: Timestamp) -> String {
        let session = &self.session;
        if let Some(deleted) = &self.deleted {
            return format!("the recording of {session} is {}", deleted.sentence(now));
        }
        match (&self.held, &self.asked) {
            (Some(held), _) => format!("the recording of {session} is {}", held.sentence()),
            (None, Some(asked)) => {
                format!(
                    "the recording of {session} {}; another person confirms with: \
                     postern recordings delete {session} --confirm",
                    asked.sentence(now)
                )
            }
            (None, None) => format!("the recording of {session} is kept like any other"),
        }
    }
}

impl Held {
    /// That it is held, by whom and why.
    pub(crate) fn sentence(&self) -> String {
        format!("held by {}: {}", self.by, self.reason)
    }
}

impl AskedDeletion {
    /// That it is to be deleted, who wants that and why.
    pub(crate) fn sentence(&self, now: Timestamp) -> String {
        let left = self.lapses.duration_since(now).as_secs().max(0).unsigned_abs();
        format!(
            "is asked to be deleted by {}: {} (lapses in {})",
            self.by,
            self.reason,
            words::duration(left)
        )
    }
}

impl Deleted {
    /// That it was deleted, by whom and why, and what is left of it.
    pub(crate) fn sentence(&self, now: Timestamp) -> String {
        let at = words::relative(self.at, now);
        let how = match (&self.asked_by, &self.reason, self.kept_s) {
            (Some(asked), Some(reason), _) => {
                format!("deleted {at}, asked by {asked}, confirmed by {}: {reason}", self.by)
            }
            (_, _, Some(kept)) => format!("deleted {at} by retention, kept for {}", words::duration(kept)),
            (_, _, None) => format!("deleted {at} by {}", self.by),
        };
        match (&self.removed, &self.remains) {
            (Some(_), _) => how,
            (None, None) => format!("{how} (its bytes go now)"),
            (None, Some(copy)) => {
                let until = copy.until.map_or_else(String::new, |until| format!(" until {until}"));
                format!("{how} (THE COPY at {} REMAINS{until}: {})", copy.location, copy.why)
            }
        }
    }

    /// Whether a copy is known to be left.
    pub(crate) const fn has_copy(&self) -> bool {
        self.remains.is_some()
    }
}
