//! What a witness keeps on disk: its key, and for each ledger the key it trusts and the newest head it signed.
//!
//! ```text
//! DIRECTORY/
//!   key                  the witness's secret key, one line (PRIVATE+KEY+NAME+ID+KEY)
//!   lock                 held by the process that serves
//!   ledgers/HASH.json    a ledger, by the hash of its name
//!   evidence/            submissions that contradict what was signed, as they came
//! ```
//!
//! A head is replaced as a whole and synced before anybody hears of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::ledger::{NoteError, TreeHash, VerifierKey, WitnessKey};
use crate::model::{Secret, SignError, Signer as _, SigningKey};

const KEY: &str = "key";
const LEDGERS: &str = "ledgers";
const EVIDENCE: &str = "evidence";
/// What the secret key's line begins with.
const PRIVATE: &str = "PRIVATE+KEY+";
/// The most submissions kept as evidence: the first ones say it all.
const MOST_EVIDENCE: usize = 1_000;
/// Characters of a hash in a file's name.
const NAME: usize = 32;

/// Why a witness cannot work.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// There is one already.
    #[error("{path} is a witness's directory already: nothing was changed")]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// Another process serves it.
    #[error("{path} is in use by another witness: stop that one first")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A file could not be used.
    #[error("could not use {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] SignError),
    /// A ledger is known under another key.
    #[error("the ledger {origin} is known here under another key; only if it was begun anew, remove {path}")]
    OtherKey {
        /// The ledger's name.
        origin: String,
        /// Its file.
        path: PathBuf,
    },
    /// A file does not say what it should.
    #[error("{path} cannot be read as what it should be: restore it from a copy, or retire this witness")]
    Spoiled {
        /// Which file.
        path: PathBuf,
    },
    /// The name is none.
    #[error(
        "a witness's name has no spaces and no '+'; use a host name and a word, such as witness.example/w1"
    )]
    Name(#[from] NoteError),
}

/// A ledger as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    /// The key that signs its heads.
    pub(super) key: String,
    /// The newest head signed here, as a note; nothing before the first.
    pub(super) checkpoint: Option<String>,
}

/// A witness's directory.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
}

