//! The command: which recordings, and how what was found is told.
//!
//! Every recording is searched as far as it can be read. One that is damaged, or closed to this identity, never hides
//! another: it is named at the end, and the command fails. What is found is printed as it is found. The searching
//! itself is `work.rs`'s.

use std::process::ExitCode;

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::desk::{Hit, Told};
use super::work::{Job, Question, search_all};
use crate::cli::args::Invocation;
use crate::cli::client::Client;
use crate::cli::exit::{CliError, Outcome};
use crate::cli::keygen::IdentityArgs;
use crate::cli::progress::Recordings;
use crate::cli::recordings::{self, ListedState};
use crate::cli::source::{Held, Source, fetch_quietly};
use crate::cli::{out, words};
use crate::playback::search::Place;
use crate::playback::{Found, Search};

/// Most places kept for one JSON answer; the rest are counted.
const MOST_ITEMS: usize = 100_000;
/// Recordings fetched at once, ahead of the searching.
const FETCHES: usize = 4;

/// Find text in recordings: what was printed and typed, commands, file names, markers.
///
/// Output is searched as a person read it. Without recordings named, all that you may read are searched; fetching one
/// is noted in the ledger.
#[derive(Debug, clap::Args)]
pub(crate) struct SearchArgs {
    /// What to find: one line of text.
    text: String,
    /// Files or sessions' ids to search. [default: every recording you may read]
    #[arg(value_name = "ID|FILE")]
    recordings: Vec<String>,
    /// Find upper and lower case alike.
    #[arg(long, short)]
    ignore_case: bool,
    #[command(flatten)]
    identity: IdentityArgs,
}

/// A recording to search.
struct Wanted {
    source: Source,
    /// Its size, when that is known before it is fetched.
    bytes: u64,
    /// Whether the bastion says that it is being written, so that having no end is no damage.
    is_live: bool,
}

/// What a search gave.
#[derive(Debug, Default)]
struct Tally {
    searched: usize,
    found: usize,
    items: Vec<Value>,
    /// Recordings that could not be searched to their end, and why.
    failed: Vec<(String, String)>,
}

/// Tells and counts what is found.
struct Teller<'a> {
    tally: Tally,
    is_json: bool,
    bar: &'a Recordings,
}

impl Told for Teller<'_> {
    fn hit(&mut self, hit: Hit) {
        let Hit { session, recording, found } = hit;
        self.tally.found += 1;
        if !self.is_json {
            self.bar.suspend(|| out::line(&sentence(&session, &found)));
        } else if self.tally.items.len() < MOST_ITEMS {
            self.tally.items.push(json!({ "session": session, "recording": recording, "found": found }));
        }
    }

    fn done(&mut self, recording: &str, why: Option<String>) {
        self.tally.searched += 1;
        self.tally.failed.extend(why.map(|why| (recording.to_owned(), why)));
    }
}

/// Searches.
pub(crate) async fn run(args: SearchArgs, run: &Invocation) -> Outcome {
    // Wrong words are told before anything is fetched.
    Search::new(&args.text, args.ignore_case).map_err(CliError::usage)?;
    let identity = args.identity.need(run)?;
    let (wanted, client) = wanted(&args.recordings, run).await?;
    let bar = Recordings::new("searching", wanted.len(), wanted.iter().map(|one| one.bytes).sum());
    let teller = Teller { tally: Tally::default(), is_json: run.json, bar: &bar };
    let question = Question { text: &args.text, ignore_case: args.ignore_case, identity: &identity };
    let fetches = wanted.into_iter().map(|one| job(one, client.as_ref()));
    let jobs = futures_util::stream::iter(fetches).buffered(FETCHES);
    let told = search_all(jobs, &question, teller, &bar).await;
    bar.finish();
    conclude(&told.tally, run.json)
}

/// Brings a recording here.
async fn job(wanted: Wanted, client: Option<&Client>) -> Job {
    let Wanted { source, is_live, .. } = wanted;
    let (name, held) = match source {
        Source::File(path) => (path.display().to_string(), Held::open(&path)),
        Source::Session(session) => {
            let held = match client {
                Some(client) => fetch_quietly(client, &session, "search", |_| {}).await,
                None => Err(CliError::failed("no bastion was reached")),
            };
            (session, held)
        }
    };
    Job { name, held, is_live }
}

