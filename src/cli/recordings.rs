//! `postern recordings`: which recordings there are that one may read.
//!
//! The list is the bastion's; whether a recording is what the bastion says is `verify`'s answer. Read next: `play.rs`.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::json;

use super::args::Invocation;
use super::client::{Client, segment, shaped};
use super::exit::{CliError, Outcome};
use super::keep::{self, AskedDeletion, DeleteArgs, Deleted, Held, HoldArgs};
use super::rewrap::{self, RewrapArgs};
use super::space::Report;
use super::{out, status, words};
use crate::model::{EndReason, SessionId, Timestamp};

/// List the recordings you may read, newest first.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct RecordingsArgs {
    #[command(subcommand)]
    action: Option<Action>,
    /// Only those of this person (name or id).
    #[arg(long, value_name = "NAME")]
    person: Option<String>,
    /// Only those of sessions on this target.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// How much there is instead: by target and by person, how old, and where.
    #[arg(long)]
    space: bool,
}

/// Something to be done about recordings.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Try again to move recordings that the store did not take; its credentials are read anew.
    Upload,
    Rewrap(RewrapArgs),
    Hold(HoldArgs),
    /// Hold a recording no longer.
    Release(HoldArgs),
    Delete(DeleteArgs),
}

/// A recording, as the bastion lists it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Listed {
    pub(crate) session: SessionId,
    pub(crate) person_name: Option<String>,
    login: String,
    pub(crate) target: String,
    pub(crate) started: Timestamp,
    ended: Option<Timestamp>,
    pub(crate) bytes: Option<u64>,
    reason: Option<EndReason>,
    pub(crate) state: ListedState,
    pub(crate) is_here: bool,
    pub(crate) stored: Option<Stored>,
    refused: Option<String>,
    pub(crate) held: Option<Held>,
    asked: Option<AskedDeletion>,
    pub(crate) deleted: Option<Deleted>,
}

/// Where a recording was moved to.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Stored {
    location: String,
}

/// What there is of a recording, as the bastion sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ListedState {
    /// The bastion stopped while it was written.
    Cut,
    /// It was deleted.
    Deleted,
    /// It is whole.
    Finished,
    /// It is being written.
    Live,
    /// Its file is not there.
    Missing,
    /// The bastion cannot read its file, which may be there.
    Unreadable,
}

/// Prints the list.
pub(crate) async fn run(args: RecordingsArgs, run: &Invocation) -> Outcome {
    match &args.action {
        Some(Action::Upload) => return upload(run).await,
        Some(Action::Rewrap(args)) => return rewrap::run(args, run).await,
        Some(Action::Hold(args)) => return keep::hold(args, false, run).await,
        Some(Action::Release(args)) => return keep::hold(args, true, run).await,
        Some(Action::Delete(args)) => return keep::delete(args, run).await,
        None => {}
    }
    let mut path = "/recordings".to_owned();
    let filters = [("person", &args.person), ("target", &args.target)];
    for (name, value) in filters.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        let separator = if path.contains('?') { '&' } else { '?' };
        path.push_str(&format!("{separator}{name}={}", segment(value)));
    }
    let items = run.connect().await?.items(&path).await?;
    if args.space {
        let listed: Vec<Listed> = items.into_iter().map(shaped).collect::<Result<_, _>>()?;
        Report::of(&listed).print(run.json, run.clock.now());
        return Ok(ExitCode::SUCCESS);
    }
    if run.json {
        out::json(&json!({ "items": items }));
        return Ok(ExitCode::SUCCESS);
    }
    let headings = ["session", "person", "where", "started", "lasted", "size", "state", "kept"];
    let mut table =
        out::Table::new(&headings, "no recordings that you may read").cut_first(&["kept", "state", "where"]);
    let now = run.clock.now();
    for item in items {
        let listed: Listed = shaped(item)?;
        table.row(listed.cells(now));
    }
    table.print();
    Ok(ExitCode::SUCCESS)
}

