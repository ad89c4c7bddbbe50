//! The bastion's own keys: made once by `postern init`, sealed at rest, opened once when the node starts.
//!
//! `keys/` in the bastion's directory holds, for each key, the sealed secret and its public half in clear: the user CA
//! that targets trust, the host CA that operators trust, the SSH host key, the node's signing key (recordings and
//! checkpoints), the API's TLS key, and the CA that databases know the bastion by. Sessions' credentials are never
//! here: those exist in memory only (`lease.rs`). How a file is sealed, and where the sealing key comes from, is in `sealing.rs`.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::BASE64_NOPAD;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{PrivateKey, PublicKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::database_ca::{DatabaseCa, read_database_ca, write_database_ca};
use super::sealing::{SealingKey, read_private, write_new};
use crate::model::{Clock, PUBLIC_KEY_BYTES, Secret, SigningKey};

/// The directory of keys inside a bastion's directory.
pub const KEYS: &str = "keys";

pub(super) const USER_CA: &str = "user-ca";
pub(super) const HOST_CA: &str = "host-ca";
pub(super) const SSH_HOST_KEY: &str = "ssh-host-key";
const NODE: &str = "node";
pub(super) const API_TLS: &str = "api-tls";
pub(super) const DATABASE_CA: &str = "database-ca";
const SEED_BYTES: usize = 32;
/// Years the API's own certificate lasts. Clients pin its fingerprint, so its end is housekeeping and no safeguard.
const TLS_YEARS: i16 = 10;
pub(super) const OWNER_ONLY: u32 = 0o600;
const OWNER_ONLY_DIRECTORY: u32 = 0o700;
pub(super) const READABLE: u32 = 0o644;

/// Every key of the bastion, open.
pub struct Keystore {
    user_ca: Arc<PrivateKey>,
    host_ca: Arc<PrivateKey>,
    ssh_host_key: Arc<PrivateKey>,
    signer: Arc<SigningKey>,
    api_tls: ApiTls,
    database_ca: Option<DatabaseCa>,
}

/// What the API shows as TLS server.
pub struct ApiTls {
    /// The certificate, and what it chains to where there is such.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

/// Why the keys could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// The cipher failed for a reason the library does not tell.
    #[error("the cipher failed on this machine")]
    Cipher,
    /// A file is not what was sealed.
    #[error("{path} is damaged: it is not what was sealed. Restore it from your backup")]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// Something is there already.
    #[error("{path} exists already, and is left as it is")]
    Exists {
        /// What.
        path: PathBuf,
    },
    /// The file system said no.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// The verb.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    MakeCertificate(#[from] rcgen::Error),
    /// An SSH key could not be made or encoded.
    #[error("cannot make an SSH key: {0}")]
    MakeSshKey(#[from] russh::keys::ssh_key::Error),
    /// There is no successor to put in a key's place.
    #[error("no successor of {name} is prepared: postern keys prepare {name}")]
    NothingPrepared {
        /// Which key.
        name: &'static str,
    },
    /// The system has no randomness.
    #[error("the system has no randomness to make keys from")]
    Randomness,
    /// The sealing key is not where it is looked for.
    #[error(
        "the sealing key is not at {path}: name it with POSTERN_KEY_FILE=/path, or give systemd \
         LoadCredential=postern-key:/path. Without it the bastion's keys cannot be opened"
    )]
    SealingKeyMissing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The sealing key's file holds something else.
    #[error(
        "{path} is no sealing key: one line with base64 of 32 bytes is expected (openssl rand -base64 32)"
    )]
    SealingKeyMalformed {
        /// Which file.
        path: PathBuf,
    },
    /// Others may read a secret.
    #[error("{path} may be read by others (mode {mode:03o}): chmod 600 it, and think about who has read it")]
    TooOpen {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The sealing key is another one.
    #[error("the sealing key does not open {path}: it is another bastion's, or an older one")]
    WrongSealingKey {
        /// Which sealed file.
        path: PathBuf,
    },
}

