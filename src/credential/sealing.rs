//! Sealing secrets at rest: an AES-256-GCM envelope under one 32-byte key that should live apart from what it seals.
//!
//! The key comes from a file, a systemd credential or, when nothing else is named, `sealing.key` in the bastion's own
//! directory (which protects backups of the other files and nothing more; `postern doctor` says so). A sealed file is
//! a line that names the format, eight bytes that say which sealing key it wants, a nonce and the ciphertext; the
//! secret's name is authenticated with it, so that one sealed file cannot stand in for another.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::keystore::KeystoreError;
use crate::model::Secret;

/// Length of a sealing key.
pub const SEALING_KEY_BYTES: usize = 32;
/// The environment variable that names a sealing key's file.
pub const KEY_FILE_VARIABLE: &str = "POSTERN_KEY_FILE";
/// The sealing key's name among systemd's credentials (`LoadCredential=postern-key:…`).
pub const SYSTEMD_CREDENTIAL: &str = "postern-key";
/// The sealing key's file inside a bastion's directory, when nothing else is named.
pub const DEFAULT_FILE: &str = "sealing.key";

/// First bytes of a sealed file.
const MAGIC: &[u8] = b"postern sealed secret v1\n";
/// Bytes that say which sealing key a file wants.
const ID_BYTES: usize = 8;
/// No key file and no sealed file is longer than this.
const LONGEST_FILE: u64 = 64 * 1024;
const OWNER_ONLY: u32 = 0o600;

const WARNING: &str = "\
# This key opens every other key of this bastion. Whoever has it and a copy of keys/ can sign in anywhere the
# bastion can. Keep it apart from them: best as a systemd credential (LoadCredential=postern-key:/path), else in a
# file on another volume (POSTERN_KEY_FILE=/path), and never in the same backup. Without it the bastion cannot start.
";

/// The key that seals the others.
pub struct SealingKey {
    key: Secret<[u8; SEALING_KEY_BYTES]>,
}

impl SealingKey {
    /// A fresh key.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn random() -> Result<Self, KeystoreError> {
        let mut key = Zeroizing::new([0_u8; SEALING_KEY_BYTES]);
        aws_lc_rs::rand::fill(&mut *key).map_err(|_| KeystoreError::Randomness)?;
        Ok(Self { key: Secret::new(*key) })
    }

    /// Where the sealing key of the bastion in `directory` is looked for: `named` (an option or the configuration),
    /// else `$POSTERN_KEY_FILE`, else the systemd credential `postern-key`, else `sealing.key` in the directory.
    #[must_use]
    pub fn path(directory: &Path, named: Option<&Path>) -> PathBuf {
        if let Some(named) = named {
            return named.to_owned();
        }
        if let Some(file) = std::env::var_os(KEY_FILE_VARIABLE).filter(|file| !file.is_empty()) {
            return file.into();
        }
        std::env::var_os("CREDENTIALS_DIRECTORY")
            .map(|credentials| Path::new(&credentials).join(SYSTEMD_CREDENTIAL))
            .filter(|path| path.exists())
            .unwrap_or_else(|| directory.join(DEFAULT_FILE))
    }

    /// Finds and reads the sealing key of the bastion in `directory`; see [`Self::path`].
    ///
    /// # Errors
    /// When it is missing, malformed or readable by others.
    pub fn find(directory: &Path, named: Option<&Path>) -> Result<Self, KeystoreError> {
        Self::read(&Self::path(directory, named))
    }

    /// Reads a key file: base64 of 32 bytes (`openssl rand -base64 32`), beside lines that begin with `#`.
    ///
    /// # Errors
    /// When it is missing, malformed or readable by others.
    pub fn read(path: &Path) -> Result<Self, KeystoreError> {
        let bytes = match read_private(path) {
            Err(KeystoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Err(KeystoreError::SealingKeyMissing { path: path.to_owned() });
            }
            other => other?,
        };
        let malformed = || KeystoreError::SealingKeyMalformed { path: path.to_owned() };
        let text = std::str::from_utf8(&bytes).map_err(|_| malformed())?;
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (Some(line), None) = (lines.next(), lines.next()) else { return Err(malformed()) };
        let decoded = Zeroizing::new(BASE64.decode(line.as_bytes()).map_err(|_| malformed())?);
        let key = <[u8; SEALING_KEY_BYTES]>::try_from(decoded.as_slice()).map_err(|_| malformed())?;
        Ok(Self { key: Secret::new(key) })
    }

    /// Writes the key to a new file, mode 0600, under a comment that says how to keep it.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), KeystoreError> {
        let encoded = Zeroizing::new(BASE64.encode(self.key.expose()));
        let text = Zeroizing::new(format!("{WARNING}{}\n", *encoded));
        write_new(path, text.as_bytes(), OWNER_ONLY)
    }

    /// Seals a secret under its name.
    pub(super) fn seal(&self, name: &str, secret: &[u8]) -> Result<Vec<u8>, KeystoreError> {
        let mut nonce = [0_u8; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| KeystoreError::Randomness)?;
        let mut sealed = Zeroizing::new(secret.to_vec());
        let tag = self
            .cipher()?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(authenticated(name)),
                &mut sealed,
            )
            .map_err(|_| KeystoreError::Cipher)?;
        let mut file = MAGIC.to_vec();
        file.extend_from_slice(&self.id());
        file.extend_from_slice(&nonce);
        file.extend_from_slice(&sealed);
        file.extend_from_slice(tag.as_ref());
        Ok(file)
    }

    /// Opens what [`Self::seal`] made. `path` is for the error's words.
    pub(super) fn open(
        &self,
        name: &str,
        file: &[u8],
        path: &Path,
    ) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
        let damaged = || KeystoreError::Damaged { path: path.to_owned() };
        let rest = file.strip_prefix(MAGIC).ok_or_else(damaged)?;
        let (id, rest) = rest.split_at_checked(ID_BYTES).ok_or_else(damaged)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
        if id != self.id() {
            return Err(KeystoreError::WrongSealingKey { path: path.to_owned() });
        }
        let mut secret = Zeroizing::new(sealed.to_vec());
        let length = self
            .cipher()?
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(authenticated(name)), &mut secret)
            .map_err(|_| damaged())?
            .len();
        secret.truncate(length);
        Ok(secret)
    }

    fn cipher(&self) -> Result<LessSafeKey, KeystoreError> {
        let key = UnboundKey::new(&AES_256_GCM, self.key.expose()).map_err(|_| KeystoreError::Cipher)?;
        Ok(LessSafeKey::new(key))
    }

    /// Which key this is, without telling it: so that a wrong key and a damaged file are different errors.
    fn id(&self) -> [u8; ID_BYTES] {
        let mut hash = Context::new(&SHA256);
        hash.update(b"postern sealing key id v1");
        hash.update(self.key.expose());
        let mut id = [0; ID_BYTES];
        id.iter_mut().zip(hash.finish().as_ref()).for_each(|(to, from)| *to = *from);
        id
    }
}

