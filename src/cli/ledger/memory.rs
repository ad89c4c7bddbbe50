//! What this person last saw of each bastion's ledger: its key and its signed head, beside the login.
//!
//! The key is trusted the first time a ledger is seen, unless it was given, and never replaced silently; the head is
//! what shows a rollback. Both belong to the bastion's address and not to what the bastion calls itself. Deleting the
//! file forgets them. Read next: `audit.rs`.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::args::Invocation;
use super::super::client::Client;
use super::super::exit::{CliError, io_error};
use super::super::profile::Profile;
use super::audit::AuditError;
use crate::ledger::entry::{Entry, Fact};
use crate::ledger::{Checkpoint, Note, TreeHash, VerifierKey, verify_consistency};

const DIRECTORY: &str = "ledgers";
/// Characters of an address that a file's name begins with; the rest of the name is its hash.
const LONGEST_NAME: usize = 60;
const HASH_NAME: usize = 16;

/// Where what was seen of one bastion's ledger is kept.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    path: PathBuf,
}

/// A ledger as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Remembered {
    /// The key that checks its checkpoints.
    key: String,
    /// The signed checkpoint.
    checkpoint: String,
}

/// A consistency proof, as the bastion gives it.
#[derive(Debug, Deserialize)]
struct Consistent {
    hashes: Vec<String>,
    checkpoint: String,
}

impl Remembered {
    pub(crate) fn key(&self) -> Result<VerifierKey, CliError> {
        self.key.parse().map_err(|error| spoiled(&error))
    }

    pub(crate) fn checkpoint(&self) -> Result<Checkpoint, CliError> {
        Checkpoint::open(&self.checkpoint, &self.key()?).map_err(|error| spoiled(&error))
    }
}

impl Memory {
    /// The memory of the bastion that commands go to: its directory on this machine, else the server logged in to.
    pub(crate) fn of(run: &Invocation) -> Result<Self, CliError> {
        let address = match &run.place.directory {
            Some(directory) => {
                std::fs::canonicalize(directory).map_err(io_error("find", directory))?.display().to_string()
            }
            None => Profile::load(&run.place.profile)?.map_or_else(String::new, |profile| profile.server),
        };
        Ok(Self::at(&run.configuration_directory(), &address))
    }

    fn at(configuration: &Path, address: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name: String = address.chars().take(LONGEST_NAME).map(plain).collect();
        let hash: String = TreeHash::leaf(address.as_bytes()).to_string().chars().take(HASH_NAME).collect();
        Self { path: configuration.join(DIRECTORY).join(format!("{name}-{hash}.json")) }
    }

    /// What was last seen; none when it never was. Ask for the ledger's head only after this: another command may be
    /// remembering a newer one at the same time, and that is no rollback.
    pub(crate) fn recall(&self) -> Result<Option<Remembered>, CliError> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", &self.path)(error)),
        };
        serde_json::from_str(&text).map(Some).map_err(|error| spoiled(&error))
    }

    /// Remembers for the next time.
    pub(crate) fn keep(&self, key: &VerifierKey, checkpoint: &str) -> Result<(), CliError> {
        let path = self.path.as_path();
        let parent = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(io_error("make", parent))?;
        let seen = Remembered { key: key.to_string(), checkpoint: checkpoint.to_owned() };
        let text = serde_json::to_vec_pretty(&seen).map_err(CliError::failed)?;
        let mut file = tempfile::NamedTempFile::new_in(parent).map_err(io_error("write in", parent))?;
        file.write_all(&text).map_err(io_error("write", path))?;
        file.persist(path).map_err(|error| io_error("write", path)(error.error))?;
        Ok(())
    }

    /// What to do when this is another ledger than the one remembered.
    pub(crate) fn forget_hint(&self) -> String {
        format!(
            "it is not the ledger seen here before; only if the bastion was made anew, delete {}",
            self.path.display()
        )
    }
}

/// The key to check a ledger with: the one given, else the one remembered, else the one its first entry names.
pub(crate) async fn key(
    client: &Client,
    given: Option<VerifierKey>,
    memory: &Memory,
) -> Result<VerifierKey, CliError> {
    #[derive(Deserialize)]
    struct Page {
        items: Vec<Entry>,
    }
    if let Some(key) = given {
        return Ok(key);
    }
    if let Some(remembered) = memory.recall()? {
        return remembered.key();
    }
    let page: Page = client.get_as("/ledger/entries?from=0&limit=1").await?;
    let first = page.items.into_iter().next().map(|entry| entry.fact);
    let Some(Fact::NodeInitialised { checkpoint_key, .. }) = first else {
        return Err(CliError::failed(AuditError::NoKey));
    };
    checkpoint_key.parse().map_err(|error| CliError::failed(AuditError::BadKey(error)))
}

