//! Replacing the bastion's own keys, in two steps, and sealing them anew.
//!
//! A key that others trust cannot change from one moment to the next: its successor is prepared beside it
//! (`NAME.next.*`), made known, and then put in its place. The node reads its keys when it starts, so both steps may be
//! taken while it serves. Every step can be taken again after a crash in its middle. The node's own signing key is not
//! among those that change: the ledger is signed with it from its first entry.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use russh::keys::PublicKey;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::database_ca::{read_database_ca, write_database_ca};
use super::keystore::{
    API_TLS, DATABASE_CA, HOST_CA, KEYS, KeystoreError, OWNER_ONLY, SSH_HOST_KEY, USER_CA, fingerprint,
    read_seed, read_tls, ssh_key, sync_directory, write_seed, write_tls,
};
use super::sealing::{SealingKey, read_private, write_new};
use crate::model::Clock;

/// Marks a successor's files.
const NEXT: &str = ".next";
/// Marks a file that is being sealed anew.
const RESEALED: &str = "resealed";

/// A key of the bastion that can be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Rotated {
    /// The API's TLS key and certificate; clients pin its fingerprint.
    ApiTls,
    /// Signs the bastion's certificates for databases; their servers trust it.
    DatabaseCa,
    /// Signs host certificates for jump hosts; operators trust it.
    HostCa,
    /// The bastion's own SSH host key; operators' clients remember it.
    SshHostKey,
    /// Signs sessions' certificates; targets trust it.
    UserCa,
}

impl Rotated {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::UserCa, Self::DatabaseCa, Self::HostCa, Self::SshHostKey, Self::ApiTls];

    /// The name of its files, and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApiTls => API_TLS,
            Self::DatabaseCa => DATABASE_CA,
            Self::HostCa => HOST_CA,
            Self::SshHostKey => SSH_HOST_KEY,
            Self::UserCa => USER_CA,
        }
    }

    /// Its public half's ending.
    const fn ending(self) -> &'static str {
        match self {
            Self::ApiTls | Self::DatabaseCa => "pem",
            Self::HostCa | Self::SshHostKey | Self::UserCa => "pub",
        }
    }
}

/// The public halves of one key: what is in force, and what is prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halves {
    /// In force from the node's next start on, if not already.
    pub now: String,
    /// Prepared to follow.
    pub next: Option<String>,
}

/// Whether there is such a key: a bastion of an earlier version gets what it lacks at its next start.
#[must_use]
pub fn exists(directory: &Path, key: Rotated) -> bool {
    public_path(&directory.join(KEYS), key, "").exists()
}

/// What others know of a key: an OpenSSH public line, or a certificate's fingerprint.
///
/// # Errors
/// When a file is missing or damaged.
pub fn halves(directory: &Path, key: Rotated) -> Result<Halves, KeystoreError> {
    let keys = directory.join(KEYS);
    let (now, next) = (public_path(&keys, key, ""), public_path(&keys, key, NEXT));
    let next = next.exists().then(|| half(&next, key)).transpose()?;
    Ok(Halves { now: half(&now, key)?, next })
}

/// Makes a key's successor, sealed, and leaves the key as it is.
///
/// # Errors
/// [`KeystoreError::Exists`] when one is prepared already.
pub fn prepare(
    directory: &Path,
    sealing: &SealingKey,
    key: Rotated,
    server_names: &[String],
    clock: &Clock,
) -> Result<Halves, KeystoreError> {
    let keys = directory.join(KEYS);
    let (sealed, public) = (sealed_path(&keys, key, NEXT), public_path(&keys, key, NEXT));
    if sealed.exists() && !public.exists() {
        // A preparation that was cut short: the public half is written last, so nobody knows of this one.
        std::fs::remove_file(&sealed).map_err(|source| KeystoreError::Io {
            doing: "replace",
            path: sealed.clone(),
            source,
        })?;
    }
    match key {
        Rotated::ApiTls => write_tls(&keys, sealing, NEXT, server_names, clock)?,
        Rotated::DatabaseCa => write_database_ca(&keys, sealing, NEXT, clock)?,
        Rotated::HostCa | Rotated::SshHostKey | Rotated::UserCa => {
            write_seed(&keys, sealing, key.name(), NEXT)?;
        }
    }
    synced(&keys)?;
    halves(directory, key)
}

