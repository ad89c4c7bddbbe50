//! `postern search`: text in recordings, streamed and opened on this machine.
//!
//! Every recording is searched as far as it can be read. One that is damaged, or closed to this identity, never hides
//! another: it is named at the end, and the command fails. What is found is printed as it is found.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::args::Invocation;
use super::client::Client;
use super::exit::{CliError, Outcome};
use super::keygen::IdentityArgs;
use super::recordings::{self, ListedState};
use super::source::{Events, Held, Source, fetch};
use super::{out, progress, words};
use crate::playback::search::Place;
use crate::playback::{Found, Search};
use crate::recording::{RecordingError, ReviewerIdentity};

/// Most places kept for one JSON answer; the rest are counted.
const MOST_ITEMS: usize = 100_000;

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

/// Searches.
pub(crate) async fn run(args: SearchArgs, run: &Invocation) -> Outcome {
    // Wrong words are told before anything is fetched.
    Search::new(&args.text, args.ignore_case).map_err(CliError::usage)?;
    let identity = args.identity.need(run)?;
    let (wanted, client) = wanted(&args.recordings, run).await?;
    let mut tally = Tally::default();
    let bar = progress::things("searching", Some(wanted.len() as u64));
    for one in wanted {
        let search = Search::new(&args.text, args.ignore_case).map_err(CliError::usage)?;
        let held = match (&one.source, &client) {
            (Source::File(path), _) => Held::open(path),
            (Source::Session(session), Some(client)) => fetch(client, session, "search").await,
            (Source::Session(_), None) => one.source.hold("search", run).await,
        };
        let name = match &one.source {
            Source::File(path) => path.display().to_string(),
            Source::Session(session) => session.clone(),
        };
        let seen = |session: &str, found: &Found| {
            if !run.json {
                bar.suspend(|| out::line(&sentence(session, found)));
            }
        };
        tally.searched += 1;
        if let Err(why) = held.and_then(|held| look(&held, &identity, search, one.is_live, &mut tally, seen))
        {
            tally.failed.push((name, why.to_string()));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    conclude(&tally, run.json)
}

/// What to search, and the way to the bastion when it is needed.
async fn wanted(given: &[String], run: &Invocation) -> Result<(Vec<Wanted>, Option<Client>), CliError> {
    if given.is_empty() {
        let client = run.connect().await?;
        let listed = recordings::all(&client).await?;
        let wanted = listed.into_iter().filter(|one| one.state != ListedState::Missing).map(|one| Wanted {
            source: Source::Session(one.session.to_string()),
            is_live: one.state == ListedState::Live,
        });
        return Ok((wanted.collect(), Some(client)));
    }
    let sources = given.iter().map(|text| Source::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let needs_client = sources.iter().any(|source| matches!(source, Source::Session(_)));
    let client = if needs_client { Some(run.connect().await?) } else { None };
    Ok((sources.into_iter().map(|source| Wanted { source, is_live: false }).collect(), client))
}

/// Searches one recording as far as it can be read.
fn look(
    held: &Held,
    identity: &ReviewerIdentity,
    mut search: Search,
    is_live: bool,
    tally: &mut Tally,
    seen: impl Fn(&str, &Found),
) -> Result<(), CliError> {
    let mut events = Events::open(held, identity)?;
    let session = events.session().to_string();
    let mut take = |found: Vec<Found>| {
        for found in found {
            seen(&session, &found);
            tally.found += 1;
            if tally.items.len() < MOST_ITEMS {
                tally.items.push(json!({ "session": session, "recording": held.name(), "found": found }));
            }
        }
    };
    for event in events.by_ref().flatten() {
        take(search.observe(&event));
    }
    take(search.finish());
    match events.stopped() {
        None => Ok(()),
        Some(RecordingError::Truncated { .. }) if is_live => Ok(()),
        Some(error) => Err(CliError::failed(error)),
    }
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
    use super::super::sample::Sample;
    use super::*;

    fn tally_of(paths: &[&std::path::Path], identity: &ReviewerIdentity, text: &str) -> Tally {
        let mut tally = Tally::default();
        for path in paths {
            tally.searched += 1;
            let search = Search::new(text, false).unwrap();
            let searched =
                Held::open(path).and_then(|held| look(&held, identity, search, false, &mut tally, |_, _| {}));
            if let Err(why) = searched {
                tally.failed.push((path.display().to_string(), why.to_string()));
            }
        }
        tally
    }

    #[tokio::test]
    async fn a_damaged_recording_hides_neither_what_precedes_the_damage_nor_another_recording() {
        let sample = Sample::record().await;
        let mut bytes = std::fs::read(&sample.path).unwrap();
        let place = bytes.len() - 300;
        bytes[place] ^= 1;
        let damaged = sample.write("damaged.pstn", &bytes);
        let tally = tally_of(&[&damaged, &sample.path], &sample.identity, "password is");
        assert_eq!((tally.searched, tally.found, tally.failed.len()), (2, 2, 1));
        assert!(tally.failed[0].0.ends_with("damaged.pstn"), "{:?}", tally.failed);
        assert!(conclude(&tally, false).unwrap_err().to_string().starts_with("1 of 2"));
        assert_eq!(tally.items[1]["session"], sample.session.as_str());
        assert_eq!(tally.items[1]["found"]["text"], "the password is hunter2");
    }

    #[tokio::test]
    async fn typed_text_and_commands_of_other_channels_are_found() {
        let sample = Sample::record().await;
        let tally = tally_of(&[&sample.path], &sample.identity, "uptime");
        assert_eq!(tally.items[0]["found"]["place"], "event");
        let tally = tally_of(&[&sample.path], &sample.identity, "grep password");
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
