//! `postern sessions`, `terminate`, `receipt`: who is where, ending it, and the proof. Seeing it happen is in `watch.rs`.
//!
//! A receipt is shown with its proof in the ledger, so that it means something away from this bastion.

use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::args::Invocation;
use super::client::{segment, shaped};
use super::exit::Outcome;
use super::grants::show_ended;
use super::{out, words};
use crate::ledger::entry::{EndFacts, SessionFacts, Verified};
use crate::model::Timestamp;

/// The sessions you may see.
#[derive(Debug, Args)]
pub(crate) struct SessionsArgs {
    /// Only those that are alive.
    #[arg(long)]
    live: bool,
    /// Only this person's.
    #[arg(long)]
    person: Option<String>,
    /// Only those on this target.
    #[arg(long)]
    target: Option<String>,
}

/// End a session now.
#[derive(Debug, Args)]
pub(crate) struct TerminateArgs {
    /// Which session.
    session: String,
    /// Why; kept for ever.
    #[arg(long)]
    reason: String,
}

/// The signed receipt of a session that ended: when it was cut, and when all behind it was dead.
#[derive(Debug, Args)]
pub(crate) struct ReceiptArgs {
    /// Which session.
    session: String,
}

#[derive(Deserialize)]
struct SessionView {
    session: SessionFacts,
    person_name: Option<String>,
    started: Timestamp,
    ended: Option<EndFacts>,
}

#[derive(Deserialize)]
struct ReceiptView {
    end: EndFacts,
    proof: Proof,
    checkpoint: String,
}

#[derive(Deserialize)]
struct Proof {
    index: u64,
    size: u64,
}

/// Lists sessions.
pub(crate) async fn list(args: &SessionsArgs, run: &Invocation) -> Outcome {
    let mut path = format!("/sessions?state={}", if args.live { "live" } else { "all" });
    for (name, value) in [("person", &args.person), ("target", &args.target)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", segment(value)));
        }
    }
    let items = run.connect().await?.items(&path).await?;
    if run.json {
        out::items(&items);
        return Ok(ExitCode::SUCCESS);
    }
    let now = run.clock.now();
    let empty = if args.live { "No live sessions." } else { "No sessions." };
    let mut table = out::Table::new(&["session", "who", "where", "from", "started", "state"], empty)
        .cut_first(&["from", "where"]);
    for item in items {
        let view: SessionView = shaped(item)?;
        table.row([
            view.session.session.to_string(),
            view.person_name.unwrap_or_else(|| view.session.person.to_string()),
            format!("{}@{}", view.session.login, view.session.target),
            view.session.client.clone(),
            words::relative(view.started, now),
            view.ended.map_or_else(|| "live".to_owned(), |end| end.reason.sentence().to_owned()),
        ]);
    }
    table.print();
    Ok(ExitCode::SUCCESS)
}

/// Ends a session.
pub(crate) async fn terminate(args: &TerminateArgs, run: &Invocation) -> Outcome {
    let path = format!("/sessions/{}/terminate", segment(&args.session));
    show_ended(run, &run.connect().await?.post(&path, &json!({ "reason": args.reason })).await?)
}

/// Shows a receipt.
pub(crate) async fn receipt(args: &ReceiptArgs, run: &Invocation) -> Outcome {
    let path = format!("/sessions/{}/receipt", segment(&args.session));
    let value = run.connect().await?.get(&path).await?;
    if run.json {
        out::json(&value);
        return Ok(ExitCode::SUCCESS);
    }
    let view: ReceiptView = shaped(value)?;
    let receipt = &view.end.receipt;
    let left_over =
        if view.end.left_over.is_empty() { "nothing".to_owned() } else { view.end.left_over.join("; ") };
    out::fields(&[
        ("session", view.end.session.to_string()),
        ("ended because", view.end.reason.sentence().to_owned()),
        ("decided", receipt.decided.to_string()),
        ("cut", format!("{} ({} later)", receipt.cut, milliseconds(receipt.decided_to_cut_us))),
        ("target ended", verified(receipt.target_ended.as_ref())),
        ("credential dead", verified(receipt.credential_dead.as_ref())),
        ("left over", left_over),
        ("recording", format!("{} frames, {}", view.end.frames, words::bytes(view.end.bytes))),
        ("proof", format!("entry {} of the ledger of {} entries", view.proof.index, view.proof.size)),
    ]);
    out::line("\nThe checkpoint that signs it:\n");
    view.checkpoint.trim_end().lines().for_each(|line| out::line(&format!("  {}", out::safe(line))));
    Ok(ExitCode::SUCCESS)
}

fn milliseconds(us: u64) -> String {
    format!("{}.{:03} ms", us / 1000, us % 1000)
}

fn verified(what: Option<&Verified>) -> String {
    what.map_or_else(|| "-".to_owned(), |what| format!("{} ({})", what.at, what.how))
}
