//! The CA that databases know the bastion by: it signs certificates for the bastion itself and for nobody else.
//!
//! PostgreSQL compares a certificate's common name with the role that logs in. So every administrative connection has
//! a certificate for the administrative role, and every session's connection one for its own role, each for a key that
//! is made with it, stays in memory, and is good for minutes. No password of the bastion exists. How the CA's own key
//! is sealed is in `keystore.rs` and `sealing.rs`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::keystore::{DATABASE_CA, KeystoreError, OWNER_ONLY, READABLE, read_chain, sealed_path};
use super::sealing::{SealingKey, read_private, write_new};
use crate::model::{Clock, Timestamp};
use crate::net::ClientCertificate;

/// How long the CA's own certificate lasts: rotating it is a decision, and not to be forced by a date nobody looks at.
const AUTHORITY: Duration = Duration::from_secs(20 * 365 * 86_400);
/// How long before its making a certificate is valid, for a server whose clock is behind.
const SKEW: Duration = Duration::from_secs(300);
/// How long after: time for one login.
const LOGIN: Duration = Duration::from_secs(300);

/// The CA that databases know the bastion by.
#[derive(Clone)]
pub struct DatabaseCa {
    issuer: Arc<Issuer<'static, KeyPair>>,
    certificate: CertificateDer<'static>,
}

impl DatabaseCa {
    /// A new CA: its key, to be sealed, and its certificate in PEM.
    pub(super) fn generate(now: Timestamp) -> Result<(Zeroizing<Vec<u8>>, String), KeystoreError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut asked = authority(&key)?;
        valid(&mut asked, now, AUTHORITY);
        let certificate = asked.self_signed(&key)?;
        Ok((Zeroizing::new(key.serialize_der()), certificate.pem()))
    }

    /// The CA from its key and its certificate.
    pub(super) fn open(secret: &[u8], certificate: CertificateDer<'static>) -> Result<Self, KeystoreError> {
        let key = KeyPair::try_from(secret)?;
        Ok(Self { issuer: Arc::new(Issuer::new(authority(&key)?, key)), certificate })
    }

    /// Its certificate.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its certificate in PEM, as `ssl_ca_file` holds it.
    #[must_use]
    pub fn pem(&self) -> String {
        let body = data_encoding::BASE64.encode(&self.certificate);
        let lines: Vec<&str> =
            body.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    }

    /// A certificate with which the bastion may log in as `role` within the next minutes, and its key.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn certify(&self, role: &str, now: Timestamp) -> Result<ClientCertificate, KeystoreError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut asked = CertificateParams::default();
        asked.distinguished_name = named(role);
        valid(&mut asked, now, LOGIN);
        asked.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        asked.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        asked.use_authority_key_identifier_extension = true;
        let certificate = asked.signed_by(&key, &*self.issuer)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(ClientCertificate::new(vec![certificate.der().clone()], key))
    }
}

/// Makes the CA; `which` is added to the names of its files, and not to the name it is sealed under.
pub(super) fn write_database_ca(
    keys: &Path,
    sealing: &SealingKey,
    which: &str,
    clock: &Clock,
) -> Result<(), KeystoreError> {
    let (secret, certificate) = DatabaseCa::generate(clock.now())?;
    let file = format!("{DATABASE_CA}{which}");
    write_new(&sealed_path(keys, &file), &sealing.seal(DATABASE_CA, &secret)?, OWNER_ONLY)?;
    write_new(&keys.join(format!("{file}.pem")), certificate.as_bytes(), READABLE)
}

/// Opens it; `which` as in [`write_database_ca`].
pub(super) fn read_database_ca(
    keys: &Path,
    sealing: &SealingKey,
    which: &str,
) -> Result<DatabaseCa, KeystoreError> {
    let file = format!("{DATABASE_CA}{which}");
    let sealed = sealed_path(keys, &file);
    let secret = sealing.open(DATABASE_CA, &read_private(&sealed)?, &sealed)?;
    let (path, chain) = read_chain(keys, &file)?;
    let certificate = chain.into_iter().next().ok_or(KeystoreError::Damaged { path })?;
    DatabaseCa::open(&secret, certificate).map_err(|_| KeystoreError::Damaged { path: sealed })
}

/// What the CA's certificate says. Its name is made from its key: two of them stand side by side in one `ssl_ca_file`
/// while one follows the other.
fn authority(key: &KeyPair) -> Result<CertificateParams, KeystoreError> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.public_key_raw());
    let short = digest.as_ref().get(..4).unwrap_or_default();
    let mut asked = CertificateParams::new(Vec::new())?;
    asked.distinguished_name = named(&format!("Postern database CA {}", HEXLOWER.encode(short)));
    asked.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    asked.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(asked)
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// From shortly before `now` until `lasting` after it.
fn valid(asked: &mut CertificateParams, now: Timestamp, lasting: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = epoch + Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0));
    asked.not_before = now - SKEW;
    asked.not_after = now + lasting;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::server::WebPkiClientVerifier;
    use rustls::{RootCertStore, pki_types::UnixTime};

    use super::*;

    fn made() -> DatabaseCa {
        let (secret, pem) = DatabaseCa::generate(Clock::system().now()).unwrap();
        let certificate = rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes()).unwrap();
        DatabaseCa::open(&secret, certificate).unwrap()
    }

    #[test]
    fn a_certificate_is_for_one_role_and_some_minutes_and_only_its_own_ca_vouches_for_it() {
        let (ca, other) = (made(), made());
        let now = Clock::system().now();
        let shown = ca.certify("pst_abcdefghijklmnop", now).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let judged = |ca: &DatabaseCa, after: u64| {
            let mut roots = RootCertStore::empty();
            roots.add(ca.certificate().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let at = UnixTime::since_unix_epoch(Duration::from_secs(
                u64::try_from(now.as_second()).unwrap() + after,
            ));
            verifier.build().unwrap().verify_client_cert(&shown.chain()[0], &[], at).is_ok()
        };
        assert!(judged(&ca, 0) && judged(&ca, 299));
        assert!(!judged(&ca, 302) && !judged(&other, 0));
        let text = shown.chain()[0].windows(20).any(|window| window == b"pst_abcdefghijklmnop");
        assert!(text, "its common name");
    }

    #[test]
    fn its_pem_is_the_certificate() {
        let ca = made();
        let read: CertificateDer<'_> =
            rustls::pki_types::pem::PemObject::from_pem_slice(ca.pem().as_bytes()).unwrap();
        assert_eq!(&read, ca.certificate());
    }
}
