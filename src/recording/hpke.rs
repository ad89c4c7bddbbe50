//! What age's newer recipients share: HPKE (RFC 9180) in base mode, for the one message of a stanza.
//!
//! HKDF-SHA256 and ChaCha20-Poly1305 always; the KEM is the recipient's own (`hybrid.rs`, `hardware.rs`). Judged there, by
//! the published vectors of age and by another implementation.

use age_core::format::{FILE_KEY_BYTES, FileKey};
use age_core::secrecy::ExposeSecret as _;
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::model::Secret;

/// Bytes of a sealed file key: itself and its tag.
pub(super) const BODY: usize = FILE_KEY_BYTES + 16;

/// Which algorithms, and what for.
#[derive(Clone, Copy)]
pub(super) struct Suite {
    /// HPKE's `suite_id` (RFC 9180 part 5.1).
    pub(super) id: &'static [u8],
    /// Its `info`, which is age's own.
    pub(super) info: &'static [u8],
}

impl Suite {
    /// Seals a file key under a KEM's shared secret. `None` when the library fails.
    pub(super) fn seal(self, shared: &Secret<[u8; 32]>, key: &FileKey) -> Option<Vec<u8>> {
        let (sealing, nonce) = self.schedule(shared)?;
        let mut body = key.expose_secret().to_vec();
        sealing.seal_in_place_append_tag(nonce, Aad::empty(), &mut body).ok()?;
        Some(body)
    }

    /// Opens one. `None` when it was sealed to somebody else, or changed: the two look alike.
    pub(super) fn open(self, shared: &Secret<[u8; 32]>, body: &[u8]) -> Option<FileKey> {
        let (opening, nonce) = self.schedule(shared)?;
        let mut body = Zeroizing::new(body.to_vec());
        let opened = opening.open_in_place(nonce, Aad::empty(), &mut body).ok()?;
        let bytes: [u8; FILE_KEY_BYTES] = (&*opened).try_into().ok()?;
        Some(FileKey::new(Box::new(bytes)))
    }

    /// The key and the nonce (RFC 9180 part 5.1, base mode).
    fn schedule(self, shared: &Secret<[u8; 32]>) -> Option<(LessSafeKey, Nonce)> {
        let mut context = vec![0];
        context.extend(extract(self.id, &[], "psk_id_hash", &[]));
        context.extend(extract(self.id, &[], "info_hash", self.info));
        let secret = Secret::new(extract(self.id, shared.expose(), "secret", &[]));
        let key = Secret::new(expand(self.id, secret.expose(), "key", &context, 32));
        let nonce = expand(self.id, secret.expose(), "base_nonce", &context, 12);
        let key = UnboundKey::new(&CHACHA20_POLY1305, key.expose()).ok()?;
        Some((LessSafeKey::new(key), Nonce::try_assume_unique_for_key(&nonce).ok()?))
    }
}

/// `LabeledExtract` (RFC 9180 part 4).
pub(super) fn extract(suite: &[u8], salt: &[u8], label: &str, ikm: &[u8]) -> Vec<u8> {
    let labelled = Secret::new([b"HPKE-v1", suite, label.as_bytes(), ikm].concat());
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salt), labelled.expose()).as_ref().to_vec()
}

/// `LabeledExpand` (RFC 9180 part 4) of at most one hash's length.
pub(super) fn expand(suite: &[u8], secret: &[u8], label: &str, context: &[u8], length: u8) -> Vec<u8> {
    let info = [&[0, length], b"HPKE-v1".as_slice(), suite, label.as_bytes(), context, &[1]].concat();
    let mut bytes = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &info).as_ref().to_vec();
    bytes.truncate(length.into());
    bytes
}
