//! `postern verify` as it is typed: one recording or all, which keys to trust, and how the answers are printed.
//!
//! The answers themselves are `judge.rs`'s; what the ledger says of a recording is `pins.rs`'s.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::args::Invocation;
use super::super::client::{Client, segment};
use super::super::evidence::{self, CheckArgs};
use super::super::exit::{CliError, Outcome, io_error};
use super::super::keygen::IdentityArgs;
use super::super::recordings::{self, ListedState};
use super::super::source::{Held, Source, fetch};
use super::super::{out, words};
use super::judge::{Item, Trust, judge};
use super::pins::{Book, Pins};
use crate::ledger::entry::{Entry, Fact};
use crate::ledger::{VerifierKey, WitnessKey};
use crate::recording::Frames;

/// The largest file of trusted keys, in bytes.
const LARGEST: u64 = 1 << 20;

/// Check that a recording is genuine, whole, and the one the ledger knows.
///
/// Without an identity its structure, its chain and the bastion's signatures are checked; with one, every event is
/// opened too. A file is checked offline when the bastion's key is given with --key or --trusted; otherwise its session
/// is looked up in the bastion's ledger. A directory that 'export --evidence' wrote is checked as a whole, offline: the
/// ledger's signature, every entry's proof, the approvals, the recording.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// A recording's file, a directory of evidence, or a session's id (or enough of its beginning).
    #[arg(value_name = "ID|FILE|DIRECTORY", required_unless_present = "all", conflicts_with = "all")]
    recording: Option<String>,
    /// Check the ledger, and the recording of every session in it.
    #[arg(long)]
    all: bool,
    /// With --all: take the recordings from this directory instead of fetching them, and name files in it that the
    /// ledger does not know.
    #[arg(long, value_name = "DIRECTORY", requires = "all")]
    pub(super) recordings: Option<PathBuf>,
    #[command(flatten)]
    pub(super) identity: IdentityArgs,
    /// A bastion's public key to trust, instead of the one the bastion names: 64 hex digits, NAME+HASH+KEY as 'ledger
    /// verify' prints it, or the ssh-ed25519 line of its keys/node.pub.
    #[arg(long, value_name = "KEY")]
    key: Vec<NodeKey>,
    /// With an evidence directory: a witness's key, which must have signed a head of the ledger. May be repeated.
    #[arg(long, value_name = "KEY")]
    witness: Vec<WitnessKey>,
    /// A file of such keys, one a line.
    #[arg(long, value_name = "FILE")]
    trusted: Option<PathBuf>,
}

/// A bastion's public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeKey([u8; 32]);

impl FromStr for NodeKey {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(key) = russh::keys::PublicKey::from_openssh(text.trim()) {
            let key = key.key_data().ed25519().map(|key| Self(key.0));
            return key.ok_or_else(|| "a bastion's key is an Ed25519 key".to_owned());
        }
        if let Ok(key) = text.trim().parse::<VerifierKey>() {
            return Ok(Self(*key.public_key()));
        }
        let bytes = HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).ok();
        let key = bytes.and_then(|bytes| bytes.try_into().ok()).map(Self);
        key.ok_or_else(|| {
            "a bastion's key is 64 hex digits, NAME+HASH+KEY, or an ssh-ed25519 line".to_owned()
        })
    }
}

/// What the bastion says the ledger says of a recording.
#[derive(Debug, Deserialize)]
struct Pinned {
    started: Entry,
    checkpoints: Vec<Entry>,
    ended: Option<Entry>,
    node_key: String,
}

/// Verifies.
pub(crate) async fn run(args: VerifyArgs, run: &Invocation) -> Outcome {
    let keys = trusted(&args)?;
    let Some(given) = &args.recording else {
        return super::every::run(&args, keys, run).await;
    };
    if Path::new(given).is_dir() {
        let identity = args.identity.find(run)?;
        let (directory, identity) = (Path::new(given), identity.as_ref());
        let args = CheckArgs { directory, keys: &keys, witnesses: &args.witness, identity };
        return evidence::check(&args, run);
    }
    let item = one(&Source::parse(given)?, &args, keys, run).await?;
    let is_ok = item.state.is_good() && !item.is_closed;
    print(std::slice::from_ref(&item), &json!({ "ok": is_ok }), run.json);
    if is_ok {
        return Ok(ExitCode::SUCCESS);
    }
    let said = CliError::failed(item.sentence());
    Err(if item.is_closed {
        said.hint("give the identity of one of its reviewers: --identity FILE")
    } else {
        said
    })
}