impl Files {
    /// Makes a directory with a new key under a name.
    pub(super) fn init(directory: &Path, name: &str) -> Result<WitnessKey, WitnessError> {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| SignError::Unusable)?;
        let seed = Secret::new(seed);
        let key = WitnessKey::new(name, SigningKey::from_seed(&seed)?.public_key())?;
        let path = directory.join(KEY);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory.join(LEDGERS))
            .map_err(io_at(directory))?;
        let id = key.to_string();
        let id = id.split('+').nth(1).unwrap_or_default();
        let bytes = Secret::new([&[4], seed.expose().as_slice()].concat());
        let line = Secret::new(format!("{PRIVATE}{name}+{id}+{}\n", BASE64.encode(bytes.expose())));
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = match made {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(WitnessError::Exists { path: directory.to_owned() });
            }
            file => file.map_err(io_at(&path))?,
        };
        file.write_all(line.expose().as_bytes()).and_then(|()| file.sync_all()).map_err(io_at(&path))?;
        sync(directory)?;
        Ok(key)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn at(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The key and its name.
    pub(super) fn key(&self) -> Result<(WitnessKey, SigningKey), WitnessError> {
        let path = self.directory.join(KEY);
        let text = Secret::new(fs::read_to_string(&path).map_err(io_at(&path))?);
        let spoiled = || WitnessError::Spoiled { path: path.clone() };
        let mut parts = text.expose().trim_end().strip_prefix(PRIVATE).ok_or_else(spoiled)?.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(spoiled());
        };
        let bytes = Secret::new(BASE64.decode(key.as_bytes()).map_err(|_| spoiled())?);
        let seed = bytes.expose().get(1..).and_then(|seed| seed.try_into().ok()).ok_or_else(spoiled)?;
        let signer = SigningKey::from_seed(&Secret::new(seed))?;
        Ok((WitnessKey::new(name, signer.public_key())?, signer))
    }

    /// Holds the directory for this process for as long as the file lives.
    pub(super) fn lock(&self) -> Result<File, WitnessError> {
        let path = self.directory.join("lock");
        let mut options = OpenOptions::new();
        let file =
            options.write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(io_at(&path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(WitnessError::InUse { path: self.directory.clone() }),
            Err(error) => Err(io_at(&path)(error.into())),
        }
    }

    /// A ledger that is trusted here.
    pub(super) fn ledger(&self, origin: &str) -> Result<Option<Kept>, WitnessError> {
        let path = self.path(origin);
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|_| WitnessError::Spoiled { path }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_at(&path)(error)),
        }
    }

    /// All of them.
    pub(super) fn ledgers(&self) -> Result<Vec<Kept>, WitnessError> {
        let directory = self.directory.join(LEDGERS);
        let mut found = Vec::new();
        for entry in fs::read_dir(&directory).map_err(io_at(&directory))? {
            let path = entry.map_err(io_at(&directory))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let text = fs::read_to_string(&path).map_err(io_at(&path))?;
                found.push(serde_json::from_str(&text).map_err(|_| WitnessError::Spoiled { path })?);
            }
        }
        Ok(found)
    }

    /// Trusts a ledger from now on. One that is known under this key already stays as it is.
    pub(super) fn trust(&self, key: &VerifierKey) -> Result<(), WitnessError> {
        if let Some(kept) = self.ledger(key.name())? {
            let (origin, path) = (key.name().to_owned(), self.path(key.name()));
            return if kept.key == key.to_string() {
                Ok(())
            } else {
                Err(WitnessError::OtherKey { origin, path })
            };
        }
        self.write(key.name(), &Kept { key: key.to_string(), checkpoint: None }, false)
    }

    /// Forgets a ledger; what was known of it is kept as evidence. Says whether there was one.
    pub(super) fn forget(&self, origin: &str, at: &str) -> Result<bool, WitnessError> {
        let path = self.path(origin);
        let evidence = self.evidence()?;
        match fs::rename(&path, evidence.join(format!("{}-until-{at}.json", name_of(origin)))) {
            Ok(()) => sync(&evidence).and_then(|()| sync(&self.directory.join(LEDGERS))).map(|()| true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(io_at(&path)(error)),
        }
    }

    /// Makes a new head durable.
    pub(super) fn keep(&self, origin: &str, kept: &Kept) -> Result<(), WitnessError> {
        self.write(origin, kept, true)
    }

    fn write(&self, origin: &str, kept: &Kept, may_replace: bool) -> Result<(), WitnessError> {
        let (path, directory) = (self.path(origin), self.directory.join(LEDGERS));
        let text =
            serde_json::to_vec_pretty(kept).map_err(|_| WitnessError::Spoiled { path: path.clone() })?;
        let mut file = tempfile::NamedTempFile::new_in(&directory).map_err(io_at(&directory))?;
        file.write_all(&text).and_then(|()| file.as_file().sync_all()).map_err(io_at(&path))?;
        let kept = if may_replace { file.persist(&path) } else { file.persist_noclobber(&path) };
        kept.map_err(|error| io_at(&path)(error.error))?;
        sync(&directory)
    }

    /// Waits until no other process changes the ledgers; for as long as the file lives.
    pub(super) fn alone(&self) -> Result<File, WitnessError> {
        let path = self.directory.join("changing");
        let mut options = OpenOptions::new();
        let file =
            options.write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(io_at(&path))?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| io_at(&path)(error.into()))?;
        Ok(file)
    }

    /// Keeps a submission that contradicts what was signed: one for each head, whatever came with it.
    pub(super) fn accuse(&self, head: &str, submission: &str) -> Result<(), WitnessError> {
        let directory = self.evidence()?;
        if fs::read_dir(&directory).map_err(io_at(&directory))?.count() >= MOST_EVIDENCE {
            return Ok(());
        }
        let path = directory.join(format!("{}.txt", name_of(head)));
        let mut file = File::create(&path).map_err(io_at(&path))?;
        file.write_all(submission.as_bytes()).and_then(|()| file.sync_all()).map_err(io_at(&path))?;
        sync(&directory)
    }

    fn evidence(&self) -> Result<PathBuf, WitnessError> {
        let directory = self.directory.join(EVIDENCE);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(io_at(&directory))?;
        Ok(directory)
    }

    fn path(&self, origin: &str) -> PathBuf {
        self.directory.join(LEDGERS).join(format!("{}.json", name_of(origin)))
    }
}

/// A file's name for any text.
fn name_of(text: &str) -> String {
    TreeHash::leaf(text.as_bytes()).to_string().chars().take(NAME).collect()
}

fn sync(directory: &Path) -> Result<(), WitnessError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(io_at(directory))
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> WitnessError {
    let path = path.to_owned();
    move |source| WitnessError::Io { path, source }
}
