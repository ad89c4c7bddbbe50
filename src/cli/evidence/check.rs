//! `postern verify DIRECTORY`: everything in an evidence directory, checked offline against keys that are given.
//!
//! Nothing the directory says of itself is believed before its digest, its proof and its signature hold. Each check is
//! one line of the answer; one that fails says what is wrong and does not stop the others.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use serde::Serialize;
use serde_json::json;

use super::super::args::Invocation;
use super::super::exit::{CliError, Outcome, io_error};
use super::super::ledger::memory;
use super::super::ledger::witnessed;
use super::super::source::Held;
use super::super::verify::{Book, Trust, judge};
use super::super::{out, words};
use super::collect::Kept;
use super::contents::{CHECKPOINT, COSIGNED, FORM, INDEX, Index, OPENED, RECORDING, SUMS};
use super::derived::derived;
use super::{approvals, write};
use crate::ledger::entry::{Entry, Fact};
use crate::ledger::{Checkpoint, TreeHash, VerifierKey, WitnessKey, verify_consistency, verify_inclusion};
use crate::playback::Format;
use crate::recording::ReviewerIdentity;

/// The longest file that is read as a whole, in bytes; the recording is not.
const LONGEST: u64 = 16 << 20;

/// What to check, and whom to believe.
#[derive(Debug)]
pub(crate) struct CheckArgs<'a> {
    /// The directory.
    pub(crate) directory: &'a Path,
    /// The bastions' keys that are believed.
    pub(crate) keys: &'a [[u8; 32]],
    /// Witnesses who must have signed.
    pub(crate) witnesses: &'a [WitnessKey],
    /// Opens the recording's events too.
    pub(crate) identity: Option<&'a ReviewerIdentity>,
}

/// One line of the answer.
#[derive(Debug, Serialize)]
struct Check {
    /// Nothing when it was not checked.
    ok: Option<bool>,
    what: &'static str,
    detail: String,
}

/// An answer in the making: what held is said, what did not as well.
#[derive(Debug, Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn add(&mut self, what: &'static str, result: Result<String, String>) {
        let ok = Some(result.is_ok());
        let detail = result.unwrap_or_else(|wrong| wrong);
        self.0.push(Check { ok, what, detail });
    }

    /// Says what was not reached.
    fn leave(&mut self, what: &str) {
        self.skip("the rest", what);
    }

    fn skip(&mut self, what: &'static str, why: &str) {
        self.0.push(Check { ok: None, what, detail: why.to_owned() });
    }
}

/// Checks a directory.
pub(crate) fn check(args: &CheckArgs<'_>, run: &Invocation) -> Outcome {
    let index: Index = serde_json::from_str(&read(args.directory, INDEX)?).map_err(|error| {
        CliError::failed(format!("{INDEX} is not the index of evidence that this program knows: {error}"))
    })?;
    if index.form != FORM {
        return Err(CliError::failed(format!(
            "this is evidence of the form {:?}; {FORM:?} is known here",
            index.form
        )));
    }
    let key = trusted(&index, args.keys)?;
    let mut checks = Checks::default();
    checks.add("files", files(args.directory));
    let checkpoint = Checkpoint::open(&read(args.directory, CHECKPOINT)?, &key);
    let said = checkpoint.as_ref().map(|head| format!("{} entries, signed by {key}", head.size));
    checks.add("ledger", said.map_err(ToString::to_string));
    let Ok(head) = &checkpoint else {
        checks.leave("entries, approvals, recording: not looked at, since nothing vouches for them");
        return answer(&index, &checks, run);
    };
    let kept = match entries(args.directory, &index, head) {
        Ok(kept) => {
            checks.add("entries", Ok(format!("{} of them, each in the ledger", kept.len())));
            kept
        }
        Err(wrong) => {
            checks.add("entries", Err(wrong));
            checks.leave(
                "approvals, recording: not looked at, since nothing vouches for what they are held against",
            );
            return answer(&index, &checks, run);
        }
    };
    let entries: Vec<Entry> = kept.iter().map(|kept| kept.entry.clone()).collect();
    checks.add("copies", repeated(args.directory, &index, &kept, &key));
    for continued in &index.continues {
        checks.add("older head", continues(args, &index, head, &key, &continued.file));
    }
    if !args.witnesses.is_empty() {
        checks.add("witnesses", witnesses(args, &index, head, (&key, &entries), run));
    }
    checks.add("approvals", approvals::check(&index.session, &entries));
    checks.add("recording", recording(args, &index, &key, &entries)?);
    opened(args, &mut checks);
    answer(&index, &checks, run)
}