impl Keystore {
    /// Makes every key of a new bastion and seals them into `directory`/keys, whole or not at all.
    ///
    /// # Errors
    /// See [`KeystoreError`]; [`KeystoreError::Exists`] when there are keys already.
    pub fn create(
        directory: &Path,
        sealing: &SealingKey,
        server_names: &[String],
        clock: &Clock,
    ) -> Result<Self, KeystoreError> {
        let keys = directory.join(KEYS);
        if keys.exists() {
            return Err(KeystoreError::Exists { path: keys });
        }
        // Made beside its place and moved there when complete, so that a crash leaves no half set of keys.
        let unfinished = tempfile::Builder::new()
            .prefix(".keys-")
            .tempdir_in(directory)
            .map_err(|source| KeystoreError::Io { doing: "write in", path: directory.to_owned(), source })?;
        let inside = unfinished.path().join(KEYS);
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| KeystoreError::Io { doing, path, source }
        };
        DirBuilder::new().mode(OWNER_ONLY_DIRECTORY).create(&inside).map_err(io("make", &inside))?;
        for name in [USER_CA, HOST_CA, SSH_HOST_KEY, NODE] {
            write_seed(&inside, sealing, name, "")?;
        }
        write_tls(&inside, sealing, "", server_names, clock)?;
        write_database_ca(&inside, sealing, "", clock)?;
        sync_directory(&inside).map_err(io("sync", &inside))?;
        std::fs::rename(&inside, &keys).map_err(io("move", &inside))?;
        sync_directory(directory).map_err(io("sync", directory))?;
        Self::open(directory, sealing)
    }

    /// Makes what a bastion of an earlier version has no key for: the CA that databases know it by.
    ///
    /// # Errors
    /// See [`KeystoreError`].
    pub fn complete(directory: &Path, sealing: &SealingKey, clock: &Clock) -> Result<(), KeystoreError> {
        let keys = directory.join(KEYS);
        let (sealed, public) = (sealed_path(&keys, DATABASE_CA), keys.join(format!("{DATABASE_CA}.pem")));
        // Of one that is public somebody may know: it is never made anew.
        if public.exists() {
            return Ok(());
        }
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| KeystoreError::Io { doing, path, source }
        };
        if sealed.exists() {
            // It was cut short: the public half is written last, so nobody knows of this one.
            std::fs::remove_file(&sealed).map_err(io("replace", &sealed))?;
        }
        write_database_ca(&keys, sealing, "", clock)?;
        sync_directory(&keys).map_err(io("sync", &keys))
    }

    /// Opens the keys of the bastion in `directory`.
    ///
    /// # Errors
    /// See [`KeystoreError`].
    pub fn open(directory: &Path, sealing: &SealingKey) -> Result<Self, KeystoreError> {
        let keys = directory.join(KEYS);
        let signer = SigningKey::from_seed(&read_seed(&keys, sealing, NODE, "")?)
            .map_err(|_| KeystoreError::Damaged { path: sealed_path(&keys, NODE) })?;
        let ssh = |name, comment| ssh_key(&read_seed(&keys, sealing, name, "")?, comment);
        Ok(Self {
            user_ca: ssh(USER_CA, "postern-user-ca")?,
            host_ca: ssh(HOST_CA, "postern-host-ca")?,
            ssh_host_key: ssh(SSH_HOST_KEY, "postern")?,
            signer: Arc::new(signer),
            api_tls: read_tls(&keys, sealing, "")?,
            database_ca: match keys.join(format!("{DATABASE_CA}.pem")).exists() {
                true => Some(read_database_ca(&keys, sealing, "")?),
                false => None,
            },
        })
    }

    /// The CA that databases know the bastion by; `None` before [`Self::complete`] in the directory of an earlier
    /// version.
    #[must_use]
    pub const fn database_ca(&self) -> Option<&DatabaseCa> {
        self.database_ca.as_ref()
    }

    /// The key that signs sessions' certificates; targets trust it.
    #[must_use]
    pub const fn user_ca(&self) -> &Arc<PrivateKey> {
        &self.user_ca
    }

    /// The key that signs host certificates for targets reached through a jump; operators trust it.
    #[must_use]
    pub const fn host_ca(&self) -> &Arc<PrivateKey> {
        &self.host_ca
    }

    /// The bastion's own SSH host key.
    #[must_use]
    pub const fn ssh_host_key(&self) -> &Arc<PrivateKey> {
        &self.ssh_host_key
    }

    /// The node's key, which signs recordings and the ledger's checkpoints.
    #[must_use]
    pub fn signer(&self) -> Arc<SigningKey> {
        Arc::clone(&self.signer)
    }

    /// What the API shows as TLS server.
    #[must_use]
    pub const fn api_tls(&self) -> &ApiTls {
        &self.api_tls
    }
}

impl ApiTls {
    /// The certificate's fingerprint, as clients pin it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.chain.first().map(fingerprint).unwrap_or_default()
    }
}

/// A certificate's fingerprint: `SHA256:` and base64 without padding, like an SSH key's.
#[must_use]
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    format!("SHA256:{}", BASE64_NOPAD.encode(digest.as_ref()))
}