/// What to search, and the way to the bastion when it is needed.
async fn wanted(given: &[String], run: &Invocation) -> Result<(Vec<Wanted>, Option<Client>), CliError> {
    if given.is_empty() {
        let client = run.connect().await?;
        let listed = recordings::all(&client).await?;
        let is_there =
            |one: &recordings::Listed| !matches!(one.state, ListedState::Deleted | ListedState::Missing);
        let wanted = listed.into_iter().filter(is_there).map(|one| Wanted {
            source: Source::Session(one.session.to_string()),
            bytes: one.bytes.unwrap_or(0),
            is_live: one.state == ListedState::Live,
        });
        return Ok((wanted.collect(), Some(client)));
    }
    let sources = given.iter().map(|text| Source::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let needs_client = sources.iter().any(|source| matches!(source, Source::Session(_)));
    let client = if needs_client { Some(run.connect().await?) } else { None };
    let wanted = sources.into_iter().map(|source| {
        let size = |path: &std::path::PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
        let bytes = if let Source::File(path) = &source { size(path) } else { 0 };
        Wanted { source, bytes, is_live: false }
    });
    Ok((wanted.collect(), client))
}

fn conclude(tally: &Tally, is_json: bool) -> Outcome {
    if is_json {
        let failed: Vec<Value> = tally
            .failed
            .iter()
            .map(|(recording, why)| json!({ "recording": recording, "why": why }))
            .collect();
        let left_out = tally.found.saturating_sub(tally.items.len());
        out::json(&json!({
            "items": tally.items, "left_out": left_out, "searched": tally.searched, "failed": failed,
        }));
    } else {
        let count = tally.searched;
        let recordings = if count == 1 { "1 recording".to_owned() } else { format!("{count} recordings") };
        out::note(&format!("found in {} places in {recordings}", tally.found));
    }
    if tally.failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    for (recording, why) in &tally.failed {
        out::note(&format!("not searched to its end: {}: {}", out::safe(recording), out::safe(why)));
    }
    let (failed, all) = (tally.failed.len(), tally.searched);
    Err(CliError::failed(format!("{failed} of {all} recordings could not be searched to their end"))
        .hint("'postern verify' says what is wrong with a recording"))
}

/// A place in one line: whose session, when, where, and the text around it, which is already escaped.
fn sentence(session: &str, found: &Found) -> String {
    let place = match found.place {
        Place::Error => "stderr",
        Place::Event => "event",
        Place::Input => "typed",
        Place::Output => "output",
    };
    let line = if found.line == 0 { String::new() } else { format!(":{}", found.line) };
    let at = words::recording_time(found.at);
    format!("{session}  {at:>9}  {}/{place}{line}  {}", found.channel, found.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::Sample;
    use crate::recording::ReviewerIdentity;

    async fn tally_of(paths: &[&std::path::Path], identity: &ReviewerIdentity, text: &str) -> Tally {
        let bar = Recordings::new("searching", paths.len(), 0);
        let wanted = paths.iter().map(|path| {
            job(Wanted { source: Source::File(path.to_path_buf()), bytes: 0, is_live: false }, None)
        });
        let jobs = futures_util::stream::iter(wanted).buffered(FETCHES);
        let question = Question { text, ignore_case: false, identity };
        let teller = Teller { tally: Tally::default(), is_json: true, bar: &bar };
        search_all(jobs, &question, teller, &bar).await.tally
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_damaged_recording_hides_neither_what_precedes_the_damage_nor_another_recording() {
        let sample = Sample::record().await;
        let mut bytes = std::fs::read(&sample.path).unwrap();
        let place = bytes.len() - 300;
        bytes[place] ^= 1;
        let damaged = sample.write("damaged.pstn", &bytes);
        let tally = tally_of(&[&damaged, &sample.path], &sample.identity, "password is").await;
        assert_eq!((tally.searched, tally.found, tally.failed.len()), (2, 2, 1));
        assert!(tally.failed[0].0.ends_with("damaged.pstn"), "{:?}", tally.failed);
        assert!(conclude(&tally, false).unwrap_err().to_string().starts_with("1 of 2"));
        assert_eq!(tally.items[1]["session"], sample.session.as_str());
        assert_eq!(tally.items[1]["found"]["text"], "the password is hunter2");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn typed_text_and_commands_of_other_channels_are_found() {
        let sample = Sample::record().await;
        let tally = tally_of(&[&sample.path], &sample.identity, "uptime").await;
        assert_eq!(tally.items[0]["found"]["place"], "event");
        let tally = tally_of(&[&sample.path], &sample.identity, "grep password").await;
        let places: Vec<&str> =
            tally.items.iter().filter_map(|item| item["found"]["place"].as_str()).collect();
        assert!(places.contains(&"input") && places.contains(&"output"), "{places:?}");
    }

    #[test]
    fn a_place_reads_as_one_line() {
        let found = Found { at: 61_500_000, channel: 1, place: Place::Output, line: 7, text: "x".to_owned() };
        assert_eq!(sentence("ses_a", &found), "ses_a     1:01.5  1/output:7  x");
    }
}
