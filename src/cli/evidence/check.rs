//! `postern verify DIRECTORY`: everything in an evidence directory, checked offline against keys that are given.
//!
//! Nothing the directory says of itself is believed before its digest, its proof and its signature hold. Each check is
//! one line of the answer; one that fails says what is wrong and does not stop the others.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
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
use super::contents::{CHECKPOINT, COSIGNED, FORM, INDEX, Index, RECORDING, SUMS};
use crate::authn::verify_sshsig;
use crate::ledger::entry::{Approval, Entry, Fact, GrantFacts, RequestFacts};
use crate::ledger::{Checkpoint, TreeHash, VerifierKey, WitnessKey, verify_consistency, verify_inclusion};
use crate::model::{Identity, PersonId};
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
    ok: bool,
    what: &'static str,
    detail: String,
}

/// An answer in the making: what held is said, what did not as well.
#[derive(Debug, Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn add(&mut self, what: &'static str, result: Result<String, String>) {
        let ok = result.is_ok();
        let detail = result.unwrap_or_else(|wrong| wrong);
        self.0.push(Check { ok, what, detail });
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
    let opened = Checkpoint::open(&read(args.directory, CHECKPOINT)?, &key);
    let said = opened.as_ref().map(|head| format!("{} entries, signed by {key}", head.size));
    checks.add("ledger", said.map_err(ToString::to_string));
    let Ok(head) = &opened else { return answer(&index, &checks, run) };
    let entries = match entries(args.directory, &index, head) {
        Ok(entries) => {
            checks.add("entries", Ok(format!("{} of them, each in the ledger", entries.len())));
            entries
        }
        Err(wrong) => {
            checks.add("entries", Err(wrong));
            return answer(&index, &checks, run);
        }
    };
    for continued in &index.continues {
        checks.add("older head", continues(args, &index, head, &key, &continued.file));
    }
    if !args.witnesses.is_empty() {
        checks.add("witnesses", witnesses(args, &index, head, &key, run));
    }
    checks.add("approvals", approved(&entries));
    checks.add("recording", recording(args, &index, &key, &entries)?);
    answer(&index, &checks, run)
}