/// Puts the prepared successor in a key's place. The old one is gone; its public half is given back.
///
/// # Errors
/// [`KeystoreError::NothingPrepared`], or when the successor does not open and match its public half: then nothing is
/// changed.
pub fn rotate(directory: &Path, sealing: &SealingKey, key: Rotated) -> Result<String, KeystoreError> {
    let keys = directory.join(KEYS);
    let Halves { now: old, next } = halves(directory, key)?;
    if sealed_path(&keys, key, NEXT).exists() {
        let found = match key {
            Rotated::ApiTls => read_tls(&keys, sealing, NEXT)?.fingerprint(),
            Rotated::DatabaseCa => fingerprint(read_database_ca(&keys, sealing, NEXT)?.certificate()),
            Rotated::HostCa | Rotated::SshHostKey | Rotated::UserCa => {
                let seed = read_seed(&keys, sealing, key.name(), NEXT)?;
                ssh_key(&seed, &format!("postern-{}", key.name()))?.public_key().to_openssh()?
            }
        };
        if next != Some(found) {
            return Err(KeystoreError::NothingPrepared { name: key.name() });
        }
    }
    let files = [
        (sealed_path(&keys, key, NEXT), sealed_path(&keys, key, "")),
        (public_path(&keys, key, NEXT), public_path(&keys, key, "")),
    ];
    let mut moved = false;
    // One of the two may have been moved before a crash.
    for (from, to) in files.iter().filter(|(from, _)| from.exists()) {
        rename(from, to)?;
        moved = true;
    }
    synced(&keys)?;
    if moved { Ok(old) } else { Err(KeystoreError::NothingPrepared { name: key.name() }) }
}

/// Seals every key anew, under another sealing key. The files that are sealed under it already stay as they are.
///
/// # Errors
/// When a file opens under neither.
pub fn reseal(directory: &Path, from: &SealingKey, to: &SealingKey) -> Result<usize, KeystoreError> {
    let keys = directory.join(KEYS);
    let io = |source| KeystoreError::Io { doing: "read", path: keys.clone(), source };
    let mut sealed = 0;
    let entries: Vec<_> = std::fs::read_dir(&keys).and_then(Iterator::collect).map_err(io)?;
    for path in entries.iter().map(std::fs::DirEntry::path) {
        if path.extension() != Some(OsStr::new("sealed")) {
            continue;
        }
        let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
        let name = stem.strip_suffix(NEXT).unwrap_or(stem);
        let file = read_private(&path)?;
        let secret = match from.open(name, &file, &path) {
            Err(KeystoreError::WrongSealingKey { .. }) if to.open(name, &file, &path).is_ok() => continue,
            opened => opened?,
        };
        let beside = path.with_extension(RESEALED);
        std::fs::remove_file(&beside).ok();
        write_new(&beside, &to.seal(name, &secret)?, OWNER_ONLY)?;
        rename(&beside, &path)?;
        sealed += 1;
    }
    synced(&keys)?;
    Ok(sealed)
}

