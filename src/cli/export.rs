//! `postern export`: a recording in other people's formats.
//!
//! The file appears whole under its name or not at all, for its owner alone, and never over another. A copy in another
//! format proves nothing: the recording itself can be verified, and so can the evidence of [`super::evidence`]. The
//! formats are in [`crate::playback::export`].

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use super::args::Invocation;
use super::evidence::{self, EvidenceArgs};
use super::exit::{CliError, Outcome, io_error};
use super::keygen::IdentityArgs;
use super::out;
use super::source::{Events, Source};
use crate::playback::export::Settings;
use crate::playback::{ExportError, Exported, Format, Mask, export};
use crate::recording::RecordingError;

/// Bytes gathered before they are written.
const BUFFER: usize = 256 << 10;

/// Write a recording in another format: asciicast for players, JSON lines for programs, a transcript for people.
///
/// What is typed is left out unless --input is given, since it holds passwords that the screen never showed. A copy in
/// one of these formats proves nothing. What proves is the recording itself, and what --evidence writes.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// A recording's file, or a session's id (or enough of its beginning).
    #[arg(value_name = "ID|FILE")]
    recording: String,
    /// asciicast (version 2), asciicast-v3, jsonl, text (a transcript) or raw.
    #[arg(long, value_name = "FORMAT", required_unless_present = "evidence")]
    format: Option<Format>,
    /// The file to write, which must not exist; with --evidence, the directory. [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write a directory that proves what happened, without the bastion: the sealed recording, the ledger's entries with
    /// their proofs, the signed approvals, and how to check them.
    #[arg(long, requires = "output", conflicts_with_all = ["format", "input", "channel"])]
    evidence: bool,
    /// With --evidence: put the opened recording beside the sealed one, which takes an identity.
    #[arg(long, requires = "evidence")]
    open: bool,
    /// With --evidence: a checkpoint somebody kept; the evidence then proves that the ledger continues it.
    #[arg(long, value_name = "FILE", requires = "evidence")]
    since: Option<PathBuf>,
    /// Include what was typed; with raw, write that instead of what was printed.
    #[arg(long)]
    input: bool,
    /// Which channel, when the session had several. [default: the first that shows anything; with jsonl, all]
    #[arg(long, value_name = "N")]
    channel: Option<u32>,
    /// Star out what looks like a secret: private keys, tokens, passwords beside their names. Always on for text.
    #[arg(long, conflicts_with = "evidence")]
    mask: bool,
    /// Star out what this regular expression matches too, or its first group; implies --mask. May be repeated.
    #[arg(long, value_name = "REGEX", conflicts_with = "evidence")]
    mask_pattern: Vec<String>,
    /// Leave secrets in a transcript.
    #[arg(long, conflicts_with_all = ["mask", "mask_pattern", "evidence"])]
    no_mask: bool,
    #[command(flatten)]
    identity: IdentityArgs,
}

/// Exports a recording.
pub(crate) async fn run(args: ExportArgs, run: &Invocation) -> Outcome {
    let Some(format) = args.format else { return prove(&args, run).await };
    if args.output.is_none() && format == Format::Raw && io::stdout().is_terminal() {
        return Err(
            CliError::usage("raw bytes could act on this terminal").hint("give --output FILE, or pipe them")
        );
    }
    let mask = mask(&args, format)?;
    let source = Source::parse(&args.recording)?;
    let identity = args.identity.need(run)?;
    if let Some(path) = args.output.as_deref().filter(|path| path.exists()) {
        return Err(exists(path));
    }
    let held = source.hold("export", run).await?;
    let mut events = Events::open(&held, &identity)?.on_all_cores();
    let (channel, input) = (args.channel, args.input);
    let settings = Settings { format, channel, input, unsanitised: false, is_masked: false };
    let exported = match &args.output {
        Some(path) => to_file(path, |to| export(events.by_ref(), settings, mask.as_ref(), to)),
        None => match export(
            events.by_ref(),
            settings,
            mask.as_ref(),
            &mut BufWriter::with_capacity(BUFFER, io::stdout().lock()),
        ) {
            // Whoever closed the pipe has what they wanted.
            Err(ExportError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(ExitCode::SUCCESS);
            }
            other => other.map_err(CliError::failed),
        },
    };
    // Damage explains an empty or short export better than the format can.
    if events.stopped().is_some_and(|stopped| !matches!(stopped, RecordingError::Truncated { .. })) {
        events.finish(held.name())?;
    }
    let exported = exported?;
    events.finish(held.name())?;
    say(exported, args.output.as_deref(), run.json);
    Ok(ExitCode::SUCCESS)
}

