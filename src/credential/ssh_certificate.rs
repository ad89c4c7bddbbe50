//! OpenSSH user certificates for sessions, and host certificates for targets reached through a jump.
//!
//! Format: OpenSSH `PROTOCOL.certkeys`. A user certificate carries exactly one principal, the login; a validity window
//! of seconds; the bastion's own address as `source-address`; and only the extensions the session was granted. Its
//! key id names session and person, so the target's own log (`LogLevel INFO` and up) can be joined with the recording.

use std::net::IpAddr;
use std::sync::Arc;

use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{Certificate, PrivateKey};

use crate::model::{Login, PersonName, SessionId, TargetName, Timestamp};

/// Seconds a certificate is valid before it is minted, for a target whose clock is behind.
const SKEW: u64 = 30;
/// Seconds a user certificate is valid after it is minted: time for one login.
const LOGIN: u64 = 60;
/// Seconds a host certificate is valid after it is minted.
const HOST: u64 = 24 * 3600;

/// Why nothing was minted.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The clock stands before 1970.
    #[error("the clock is wrong: it stands before 1970")]
    Clock,
    /// The certificate could not be built or signed.
    #[error("the certificate could not be signed: {0}")]
    Sign(#[from] russh::keys::ssh_key::Error),
    /// No randomness.
    #[error("the system has no randomness to make a key from")]
    Randomness(#[from] aws_lc_rs::error::Unspecified),
}

/// A key that signs certificates: the user CA that targets trust, or the host CA that operators trust.
#[derive(Clone)]
pub struct SshCertificateAuthority {
    key: Arc<PrivateKey>,
}

/// What a session shows its target: a key and a certificate for it.
pub struct SshCredential {
    /// The session's key.
    pub key: Arc<PrivateKey>,
    /// The certificate, good for one login within the next minute.
    pub certificate: Certificate,
}

/// What a user certificate says.
pub(super) struct UserCertificate<'a> {
    pub(super) session: &'a SessionId,
    pub(super) person: &'a PersonName,
    pub(super) login: &'a Login,
    pub(super) source: Option<IpAddr>,
    pub(super) allows_terminal: bool,
    pub(super) allows_forward: bool,
}

impl SshCertificateAuthority {
    /// Takes the CA's key.
    #[must_use]
    pub const fn new(key: Arc<PrivateKey>) -> Self {
        Self { key }
    }

    /// The public key as targets and clients list it.
    ///
    /// # Errors
    /// When the key cannot be encoded.
    pub fn public_line(&self) -> Result<String, MintError> {
        Ok(self.key.public_key().to_openssh()?)
    }

    /// Signs a user certificate for `key`.
    pub(super) fn user(
        &self,
        key: &Arc<PrivateKey>,
        says: &UserCertificate<'_>,
        now: Timestamp,
    ) -> Result<SshCredential, MintError> {
        let mut builder = builder(key, now, LOGIN)?;
        builder.cert_type(CertType::User)?;
        builder.key_id(key_id(says.session, says.person))?;
        builder.valid_principal(says.login.as_str())?;
        if let Some(source) = says.source {
            builder.critical_option("source-address", source.to_canonical().to_string())?;
        }
        if says.allows_forward {
            builder.extension("permit-port-forwarding", "")?;
        }
        if says.allows_terminal {
            builder.extension("permit-pty", "")?;
        }
        let certificate = builder.sign(&*self.key)?;
        Ok(SshCredential { key: Arc::clone(key), certificate })
    }

    /// A key and a certificate that can log in and run nothing, to find out whether a target lets sessions in.
    ///
    /// # Errors
    /// See [`MintError`].
    pub fn probe(
        &self,
        login: &Login,
        source: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<SshCredential, MintError> {
        let key = fresh_key()?;
        let mut builder = builder(&key, now, LOGIN)?;
        builder.cert_type(CertType::User)?;
        builder.key_id("postern targets test")?;
        builder.valid_principal(login.as_str())?;
        builder.critical_option("force-command", "true")?;
        if let Some(source) = source {
            builder.critical_option("source-address", source.to_canonical().to_string())?;
        }
        let certificate = builder.sign(&*self.key)?;
        Ok(SshCredential { key, certificate })
    }

    /// Signs a host certificate that lets the bastion answer for `target` inside a jump.
    ///
    /// # Errors
    /// See [`MintError`].
    pub fn host(
        &self,
        key: &PrivateKey,
        target: &TargetName,
        now: Timestamp,
    ) -> Result<Certificate, MintError> {
        let mut builder = builder(key, now, HOST)?;
        builder.cert_type(CertType::Host)?;
        builder.key_id(format!("postern host {target}"))?;
        builder.valid_principal(target.as_str())?;
        Ok(builder.sign(&*self.key)?)
    }
}

/// The key id of a session's certificates, as the target's log shows it.
pub(super) fn key_id(session: &SessionId, person: &PersonName) -> String {
    format!("postern {session} {person}")
}

/// A fresh Ed25519 key that exists only in memory.
pub(super) fn fresh_key() -> Result<Arc<PrivateKey>, MintError> {
    let mut seed = zeroize::Zeroizing::new([0_u8; 32]);
    aws_lc_rs::rand::fill(&mut *seed)?;
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
    Ok(Arc::new(PrivateKey::new(pair, "postern")?))
}

fn builder(key: &PrivateKey, now: Timestamp, lifetime: u64) -> Result<Builder, MintError> {
    let now = u64::try_from(now.as_second()).map_err(|_| MintError::Clock)?;
    let mut nonce = vec![0_u8; 32];
    aws_lc_rs::rand::fill(&mut nonce)?;
    let mut serial = [0_u8; 8];
    aws_lc_rs::rand::fill(&mut serial)?;
    let public = key.public_key().key_data().clone();
    let mut builder = Builder::new(nonce, public, now.saturating_sub(SKEW), now.saturating_add(lifetime))?;
    builder.serial(u64::from_be_bytes(serial))?;
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use russh::keys::HashAlg;

    use super::*;

    #[test]
    fn a_user_certificate_says_exactly_what_was_granted() {
        let ca = SshCertificateAuthority::new(fresh_key().unwrap());
        let key = fresh_key().unwrap();
        let session = SessionId::random().unwrap();
        let (person, login) = ("alice".parse().unwrap(), "deploy".parse().unwrap());
        let says = UserCertificate {
            session: &session,
            person: &person,
            login: &login,
            source: Some("::ffff:127.0.0.1".parse().unwrap()),
            allows_terminal: true,
            allows_forward: false,
        };
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let certificate = ca.user(&key, &says, now).unwrap().certificate;
        assert_eq!(certificate.cert_type(), CertType::User);
        assert_eq!(certificate.valid_principals(), ["deploy"]);
        assert_eq!(certificate.key_id(), format!("postern {session} alice"));
        assert_eq!(certificate.valid_before() - certificate.valid_after(), SKEW + LOGIN);
        let options: Vec<_> = certificate.critical_options().iter().collect();
        assert_eq!(options, [(&"source-address".to_owned(), &"127.0.0.1".to_owned())]);
        let extensions: Vec<_> = certificate.extensions().keys().collect();
        assert_eq!(extensions, ["permit-pty"]);
        let trusted = [ca.key.public_key().fingerprint(HashAlg::Sha256)];
        certificate.validate_at(1_700_000_000, &trusted).unwrap();
        assert!(certificate.validate_at(1_700_000_061, &trusted).is_err());
    }
}