fn answer(index: &Index, checks: &Checks, run: &Invocation) -> Outcome {
    let ok = checks.0.iter().all(|check| check.ok != Some(false));
    if run.json {
        out::json(&json!({ "ok": ok, "session": index.session, "checks": checks.0 }));
    } else {
        for check in &checks.0 {
            let word = match check.ok {
                Some(true) => "ok  ",
                Some(false) => "FAIL",
                None => "-   ",
            };
            out::line(&format!("{word}  {:<10}  {}", check.what, out::safe(&check.detail)));
        }
    }
    if ok { Ok(ExitCode::SUCCESS) } else { Err(CliError::failed("the evidence does not hold")) }
}

/// The ledger's key, when it is one that is believed.
fn trusted(index: &Index, keys: &[[u8; 32]]) -> Result<VerifierKey, CliError> {
    let key: VerifierKey = index.ledger_key.parse().map_err(CliError::failed)?;
    if keys.contains(key.public_key()) {
        return Ok(key);
    }
    let its = HEXLOWER.encode(key.public_key());
    Err(if keys.is_empty() {
        CliError::usage("whose evidence is this to be? give the bastion's key with --key")
            .hint(format!("it says of itself that it is {its}: have that confirmed by somebody you trust"))
    } else {
        CliError::failed(format!("this is signed by {its}, which is none of the keys given"))
    })
}

/// A file's whole text.
fn read(directory: &Path, name: &str) -> Result<String, CliError> {
    let bytes = read_bytes(directory, name, LONGEST)?;
    String::from_utf8(bytes).map_err(|_| CliError::failed(format!("{name:?} is no text")))
}

/// A file's bytes. Its name may be whatever somebody wrote into the index.
fn read_bytes(directory: &Path, name: &str, longest: u64) -> Result<Vec<u8>, CliError> {
    let (path, mut bytes) = (directory.join(name), Vec::new());
    if !is_inside(name) || !fs::symlink_metadata(&path).is_ok_and(|facts| facts.is_file()) {
        return Err(CliError::failed(format!("{name:?} is no file of this directory")));
    }
    let file = fs::File::open(&path).map_err(io_error("read", &path))?;
    let length = file.take(longest.saturating_add(1)).read_to_end(&mut bytes);
    if length.map_err(io_error("read", &path))? as u64 > longest {
        return Err(CliError::failed(format!("{} is longer than it can be", path.display())));
    }
    Ok(bytes)
}

/// Whether a name leads nowhere else.
fn is_inside(name: &str) -> bool {
    Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Whether every file is what it was, and no other lies there.
fn files(directory: &Path) -> Result<String, String> {
    let sums = read(directory, SUMS).map_err(|error| error.to_string())?;
    let mut known = BTreeSet::from([directory.join(SUMS)]);
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").ok_or_else(|| format!("{SUMS} has a line that is none"))?;
        let path = directory.join(name);
        if !is_inside(name) || !fs::symlink_metadata(&path).is_ok_and(|facts| facts.is_file()) {
            return Err(format!("{SUMS} names {name}, which is no file of this directory"));
        }
        let mut context = digest::Context::new(&digest::SHA256);
        let mut file = fs::File::open(&path).map_err(|error| format!("{name}: {error}"))?;
        let mut piece = vec![0; 1 << 20];
        loop {
            let count =
                std::io::Read::read(&mut file, &mut piece).map_err(|error| format!("{name}: {error}"))?;
            let Some(bytes) = piece.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
            context.update(bytes);
        }
        if HEXLOWER.encode(context.finish().as_ref()) != sum {
            return Err(format!("{name} was changed"));
        }
        known.insert(path);
    }
    let strange = all_files(directory)?.into_iter().find(|path| !known.contains(path));
    match strange {
        Some(path) => Err(format!("{} does not belong here", path.display())),
        None => Ok(format!("{} as they were written", known.len())),
    }
}

