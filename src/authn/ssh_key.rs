//! Which SSH public keys are accepted at all, what they are called, and how strongly they prove.
//!
//! Possession is proved elsewhere (by the SSH connection, or by a signature); this file judges the key alone. RSA
//! keys are parsed and measured here, but no part of this build verifies RSA signatures, so they never get further.

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Certificate, HashAlg, PublicKey};

use super::ssh_certificate::ISSUER;
use crate::model::{Identity, Proof};

/// Longest public key or certificate line read, in bytes.
const LONGEST_LINE: usize = 16 * 1024;
/// What OpenSSH writes into its security keys' application field, and what keeps a web site's key from passing.
const SK_APPLICATION: &str = "ssh:";

/// Why a key is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// A security key made for something other than SSH.
    #[error("the security key was made for {0:?}, not for ssh; make one with 'ssh-keygen -t ed25519-sk'")]
    Application(String),
    /// A certificate stands where a plain key is wanted.
    #[error("a certificate was given where a plain public key is wanted")]
    IsCertificate,
    /// Not a public key in OpenSSH's form.
    #[error("this is not a public key in OpenSSH's form (TYPE BASE64 COMMENT): {0}")]
    NotAKey(String),
    /// An RSA key: the SSH library is built without them, so it could be enrolled and never log in.
    #[error("RSA keys are not accepted; make another with 'ssh-keygen -t ed25519'")]
    Rsa,
    /// A kind of key that is not accepted.
    #[error("keys of type {0} are not accepted; use ed25519, ECDSA or a security key")]
    Unsupported(String),
}

/// Reads one public key line in OpenSSH's form and judges it.
///
/// # Errors
/// When it is none, is a certificate, or is of a kind that is not accepted.
pub fn parse_public_key(line: &str) -> Result<PublicKey, KeyFault> {
    if line.len() > LONGEST_LINE {
        return Err(KeyFault::NotAKey("it is longer than any key".to_owned()));
    }
    if is_certificate_line(line) {
        return Err(KeyFault::IsCertificate);
    }
    let key = PublicKey::from_openssh(line.trim()).map_err(|e| KeyFault::NotAKey(e.to_string()))?;
    check(key.key_data())?;
    Ok(key)
}

/// Reads one certificate line in OpenSSH's form; trailing bytes are refused.
pub(super) fn parse_certificate(line: &str) -> Result<Certificate, KeyFault> {
    if line.len() > LONGEST_LINE {
        return Err(KeyFault::NotAKey("it is longer than any certificate".to_owned()));
    }
    Certificate::from_openssh(line.trim()).map_err(|e| KeyFault::NotAKey(e.to_string()))
}

/// Whether a line holds a certificate and not a plain key.
pub(super) fn is_certificate_line(line: &str) -> bool {
    line.split_ascii_whitespace().next().is_some_and(|kind| kind.ends_with("-cert-v01@openssh.com"))
}

/// The identity a plain key is.
pub(super) fn identity_of(key: &KeyData) -> Identity {
    Identity::ssh_key(&key.fingerprint(HashAlg::Sha256).to_string())
}

/// How strongly a plain key proves.
pub(super) fn proof_of(key: &KeyData) -> Proof {
    if is_security_key(key) { Proof::SshSecurityKey } else { Proof::SshKey }
}

/// How somebody proves an identity that is linked to them, and with which key where it is one; none when there is no way.
#[must_use]
pub fn proof_with(identity: &Identity, public_key: Option<&str>) -> Option<Proof> {
    if identity.issuer == Identity::SSH_KEY {
        return parse_public_key(public_key?).ok().map(|key| proof_of(key.key_data()));
    }
    identity.issuer.starts_with(ISSUER).then_some(Proof::SshCertificate)
}

/// Whether a key lives in a security key (`sk-…`).
pub(super) fn is_security_key(key: &KeyData) -> bool {
    key.sk_ed25519().is_some() || key.sk_ecdsa_p256().is_some()
}

/// Judges a key by its kind and size.
pub(super) fn check(key: &KeyData) -> Result<(), KeyFault> {
    if key.is_certificate() {
        return Err(KeyFault::IsCertificate);
    }
    if key.is_rsa() {
        return Err(KeyFault::Rsa);
    }
    let application = key
        .sk_ed25519()
        .map(russh::keys::ssh_key::public::SkEd25519::application)
        .or_else(|| key.sk_ecdsa_p256().map(russh::keys::ssh_key::public::SkEcdsaSha2NistP256::application));
    if let Some(application) = application {
        return if application.starts_with(SK_APPLICATION) {
            Ok(())
        } else {
            Err(KeyFault::Application(application.chars().take(80).collect()))
        };
    }
    if key.is_ed25519() || key.is_ecdsa() {
        return Ok(());
    }
    Err(KeyFault::Unsupported(key.algorithm().as_str().chars().take(80).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rsa_key_is_refused_where_it_is_given_and_not_first_at_login() {
        use russh::keys::ssh_key::Mpint;
        use russh::keys::ssh_key::public::RsaPublicKey;
        let number = |bytes: &[u8]| Mpint::from_positive_bytes(bytes);
        let key = RsaPublicKey::new(number(&[1, 0, 1]), number(&[0xff; 256])).unwrap();
        assert_eq!(check(&KeyData::Rsa(key)), Err(KeyFault::Rsa));
    }

    #[test]
    fn a_certificate_in_a_keys_place_is_refused() {
        use russh::keys::PrivateKey;
        use russh::keys::ssh_key::certificate::Builder;
        use russh::keys::ssh_key::private::Ed25519Keypair;
        let ca = PrivateKey::from(Ed25519Keypair::from_seed(&[1; 32]));
        let mut builder = Builder::new(vec![3; 16], ca.public_key().key_data().clone(), 0, 10).unwrap();
        builder.valid_principal("erin").unwrap();
        let inside = KeyData::Certificate(Box::new(builder.sign(&ca).unwrap()));
        assert_eq!(check(&inside), Err(KeyFault::IsCertificate));
    }

    #[test]
    fn only_plain_keys_in_openssh_form_are_read() {
        let good =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ erin@desk";
        let key = parse_public_key(good).unwrap();
        assert_eq!(identity_of(key.key_data()).issuer, Identity::SSH_KEY);
        assert_eq!(proof_of(key.key_data()), Proof::SshKey);

        for bad in
            ["", "ssh-ed25519", "ssh-ed25519 !!!", "-----BEGIN OPENSSH PRIVATE KEY-----", &"a".repeat(20_000)]
        {
            assert!(matches!(parse_public_key(bad), Err(KeyFault::NotAKey(_))), "{bad:.40}");
        }
        let certificate = good.replacen("ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com", 1);
        assert_eq!(parse_public_key(&certificate), Err(KeyFault::IsCertificate));
    }
}
