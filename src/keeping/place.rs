//! A place for recordings of either kind, with the same few things that can be asked of it.
//!
//! Names are session ids with an ending: our own text. Read next: `upload.rs`.

use std::io;
use std::path::Path;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::io::AsyncReadExt as _;

use super::address::Address;
use super::bucket::Bucket;
use super::directory::Directory;
use super::fault::Fault;
use crate::config::RecordingStore;
use crate::model::{Clock, Secret, Timestamp};

/// An object's bytes as they come.
pub type Stream = BoxStream<'static, io::Result<Bytes>>;

/// A credential's name and value.
pub(super) type Credential = (String, Secret<String>);

/// Bytes read at once.
const PIECE: usize = 256 << 10;
/// The file with credentials that a service manager may hand over.
const HANDED_OVER: &str = "postern-store";
/// The largest file of credentials, in bytes.
const LARGEST: u64 = 16 << 10;

/// What became of an object that was to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// There is none any more.
    Gone,
    /// The store keeps it.
    Kept {
        /// What it says.
        why: String,
        /// Until when, where that is known.
        until: Option<Timestamp>,
    },
}

/// Where recordings are moved to.
pub struct Place {
    address: Address,
    kind: Kind,
}

enum Kind {
    Bucket(Box<Bucket>),
    Directory(Directory),
}

impl Place {
    /// The place that is configured. Credentials are read now, from the file named, from the one the service manager
    /// hands over, or from the environment.
    ///
    /// # Errors
    /// When it cannot be used as configured; nothing was sent to it yet.
    pub fn open(config: &RecordingStore, client: reqwest::Client, clock: Clock) -> Result<Self, Fault> {
        let address: Address = config.url.parse().map_err(|error| Fault::Barred(format!("{error}")))?;
        let kind = match &address {
            Address::Directory(path) => Kind::Directory(Directory(path.clone())),
            Address::Bucket { bucket, prefix } => {
                let given = credentials(config.credentials.as_deref())?;
                Kind::Bucket(Box::new(Bucket::open(bucket, prefix, config, &given, client, clock)?))
            }
        };
        Ok(Self { address, kind })
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Whether it is one of these directories or lies in one. Blocks.
    #[must_use]
    pub fn is_within(&self, directories: &[&Path]) -> bool {
        match &self.kind {
            Kind::Bucket(_) => false,
            Kind::Directory(directory) => directories.iter().any(|other| directory.is_within(other)),
        }
    }

    /// Whether what has this name is not a copy of a file but the file itself.
    ///
    /// # Errors
    /// When that could not be found out.
    pub async fn is_file(&self, name: &str, file: &Path) -> Result<bool, Fault> {
        match &self.kind {
            Kind::Bucket(_) => Ok(false),
            Kind::Directory(directory) => {
                let file = file.to_owned();
                blocking(directory, name, move |directory, name| Ok(directory.is_file(name, &file))).await
            }
        }
    }

    pub(super) async fn begin(&self, name: &str) -> Result<String, Fault> {
        match &self.kind {
            Kind::Bucket(bucket) => bucket.begin(name).await,
            Kind::Directory(directory) => blocking(directory, name, Directory::begin).await,
        }
    }

    /// Sends one whole object.
    pub(super) async fn put(&self, name: &str, bytes: Bytes) -> Result<(), Fault> {
        match &self.kind {
            Kind::Bucket(bucket) => bucket.put(name, bytes).await,
            Kind::Directory(directory) => {
                blocking(directory, name, move |directory, name| {
                    directory.begin(name)?;
                    directory.part(name, 0, &bytes)?;
                    let done = directory.complete(name, bytes.len() as u64);
                    if done == Err(Fault::Exists) {
                        directory.abort(name)?;
                    }
                    done
                })
                .await
            }
        }
    }

    /// Sends one part, the one at `offset`.
    pub(super) async fn part(
        &self,
        name: &str,
        upload: &str,
        at: (usize, u64),
        bytes: Bytes,
    ) -> Result<String, Fault> {
        let (index, offset) = at;
        match &self.kind {
            Kind::Bucket(bucket) => bucket.part(name, upload, index, bytes).await,
            Kind::Directory(directory) => {
                blocking(directory, name, move |directory, name| directory.part(name, offset, &bytes)).await
            }
        }
    }

    /// Makes one object of `length` bytes out of the parts.
    pub(super) async fn complete(
        &self,
        name: &str,
        upload: &str,
        parts: Vec<String>,
        length: u64,
    ) -> Result<(), Fault> {
        match &self.kind {
            Kind::Bucket(bucket) => bucket.complete(name, upload, parts).await,
            Kind::Directory(directory) => {
                blocking(directory, name, move |directory, name| directory.complete(name, length)).await
            }
        }
    }

    /// Throws the parts away.
    pub(super) async fn abort(&self, name: &str, upload: &str) -> Result<(), Fault> {
        match &self.kind {
            Kind::Bucket(bucket) => bucket.abort(name, upload).await,
            Kind::Directory(directory) => blocking(directory, name, Directory::abort).await,
        }
    }

    /// How long an object is.
    ///
    /// # Errors
    /// [`Fault::Missing`] when there is none.
    pub async fn size(&self, name: &str) -> Result<u64, Fault> {
        match &self.kind {
            Kind::Bucket(bucket) => bucket.size(name).await,
            Kind::Directory(directory) => blocking(directory, name, Directory::size).await,
        }
    }

    /// Removes an object for good, whatever versions of it the store keeps.
    ///
    /// # Errors
    /// When that could not be found out. A store that refuses is no error.
    pub async fn remove(&self, name: &str) -> Result<Removal, Fault> {
        match &self.kind {
            Kind::Bucket(bucket) => bucket.remove(name).await,
            Kind::Directory(directory) => blocking(directory, name, Directory::remove).await,
        }
    }

    /// An object's length and bytes.
    ///
    /// # Errors
    /// [`Fault::Missing`] when there is none.
    pub async fn read(&self, name: &str) -> Result<(u64, Stream), Fault> {
        match &self.kind {
            Kind::Bucket(bucket) => bucket.read(name).await,
            Kind::Directory(directory) => {
                let file = blocking(directory, name, Directory::open).await?;
                let length = file.metadata().map_err(|error| Fault::local("read a recording", &error))?.len();
                let pieces = futures_util::stream::try_unfold(
                    tokio::fs::File::from_std(file),
                    |mut file| async move {
                        let mut piece = vec![0; PIECE];
                        let read = file.read(&mut piece).await?;
                        piece.truncate(read);
                        Ok((read > 0).then(|| (Bytes::from(piece), file)))
                    },
                );
                Ok((length, pieces.boxed()))
            }
        }
    }
}

async fn blocking<R: Send + 'static>(
    directory: &Directory,
    name: &str,
    act: impl FnOnce(&Directory, &str) -> Result<R, Fault> + Send + 'static,
) -> Result<R, Fault> {
    let (directory, name) = (directory.clone(), name.to_owned());
    let done = tokio::task::spawn_blocking(move || act(&directory, &name)).await;
    done.map_err(|error| Fault::Transient(error.to_string()))?
}

