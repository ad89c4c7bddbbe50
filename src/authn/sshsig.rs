//! OpenSSH signatures over data (SSHSIG, `PROTOCOL.sshsig`): read, bounded, and verified.
//!
//! A signature is good for exactly one namespace and one message, made with SHA-256 or SHA-512. For security keys the
//! flags are read as well: a signature without a touch is refused, and whether the PIN was asked for is reported. What
//! the signature means is for the caller: `approval.rs` and `authenticator.rs`.

use russh::keys::ssh_key::SshSig;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{HashAlg, PublicKey};

use super::ssh_key::{self, KeyFault};

/// Longest armored signature read, in bytes.
const LONGEST_ARMOR: usize = 16 * 1024;
/// The version of SSHSIG there is.
const VERSION: u32 = 1;
/// Flag bit: the person touched the key.
const USER_PRESENT: u8 = 0x01;
/// Flag bit: the person was verified by PIN or fingerprint.
const USER_VERIFIED: u8 = 0x04;
/// Flags and counter at the end of a security key's signature.
const SK_TRAILER: usize = 5;

/// A signature that was verified.
#[derive(Debug, PartialEq, Eq)]
pub struct Signed {
    key: KeyData,
    flags: Option<u8>,
}

impl Signed {
    /// The key that signed.
    #[must_use]
    pub const fn key(&self) -> &KeyData {
        &self.key
    }

    /// The key's `SHA256:…` fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }

    /// Whether a security key made it.
    #[must_use]
    pub const fn is_security_key(&self) -> bool {
        self.flags.is_some()
    }

    /// Whether a security key verified the person by PIN or fingerprint.
    #[must_use]
    pub fn is_user_verified(&self) -> bool {
        self.flags.is_some_and(|flags| flags & USER_VERIFIED != 0)
    }
}

/// Why a signature is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// The key is of a kind that is not accepted.
    #[error("{0}")]
    Key(#[from] KeyFault),
    /// Not an armored SSHSIG.
    #[error("it is not an OpenSSH signature (-----BEGIN SSH SIGNATURE-----): {0}")]
    Malformed(String),
    /// Made for another purpose.
    #[error("it was made for the purpose {given:?}, and {wanted:?} is wanted")]
    Namespace {
        /// As given.
        given: String,
        /// As wanted.
        wanted: String,
    },
    /// A security key was not touched.
    #[error("the security key was not touched; sign again without '-O no-touch-required'")]
    NotTouched,
    /// The bytes or the key do not fit.
    #[error("it does not match what was to be signed")]
    Wrong,
    /// Made by another key than the one presented.
    #[error("it was made by another key ({0}) than the one presented")]
    WrongKey(String),
}

/// Verifies an armored signature over `message`, made for `namespace`.
///
/// # Errors
/// When it is malformed, for another namespace, by a key that is not accepted, not touched, or wrong.
pub fn verify(armored: &str, namespace: &str, message: &[u8]) -> Result<Signed, SignatureFault> {
    let malformed = |why: &str| SignatureFault::Malformed(why.to_owned());
    let signature = parse(armored)?;
    if signature.version() != VERSION {
        return Err(malformed("its version is not 1"));
    }
    if !signature.reserved().is_empty() {
        return Err(malformed("its reserved field is not empty"));
    }
    if signature.namespace() != namespace {
        return Err(SignatureFault::Namespace {
            given: signature.namespace().chars().take(80).collect(),
            wanted: namespace.to_owned(),
        });
    }
    let key = signature.public_key();
    ssh_key::check(key)?;
    if key.is_rsa() {
        return Err(KeyFault::Unsupported("ssh-rsa".to_owned()).into());
    }
    PublicKey::new(key.clone(), "")
        .verify(namespace, message, &signature)
        .map_err(|_| SignatureFault::Wrong)?;
    let flags = if ssh_key::is_security_key(key) { Some(flags_of(&signature)?) } else { None };
    if flags.is_some_and(|flags| flags & USER_PRESENT == 0) {
        return Err(SignatureFault::NotTouched);
    }
    Ok(Signed { key: key.clone(), flags })
}

/// The fingerprint of the key that an armored signature says made it. Proves nothing: [`verify`] does.
///
/// # Errors
/// When it is no signature.
pub fn signer_of(armored: &str) -> Result<String, SignatureFault> {
    Ok(parse(armored)?.public_key().fingerprint(HashAlg::Sha256).to_string())
}

fn parse(armored: &str) -> Result<SshSig, SignatureFault> {
    if armored.len() > LONGEST_ARMOR {
        return Err(SignatureFault::Malformed("it is longer than any signature".to_owned()));
    }
    SshSig::from_pem(armored.trim()).map_err(|e| SignatureFault::Malformed(e.to_string()))
}

/// The flags byte in front of a security key's counter.
fn flags_of(signature: &SshSig) -> Result<u8, SignatureFault> {
    signature
        .signature_bytes()
        .iter()
        .rev()
        .nth(SK_TRAILER - 1)
        .copied()
        .ok_or_else(|| SignatureFault::Malformed("its flags are missing".to_owned()))
}
