//! `postern request`, `requests`, `approve`, `deny`, `withdraw`: asking for access, and answering.
//!
//! What is approved is what was shown: the hash is computed here, from the request as displayed, and the signature is
//! over that hash and the window. A server that shows one request and wants another signed gets nothing.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::{Value, json};

use super::args::Invocation;
use super::client::{Client, segment, shaped};
use super::exit::{CliError, Outcome};
use super::grants::capabilities;
use super::profile::Profile;
use super::signer::Signer;
use super::targets::address;
use super::{out, words};
use crate::ledger::entry::{Approval, RequestFacts, WindowClock};
use crate::model::{Capability, Login, TargetName, Timestamp};

/// How often a waiting request is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often the waiting is shown.
const TICK: Duration = Duration::from_millis(120);

/// Ask for access.
#[derive(Debug, Args)]
pub(crate) struct RequestArgs {
    /// As whom, where.
    #[arg(value_name = "LOGIN@TARGET", value_parser = address)]
    address: (Login, TargetName),
    /// For how long: 30m, 1h, 2d. Unset: the rule's own.
    #[arg(long = "for", value_name = "DURATION", value_parser = words::parse_duration)]
    length: Option<Duration>,
    /// Why; approvers read it, and it is kept for ever.
    #[arg(long)]
    reason: String,
    /// The ticket it belongs to.
    #[arg(long)]
    ticket: Option<String>,
    /// What the session may do: shell, exec, sftp, forward=HOST:PORT. Unset: the first three.
    #[arg(long = "can", value_name = "WHAT", value_delimiter = ',')]
    can: Vec<Capability>,
    /// Wait until somebody answers.
    #[arg(long)]
    wait: bool,
}

/// The requests you may see.
#[derive(Debug, Args)]
pub(crate) struct RequestsArgs {
    /// Those that are answered, too.
    #[arg(long)]
    all: bool,
}

/// Read a request, and approve it with your SSH key's signature.
#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// Which.
    request: String,
    /// Approve a shorter window.
    #[arg(long = "for", value_name = "DURATION", value_parser = words::parse_duration)]
    length: Option<Duration>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// The SSH key to sign with; unset: the one you logged in with.
    #[arg(long, alias = "identity", value_name = "FILE", env = "POSTERN_SSH_KEY")]
    ssh_key: Option<PathBuf>,
}

/// Deny a request; it is over then.
#[derive(Debug, Args)]
pub(crate) struct DenyArgs {
    /// Which.
    request: String,
    /// Why; the requester reads it.
    #[arg(long)]
    reason: String,
}

/// Take your own request back.
#[derive(Debug, Args)]
pub(crate) struct WithdrawArgs {
    /// Which.
    request: String,
}

#[derive(Deserialize)]
struct RequestView {
    request: RequestFacts,
    hash: String,
    lapses: Timestamp,
    approvals_needed: u32,
    approver_roles: Vec<String>,
    approvals: Vec<ApprovalView>,
    state: String,
    person_name: Option<String>,
    can_approve: Vec<String>,
    grant: Option<String>,
    #[serde(default)]
    closed: Option<Closed>,
}

/// Who ended something, and why.
#[derive(Deserialize)]
pub(super) struct Closed {
    by: String,
    reason: Option<String>,
}

impl Closed {
    /// `by bob: not today`.
    pub(super) fn words(&self) -> String {
        match &self.reason {
            Some(reason) => format!("by {}: {reason}", self.by),
            None => format!("by {}", self.by),
        }
    }
}

#[derive(Deserialize)]
struct ApprovalView {
    approver: String,
    name: Option<String>,
}