/// The public half of the node's key, as it lies beside the sealed one: what anybody needs to check what it signed.
///
/// # Errors
/// When its file is missing or damaged.
pub fn node_key(directory: &Path) -> Result<[u8; PUBLIC_KEY_BYTES], KeystoreError> {
    let path = directory.join(KEYS).join(format!("{NODE}.pub"));
    let text = std::fs::read_to_string(&path).map_err(|source| KeystoreError::Io {
        doing: "read",
        path: path.clone(),
        source,
    })?;
    let key = PublicKey::from_openssh(text.trim_end()).ok();
    let key = key.as_ref().and_then(|key| key.key_data().ed25519()).map(|key| key.0);
    key.ok_or(KeystoreError::Damaged { path })
}

/// The certificate of the CA that databases know the bastion by, in PEM, as it lies beside the sealed key.
///
/// # Errors
/// When its file is missing.
pub fn database_ca(directory: &Path) -> Result<String, KeystoreError> {
    let path = directory.join(KEYS).join(format!("{DATABASE_CA}.pem"));
    std::fs::read_to_string(&path).map_err(|source| KeystoreError::Io { doing: "read", path, source })
}

pub(super) fn sealed_path(keys: &Path, name: &str) -> PathBuf {
    keys.join(format!("{name}.sealed"))
}

/// Makes a key; `which` is added to the names of its files, and not to the name it is sealed under.
pub(super) fn write_seed(
    keys: &Path,
    sealing: &SealingKey,
    name: &str,
    which: &str,
) -> Result<(), KeystoreError> {
    let mut seed = Zeroizing::new([0_u8; SEED_BYTES]);
    aws_lc_rs::rand::fill(&mut *seed).map_err(|_| KeystoreError::Randomness)?;
    let file = format!("{name}{which}");
    write_new(&sealed_path(keys, &file), &sealing.seal(name, &*seed)?, OWNER_ONLY)?;
    let public = ssh_key(&Secret::new(*seed), &format!("postern-{name}"))?.public_key().to_openssh()?;
    write_new(&keys.join(format!("{file}.pub")), format!("{public}\n").as_bytes(), READABLE)
}

/// Opens a key; `which` as in [`write_seed`].
pub(super) fn read_seed(
    keys: &Path,
    sealing: &SealingKey,
    name: &str,
    which: &str,
) -> Result<Secret<[u8; SEED_BYTES]>, KeystoreError> {
    let path = sealed_path(keys, &format!("{name}{which}"));
    let secret = sealing.open(name, &read_private(&path)?, &path)?;
    <[u8; SEED_BYTES]>::try_from(secret.as_slice())
        .map(Secret::new)
        .map_err(|_| KeystoreError::Damaged { path })
}

pub(super) fn ssh_key(
    seed: &Secret<[u8; SEED_BYTES]>,
    comment: &str,
) -> Result<Arc<PrivateKey>, KeystoreError> {
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(seed.expose()));
    Ok(Arc::new(PrivateKey::new(pair, comment)?))
}

/// Makes the API's key and certificate; `which` as in [`write_seed`].
pub(super) fn write_tls(
    keys: &Path,
    sealing: &SealingKey,
    which: &str,
    server_names: &[String],
    clock: &Clock,
) -> Result<(), KeystoreError> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut asked = rcgen::CertificateParams::new(server_names.to_vec())?;
    asked.distinguished_name = rcgen::DistinguishedName::new();
    asked.distinguished_name.push(rcgen::DnType::CommonName, "Postern API");
    let today = clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let month = u8::try_from(today.month()).unwrap_or(1);
    asked.not_before = rcgen::date_time_ymd(i32::from(today.year()), month, 1);
    asked.not_after = rcgen::date_time_ymd(i32::from(today.year().saturating_add(TLS_YEARS)), month, 1);
    asked.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = asked.self_signed(&key)?;
    let secret = Zeroizing::new(key.serialize_der());
    let file = format!("{API_TLS}{which}");
    write_new(&sealed_path(keys, &file), &sealing.seal(API_TLS, &secret)?, OWNER_ONLY)?;
    write_new(&keys.join(format!("{file}.pem")), certificate.pem().as_bytes(), READABLE)
}

/// Opens the API's key; `which` as in [`write_seed`].
pub(super) fn read_tls(keys: &Path, sealing: &SealingKey, which: &str) -> Result<ApiTls, KeystoreError> {
    let file = format!("{API_TLS}{which}");
    let sealed = sealed_path(keys, &file);
    let secret = sealing.open(API_TLS, &read_private(&sealed)?, &sealed)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(secret.to_vec()));
    Ok(ApiTls { chain: read_chain(keys, &file)?.1, key })
}