async fn one(
    source: &Source,
    args: &VerifyArgs,
    keys: Vec<[u8; 32]>,
    run: &Invocation,
) -> Result<Item, CliError> {
    let identity = args.identity.find(run)?;
    let identity = identity.as_ref();
    match source {
        Source::File(path) if !keys.is_empty() => {
            judge(&Held::open(path)?, &Trust { keys: &keys, identity }, None)
        }
        Source::File(path) => {
            let held = Held::open(path)?;
            let header = Frames::new(held.read()?).map(|frames| frames.header().clone());
            let header = header.map_err(|error| CliError::failed(format!("{}: {error}", held.name())))?;
            let offline = "to check it without a bastion, give the bastion's public key: --key KEY";
            let client = run.connect().await.map_err(|error| error.hint(offline))?;
            let (pins, key) = pinned(&client, header.session.as_str()).await?;
            judge(&held, &Trust { keys: &[key], identity }, Some(&pins))
        }
        Source::Session(session) => {
            let client = run.connect().await?;
            // The ledger first: a recording that is still written only grows past what was pinned.
            let (pins, key) = pinned(&client, session).await?;
            let session = pins.session.as_str();
            let keys = if keys.is_empty() { vec![key] } else { keys };
            match fetch(&client, session, "verify").await {
                Ok(held) => judge(&held, &Trust { keys: &keys, identity }, Some(&pins)),
                Err(error) if error.has_code("recording_missing") => Ok(Item::missing(session)),
                Err(error) => {
                    let listed = recordings::all(&client).await?;
                    let is_missing = listed
                        .iter()
                        .any(|one| one.session == pins.session && one.state == ListedState::Missing);
                    if is_missing { Ok(Item::missing(session)) } else { Err(error) }
                }
            }
        }
    }
}

/// What the bastion's ledger says of one session's recording, and the key it names.
async fn pinned(client: &Client, session: &str) -> Result<(Pins, [u8; 32]), CliError> {
    let answer: Pinned = client.get_as(&format!("/recordings/{}/ledger", segment(session))).await?;
    let strange = || CliError::failed("what the bastion says about this recording makes no sense");
    let Fact::SessionStarted(facts) = &answer.started.fact else { return Err(strange()) };
    let session = facts.session.clone();
    let mut book = Book::default();
    book.observe(&answer.started);
    answer.checkpoints.iter().chain(&answer.ended).for_each(|entry| book.observe(entry));
    let key: NodeKey = answer.node_key.parse().map_err(CliError::failed)?;
    Ok((book.get(&session).ok_or_else(strange)?.clone(), key.0))
}

/// The keys named on the command line.
fn trusted(args: &VerifyArgs) -> Result<Vec<[u8; 32]>, CliError> {
    let mut keys: Vec<[u8; 32]> = args.key.iter().map(|key| key.0).collect();
    if let Some(path) = &args.trusted {
        keys.extend(read_keys(path)?);
    }
    Ok(keys)
}

fn read_keys(path: &Path) -> Result<Vec<[u8; 32]>, CliError> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(io_error("read", path))?;
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).map_err(io_error("read", path))?;
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let mut keys = Vec::new();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let key: Result<NodeKey, String> = line.parse();
        keys.push(
            key.map_err(|why| CliError::failed(format!("{}, line {number}: {why}", path.display())))?.0,
        );
    }
    if keys.is_empty() {
        return Err(CliError::failed(format!("{} has no key in it", path.display())));
    }
    Ok(keys)
}

/// Prints the answers; `rest` is what JSON says beside them.
pub(super) fn print(items: &[Item], rest: &Value, is_json: bool) {
    if is_json {
        let mut value = json!({ "items": items });
        if let (Some(value), Some(rest)) = (value.as_object_mut(), rest.as_object()) {
            value.extend(rest.clone());
        }
        out::json(&value);
        return;
    }
    if let [item] = items {
        let count = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        out::fields(&[
            ("recording", item.session.clone()),
            ("state", item.state.as_str().to_owned()),
            ("detail", item.detail.clone()),
            ("last frame", count(item.frames)),
            ("size", item.bytes.map_or_else(|| "-".to_owned(), words::bytes)),
            ("events", count(item.events)),
        ]);
        return;
    }
    let mut table = out::Table::new(&["state", "recording", "size", "detail"], "no recordings");
    for item in items {
        let state = if item.state.is_good() {
            item.state.as_str().to_owned()
        } else {
            item.state.as_str().to_uppercase()
        };
        let size = item.bytes.map_or_else(|| "-".to_owned(), words::bytes);
        table.row([state, item.session.clone(), size, item.detail.clone()]);
    }
    table.print();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_a_file_and_a_bad_line_is_named() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("keys");
        let key = "ab".repeat(32);
        std::fs::write(&path, format!("# the bastion's\n\n{key}\n{}\n", key.to_uppercase())).unwrap();
        assert_eq!(read_keys(&path).unwrap(), [[0xab; 32]; 2]);
        std::fs::write(&path, format!("{key}\nnonsense\n")).unwrap();
        assert!(read_keys(&path).unwrap_err().to_string().contains("line 2"));
        std::fs::write(&path, "# none\n").unwrap();
        assert!(read_keys(&path).is_err());
        assert!("ab".parse::<NodeKey>().is_err());
        let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKurq6urq6urq6urq6urq6urq6urq6urq6urq6urq6ur node";
        assert_eq!(line.parse(), Ok(NodeKey([0xab; 32])));
        let note = VerifierKey::new("bastion.example", [0xab; 32]).unwrap().to_string();
        assert_eq!(note.parse(), Ok(NodeKey([0xab; 32])));
    }
}
