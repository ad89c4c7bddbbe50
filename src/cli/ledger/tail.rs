//! `postern ledger tail`: the newest entries, and those that follow.
//!
//! For reading, not for proving: nothing is checked here. As JSON, each entry is one line, as logs are filtered.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;

use super::super::args::Invocation;
use super::super::client::{Client, shaped};
use super::super::exit::{CliError, Outcome};
use super::super::out;
use super::{memory, sentence};
use crate::ledger::entry::Entry;
use crate::model::PersonId;

/// Entries asked for at once.
const PAGE: u64 = 1000;
/// How often `--follow` asks.
const EVERY: Duration = Duration::from_secs(1);

/// Which entries.
#[derive(Debug, clap::Args)]
pub(crate) struct TailArgs {
    /// How many of the newest entries to show.
    #[arg(short = 'n', long = "lines", value_name = "COUNT", default_value_t = 20)]
    count: u64,
    /// Go on showing entries as they are appended.
    #[arg(long, short)]
    follow: bool,
}

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Person {
    person: PersonId,
    name: String,
}

/// Shows entries.
pub(super) async fn run(args: TailArgs, run: &Invocation) -> Outcome {
    let client = run.connect().await?;
    let note = client.text("/ledger/checkpoint").await?;
    let (_, size) = memory::head(&note).ok_or_else(memory::no_checkpoint)?;
    // Names make it readable; who may read the ledger and not the people reads ids.
    let names = if run.json { BTreeMap::new() } else { names(&client).await.unwrap_or_default() };
    let mut next = size.saturating_sub(args.count);
    while next < size {
        let page = page(&client, next, PAGE.min(size - next)).await?;
        let Some(last) = page.last() else { break };
        next = last.seq.saturating_add(1);
        show(&page, &names, run.json)?;
    }
    if !args.follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        let page = page(&client, next, PAGE).await?;
        match page.last() {
            Some(last) => next = last.seq.saturating_add(1),
            None => tokio::time::sleep(EVERY).await,
        }
        show(&page, &names, run.json)?;
    }
}

async fn page(client: &Client, from: u64, limit: u64) -> Result<Vec<Entry>, CliError> {
    let page: Page = client.get_as(&format!("/ledger/entries?from={from}&limit={limit}")).await?;
    Ok(page.items)
}

async fn names(client: &Client) -> Result<BTreeMap<PersonId, String>, CliError> {
    let mut names = BTreeMap::new();
    for item in client.items("/people").await? {
        let Person { person, name } = shaped(item)?;
        names.insert(person, name);
    }
    Ok(names)
}

fn show(entries: &[Entry], names: &BTreeMap<PersonId, String>, is_json: bool) -> Result<(), CliError> {
    let name = |person: &PersonId| names.get(person).cloned().unwrap_or_else(|| person.to_string());
    for entry in entries {
        if is_json {
            out::json_line(&serde_json::to_value(entry).map_err(CliError::failed)?);
            continue;
        }
        let at = entry.at.strftime("%Y-%m-%d %H:%M:%S");
        let (by, what) = (sentence::by(&entry.by, &name), sentence::of(&entry.fact, &name));
        out::line(&format!("{:>6}  {at}  {}: {}", entry.seq, out::safe(&by), out::safe(&what)));
    }
    Ok(())
}