/// Certificates in their file beside a sealed key; at least one.
pub(super) fn read_chain(
    keys: &Path,
    file: &str,
) -> Result<(PathBuf, Vec<CertificateDer<'static>>), KeystoreError> {
    let path = keys.join(format!("{file}.pem"));
    let text = std::fs::read(&path).map_err(|source| KeystoreError::Io {
        doing: "read",
        path: path.clone(),
        source,
    })?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok((path, chain)),
        Ok(_) | Err(_) => Err(KeystoreError::Damaged { path }),
    }
}

pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::model::Signer;

    fn made() -> (tempfile::TempDir, SealingKey, Keystore) {
        let place = tempfile::tempdir().unwrap();
        let sealing = SealingKey::random().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let keys = Keystore::create(place.path(), &sealing, &names, &Clock::system()).unwrap();
        (place, sealing, keys)
    }

    #[test]
    fn keys_are_the_same_after_opening_again_and_are_never_overwritten() {
        let (place, sealing, made) = made();
        let opened = Keystore::open(place.path(), &sealing).unwrap();
        assert_eq!(made.user_ca().public_key(), opened.user_ca().public_key());
        assert_ne!(made.user_ca().public_key(), opened.host_ca().public_key());
        assert_eq!(made.signer().public_key(), opened.signer().public_key());
        assert_eq!(made.signer().public_key(), node_key(place.path()).unwrap());
        assert_eq!(made.api_tls().fingerprint(), opened.api_tls().fingerprint());
        let again = Keystore::create(place.path(), &sealing, &[], &Clock::system());
        assert!(matches!(again, Err(KeystoreError::Exists { .. })));
        let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, [KEYS]);
    }

    #[test]
    fn secrets_are_for_their_owner_only_and_unreadable_without_the_sealing_key() {
        let (place, sealing, made) = made();
        let keys = place.path().join(KEYS);
        assert_eq!(std::fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o700);
        for name in [USER_CA, HOST_CA, SSH_HOST_KEY, NODE, API_TLS, DATABASE_CA] {
            let path = sealed_path(&keys, name);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
        let seed = made.user_ca().key_data().ed25519().unwrap().private.to_bytes();
        for file in std::fs::read_dir(&keys).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(seed.len()).any(|window| window == seed));
        }
        let other = SealingKey::random().unwrap();
        let wrong = Keystore::open(place.path(), &other);
        assert!(matches!(wrong, Err(KeystoreError::WrongSealingKey { .. })));
        std::fs::copy(sealed_path(&keys, HOST_CA), sealed_path(&keys, USER_CA)).unwrap();
        let swapped = Keystore::open(place.path(), &sealing);
        assert!(matches!(swapped, Err(KeystoreError::Damaged { .. })));
    }

    #[test]
    fn the_keys_of_an_earlier_version_get_what_they_lack_once() {
        let (place, sealing, _) = made();
        let keys = place.path().join(KEYS);
        let (sealed, public) = (sealed_path(&keys, DATABASE_CA), keys.join("database-ca.pem"));
        let pem = |keys: &Keystore| keys.database_ca().map(DatabaseCa::pem);
        std::fs::remove_file(&public).unwrap();
        std::fs::remove_file(&sealed).unwrap();
        assert_eq!(pem(&Keystore::open(place.path(), &sealing).unwrap()), None);
        // Also after it was cut short, with a sealed half that nobody knows of.
        std::fs::write(&sealed, b"half").unwrap();
        Keystore::complete(place.path(), &sealing, &Clock::system()).unwrap();
        let made = pem(&Keystore::open(place.path(), &sealing).unwrap());
        assert!(made.as_ref().is_some_and(|pem| pem.starts_with("-----BEGIN CERTIFICATE")));
        Keystore::complete(place.path(), &sealing, &Clock::system()).unwrap();
        assert_eq!(pem(&Keystore::open(place.path(), &sealing).unwrap()), made);
        // One that somebody may trust is not made anew behind their back.
        std::fs::remove_file(&sealed).unwrap();
        Keystore::complete(place.path(), &sealing, &Clock::system()).unwrap();
        assert!(Keystore::open(place.path(), &sealing).is_err());
    }

    #[test]
    fn the_api_certificate_serves_with_its_key() {
        let (_place, _sealing, made) = made();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(made.api_tls().chain.clone(), made.api_tls().key.clone_key());
        assert!(config.is_ok());
    }
}