fn half(path: &Path, key: Rotated) -> Result<String, KeystoreError> {
    let damaged = || KeystoreError::Damaged { path: path.to_owned() };
    let io = |source| KeystoreError::Io { doing: "read", path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(io)?;
    match key {
        Rotated::ApiTls | Rotated::DatabaseCa => CertificateDer::from_pem_slice(text.as_bytes())
            .map(|der| fingerprint(&der))
            .map_err(|_| damaged()),
        Rotated::HostCa | Rotated::SshHostKey | Rotated::UserCa => {
            PublicKey::from_openssh(text.trim()).map_err(|_| damaged())?;
            Ok(text.trim().to_owned())
        }
    }
}

fn sealed_path(keys: &Path, key: Rotated, which: &str) -> PathBuf {
    keys.join(format!("{}{which}.sealed", key.name()))
}

fn public_path(keys: &Path, key: Rotated, which: &str) -> PathBuf {
    keys.join(format!("{}{which}.{}", key.name(), key.ending()))
}

fn rename(from: &Path, to: &Path) -> Result<(), KeystoreError> {
    let io = |source| KeystoreError::Io { doing: "replace", path: to.to_owned(), source };
    std::fs::rename(from, to).map_err(io)
}

fn synced(keys: &Path) -> Result<(), KeystoreError> {
    let io = |source| KeystoreError::Io { doing: "sync", path: keys.to_owned(), source };
    sync_directory(keys).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::super::Keystore;
    use super::*;

    fn made() -> (tempfile::TempDir, SealingKey) {
        let place = tempfile::tempdir().unwrap();
        let sealing = SealingKey::random().unwrap();
        Keystore::create(place.path(), &sealing, &["localhost".to_owned()], &Clock::system()).unwrap();
        (place, sealing)
    }

    fn public(place: &Path, sealing: &SealingKey) -> Vec<String> {
        let keys = Keystore::open(place, sealing).unwrap();
        let line = |key: &russh::keys::PrivateKey| bare(&key.public_key().to_openssh().unwrap());
        vec![
            line(keys.user_ca()),
            fingerprint(keys.database_ca().unwrap().certificate()),
            line(keys.host_ca()),
            line(keys.ssh_host_key()),
            keys.api_tls().fingerprint(),
            format!("{:?}", crate::model::Signer::public_key(&*keys.signer())),
        ]
    }

    /// A public line without its comment; a fingerprint as it is.
    fn bare(line: &str) -> String {
        line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_successor_changes_nothing_until_it_takes_its_place_and_then_only_that() {
        let (place, sealing) = made();
        for (at, key) in Rotated::ALL.into_iter().enumerate() {
            let before = public(place.path(), &sealing);
            assert!(matches!(
                rotate(place.path(), &sealing, key),
                Err(KeystoreError::NothingPrepared { .. })
            ));
            let names = ["localhost".to_owned()];
            let halves = prepare(place.path(), &sealing, key, &names, &Clock::system()).unwrap();
            assert_eq!(public(place.path(), &sealing), before, "prepared is not in force");
            assert_eq!(bare(&halves.now), before[at]);
            let again = prepare(place.path(), &sealing, key, &names, &Clock::system());
            assert!(
                matches!(again, Err(KeystoreError::Exists { .. })),
                "a second would replace the first unseen"
            );
            assert_eq!(bare(&rotate(place.path(), &sealing, key).unwrap()), before[at]);
            let after = public(place.path(), &sealing);
            assert_eq!(Some(after[at].clone()), halves.next.as_deref().map(bare));
            let same = |other: usize| other == at || after[other] == before[other];
            assert!((0..after.len()).all(same), "only this one");
        }
    }

    #[test]
    fn a_rotation_that_a_crash_cut_in_half_is_finished_by_the_next() {
        let (place, sealing) = made();
        let halves = prepare(place.path(), &sealing, Rotated::UserCa, &[], &Clock::system()).unwrap();
        let keys = place.path().join(KEYS);
        std::fs::rename(sealed_path(&keys, Rotated::UserCa, NEXT), sealed_path(&keys, Rotated::UserCa, ""))
            .unwrap();
        rotate(place.path(), &sealing, Rotated::UserCa).unwrap();
        assert_eq!(Some(public(place.path(), &sealing)[0].clone()), halves.next.as_deref().map(bare));
    }

    #[test]
    fn a_successor_that_is_not_whole_never_takes_the_place_of_a_good_key() {
        let (place, sealing) = made();
        let before = public(place.path(), &sealing);
        let keys = place.path().join(KEYS);
        let prepared = || prepare(place.path(), &sealing, Rotated::UserCa, &[], &Clock::system());
        prepared().unwrap();
        let (sealed, public_half) =
            (sealed_path(&keys, Rotated::UserCa, NEXT), keys.join("user-ca.next.pub"));
        std::fs::remove_file(&public_half).unwrap();
        assert!(rotate(place.path(), &sealing, Rotated::UserCa).is_err(), "nobody can have been told of it");
        prepared().unwrap();
        std::fs::write(&sealed, &read_private(&sealed).unwrap()[..40]).unwrap();
        assert!(rotate(place.path(), &sealing, Rotated::UserCa).is_err(), "cut short");
        assert_eq!(public(place.path(), &sealing), before);
    }

    #[test]
    fn keys_sealed_anew_open_under_the_new_key_alone_also_after_a_crash_midway() {
        let (place, old) = made();
        prepare(place.path(), &old, Rotated::HostCa, &[], &Clock::system()).unwrap();
        let before = public(place.path(), &old);
        let new = SealingKey::random().unwrap();
        let half_way = place.path().join(KEYS).join("node.sealed");
        let secret = old.open("node", &read_private(&half_way).unwrap(), &half_way).unwrap();
        std::fs::remove_file(&half_way).unwrap();
        write_new(&half_way, &new.seal("node", &secret).unwrap(), OWNER_ONLY).unwrap();
        assert_eq!(reseal(place.path(), &old, &new).unwrap(), 6);
        assert_eq!(public(place.path(), &new), before);
        assert!(Keystore::open(place.path(), &old).is_err());
        rotate(place.path(), &new, Rotated::HostCa).unwrap();
        assert_ne!(public(place.path(), &new), before, "the successor was sealed anew with the others");
        let stranger = SealingKey::random().unwrap();
        let wrong = reseal(place.path(), &stranger, &old);
        assert!(matches!(wrong, Err(KeystoreError::WrongSealingKey { .. })));
    }
}
