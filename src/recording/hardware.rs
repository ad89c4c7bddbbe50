//! Recipients whose private half is on a hardware key: a point on P-256, sealed to without any plugin.
//!
//! Two kinds of stanza. `p256tag` is C2SP `age`'s own (`age1tag1…`): HPKE over DHKEM(P-256). `piv-p256` is what plugins made
//! before (`age1yubikey1…`, `age1se1…`; C2SP `age-piv-p256`). Only sealing is here: opening is the plugin's business, on the
//! reviewer's machine (`plugin.rs`).

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use age_core::format::{FileKey, Stanza};
use age_core::secrecy::ExposeSecret as _;
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::{digest, hmac};
use bech32::{FromBase32 as _, ToBase32 as _, Variant};
use data_encoding::BASE64_NOPAD;
use p256::elliptic_curve::sec1::ToSec1Point as _;

use super::hpke::{self, Suite};
use crate::model::Secret;

/// The stanzas written here.
pub(super) const STANZAS: [&str; 2] = [TAGGED, PIV];
const TAGGED: &str = "p256tag";
const PIV: &str = "piv-p256";
const TAGGED_PUBLIC: &str = "age1tag";
/// Plugins whose recipients are such a point, and whose stanza is the older one.
const PIV_PUBLIC: [&str; 2] = ["age1yubikey", "age1se"];
/// HPKE with KEM 0x0010, DHKEM(P-256, HKDF-SHA256).
const SUITE: Suite = Suite { id: b"HPKE\x00\x10\x00\x01\x00\x03", info: b"age-encryption.org/p256tag" };
const KEM: &[u8] = b"KEM\x00\x10";
/// Bytes of a stanza's tag.
const TAG: usize = 4;

/// A public key that files are encrypted to.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Recipient {
    /// What its text begins with.
    kind: &'static str,
    /// The point as 33 bytes and as 65 (SEC 1 part 2.3.3).
    compressed: Vec<u8>,
    whole: Vec<u8>,
}

impl Recipient {
    fn tagged(&self, key: &FileKey) -> Option<Stanza> {
        let (share, secret) = self.encapsulate()?;
        let body = SUITE.seal(&secret, key)?;
        let args = vec![self.tag(&share)?, BASE64_NOPAD.encode(&share)];
        Some(Stanza { tag: TAGGED.to_owned(), args, body })
    }

    /// By which its owner's plugin knows a share: HKDF-Extract of the share and the point's own tag.
    fn tag(&self, share: &[u8]) -> Option<String> {
        let ikm = [share, &self.static_tag()].concat();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SUITE.info), &ikm);
        tag.as_ref().get(..TAG).map(|tag| BASE64_NOPAD.encode(tag))
    }

    /// DHKEM's `Encap` (RFC 9180 part 4.1).
    fn encapsulate(&self) -> Option<(Vec<u8>, Secret<[u8; 32]>)> {
        let (share, secret) = self.agree()?;
        let ikm = Secret::new(hpke::extract(KEM, &[], "eae_prk", secret.expose()));
        let context = [share.as_slice(), &self.whole].concat();
        let shared = hpke::expand(KEM, ikm.expose(), "shared_secret", &context, 32);
        Some((share, Secret::new(shared.try_into().ok()?)))
    }

    fn piv(&self, key: &FileKey) -> Option<Stanza> {
        let (share, secret) = self.agree()?;
        let share = p256::PublicKey::from_sec1_bytes(&share).ok()?.to_sec1_point(true);
        let salt = [share.as_bytes(), &self.compressed].concat();
        let wrap = Salt::new(HKDF_SHA256, &salt).extract(secret.expose());
        let wrap = UnboundKey::from(wrap.expand(&[PIV.as_bytes()], &CHACHA20_POLY1305).ok()?);
        let wrap = LessSafeKey::new(wrap);
        let mut body = key.expose_secret().to_vec();
        // The key is used once.
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        wrap.seal_in_place_append_tag(nonce, Aad::empty(), &mut body).ok()?;
        let args = vec![BASE64_NOPAD.encode(&self.static_tag()), BASE64_NOPAD.encode(share.as_bytes())];
        Some(Stanza { tag: PIV.to_owned(), args, body })
    }

    /// A fresh share (65 bytes), and the secret it makes with this key.
    fn agree(&self) -> Option<(Vec<u8>, Secret<[u8; 32]>)> {
        let mine = PrivateKey::generate(&ECDH_P256).ok()?;
        let share = mine.compute_public_key().ok()?.as_ref().to_vec();
        let peer = UnparsedPublicKey::new(&ECDH_P256, &self.whole);
        let secret =
            agree(&mine, peer, (), |secret| secret.try_into().map(Secret::new).map_err(|_| ())).ok()?;
        Some((share, secret))
    }

    /// By which its owner's plugin knows it without touching the key.
    fn static_tag(&self) -> Vec<u8> {
        let hash = digest::digest(&digest::SHA256, &self.compressed);
        hash.as_ref().iter().take(TAG).copied().collect()
    }
}