/// Has what the store did not take tried again.
async fn upload(run: &Invocation) -> Outcome {
    let value = run.connect().await?.post("/recordings/upload", &json!({})).await?;
    if run.json {
        out::json(&value);
        return Ok(ExitCode::SUCCESS);
    }
    let answer: Moving = shaped(value)?;
    let store = answer.store.ok_or_else(|| {
        CliError::failed(
            "recordings stay where they are: no store is configured, or nobody serves the bastion",
        )
        .hint("[recording.store] in postern.toml names one")
    })?;
    out::line(&status::keeping(&store));
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Deserialize)]
struct Moving {
    store: Option<status::Keeping>,
}

/// Every recording one may read.
pub(crate) async fn all(client: &Client) -> Result<Vec<Listed>, CliError> {
    client.items("/recordings").await?.into_iter().map(shaped).collect()
}

impl Listed {
    fn cells(&self, now: Timestamp) -> [String; 8] {
        let lasted = self.ended.unwrap_or(now).duration_since(self.started).as_secs();
        let state = match (self.state, self.reason) {
            (ListedState::Live, _) => "live".to_owned(),
            (ListedState::Deleted, _) => "deleted".to_owned(),
            (ListedState::Missing, _) => "MISSING".to_owned(),
            (ListedState::Unreadable, _) => "UNREADABLE".to_owned(),
            (ListedState::Cut, _) => "cut: the bastion stopped".to_owned(),
            (ListedState::Finished, reason) => reason.map_or("finished", EndReason::sentence).to_owned(),
        };
        [
            self.session.to_string(),
            self.person_name.clone().unwrap_or_else(|| "-".to_owned()),
            format!("{}@{}", self.login, self.target),
            words::relative(self.started, now),
            words::duration(lasted.unsigned_abs()),
            self.bytes.map_or_else(|| "-".to_owned(), words::bytes),
            state,
            self.kept(now),
        ]
    }
}

impl Listed {
    /// Where its file is, and what was decided about it.
    fn kept(&self, now: Timestamp) -> String {
        if let Some(deleted) = &self.deleted {
            return deleted.sentence(now);
        }
        if let Some(why) = &self.refused {
            return format!("the store refuses it: {why}");
        }
        let held = self.held.as_ref().map(Held::sentence);
        let asked = self.asked.as_ref().map(|asked| asked.sentence(now));
        let parts = std::iter::once(self.place()).chain(held).chain(asked);
        parts.collect::<Vec<_>>().join("; ")
    }

    fn place(&self) -> String {
        match (&self.stored, self.is_here) {
            (None, true) => "here".to_owned(),
            (None, false) => "-".to_owned(),
            (Some(stored), true) => format!("here, {}", stored.location),
            (Some(stored), false) => stored.location.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_recording_reads_as_the_contract_writes_it() {
        let listed: Listed = shaped(json!({
            "session": "ses_aaaaaaaaaaaaaaaa", "person_name": "olga", "login": "deploy", "target": "web-1",
            "started": "2030-01-01T00:00:00Z", "ended": "2030-01-01T00:05:00Z", "bytes": 2048, "frames": 7,
            "reason": "grant_revoked", "state": "finished", "is_here": true,
            "refused": null, "held": null, "asked": null, "deleted": null, "stored": { "location": "s3://r/x.pstn", "at": "2030-01-01T00:06:00Z" },
        }))
        .unwrap();
        let now = "2030-01-01T01:00:00Z".parse().unwrap();
        let cells = listed.cells(now);
        assert_eq!(
            cells[2..],
            ["deploy@web-1", "1h ago", "5m", "2.0 KiB", "the grant was revoked", "here, s3://r/x.pstn"]
        );

        let live = Listed {
            ended: None,
            reason: None,
            state: ListedState::Live,
            bytes: None,
            stored: None,
            ..listed
        };
        assert_eq!(live.cells(now)[4..], ["1h", "-", "live", "here"]);
    }
}
