//! `postern verify --all`: the ledger, every session in it, and every file in a directory.
//!
//! The ledger is recomputed first: recordings are only as good as what they are held against. One recording's trouble
//! never keeps another from being checked. Read next: `judge.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use super::command::{VerifyArgs, print};
use super::judge::{Item, State, Trust, judge};
use super::pins::{Book, Pins};
use crate::cli::args::Invocation;
use crate::cli::client::Client;
use crate::cli::exit::{CliError, Outcome, io_error};
use crate::cli::ledger::audit;
use crate::cli::recordings::{self, ListedState};
use crate::cli::source::{Held, fetch};
use crate::cli::{out, progress};
use crate::model::SessionId;
use crate::recording::{EXTENSION, locate};

/// Where recordings are while they are written, inside their directory.
const OPEN: &str = "open";

/// What is missing when the bastion refuses the ledger.
const NEEDS: &str = "verifying everything reads the whole ledger (ledger:read) and every recording (recording:read): by \
                     default a reviewer may; 'postern whoami' shows your roles";

/// Verifies everything.
pub(super) async fn run(args: &VerifyArgs, mut keys: Vec<[u8; 32]>, run: &Invocation) -> Outcome {
    let identity = args.identity.find(run)?;
    let client = run.connect().await?;
    let mut book = Book::default();
    let audited =
        audit::audit(&client, None, run, |step| book.observe(step.entry)).await.map_err(|error| {
            if error.is_refusal() {
                return error.about("nothing was verified").hint(NEEDS);
            }
            if error.is_absence() {
                return error;
            }
            CliError::failed(format!("the ledger itself does not hold: {error}"))
                .hint("recordings prove nothing against such a ledger; 'postern ledger verify' says more")
        })?;
    if keys.is_empty() {
        keys.push(*audited.key.public_key());
    }
    let trust = Trust { keys: &keys, identity: identity.as_ref() };
    let listed = match args.recordings {
        Some(_) => BTreeMap::new(),
        None => recordings::all(&client).await?.into_iter().map(|one| (one.session, one.state)).collect(),
    };
    let place = match &args.recordings {
        Some(directory) => Place::Directory(directory, client.is_served().then_some(&client)),
        None => Place::Bastion(&client, &listed),
    };
    let (mut items, mut unchecked) = (Vec::new(), Vec::new());
    let bar = progress::things("verifying", Some(book.all().len() as u64));
    for pins in book.all() {
        let judged = match Item::deleted(pins, book.names()) {
            Some(deleted) => Ok(place.besides(deleted, pins)),
            None => match place.take(pins).await {
                Ok(Some(held)) => judge(&held, &trust, Some(pins)),
                Ok(None) => Ok(Item::missing(pins.session.as_str())),
                Err(error) => Err(error),
            },
        };
        match judged {
            Ok(item) => items.push(item),
            Err(error) => unchecked.push((pins.session.to_string(), error.to_string())),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if let Some(directory) = &args.recordings {
        items.extend(strangers(directory, &book, &trust, &mut unchecked)?);
    }
    let is_ok = unchecked.is_empty() && items.iter().all(|item| item.state.is_good());
    let missed: Vec<_> =
        unchecked.iter().map(|(session, why)| json!({ "session": session, "why": why })).collect();
    let ledger = json!({ "size": audited.checkpoint.size, "root": audited.checkpoint.root.to_string() });
    print(&items, &json!({ "ok": is_ok, "ledger": ledger, "unchecked": missed }), run.json);
    if !run.json {
        conclude(&items, audited.checkpoint.size);
    }
    if is_ok {
        return Ok(ExitCode::SUCCESS);
    }
    let bad = items.iter().filter(|item| !item.state.is_good()).map(Item::sentence);
    let missed = unchecked.iter().map(|(session, why)| format!("{session}: not checked: {why}"));
    Err(CliError::failed(bad.chain(missed).collect::<Vec<_>>().join("\n")))
}

fn conclude(items: &[Item], entries: u64) {
    let closed = items.iter().filter(|item| item.is_closed).count();
    out::note(&format!("the ledger holds: {entries} entries, recomputed against the signed checkpoint"));
    if closed > 0 {
        out::note(&format!(
            "{closed} checked without opening them: this identity was not among their reviewers"
        ));
    }
}

/// Where recordings are taken from.
enum Place<'a> {
    Bastion(&'a Client, &'a BTreeMap<SessionId, ListedState>),
    /// What is not there and was moved to a store comes from the bastion, when it is served: fetching leaves an entry.
    Directory(&'a Path, Option<&'a Client>),
}

impl Place<'_> {
    /// What was deleted may be in a directory all the same, such as a backup.
    fn besides(&self, deleted: Item, pins: &Pins) -> Item {
        match self {
            Self::Directory(directory, _) if locate(directory, &pins.session).is_some() => {
                let (state, detail) = (deleted.state, format!("{}; a file of it is here", deleted.detail));
                deleted.is(state, detail)
            }
            Self::Bastion(..) | Self::Directory(..) => deleted,
        }
    }

    /// A session's recording; none when it is missing.
    async fn take(&self, pins: &Pins) -> Result<Option<Held>, CliError> {
        match self {
            Self::Directory(directory, client) => match (locate(directory, &pins.session), &pins.stored) {
                (Some(path), _) => Held::open(&path).map(Some),
                (None, None) => Ok(None),
                (None, Some(location)) => match client {
                    Some(client) => fetched(client, pins).await,
                    None => Err(CliError::failed(format!(
                        "it was moved to {location}, and nobody serves the bastion, which would fetch it"
                    ))),
                },
            },
            Self::Bastion(client, listed) => match listed.get(&pins.session) {
                Some(ListedState::Deleted | ListedState::Missing) => Ok(None),
                Some(
                    ListedState::Cut | ListedState::Finished | ListedState::Live | ListedState::Unreadable,
                ) => fetched(client, pins).await,
                None => Err(CliError::failed("its recording is not yours to read")),
            },
        }
    }
}

