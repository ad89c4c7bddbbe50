//! `postern export --evidence`: writes the directory. It appears whole under its name, or not at all.
//!
//! Read next: `contents.rs` for what is in it, `collect.rs` for where the entries come from.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::json;

use super::super::args::Invocation;
use super::super::client::{Client, segment};
use super::super::exit::{CliError, Outcome, io_error};
use super::super::ledger::audit::{Audited, audit};
use super::super::ledger::memory;
use super::super::source::{Events, Held, fetch};
use super::super::{out, status};
use super::collect::{Collector, Hashes, Kept};
use super::contents::{
    CHECKPOINT, COSIGNED, Continued, FORM, INDEX, Index, OLDER, OPENED, PAGE, Proven, RECORDING, SUMS,
    entry_file, hex,
};
use super::derived::derived;
use crate::ledger::entry::{Entry, Fact, SessionFacts};
use crate::ledger::{Checkpoint, consistency_proof, inclusion_proof};
use crate::playback::export::Settings;
use crate::playback::{Format, export};
use crate::recording::ReviewerIdentity;

/// How long a witness is waited for that has not signed the session's end yet: this long…
const WITNESS_ROUND: Duration = Duration::from_secs(1);
/// …this many times.
const WITNESS_ROUNDS: usize = 15;

/// What to write, and where.
#[derive(Debug)]
pub(crate) struct EvidenceArgs<'a> {
    /// The session, or enough of its id's beginning.
    pub(crate) session: &'a str,
    /// The directory to make.
    pub(crate) directory: &'a Path,
    /// Opens the recording too, when it is to lie there opened.
    pub(crate) identity: Option<ReviewerIdentity>,
    /// A checkpoint somebody kept, which the ledger must continue.
    pub(crate) older: Option<&'a Path>,
}

/// What the bastion says the ledger says of a recording; only the start is used.
#[derive(Debug, Deserialize)]
struct Pinned {
    started: Entry,
}

/// A directory being written, with the digests of what is in it.
struct Place {
    directory: tempfile::TempDir,
    sums: BTreeMap<String, String>,
}

/// Writes the evidence of one session.
pub(crate) async fn write(args: EvidenceArgs<'_>, run: &Invocation) -> Outcome {
    if args.directory.exists() {
        return Err(CliError::failed(format!("{} exists and is not overwritten", args.directory.display()))
            .hint("choose another --output, or move it away"));
    }
    let older =
        args.older.map(|path| fs::read_to_string(path).map_err(io_error("read", path))).transpose()?;
    let client = run.connect().await?;
    let pinned: Pinned = client.get_as(&format!("/recordings/{}/ledger", segment(args.session))).await?;
    let Fact::SessionStarted(facts) = pinned.started.fact else {
        return Err(CliError::failed("what the bastion says about this recording makes no sense"));
    };
    // First, so that the entry about it is part of the evidence.
    let held = fetch(&client, facts.session.as_str(), "export").await?;
    // Before the ledger is read, so that what was signed is part of it.
    let cosigned = cosigned(&client, &facts).await?;
    let mut collector = Collector::new(facts.clone());
    let audited = audit(&client, None, run, |step| collector.take(&step)).await?;
    if !collector.has_ended() {
        return Err(CliError::failed("the session is not over, so there is no end to prove")
            .hint("wait for it, or 'postern terminate' it"));
    }
    let (entries, hashes) = collector.finish();
    let mut place = Place::begin(args.directory)?;
    place.recording(&held, args.identity.as_ref())?;
    let proven = place.entries(&entries, &hashes, audited.checkpoint.size)?;
    let continues = place.checkpoints(&audited, &hashes, cosigned, older)?;
    let index = Index {
        form: FORM.to_owned(),
        session: facts.session.clone(),
        made: run.clock.now(),
        ledger_key: audited.key.to_string(),
        entries: proven,
        continues,
    };
    place.file(INDEX, &serde_json::to_vec_pretty(&index).map_err(CliError::failed)?)?;
    let derived = derived(&index, &entries, &audited.note, &audited.key);
    for (name, bytes) in derived.ok_or_else(|| CliError::failed("the ledger lacks the session's grant"))? {
        place.file(&name, &bytes)?;
    }
    let files = place.finish(args.directory)?;
    say(&facts, args.directory, files, run.json);
    Ok(ExitCode::SUCCESS)
}

/// The newest head that a witness signed, once it has the session's end; none where nobody witnesses.
async fn cosigned(client: &Client, facts: &SessionFacts) -> Result<Option<String>, CliError> {
    #[derive(Deserialize)]
    struct Receipt {
        entry: Entry,
    }
    let (status, _) = status::fetch(client).await?;
    if status.witnesses.iter().all(|witness| witness.trouble.is_some()) {
        return Ok(client.text("/ledger/cosigned").await.ok());
    }
    let receipt: Receipt =
        client.get_as(&format!("/sessions/{}/receipt", segment(facts.session.as_str()))).await?;
    let mut note = None;
    for _ in 0..WITNESS_ROUNDS {
        note = client.text("/ledger/cosigned").await.ok();
        let size = note.as_deref().and_then(memory::head).map_or(0, |(_, size)| size);
        if size > receipt.entry.seq {
            break;
        }
        tokio::time::sleep(WITNESS_ROUND).await;
    }
    Ok(note)
}