fn all_files(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let (mut found, mut open) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| error.to_string())? {
            let entry = entry.map_err(|error| error.to_string())?;
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder { open.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    Ok(found)
}

/// Whether a file has exactly these bytes.
fn is_there(directory: &Path, name: &str, bytes: &[u8]) -> bool {
    read_bytes(directory, name, bytes.len() as u64).is_ok_and(|there| there == bytes)
}

/// Whether what only repeats the entries and the checkpoint in other forms says the same.
fn repeated(directory: &Path, index: &Index, kept: &[Kept], key: &VerifierKey) -> Result<String, String> {
    let note = read(directory, CHECKPOINT).map_err(|error| error.to_string())?;
    let files = derived(index, kept, &note, key).ok_or_else(|| "the entries lack the session".to_owned())?;
    for (name, bytes) in &files {
        if !is_there(directory, name, bytes) {
            return Err(format!("{name} does not say what the entries say"));
        }
    }
    Ok(format!("{} files repeat what the entries say", files.len()))
}

/// Whether the opened copies say what the sealed recording says; only who can open it can tell.
fn opened(args: &CheckArgs<'_>, checks: &mut Checks) {
    let there: Vec<_> = OPENED.into_iter().filter(|(name, _)| args.directory.join(name).exists()).collect();
    if there.is_empty() {
        return;
    }
    let Some(identity) = args.identity else {
        return checks.skip("opened", "not compared: give --identity, or go by the sealed recording");
    };
    let compare = |(name, format): (&str, Format)| {
        let held = Held::open(&args.directory.join(RECORDING)).map_err(|error| error.to_string())?;
        let bytes = write::opened(&held, identity, format).map_err(|error| error.to_string())?;
        let is_same = bytes.is_some_and(|bytes| is_there(args.directory, name, &bytes));
        if is_same { Ok(()) } else { Err(format!("{name} does not say what the recording says")) }
    };
    let result = there.into_iter().try_for_each(compare);
    checks.add("opened", result.map(|()| "what lies there opened is what is sealed".to_owned()));
}

/// The entries, each proven to be in the ledger.
fn entries(directory: &Path, index: &Index, head: &Checkpoint) -> Result<Vec<Kept>, String> {
    let mut entries = Vec::with_capacity(index.entries.len());
    for proven in &index.entries {
        if entries.last().is_some_and(|last: &Kept| last.entry.seq >= proven.seq) {
            return Err(format!("{} is out of its order", proven.file));
        }
        let bytes = read(directory, &proven.file).map_err(|error| error.to_string())?;
        let entry = Entry::parse(proven.seq, bytes.as_bytes()).map_err(|error| error.to_string())?;
        let proof = memory::hashes(&proven.proof).map_err(|error| error.to_string())?;
        let leaf = TreeHash::leaf(bytes.as_bytes());
        if !verify_inclusion(leaf, proven.seq, head.size, &proof, &head.root) {
            return Err(format!("{} is not in the ledger", proven.file));
        }
        entries.push(Kept { entry, bytes: bytes.into_bytes() });
    }
    Ok(entries)
}

fn continues(
    args: &CheckArgs<'_>,
    index: &Index,
    head: &Checkpoint,
    key: &VerifierKey,
    file: &str,
) -> Result<String, String> {
    let continued = index.continues.iter().find(|continued| continued.file == file);
    let continued = continued.ok_or_else(|| "it is not in the index".to_owned())?;
    let note = read(args.directory, file).map_err(|error| error.to_string())?;
    let older = Checkpoint::open(&note, key).map_err(|error| error.to_string())?;
    let proof = memory::hashes(&continued.proof).map_err(|error| error.to_string())?;
    if verify_consistency(older.size, &older.root, head.size, &head.root, &proof) {
        Ok(format!("the ledger continues that of {} entries in {file}", older.size))
    } else {
        Err(format!("the ledger does not continue that of {} entries in {file}", older.size))
    }
}

fn witnesses(
    args: &CheckArgs<'_>,
    index: &Index,
    head: &Checkpoint,
    (key, entries): (&VerifierKey, &[Entry]),
    run: &Invocation,
) -> Result<String, String> {
    let ended = entries
        .iter()
        .find(|entry| matches!(&entry.fact, Fact::SessionEnded(end) if end.session == index.session));
    let ended = ended.ok_or_else(|| "the session's end is missing".to_owned())?;
    if !index.continues.iter().any(|continued| continued.file == COSIGNED) {
        return Err("no witness's signature is in this evidence".to_owned());
    }
    continues(args, index, head, key, COSIGNED)?;
    let note = read(args.directory, COSIGNED).map_err(|error| error.to_string())?;
    let signed = witnessed::read(&note, key, args.witnesses).map_err(|error| error.to_string())?;
    if signed.iter().any(|signed| signed.size <= ended.seq) {
        return Err("what was signed is from before the session's end, and says nothing of it".to_owned());
    }
    let one = |signed: &witnessed::Signed| {
        format!(
            "{} signed {} entries {}",
            signed.witness,
            signed.size,
            words::relative(signed.at, run.clock.now())
        )
    };
    Ok(signed.iter().map(one).collect::<Vec<_>>().join("; "))
}

fn recording(
    args: &CheckArgs<'_>,
    index: &Index,
    key: &VerifierKey,
    entries: &[Entry],
) -> Result<Result<String, String>, CliError> {
    let mut book = Book::default();
    entries.iter().for_each(|entry| book.observe(entry));
    let Some(pins) = book.get(&index.session).filter(|pins| pins.end.is_some()) else {
        return Ok(Err("the entries lack the session's start or its end".to_owned()));
    };
    let held = Held::open(&args.directory.join(RECORDING))?;
    let item = judge(&held, &Trust { keys: &[*key.public_key()], identity: args.identity }, Some(pins))?;
    let is_good = item.state.is_good() && !item.is_closed;
    Ok(if is_good { Ok(item.detail) } else { Err(item.sentence()) })
}
