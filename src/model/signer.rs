//! Signing and checking with Ed25519, behind a trait so that a node's key may one day live elsewhere.
//!
//! The node's one signing key vouches for recordings and for the ledger's checkpoints. Every message signed begins
//! with a line that names its kind, so that a signature made for one purpose means nothing for another.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::secret::Secret;

/// Length of an Ed25519 public key.
pub const PUBLIC_KEY_BYTES: usize = 32;
/// Length of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;

/// Something that signs for this node.
pub trait Signer: Send + Sync {
    /// Signs a message.
    ///
    /// # Errors
    /// When the key cannot be used now.
    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignError>;

    /// The public key that checks those signatures.
    fn public_key(&self) -> [u8; PUBLIC_KEY_BYTES];
}

/// Why nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The seed is no Ed25519 seed.
    #[error("the signing key is not a 32-byte Ed25519 seed: restore it from your backup")]
    BadSeed,
    /// The key exists and could not sign.
    #[error("the signing key could not be used")]
    Unusable,
}

/// An Ed25519 key held in memory.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: [u8; PUBLIC_KEY_BYTES],
}

impl SigningKey {
    /// The key that a 32-byte seed stands for.
    ///
    /// # Errors
    /// [`SignError::BadSeed`], when the library refuses it.
    pub fn from_seed(seed: &Secret<[u8; 32]>) -> Result<Self, SignError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| SignError::BadSeed)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| SignError::BadSeed)?;
        Ok(Self { pair, public })
    }
}

impl Signer for SigningKey {
    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignError> {
        let signature = self.pair.try_sign(message).map_err(|_| SignError::Unusable)?;
        signature.as_ref().try_into().map_err(|_| SignError::Unusable)
    }

    fn public_key(&self) -> [u8; PUBLIC_KEY_BYTES] {
        self.public
    }
}

/// Whether `signature` is that of `public_key` over `message`.
#[must_use]
pub fn is_signed_by(public_key: &[u8; PUBLIC_KEY_BYTES], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_message_and_key_only() {
        let key = SigningKey::from_seed(&Secret::new([7; 32])).unwrap();
        let other = SigningKey::from_seed(&Secret::new([8; 32])).unwrap();
        let signature = key.sign(b"one").unwrap();
        assert!(is_signed_by(&key.public_key(), b"one", &signature));
        assert!(!is_signed_by(&key.public_key(), b"two", &signature));
        assert!(!is_signed_by(&other.public_key(), b"one", &signature));
    }
}
