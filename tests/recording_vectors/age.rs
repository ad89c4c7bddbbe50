//! age files made by hand after C2SP `age`, so that a case can break one where it wants and is made alike every time.
//!
//! The wrapped keys of most vectors come from the `age` crate and are files of their own; these do not.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use data_encoding::BASE64_NOPAD;

use super::writer::FILE_KEY;

/// The public end of the vectors' identity.
const REVIEWER: [u8; 32] = [
    0x45, 0x39, 0xa6, 0xad, 0x9d, 0xcb, 0x93, 0xd3, 0x16, 0x70, 0x5d, 0x3e, 0x11, 0x28, 0xdc, 0xdd, 0x68,
    0x06, 0x86, 0x02, 0x99, 0x00, 0x86, 0xa4, 0x08, 0xa1, 0x42, 0xa5, 0x4a, 0x55, 0x7b, 0x08,
];
/// Somebody else's.
const STRANGER: [u8; 32] = [9; 32];
/// The key of the age file itself, which the stanzas wrap.
const INNER_KEY: [u8; 16] = [0x66; 16];
const NONCE: [u8; 16] = [0x77; 16];

/// An age file; a case changes what it wants.
pub(crate) struct AgeFile {
    pub(crate) version: &'static str,
    pub(crate) stanzas: Vec<String>,
    /// What the payload holds.
    pub(crate) plain: Vec<u8>,
    /// The last byte of the payload's nonce: 1 in the last chunk.
    pub(crate) is_last: u8,
    /// What is changed in the MAC.
    pub(crate) mac_bit: u8,
}

impl AgeFile {
    pub(crate) fn new(stanzas: Vec<String>) -> Self {
        Self { version: "v1", stanzas, plain: FILE_KEY.to_vec(), is_last: 1, mac_bit: 0 }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut text = format!("age-encryption.org/{}\n{}---", self.version, self.stanzas.concat());
        let key = hmac::Key::new(hmac::HMAC_SHA256, &hkdf(&[], b"header", &INNER_KEY));
        let mut mac = hmac::sign(&key, text.as_bytes()).as_ref().to_vec();
        mac[0] ^= self.mac_bit;
        text.push(' ');
        text.push_str(&BASE64_NOPAD.encode(&mac));
        text.push('\n');
        let mut nonce = [0; 12];
        nonce[11] = self.is_last;
        let payload = seal(&hkdf(&NONCE, b"payload", &INNER_KEY), nonce, &self.plain);
        [text.as_bytes(), &NONCE, &payload].concat()
    }
}

/// A stanza that the vectors' identity opens.
pub(crate) fn ours() -> String {
    let (share, body) = wrapped(REVIEWER);
    stanza("X25519", &[&BASE64_NOPAD.encode(&share)], &body)
}

/// A stanza of the same type that it does not open.
pub(crate) fn anothers() -> String {
    let (share, body) = wrapped(STRANGER);
    stanza("X25519", &[&BASE64_NOPAD.encode(&share)], &body)
}

/// Our stanza with its share spelled by the case, and a body of its own length.
pub(crate) fn spelled(spell: impl Fn(&[u8]) -> Vec<String>, body_bytes: usize) -> String {
    let (share, body) = wrapped(REVIEWER);
    let arguments = spell(&share);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    stanza("X25519", &arguments, &body[..body_bytes])
}

/// Any stanza, its body wrapped as the specification says.
pub(crate) fn stanza(kind: &str, arguments: &[&str], body: &[u8]) -> String {
    let body = BASE64_NOPAD.encode(body);
    let mut text = format!("-> {}\n", [&[kind], arguments].concat().join(" "));
    for line in body.as_bytes().chunks(64) {
        text.push_str(std::str::from_utf8(line).unwrap());
        text.push('\n');
    }
    // The last line is a short one, be it empty.
    if body.len().is_multiple_of(64) {
        text.push('\n');
    }
    text
}

fn wrapped(recipient: [u8; 32]) -> (Vec<u8>, Vec<u8>) {
    let ephemeral = PrivateKey::from_private_key(&X25519, &[0x55; 32]).unwrap();
    let share = ephemeral.compute_public_key().unwrap().as_ref().to_vec();
    let key = agree(&ephemeral, UnparsedPublicKey::new(&X25519, recipient), (), |shared| {
        let salt = [share.as_slice(), recipient.as_slice()].concat();
        Ok(hkdf(&salt, b"age-encryption.org/v1/X25519", shared))
    });
    let body = seal(&key.unwrap(), [0; 12], &INNER_KEY);
    (share, body)
}

fn seal(key: &[u8; 32], nonce: [u8; 12], plain: &[u8]) -> Vec<u8> {
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).unwrap());
    let mut body = plain.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut body).unwrap();
    body
}

fn hkdf(salt: &[u8], info: &[u8], secret: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let prk = Salt::new(HKDF_SHA256, salt).extract(secret);
    prk.expand(&[info], HKDF_SHA256).unwrap().fill(&mut out).unwrap();
    out
}