fn answer(index: &Index, checks: &Checks, run: &Invocation) -> Outcome {
    let ok = checks.0.iter().all(|check| check.ok);
    if run.json {
        out::json(&json!({ "ok": ok, "session": index.session, "checks": checks.0 }));
    } else {
        for check in &checks.0 {
            let word = if check.ok { "ok  " } else { "FAIL" };
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

fn read(directory: &Path, name: &str) -> Result<String, CliError> {
    let path = directory.join(name);
    let length = fs::metadata(&path).map_err(io_error("read", &path))?.len();
    if length > LONGEST {
        return Err(CliError::failed(format!("{} is longer than it can be", path.display())));
    }
    fs::read_to_string(&path).map_err(io_error("read", &path))
}

/// Whether every file is what it was, and no other lies there.
fn files(directory: &Path) -> Result<String, String> {
    let sums = read(directory, SUMS).map_err(|error| error.to_string())?;
    let mut known = BTreeSet::from([directory.join(SUMS)]);
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").ok_or_else(|| format!("{SUMS} has a line that is none"))?;
        let path = directory.join(name);
        let is_inside =
            Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !is_inside {
            return Err(format!("{SUMS} names {name}, outside of the directory"));
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
            let path = entry.map_err(|error| error.to_string())?.path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    Ok(found)
}

/// The entries, each proven to be in the ledger.
fn entries(directory: &Path, index: &Index, head: &Checkpoint) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::with_capacity(index.entries.len());
    for proven in &index.entries {
        let bytes = read(directory, &proven.file).map_err(|error| error.to_string())?;
        let entry = Entry::parse(proven.seq, bytes.as_bytes()).map_err(|error| error.to_string())?;
        let proof = memory::hashes(&proven.proof).map_err(|error| error.to_string())?;
        let leaf = TreeHash::leaf(bytes.as_bytes());
        if !verify_inclusion(leaf, proven.seq, head.size, &proof, &head.root) {
            return Err(format!("{} is not in the ledger", proven.file));
        }
        entries.push(entry);
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
    key: &VerifierKey,
    run: &Invocation,
) -> Result<String, String> {
    continues(args, index, head, key, COSIGNED)?;
    let note = read(args.directory, COSIGNED).map_err(|error| error.to_string())?;
    let signed = witnessed::read(&note, key, args.witnesses).map_err(|error| error.to_string())?;
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

/// Whether enough people, none of them the requester, signed exactly the request that the grant answers.
fn approved(entries: &[Entry]) -> Result<String, String> {
    let grant = entries
        .iter()
        .find_map(|entry| if let Fact::GrantIssued(grant) = &entry.fact { Some(grant) } else { None });
    let grant = grant.ok_or_else(|| "there is no grant".to_owned())?;
    let made = entries.iter().find_map(|entry| {
        let Fact::RequestMade { request, hash, approvals_needed, .. } = &entry.fact else { return None };
        (request.request == grant.request).then_some((request, hash, *approvals_needed))
    });
    let (request, hash, needed) = made.ok_or_else(|| "the request is missing".to_owned())?;
    if request.hash() != *hash || grant.hash != *hash {
        return Err("the grant does not answer this request".to_owned());
    }
    let mut people = BTreeSet::new();
    for entry in entries {
        if let Fact::RequestApproved(approval) = &entry.fact {
            people.insert(signed(entries, entry.seq, approval, (request, grant))?);
        }
    }
    if people.len() < usize::try_from(needed).unwrap_or(usize::MAX) {
        return Err(format!("{} people approved, and {needed} had to", people.len()));
    }
    Ok(format!("{} of {needed} needed, signed with their own keys over this request", people.len()))
}

/// Who signed an approval, when it holds.
fn signed(
    entries: &[Entry],
    seq: u64,
    approval: &Approval,
    (request, grant): (&RequestFacts, &GrantFacts),
) -> Result<PersonId, String> {
    let who = &approval.approver;
    if approval.hash != grant.hash || *who == request.person {
        return Err(format!("{who} approved something else, or their own request"));
    }
    let message = Approval::message(&approval.request, &approval.hash, approval.duration_s);
    let key = verify_sshsig(&approval.signature, Approval::NAMESPACE, &message)
        .map_err(|error| error.to_string())?;
    if approval.identity != Identity::ssh_key(&key.fingerprint()) {
        return Err(format!("the approval of {who} was signed with another key"));
    }
    let mut holder = None;
    for entry in entries.iter().filter(|entry| entry.seq < seq) {
        if let Fact::IdentityLinked { person, identity, .. } = &entry.fact
            && *identity == approval.identity
        {
            holder = Some(person);
        } else if let Fact::IdentityUnlinked { identity, .. } = &entry.fact
            && *identity == approval.identity
        {
            holder = None;
        }
    }
    if holder == Some(who) {
        Ok(who.clone())
    } else {
        Err(format!("the key that signed was not enrolled for {who}"))
    }
}

fn recording(
    args: &CheckArgs<'_>,
    index: &Index,
    key: &VerifierKey,
    entries: &[Entry],
) -> Result<Result<String, String>, CliError> {
    let mut book = Book::default();
    entries.iter().for_each(|entry| book.observe(entry));
    let Some(pins) = book.get(&index.session) else {
        return Ok(Err("the ledger's entries name no such session".to_owned()));
    };
    let held = Held::open(&args.directory.join(RECORDING))?;
    let item = judge(&held, &Trust { keys: &[*key.public_key()], identity: args.identity }, Some(pins))?;
    let is_good = item.state.is_good() && !item.is_closed;
    Ok(if is_good { Ok(item.detail) } else { Err(item.sentence()) })
}