/// Checks that the ledger of now continues the one remembered, by a proof instead of all entries, and remembers it.
pub(crate) async fn follow(client: &Client, memory: &Memory, key: &VerifierKey) -> Result<(), CliError> {
    let remembered = memory.recall()?;
    let note = client.text("/ledger/checkpoint").await?;
    let now = Checkpoint::open(&note, key).map_err(CliError::failed)?;
    let Some(remembered) = remembered else {
        return memory.keep(key, &note);
    };
    let before = remembered.checkpoint()?;
    if before.size > now.size {
        let error = AuditError::RolledBack { now: now.size, before: before.size, root: before.root };
        return Err(CliError::failed(error));
    }
    match continues(client, key, &before, (now, note)).await? {
        Some(newest) => memory.keep(key, &newest),
        None => Err(CliError::failed(AuditError::Rewritten { size: before.size })),
    }
}

/// Whether the ledger continues an older head that is not larger than its head `now`; gives the newest checkpoint seen.
pub(crate) async fn continues(
    client: &Client,
    key: &VerifierKey,
    before: &Checkpoint,
    now: (Checkpoint, String),
) -> Result<Option<String>, CliError> {
    let (now, note) = now;
    if before.size == now.size || before.size == 0 {
        return Ok((before.size == 0 || before.root == now.root).then_some(note));
    }
    let proof: Consistent = client.get_as(&format!("/ledger/consistency?from={}", before.size)).await?;
    let head = Checkpoint::open(&proof.checkpoint, key).map_err(CliError::failed)?;
    let hashes = hashes(&proof.hashes)?;
    let holds = verify_consistency(before.size, &before.root, head.size, &head.root, &hashes);
    Ok(holds.then_some(proof.checkpoint))
}

/// Hashes as proofs have them.
pub(crate) fn hashes(hex: &[String]) -> Result<Vec<TreeHash>, CliError> {
    let parsed: Result<Vec<TreeHash>, _> = hex.iter().map(|hash| hash.parse()).collect();
    parsed.map_err(|_| CliError::failed("the bastion's proof is not made of hashes"))
}

/// Origin and size of a checkpoint, unverified: to know what to ask for.
pub(crate) fn head(note: &str) -> Option<(String, u64)> {
    let note: Note = note.parse().ok()?;
    let mut lines = note.text().lines();
    Some((lines.next()?.to_owned(), lines.next()?.parse().ok()?))
}

/// The error when there is no checkpoint where one should be.
pub(crate) fn no_checkpoint() -> CliError {
    CliError::failed("what the bastion sends is not a checkpoint of a ledger")
}

fn spoiled(error: &dyn std::fmt::Display) -> CliError {
    CliError::failed(format!("what was remembered of this ledger cannot be read: {error}"))
        .hint("if you know why, delete its file in the 'ledgers' directory beside your configuration and begin anew")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Secret, Signer as _, SigningKey};

    #[test]
    fn what_was_seen_survives_and_tampering_with_it_shows() {
        let signer = SigningKey::from_seed(&Secret::new([4; 32])).unwrap();
        let key = VerifierKey::new("gate", signer.public_key()).unwrap();
        let seen = Checkpoint { origin: "gate".to_owned(), size: 7, root: TreeHash::leaf(b"x") };
        let note = seen.sign(&key, &signer).unwrap().to_string();
        assert_eq!(head(&note), Some(("gate".to_owned(), 7)));
        assert_eq!(head("gate\n7\n"), None);

        let place = tempfile::tempdir().unwrap();
        let memory = Memory::at(place.path(), "https://gate:8443");
        assert_eq!(memory.recall().unwrap(), None);
        memory.keep(&key, &note).unwrap();
        let found = memory.recall().unwrap().unwrap();
        assert_eq!((found.checkpoint().unwrap(), found.key().unwrap()), (seen, key.clone()));
        assert_eq!(Memory::at(place.path(), "https://other:8443").recall().unwrap(), None);

        memory.keep(&key, &note.replace("\n7\n", "\n3\n")).unwrap();
        assert!(memory.recall().unwrap().unwrap().checkpoint().is_err());
    }

    #[test]
    fn an_address_cannot_name_a_file_elsewhere_nor_another_ones() {
        let path = |address| Memory::at(Path::new("/c"), address).path;
        let hostile = path("../../etc/passwd\n\u{202e}");
        assert_eq!(hostile.parent(), Some(Path::new("/c/ledgers")));
        assert!(hostile.to_str().unwrap().starts_with("/c/ledgers/______etc_passwd__-"));
        assert_ne!(path("https://a/b"), path("https://a_b"));
    }
}