/// Makes a request, and waits for its answer when asked to.
pub(crate) async fn make(args: RequestArgs, run: &Invocation) -> Outcome {
    let (login, target) = args.address;
    let client = run.connect().await?;
    let body = json!({
        "login": login,
        "target": target,
        "for_s": args.length.map(|length| length.as_secs()),
        "reason": args.reason,
        "ticket": args.ticket,
        "capabilities": args.can,
    });
    let asked = client.post("/requests", &body).await;
    let mut value = asked.map_err(|error| error.about(format!("{login}@{target}")))?;
    let mut view: RequestView = shaped(value.clone())?;
    if !run.json {
        say_what_is_needed(&view, run);
    }
    if args.wait {
        value = wait(&client, view, run).await?;
        view = shaped(value.clone())?;
    }
    if run.json {
        out::json(&value);
    } else if args.wait || view.state == "granted" {
        say_answer(&view, &client, run).await?;
    }
    let is_open = view.state == "open" && !args.wait;
    Ok(if is_open || view.state == "granted" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Lists requests.
pub(crate) async fn list(args: &RequestsArgs, run: &Invocation) -> Outcome {
    let state = if args.all { "all" } else { "open" };
    let items = run.connect().await?.items(&format!("/requests?state={state}")).await?;
    if run.json {
        out::items(&items);
        return Ok(ExitCode::SUCCESS);
    }
    let now = run.clock.now();
    let headings = ["request", "who", "what", "for", "reason", "approvals", "state"];
    let mut table = out::Table::new(&headings, "No requests.").cut_first(&["reason", "what", "state"]);
    for item in items {
        let view: RequestView = shaped(item)?;
        let state = if view.state == "open" {
            format!("open, lapses {}", words::relative(view.lapses, now))
        } else {
            ended(&view)
        };
        table.row([
            view.request.request.to_string(),
            who(&view),
            format!("{}@{}", view.request.login, view.request.target),
            words::duration(view.request.duration_s),
            view.request.reason.clone(),
            format!("{} of {}", view.approvals.len(), view.approvals_needed),
            state,
        ]);
    }
    table.print();
    Ok(ExitCode::SUCCESS)
}

/// Shows a request whole, asks, signs, and sends the approval.
pub(crate) async fn approve(args: &ApproveArgs, run: &Invocation) -> Outcome {
    let client = run.connect().await?;
    let path = format!("/requests/{}", segment(&args.request));
    let view: RequestView = client.get_as(&path).await?;
    let hash = view.request.hash();
    if hash != view.hash {
        return Err(CliError::failed("the bastion's hash of this request is not the hash of what it shows")
            .hint("nothing was signed. Are both of the same version? If so, do not trust this bastion"));
    }
    let duration_s = args.length.map_or(view.request.duration_s, |length| length.as_secs());
    if duration_s > view.request.duration_s {
        let asked = words::duration(view.request.duration_s);
        return Err(CliError::usage(format!(
            "only {asked} were asked for: an approval can be shorter, never longer"
        )));
    }
    if !args.yes || !run.json {
        out::note(&whole(&view, duration_s, run));
    }
    if !args.yes
        && !out::confirm("\nApprove this?", "read it with 'postern requests', then approve with --yes")?
    {
        return Err(CliError::failed("not approved")
            .hint(format!("'postern deny {} --reason …' says no to everybody", view.request.request)));
    }
    let signature = sign(args, run, &view.request, &hash, duration_s).await?;
    let body = json!({ "hash": hash, "duration_s": duration_s, "signature": signature });
    let value = client.post(&format!("/requests/{}/approve", view.request.request), &body).await?;
    if run.json {
        out::json(&value);
        return Ok(ExitCode::SUCCESS);
    }
    let view: RequestView = shaped(value)?;
    match &view.grant {
        Some(grant) => out::line(&format!("Approved. It is granted now: {}", out::safe(grant))),
        None => {
            out::line(&format!("Approved. {} of {} so far.", view.approvals.len(), view.approvals_needed))
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Denies a request.
pub(crate) async fn deny(args: &DenyArgs, run: &Invocation) -> Outcome {
    let path = format!("/requests/{}/deny", segment(&args.request));
    done(run, &run.connect().await?.post(&path, &json!({ "reason": args.reason })).await?, "Denied.")
}

/// Takes a request back.
pub(crate) async fn withdraw(args: &WithdrawArgs, run: &Invocation) -> Outcome {
    let path = format!("/requests/{}/withdraw", segment(&args.request));
    done(run, &run.connect().await?.post(&path, &json!({})).await?, "Withdrawn.")
}

fn done(run: &Invocation, value: &Value, words: &str) -> Outcome {
    if run.json {
        out::json(value);
    } else {
        out::line(words);
    }
    Ok(ExitCode::SUCCESS)
}

async fn sign(
    args: &ApproveArgs,
    run: &Invocation,
    request: &RequestFacts,
    hash: &str,
    duration_s: u64,
) -> Result<String, CliError> {
    let profile = Profile::load(&run.place.profile)?;
    let named = args.ssh_key.clone().or_else(|| profile.as_ref().and_then(Profile::key_file));
    let preferred = profile.and_then(|profile| profile.key);
    let candidates = Signer::candidates(named.as_deref(), preferred.as_deref()).await?;
    let signer = candidates.first().ok_or_else(|| CliError::failed("no SSH key to sign with"))?;
    signer.sign(Approval::NAMESPACE, &Approval::message(&request.request, hash, duration_s)).await
}

async fn wait(client: &Client, view: RequestView, run: &Invocation) -> Result<Value, CliError> {
    let path = format!("/requests/{}", view.request.request);
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(TICK);
    loop {
        let value = client.get(&path).await?;
        let view: RequestView = shaped(value.clone())?;
        if view.state != "open" {
            spinner.finish_and_clear();
            return Ok(value);
        }
        let left = words::relative(view.lapses, run.clock.now());
        spinner.set_message(format!(
            "waiting for an answer: {} of {} approvals, lapses {left}",
            view.approvals.len(),
            view.approvals_needed
        ));
        tokio::time::sleep(LOOK).await;
    }
}

fn say_what_is_needed(view: &RequestView, run: &Invocation) {
    let id = &view.request.request;
    out::line(&format!("Asked: {id}"));
    if view.state != "open" {
        return;
    }
    let people = if view.can_approve.is_empty() {
        format!("nobody enrolled can approve it: it needs the role {}", view.approver_roles.join(" or "))
    } else {
        view.can_approve.join(", ")
    };
    out::line(&out::fields_text(&[
        ("needs", format!("{} of: {people}", approvals(view.approvals_needed))),
        ("lapses", words::moment(view.lapses, run.clock.now())),
        ("to answer", format!("postern approve {id}")),
    ]));
}

async fn say_answer(view: &RequestView, client: &Client, run: &Invocation) -> Result<(), CliError> {
    let (login, target) = (&view.request.login, &view.request.target);
    let Some(grant) = &view.grant else {
        out::line(&out::safe(&format!("The request {} {}.", verb(&view.state), ended(view))));
        return Ok(());
    };
    let by: Vec<String> =
        view.approvals.iter().map(|a| a.name.clone().unwrap_or_else(|| a.approver.clone())).collect();
    let grants = client.items("/grants?state=live").await?;
    let until = grants
        .iter()
        .find(|item| item.pointer("/grant/grant").and_then(Value::as_str) == Some(grant))
        .and_then(|item| item.get("usable_until").and_then(Value::as_str))
        .and_then(|text| text.parse::<Timestamp>().ok());
    out::fields(&[
        ("granted", grant.clone()),
        ("approved by", by.join(", ")),
        ("until", until.map_or_else(|| "-".to_owned(), |until| good_until(&view.request, until, run))),
        ("connect", format!("ssh {login}@{target}@BASTION, or ssh -J BASTION {login}@{target}")),
    ]);
    Ok(())
}

/// How a request ended, with who did it and why: `denied by bob: not today`.
fn ended(view: &RequestView) -> String {
    view.closed.as_ref().map_or_else(|| view.state.clone(), |by| format!("{} {}", view.state, by.words()))
}

/// What goes before a state in a sentence.
fn verb(state: &str) -> &'static str {
    if state == "lapsed" { "has" } else { "was" }
}

/// The whole request, harmless, as an approver reads it.
fn whole(view: &RequestView, duration_s: u64, run: &Invocation) -> String {
    let facts = &view.request;
    let window = if duration_s == facts.duration_s {
        words::duration(duration_s)
    } else {
        format!("{} (of {} asked for)", words::duration(duration_s), words::duration(facts.duration_s))
    };
    let clock = match facts.clock {
        WindowClock::Approval => "from the last approval",
        WindowClock::FirstUse => "from the first session",
    };
    let now = run.clock.now();
    out::fields_text(&[
        ("request", facts.request.to_string()),
        ("who", format!("{} ({}), with {}", who(view), facts.person, facts.identity)),
        ("wants", format!("{}@{}", facts.login, facts.target)),
        ("to", capabilities(&facts.capabilities)),
        ("for", format!("{window}, {clock}")),
        ("because", facts.reason.clone()),
        ("ticket", facts.ticket.clone().unwrap_or_else(|| "-".to_owned())),
        ("asked", words::moment(facts.asked, now)),
        ("lapses", words::moment(view.lapses, now)),
        ("approvals", format!("{} of {}", view.approvals.len(), view.approvals_needed)),
    ])
}

/// Until when a grant just made is good. One whose clock starts at first use has no end so far.
fn good_until(facts: &RequestFacts, until: Timestamp, run: &Invocation) -> String {
    let moment = words::moment(until, run.clock.now());
    match facts.clock {
        WindowClock::Approval => moment,
        WindowClock::FirstUse => format!("it starts at first use, which must come {moment} at the latest"),
    }
}

fn who(view: &RequestView) -> String {
    view.person_name.clone().unwrap_or_else(|| view.request.person.to_string())
}

fn approvals(count: u32) -> String {
    if count == 1 { "one approval".to_owned() } else { format!("{count} approvals") }
}