impl age::Recipient for Recipient {
    fn wrap_file_key(&self, key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        let stanza = if self.kind == TAGGED_PUBLIC { self.tagged(key) } else { self.piv(key) };
        let failed =
            || age::EncryptError::Io(std::io::Error::other("no share for a hardware key could be made"));
        Ok((vec![stanza.ok_or_else(failed)?], HashSet::new()))
    }
}

impl FromStr for Recipient {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (found, data, variant) = bech32::decode(text).map_err(|_| ())?;
        let found = found.to_lowercase();
        let mut kinds = std::iter::once(TAGGED_PUBLIC).chain(PIV_PUBLIC);
        let kind = kinds.find(|kind| *kind == found).filter(|_| variant == Variant::Bech32).ok_or(())?;
        let compressed = Vec::from_base32(&data).map_err(|_| ())?;
        // Only the short form with its sign; the library checks that the point is on the curve, and is not its zero.
        if compressed.len() != 33 || !matches!(compressed.first(), Some(2 | 3)) {
            return Err(());
        }
        let point = p256::PublicKey::from_sec1_bytes(&compressed).map_err(|_| ())?;
        let whole = point.to_sec1_point(false).as_bytes().to_vec();
        Ok(Self { kind, compressed, whole })
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = bech32::encode(self.kind, self.compressed.to_base32(), Variant::Bech32);
        f.write_str(&text.map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The recipient that C2SP `age` gives as its example, and a stanza to it by age for TypeScript 0.3.1. (The example's
    /// own stanza has a tag by an earlier rule.)
    const EXAMPLE: &str = "age1tag1qt8lw0ual6avlwmwatk888yqnmdamm7xfd0wak53ut6elz5c4swx2yqdj4e";
    const EXAMPLE_TAG: &str = "5T6tkg";
    const EXAMPLE_SHARE: &str =
        "BMSjVbX4SJhMGFY2cz1bcxmb/qDIoCGy0TxGYPy/lczFK8rWN0OAaQ15ld1CsMoD0k319MH7p31smR+XRScpFGw";

    #[test]
    fn another_implementation_makes_the_tag_made_here() {
        let recipient: Recipient = EXAMPLE.parse().unwrap();
        assert_eq!(recipient.to_string(), EXAMPLE);
        let share = BASE64_NOPAD.decode(EXAMPLE_SHARE.as_bytes()).unwrap();
        assert_eq!(recipient.tag(&share).unwrap(), EXAMPLE_TAG);
    }

    #[test]
    fn stanzas_have_the_form_that_their_readers_demand() {
        let tagged: Recipient = EXAMPLE.parse().unwrap();
        let data = tagged.compressed.to_base32();
        let key = FileKey::new(Box::new([7; 16]));
        for (text, kind, share) in [
            (EXAMPLE.to_owned(), TAGGED, 65),
            (bech32::encode("age1yubikey", &data, Variant::Bech32).unwrap(), PIV, 33),
            (bech32::encode("age1se", &data, Variant::Bech32).unwrap(), PIV, 33),
        ] {
            let recipient: Recipient = text.parse().unwrap();
            assert_eq!(recipient.to_string(), text);
            let (stanzas, labels) = age::Recipient::wrap_file_key(&recipient, &key).unwrap();
            assert!(labels.is_empty());
            let [Stanza { tag, args, body }] = stanzas.as_slice() else { panic!("one stanza") };
            let [mark, point] = args.as_slice() else { panic!("two arguments") };
            let length = |text: &str| BASE64_NOPAD.decode(text.as_bytes()).unwrap().len();
            assert_eq!((tag.as_str(), length(mark), length(point), body.len()), (kind, 4, share, 32));
        }
    }

    #[test]
    fn what_is_no_point_is_no_recipient() {
        let data = EXAMPLE.parse::<Recipient>().unwrap();
        let other = bech32::encode("age1tpm", data.compressed.to_base32(), Variant::Bech32).unwrap();
        let whole = bech32::encode(TAGGED_PUBLIC, data.whole.to_base32(), Variant::Bech32).unwrap();
        let off = bech32::encode(TAGGED_PUBLIC, [5; 33].to_base32(), Variant::Bech32).unwrap();
        let zero = bech32::encode(TAGGED_PUBLIC, [0; 33].to_base32(), Variant::Bech32).unwrap();
        for text in [other, whole, off, zero, String::new(), EXAMPLE.replace("qt8", "qt9")] {
            assert!(text.parse::<Recipient>().is_err(), "{text}");
        }
    }
}