fn say(facts: &SessionFacts, directory: &Path, files: usize, is_json: bool) {
    if is_json {
        return out::json(&json!({ "session": facts.session, "directory": directory, "files": files }));
    }
    let shown = out::safe(&directory.display().to_string());
    out::note(&format!(
        "wrote {files} files to {shown}; {PAGE} says how to check them, and 'postern verify {shown} --key HEX' does"
    ));
}

impl Place {
    fn begin(directory: &Path) -> Result<Self, CliError> {
        let parent =
            directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let made = tempfile::Builder::new().prefix(".evidence-").tempdir_in(parent);
        Ok(Self { directory: made.map_err(io_error("write in", parent))?, sums: BTreeMap::new() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), CliError> {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io_error("make", parent))?;
        }
        let mut file = fs::File::create_new(&path).map_err(io_error("write", &path))?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io_error("write", &path))?;
        self.sums.insert(name.to_owned(), HEXLOWER.encode(digest::digest(&digest::SHA256, bytes).as_ref()));
        Ok(())
    }

    /// The recording, sealed as it is; and opened beside it for whoever may see it.
    fn recording(&mut self, held: &Held, identity: Option<&ReviewerIdentity>) -> Result<(), CliError> {
        let (path, mut source) = (self.path(RECORDING), held.read()?);
        let mut file = fs::File::create_new(&path).map_err(io_error("write", &path))?;
        let mut sum = digest::Context::new(&digest::SHA256);
        let mut piece = vec![0; 1 << 20];
        loop {
            let count =
                io::Read::read(&mut source, &mut piece).map_err(io_error("read", Path::new(held.name())))?;
            let Some(bytes) = piece.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
            sum.update(bytes);
            file.write_all(bytes).map_err(io_error("write", &path))?;
        }
        file.sync_all().map_err(io_error("write", &path))?;
        self.sums.insert(RECORDING.to_owned(), HEXLOWER.encode(sum.finish().as_ref()));
        let Some(identity) = identity else { return Ok(()) };
        for (name, format) in OPENED {
            if let Some(bytes) = opened(held, identity, format)? {
                self.file(name, &bytes)?;
            }
        }
        Ok(())
    }

    fn entries(&mut self, entries: &[Kept], hashes: &Hashes, size: u64) -> Result<Vec<Proven>, CliError> {
        let mut proven = Vec::with_capacity(entries.len());
        for Kept { entry, bytes } in entries {
            let file = entry_file(entry.seq);
            self.file(&file, bytes)?;
            let proof = inclusion_proof(hashes, entry.seq, size).map_err(CliError::failed)?;
            proven.push(Proven { seq: entry.seq, file, proof: hex(&proof) });
        }
        Ok(proven)
    }

    /// The signed head; what witnesses signed and what somebody kept, each with the proof that the head continues it.
    fn checkpoints(
        &mut self,
        audited: &Audited,
        hashes: &Hashes,
        cosigned: Option<String>,
        older: Option<String>,
    ) -> Result<Vec<Continued>, CliError> {
        self.file(CHECKPOINT, audited.note.as_bytes())?;
        let heads = [(COSIGNED, cosigned), (OLDER, older)];
        let mut continues = Vec::new();
        for (file, note) in heads.into_iter().filter_map(|(file, note)| Some((file, note?))) {
            let head = Checkpoint::open(&note, &audited.key).map_err(CliError::failed)?;
            let proof = consistency_proof(hashes, head.size, audited.checkpoint.size).map_err(|error| {
                CliError::failed(error).hint("the ledger is shorter than the checkpoint: it was rolled back")
            })?;
            self.file(file, note.as_bytes())?;
            continues.push(Continued { file: file.to_owned(), proof: hex(&proof) });
        }
        Ok(continues)
    }

    /// Writes the digests, and gives everything its name. Says how many files there are.
    fn finish(mut self, directory: &Path) -> Result<usize, CliError> {
        let sums: String = self.sums.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect();
        self.file(SUMS, sums.as_bytes())?;
        let files = self.sums.len();
        let made = self.directory.keep();
        fs::rename(&made, directory).map_err(|error| {
            fs::remove_dir_all(&made).ok();
            io_error("write", directory)(error)
        })?;
        Ok(files)
    }
}

/// A recording in a format; `None` when it has nothing for it, as a session without a screen has no cast.
pub(super) fn opened(
    held: &Held,
    identity: &ReviewerIdentity,
    format: Format,
) -> Result<Option<Vec<u8>>, CliError> {
    let mut events = Events::open(held, identity)?;
    let settings = Settings { format, channel: None, input: true, unsanitised: false, is_masked: false };
    let mut bytes = Vec::new();
    Ok(export(events.by_ref(), settings, None, &mut bytes).is_ok().then_some(bytes))
}