/// The `NAME=VALUE` lines of the file with credentials, where there is one.
fn credentials(named: Option<&Path>) -> Result<Vec<Credential>, Fault> {
    let handed =
        std::env::var_os("CREDENTIALS_DIRECTORY").map(|directory| Path::new(&directory).join(HANDED_OVER));
    let path = match (named, handed) {
        (Some(path), _) => path.to_owned(),
        (None, Some(path)) if path.exists() => path,
        (None, _) => return Ok(Vec::new()),
    };
    let wrong =
        |why: &dyn std::fmt::Display| Fault::Barred(format!("credentials in {}: {why}", path.display()));
    let length = std::fs::metadata(&path).map_err(|error| wrong(&error))?.len();
    if length > LARGEST {
        return Err(wrong(&"the file is too long"));
    }
    let text = Secret::new(std::fs::read_to_string(&path).map_err(|error| wrong(&error))?);
    let lines: Vec<_> = parse(text.expose());
    let has = |name: &str| lines.iter().any(|(given, _)| given == name);
    if has("AWS_ACCESS_KEY_ID") && has("AWS_SECRET_ACCESS_KEY") {
        return Ok(lines);
    }
    Err(wrong(&"it needs the lines AWS_ACCESS_KEY_ID=… and AWS_SECRET_ACCESS_KEY=…"))
}

fn parse(text: &str) -> Vec<Credential> {
    let line = |line: &str| {
        let (name, value) = line.trim().split_once('=')?;
        let value = value.trim().trim_matches('"');
        (!name.starts_with('#')).then(|| (name.trim().to_uppercase(), Secret::new(value.to_owned())))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_from_lines_and_both_are_needed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("store");
        std::fs::write(&path, "# for recordings\nAWS_ACCESS_KEY_ID = \"a\"\naws_secret_access_key=b=c\n")
            .unwrap();
        let found = credentials(Some(&path)).unwrap();
        let found: Vec<_> =
            found.iter().map(|(name, value)| (name.as_str(), value.expose().as_str())).collect();
        assert_eq!(found, [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b=c")]);
        std::fs::write(&path, "AWS_ACCESS_KEY_ID=secret-id\n").unwrap();
        let error = credentials(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("AWS_SECRET_ACCESS_KEY") && !error.contains("secret-id"), "{error}");
        assert!(matches!(credentials(Some(&place.path().join("none"))), Err(Fault::Barred(_))));
    }
}