/// What is authenticated beside the ciphertext.
fn authenticated(name: &str) -> Vec<u8> {
    [MAGIC, name.as_bytes()].concat()
}

/// Reads a small file that nobody but its owner may read. systemd's own credentials directory may add the group.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
    let io = |source| KeystoreError::Io { doing: "read", path: path.to_owned(), source };
    let facts = std::fs::metadata(path).map_err(io)?;
    let in_credentials = std::env::var_os("CREDENTIALS_DIRECTORY")
        .is_some_and(|credentials| path.parent() == Some(Path::new(&credentials)));
    let forbidden = if in_credentials { 0o027 } else { 0o077 };
    if facts.mode() & forbidden != 0 {
        return Err(KeystoreError::TooOpen { path: path.to_owned(), mode: facts.mode() & 0o777 });
    }
    if facts.len() > LONGEST_FILE {
        return Err(KeystoreError::Damaged { path: path.to_owned() });
    }
    Ok(Zeroizing::new(std::fs::read(path).map_err(io)?))
}

/// Writes a file that must not exist yet, and syncs it.
pub(super) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeystoreError> {
    let io = |source| KeystoreError::Io { doing: "write", path: path.to_owned(), source };
    let mut options = std::fs::OpenOptions::new();
    let mut file = match options.write(true).create_new(true).mode(mode).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(KeystoreError::Exists { path: path.to_owned() });
        }
        other => other.map_err(io)?,
    };
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_file_survives_writing_and_mistakes_have_their_own_errors() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(DEFAULT_FILE);
        let missing = SealingKey::read(&path);
        assert!(matches!(missing, Err(KeystoreError::SealingKeyMissing { .. })));
        let key = SealingKey::random().unwrap();
        key.write(&path).unwrap();
        assert_eq!(SealingKey::find(place.path(), Some(&path)).unwrap().key.expose(), key.key.expose());
        assert!(matches!(key.write(&path), Err(KeystoreError::Exists { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(SealingKey::read(&path), Err(KeystoreError::TooOpen { mode: 0o640, .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        for bad in ["", "# only words\n", "AAAA\n", "not base64!\n"] {
            std::fs::write(&path, bad).unwrap();
            assert!(
                matches!(SealingKey::read(&path), Err(KeystoreError::SealingKeyMalformed { .. })),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_sealed_secret_opens_under_its_key_and_name_and_no_byte_of_it_can_change(
            secret in proptest::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), bit in 0_u8..8,
        ) {
            let (key, other) = (SealingKey::random().unwrap(), SealingKey::random().unwrap());
            let file = key.seal("node", &secret).unwrap();
            let path = Path::new("node.sealed");
            prop_assert_eq!(&*key.open("node", &file, path).unwrap(), &secret);
            prop_assert!(key.open("user-ca", &file, path).is_err());
            let wrong = matches!(other.open("node", &file, path), Err(KeystoreError::WrongSealingKey { .. }));
            prop_assert!(wrong);
            let mut altered = file;
            *at.get_mut(&mut altered) ^= 1 << bit;
            prop_assert!(key.open("node", &altered, path).is_err());
        }
    }
}
