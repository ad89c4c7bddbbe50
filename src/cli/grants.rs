//! `postern grants` and `postern revoke`: the rights in force, and taking them back, one by one or by scope.
//!
//! Revoking answers with the sessions that were cut and when, so that whoever revokes at night need not look twice. The
//! deciding is the bastion's.

use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::args::Invocation;
use super::client::{segment, shaped};
use super::exit::{CliError, Outcome};
use super::requests::Closed;
use super::{out, words};
use crate::ledger::entry::GrantFacts;
use crate::model::{Capability, Timestamp};

/// The grants you may see.
#[derive(Debug, Args)]
pub(crate) struct GrantsArgs {
    /// Those that are over, too.
    #[arg(long)]
    all: bool,
}

/// Take access back: grants, or everything of a person, on a target, or at all. Live sessions are cut at once.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(false).args(["grants", "person", "target", "all"])))]
pub(crate) struct RevokeArgs {
    /// Which grants.
    #[arg(value_name = "GRANT")]
    grants: Vec<String>,
    /// Everything of this person.
    #[arg(long)]
    person: Option<String>,
    /// Everything on this target.
    #[arg(long)]
    target: Option<String>,
    /// Everything of everybody.
    #[arg(long)]
    all: bool,
    /// Why; kept for ever.
    #[arg(long)]
    reason: String,
}

#[derive(Deserialize)]
struct GrantView {
    grant: GrantFacts,
    person_name: Option<String>,
    used: bool,
    usable_until: Option<Timestamp>,
    #[serde(default)]
    ended: Option<String>,
    #[serde(default)]
    closed: Option<Closed>,
}

#[derive(Deserialize)]
struct Ended {
    ended: Vec<Cut>,
    still_live: Vec<String>,
}

#[derive(Deserialize)]
struct Cut {
    session: String,
}

/// Lists grants.
pub(crate) async fn list(args: &GrantsArgs, run: &Invocation) -> Outcome {
    let state = if args.all { "all" } else { "live" };
    let items = run.connect().await?.items(&format!("/grants?state={state}")).await?;
    if run.json {
        out::items(&items);
        return Ok(ExitCode::SUCCESS);
    }
    let now = run.clock.now();
    let mut table = out::Table::new(
        &["grant", "who", "what", "may", "used", "ends"],
        "No grants that you may see. 'postern request' asks for one.",
    )
    .cut_first(&["may", "what", "ends"]);
    for item in items {
        let view: GrantView = shaped(item)?;
        let ends = ends(&view, now);
        table.row([
            view.grant.grant.to_string(),
            view.person_name.unwrap_or_else(|| view.grant.person.to_string()),
            format!("{}@{}", view.grant.login, view.grant.target),
            capabilities(&view.grant.capabilities),
            if view.used { "yes" } else { "no" }.to_owned(),
            ends,
        ]);
    }
    table.print();
    Ok(ExitCode::SUCCESS)
}

/// When a grant ends, or how it did.
fn ends(view: &GrantView, now: Timestamp) -> String {
    match (&view.ended, &view.closed, view.usable_until) {
        (Some(how), Some(closed), _) => format!("{how} {}", closed.words()),
        (Some(how), None, _) => how.clone(),
        (None, _, Some(until)) if view.grant.ends.is_none() => {
            let length = words::duration(view.grant.duration_s);
            format!("starts at first use (within {}), for {length}", words::left(until, now))
        }
        (None, _, Some(until)) => words::relative(until, now),
        (None, _, None) => "-".to_owned(),
    }
}

/// Revokes.
pub(crate) async fn revoke(args: &RevokeArgs, run: &Invocation) -> Outcome {
    let client = run.connect().await?;
    let scope = match (&args.person, &args.target, args.all) {
        (Some(person), _, _) => Some(json!({ "person": person })),
        (None, Some(target), _) => Some(json!({ "target": target })),
        (None, None, true) => Some(json!("everything")),
        (None, None, false) => None,
    };
    if let Some(scope) = scope {
        let body = json!({ "scope": scope, "reason": args.reason });
        return show_ended(run, &client.post("/revocations", &body).await?);
    }
    let mut outcome = Ok(ExitCode::SUCCESS);
    for grant in &args.grants {
        let path = format!("/grants/{}/revoke", segment(grant));
        // One that fails does not keep the others from being revoked.
        match client.post(&path, &json!({ "reason": args.reason })).await {
            Ok(value) => show_ended(run, &value).map(|_| ())?,
            Err(error) => {
                out::note(&format!("{}: not revoked", out::safe(grant)));
                outcome = Err(error);
            }
        }
    }
    outcome
}

/// Says which sessions an order ended.
pub(crate) fn show_ended(run: &Invocation, value: &Value) -> Outcome {
    if run.json {
        out::json(value);
        return Ok(ExitCode::SUCCESS);
    }
    let ended: Ended = shaped(value.clone())?;
    match ended.ended.len() {
        0 => out::line("Done. No session was live under it."),
        1 => out::line("Done. One session was cut:"),
        count => out::line(&format!("Done. {count} sessions were cut:")),
    }
    for cut in &ended.ended {
        out::line(&format!("  {}    postern receipt {}", out::safe(&cut.session), out::safe(&cut.session)));
    }
    if !ended.still_live.is_empty() {
        return Err(CliError::failed(format!("not seen to end so far: {}", ended.still_live.join(", ")))
            .hint("look again with 'postern sessions --live'"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Capabilities in words.
pub(crate) fn capabilities<'a>(all: impl IntoIterator<Item = &'a Capability>) -> String {
    all.into_iter().map(Capability::to_string).collect::<Vec<_>>().join(", ")
}
