//! A reviewer's identity: making one, and finding the one that opens recordings.
//!
//! The file is an age identity file, so `age` and `rage` read it too. It is written for its owner alone, and never over
//! another. Nothing here sends it anywhere: recordings are opened on this machine. Read next: `source.rs`.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use age::secrecy::ExposeSecret as _;
use serde_json::json;
use zeroize::Zeroizing;

use super::args::Invocation;
use super::exit::{CliError, Outcome, io_error};
use super::hardware::Terminal;
use super::out;
use crate::model::Timestamp;
use crate::recording::{Ask, ReviewerIdentity};

/// The identity's place, in the directory of the configuration.
const FILE: &str = "identity.txt";
/// The largest identity file read, in bytes.
const LARGEST: u64 = 64 << 10;
const OWNER_ONLY: u32 = 0o600;
const OWNER_ONLY_DIRECTORY: u32 = 0o700;

/// Make a reviewer's identity: the private key that opens recordings.
///
/// Prints the recipient, its public half. Recordings made after the bastion's operators have added that recipient can
/// be opened with the identity; earlier ones cannot.
#[derive(Debug, clap::Args)]
pub(crate) struct KeygenArgs {
    /// Where to write the identity; an existing file is never overwritten. [default: ~/.config/postern/identity.txt]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Make a key that stays closed to a quantum computer too (age1pq1…). All reviewers of a bastion must then have one.
    #[arg(long)]
    post_quantum: bool,
}

/// Which identity opens recordings: part of every command that reads them.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct IdentityArgs {
    /// The age identity file that opens recordings; one for a hardware key (AGE-PLUGIN-…) needs its plugin in PATH.
    /// [default: ~/.config/postern/identity.txt]
    #[arg(long, value_name = "FILE", env = "POSTERN_IDENTITY")]
    identity: Option<PathBuf>,
}

/// Makes an identity.
pub(crate) fn run(args: KeygenArgs, run: &Invocation) -> Outcome {
    let path = args.output.unwrap_or_else(|| run.configuration_directory().join(FILE));
    let identity = match args.post_quantum {
        true => ReviewerIdentity::generate_hybrid().map_err(CliError::failed)?,
        false => ReviewerIdentity::generate(),
    };
    write(&path, &identity, run.clock.now())?;
    let recipients: Vec<String> = identity.recipients().iter().map(ToString::to_string).collect();
    let recipient = recipients.join(" ");
    if run.json {
        out::json(&json!({ "recipient": recipient, "identity": path }));
        return Ok(ExitCode::SUCCESS);
    }
    out::fields(&[("recipient", recipient), ("identity", path.display().to_string())]);
    out::note(
        "\nGive the recipient to an administrator of the bastion, who names it in 'postern init --reviewer' or, later,\n\
         adds it with 'postern reviewers set': recordings made from then on can be opened with this identity. Keep the\n\
         identity file secret, and keep a copy of it somewhere safe: without it those recordings stay closed, and nobody\n\
         can make it again.",
    );
    Ok(ExitCode::SUCCESS)
}

impl IdentityArgs {
    /// The identity named, else the one at the usual place, else none.
    pub(crate) fn find(&self, run: &Invocation) -> Result<Option<ReviewerIdentity>, CliError> {
        match &self.identity {
            Some(path) => read(path).map(Some),
            None => {
                let usual = run.configuration_directory().join(FILE);
                if usual.exists() { read(&usual).map(Some) } else { Ok(None) }
            }
        }
    }

    /// The identity, or an error that says how to give one.
    pub(crate) fn need(&self, run: &Invocation) -> Result<ReviewerIdentity, CliError> {
        self.find(run)?.ok_or_else(|| {
            CliError::usage("recordings are encrypted to reviewers, and there is no identity here to open them")
                .hint("give one with --identity FILE or POSTERN_IDENTITY; 'postern keygen' makes one for later recordings")
        })
    }
}

fn write(path: &Path, identity: &ReviewerIdentity, now: Timestamp) -> Result<(), CliError> {
    let failed = || io_error("write", path);
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(OWNER_ONLY_DIRECTORY);
        builder.create(parent).map_err(io_error("make", parent))?;
    }
    let mut text = Zeroizing::new(format!("# made {now}\n"));
    for recipient in identity.recipients() {
        text.push_str(&format!("# public key: {recipient}\n"));
    }
    text.push_str(identity.to_secret_text().expose_secret());
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(OWNER_ONLY);
    let mut file = options.open(path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            return CliError::failed(format!("{} exists and is not overwritten", path.display()))
                .hint("it may be the only key to recordings: choose another place with --output FILE");
        }
        failed()(error)
    })?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed())
}

fn read(path: &Path) -> Result<ReviewerIdentity, CliError> {
    let file = File::open(path).map_err(|error| {
        io_error("read", path)(error)
            .hint("--identity or POSTERN_IDENTITY names the file; 'postern keygen' makes one")
    })?;
    let metadata = file.metadata().map_err(io_error("read", path))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        let path = out::safe(&path.display().to_string());
        out::note(&format!("warning: others may read {path}: run 'chmod 600' on it"));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(LARGEST).read_to_string(&mut text).map_err(io_error("read", path))?;
    let identity = ReviewerIdentity::parse(&text)
        .map_err(|error| CliError::failed(format!("{}: {error}", path.display())))?;
    let terminal: Arc<dyn Ask> = Arc::new(Terminal);
    Ok(identity.asking(&terminal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_private_survives_and_is_never_overwritten() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("new/identity.txt");
        let identity = ReviewerIdentity::generate();
        write(&path, &identity, Timestamp::UNIX_EPOCH).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(&identity.recipients()[0].to_string()), "the file names its recipient");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, OWNER_ONLY);
        assert_eq!(read(&path).unwrap().recipients()[0].to_string(), identity.recipients()[0].to_string());

        let error = write(&path, &ReviewerIdentity::generate(), Timestamp::UNIX_EPOCH).unwrap_err();
        assert!(error.to_string().contains("not overwritten"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn a_file_without_an_identity_is_refused_by_name() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("notes.txt");
        std::fs::write(&path, "hello\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("notes.txt"));
        assert!(read(&place.path().join("none")).unwrap_err().next_step().unwrap().contains("keygen"));
    }
}