/// A recording from the bastion; none when it is not where the ledger says either.
async fn fetched(client: &Client, pins: &Pins) -> Result<Option<Held>, CliError> {
    match fetch(client, pins.session.as_str(), "verify").await {
        Ok(held) => Ok(Some(held)),
        Err(error) if error.has_code("recording_missing") => Ok(None),
        Err(error) => Err(error),
    }
}

/// The recordings in a directory that no session in the ledger accounts for.
fn strangers(
    directory: &Path,
    book: &Book,
    trust: &Trust<'_>,
    unchecked: &mut Vec<(String, String)>,
) -> Result<Vec<Item>, CliError> {
    let mut items = Vec::new();
    for path in files(directory)? {
        let session = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        let known = session.as_ref().and_then(|session: &SessionId| book.get(session));
        // A second copy under a known name is not what was checked above.
        let is_checked =
            known.is_some_and(|pins| locate(directory, &pins.session).as_deref() == Some(path.as_path()));
        if is_checked {
            continue;
        }
        let name = path.display().to_string();
        let item = match Held::open(&path).and_then(|held| judge(&held, trust, known)) {
            Ok(item) => item,
            Err(error) => {
                unchecked.push((name, error.to_string()));
                continue;
            }
        };
        items.push(match (known, item.state) {
            (None, State::Verified | State::Cut) => {
                let why = "signed by the bastion, and the ledger knows no such session";
                Item { session: name, ..item }.is(State::Foreign, why)
            }
            _ => Item { session: name, ..item },
        });
    }
    Ok(items)
}

/// Every file in a directory of recordings that has a recording's name.
fn files(directory: &Path) -> Result<BTreeSet<PathBuf>, CliError> {
    let mut found = BTreeSet::new();
    for place in [directory.to_owned(), directory.join(OPEN)] {
        let entries = match std::fs::read_dir(&place) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && place != directory => continue,
            other => other.map_err(io_error("read", &place))?,
        };
        for entry in entries {
            let path = entry.map_err(io_error("read", &place))?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                found.insert(path);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::super::sample::Sample;
    use super::*;
    use crate::ledger::entry::{Actor, Entry, Fact, SessionFacts};
    use crate::model::{Identity, Timestamp};

    fn book(sample: &Sample) -> Book {
        let facts = SessionFacts {
            session: sample.session.clone(),
            grant: "grn_aaaaaaaaaaaaaaaa".parse().unwrap(),
            person: "per_aaaaaaaaaaaaaaaa".parse().unwrap(),
            identity: Identity { issuer: "ssh-key".to_owned(), subject: "SHA256:x".to_owned() },
            login: "deploy".parse().unwrap(),
            target: "web-1".parse().unwrap(),
            client: "192.0.2.1:5".to_owned(),
            recording: sample.header.clone(),
            credential: "x".to_owned(),
        };
        let mut book = Book::default();
        let fact = Fact::SessionStarted(facts);
        book.observe(&Entry { v: 1, seq: 0, at: Timestamp::UNIX_EPOCH, by: Actor::Node, fact });
        book
    }

    #[tokio::test]
    async fn a_directory_is_held_against_the_ledger() {
        let sample = Sample::record().await;
        let (book, trust) = (book(&sample), Trust { keys: &[sample.key], identity: None });
        let directory = sample.recordings();
        let place = Place::Directory(directory, None);
        let pins = book.get(&sample.session).unwrap();
        let held = place.take(pins).await.unwrap().unwrap();
        assert_eq!(judge(&held, &trust, Some(pins)).unwrap().state, State::Verified);
        assert!(strangers(directory, &book, &trust, &mut Vec::new()).unwrap().is_empty());

        // A recording whose session the ledger never heard of, and a second copy of one it knows.
        let unknown = SessionId::random().unwrap();
        std::fs::copy(&sample.path, directory.join(format!("{unknown}.pstn"))).unwrap();
        std::fs::copy(&sample.path, directory.join(OPEN).join(format!("{}.pstn", sample.session))).unwrap();
        // One that is no file keeps no other from being looked at.
        let odd = directory.join("odd.pstn");
        std::fs::create_dir(&odd).unwrap();
        let mut unchecked = Vec::new();
        let found = strangers(directory, &book, &trust, &mut unchecked).unwrap();
        assert!(unchecked.iter().any(|(name, _)| name.ends_with("odd.pstn")), "{unchecked:?}");
        let states: Vec<State> = found.iter().map(|item| item.state).collect();
        assert!(states.contains(&State::Foreign) && found.len() == 2, "{found:?}");

        std::fs::remove_file(&sample.path).unwrap();
        std::fs::remove_file(directory.join(OPEN).join(format!("{}.pstn", sample.session))).unwrap();
        assert!(place.take(pins).await.unwrap().is_none(), "a deleted recording is missing");
    }
}