/// What to leave out: nothing, unless it is asked for or a transcript is written, which is made to be passed on.
fn mask(args: &ExportArgs, format: Format) -> Result<Option<Mask>, CliError> {
    let is_asked = args.mask || !args.mask_pattern.is_empty();
    if is_asked && format == Format::Raw {
        return Err(CliError::usage("raw bytes are exact, so nothing can be masked in them")
            .hint("use --format text, jsonl or asciicast"));
    }
    if args.no_mask || !(is_asked || format == Format::Text) {
        return Ok(None);
    }
    Mask::new(&args.mask_pattern).map(Some).map_err(CliError::usage)
}

/// Writes evidence instead.
async fn prove(args: &ExportArgs, run: &Invocation) -> Outcome {
    let Source::Session(session) = Source::parse(&args.recording)? else {
        return Err(CliError::usage("evidence is of a session: give its id, not a file"));
    };
    let directory =
        args.output.as_deref().ok_or_else(|| CliError::usage("give the directory with --output"))?;
    let identity = if args.open { Some(args.identity.need(run)?) } else { None };
    let older = args.since.as_deref();
    evidence::write(EvidenceArgs { session: &session, directory, identity, older }, run).await
}

fn say(exported: Exported, output: Option<&Path>, is_json: bool) {
    let Exported { events, channel, dropped, masked } = exported;
    let Some(path) = output else { return };
    if is_json {
        out::json(
            &json!({ "file": path, "events": events, "channel": channel, "dropped": dropped, "masked": masked }),
        );
        return;
    }
    let of = channel.map_or_else(String::new, |channel| format!(" of channel {channel}"));
    let left = if dropped == 0 {
        String::new()
    } else {
        format!("; left out {dropped} sequences and characters that act on terminals")
    };
    let starred = if masked == 0 { String::new() } else { format!("; starred out {masked} secrets") };
    out::note(&format!(
        "wrote {events} events{of} to {}{left}{starred}",
        out::safe(&path.display().to_string())
    ));
}

/// Writes a file whole, under a name that must be free.
fn to_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<Exported, ExportError>,
) -> Result<Exported, CliError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(parent).map_err(io_error("write in", parent))?;
    let exported = {
        let mut to = BufWriter::with_capacity(BUFFER, &mut file);
        write(&mut to).map_err(CliError::failed)?
    };
    file.as_file().sync_all().map_err(io_error("write", path))?;
    file.persist_noclobber(path).map_err(|error| {
        if error.error.kind() == io::ErrorKind::AlreadyExists {
            exists(path)
        } else {
            io_error("write", path)(error.error)
        }
    })?;
    Ok(exported)
}

fn exists(path: &Path) -> CliError {
    CliError::failed(format!("{} exists and is not overwritten", path.display()))
        .hint("choose another --output, or move it away")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::sample::Sample;
    use super::super::source::Held;
    use super::*;

    fn settings(format: Format) -> Settings {
        Settings { format, channel: None, input: false, unsanitised: false, is_masked: false }
    }

    #[tokio::test]
    async fn an_export_is_whole_private_and_never_overwrites() {
        let sample = Sample::record().await;
        let held = Held::open(&sample.path).unwrap();
        let path = sample.place.path().join("x.cast");
        let write = |to: &mut dyn Write| {
            let mut events = Events::open(&held, &sample.identity).unwrap();
            export(events.by_ref(), settings(Format::Asciicast), None, to)
        };
        let exported = to_file(&path, write).unwrap();
        assert_eq!(exported.channel, Some(1));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("the password is hunter2") && !text.contains("owned"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let again = to_file(&path, write).unwrap_err();
        assert!(again.to_string().contains("not overwritten"), "{again}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn a_failed_export_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("x.raw");
        let failed = to_file(&path, |to| {
            to.write_all(b"half")?;
            Err(ExportError::NothingPrinted)
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }
}
