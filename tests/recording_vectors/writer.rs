//! A writer of recordings that follows `FORMAT.md` alone, and breaks it where a case asks it to.
//!
//! It shares no code with the recorder under `src/`: two implementations of one document check each other. Nothing
//! here is fast or careful with memory, and nothing here is used outside the tests.

use std::fs;
use std::io::Write;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

/// The node key every vector is to be trusted by.
pub(crate) const NODE_SEED: [u8; 32] = [0x11; 32];
/// Somebody else's.
pub(crate) const OTHER_SEED: [u8; 32] = [0x22; 32];
pub(crate) const FILE_KEY: [u8; 32] = [0x33; 32];
pub(crate) const SESSION: &str = "ses_abcdefgh234567ab";

pub(crate) const CHUNK: u8 = 1;
pub(crate) const LAST: u8 = 2;
pub(crate) const CHECKPOINT: u8 = 3;
pub(crate) const END: u8 = 4;

/// Wrapped keys. age files cannot be made twice alike, so they are kept as files.
pub(crate) struct Keys {
    pub(crate) good: Vec<u8>,
    pub(crate) short: Vec<u8>,
    pub(crate) long: Vec<u8>,
    pub(crate) stranger: Vec<u8>,
}

impl Keys {
    pub(crate) fn read(directory: &Path) -> Self {
        let read =
            |name: &str| fs::read(directory.join(name)).unwrap_or_else(|_| panic!("{name} is missing"));
        Self {
            good: read("key.age"),
            short: read("key-short.age"),
            long: read("key-long.age"),
            stranger: read("key-stranger.age"),
        }
    }
}

pub(crate) fn make_missing_keys(directory: &Path) {
    use age::secrecy::ExposeSecret;
    if directory.join("key.age").exists() {
        return;
    }
    let reviewer = age::x25519::Identity::generate();
    let text = format!("# For these vectors only.\n{}\n", reviewer.to_string().expose_secret());
    fs::write(directory.join("reviewer.identity"), text).unwrap();
    let stranger = age::x25519::Identity::generate();
    let wrap = |identity: &age::x25519::Identity, key: &[u8], name: &str| {
        let recipient = identity.to_public();
        let encryptor =
            age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient)).unwrap();
        let mut writer = encryptor.wrap_output(Vec::new()).unwrap();
        writer.write_all(key).unwrap();
        fs::write(directory.join(name), writer.finish().unwrap()).unwrap();
    };
    wrap(&reviewer, &FILE_KEY, "key.age");
    wrap(&reviewer, &FILE_KEY[..31], "key-short.age");
    wrap(&reviewer, &[0x33; 33], "key-long.age");
    wrap(&stranger, &FILE_KEY, "key-stranger.age");
}

/// The reviewer's identity, as our reader takes it.
pub(crate) fn identity(directory: &Path) -> postern::recording::ReviewerIdentity {
    postern::recording::ReviewerIdentity::parse(
        &fs::read_to_string(directory.join("reviewer.identity")).unwrap(),
    )
    .unwrap()
}

/// The same, told of the key that was wrapped again for a vector, if one was.
pub(crate) fn identity_for(directory: &Path, file: &str) -> postern::recording::ReviewerIdentity {
    let (identity, path) = (identity(directory), directory.join(file));
    if let Ok(keys) = fs::read(path.with_extension("keys")) {
        let frames = postern::recording::Frames::open(&path).unwrap();
        identity.learn(frames.header(), keys);
    }
    identity
}

pub(crate) fn public_key(seed: [u8; 32]) -> [u8; 32] {
    Ed25519KeyPair::from_seed_unchecked(&seed).unwrap().public_key().as_ref().try_into().unwrap()
}

pub(crate) fn sign(seed: [u8; 32], message: &[u8]) -> Vec<u8> {
    Ed25519KeyPair::from_seed_unchecked(&seed).unwrap().sign(message).as_ref().to_vec()
}

/// A header's fields; a case changes what it wants before signing.
#[derive(Clone)]
pub(crate) struct HeaderFields {
    pub(crate) recording: [u8; 16],
    pub(crate) session: String,
    pub(crate) seed: [u8; 32],
    pub(crate) commitment: Option<[u8; 32]>,
    pub(crate) wrapped: Vec<u8>,
    pub(crate) start: i64,
    /// The wrapped key's length as the header says it; as it is, when not set.
    pub(crate) said: Option<u32>,
    pub(crate) label: &'static [u8],
}

impl HeaderFields {
    pub(crate) fn new(wrapped: &[u8]) -> Self {
        Self {
            recording: [0x44; 16],
            session: SESSION.to_owned(),
            seed: NODE_SEED,
            commitment: None,
            wrapped: wrapped.to_vec(),
            start: 1_700_000_000_000_000,
            said: None,
            label: b"postern recording v1 header\n",
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"\x89PSTN\r\n\x1a\x00\x01".to_vec();
        bytes.extend(u32::try_from(176 + self.wrapped.len()).unwrap().to_be_bytes());
        bytes.extend(self.recording);
        bytes.extend(self.session.as_bytes());
        bytes.extend(self.start.to_be_bytes());
        bytes.extend(public_key(self.seed));
        let commitment = || hkdf(&self.recording, b"postern recording v1 commitment");
        bytes.extend(self.commitment.unwrap_or_else(commitment));
        let length = u32::try_from(self.wrapped.len()).unwrap();
        bytes.extend(self.said.unwrap_or(length).to_be_bytes());
        bytes.extend(&self.wrapped);
        let signature = sign(self.seed, &[self.label, bytes.as_slice()].concat());
        bytes.extend(signature);
        bytes
    }
}

/// The same signature with the group's order added to its S, which carries no less and must not hold.
pub(crate) fn above_the_order(signature: &mut [u8]) {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (byte, more) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(more) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
}

/// A recording being made, frame by frame.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) header: Vec<u8>,
    pub(crate) frames: Vec<Vec<u8>>,
    hash: [u8; 32],
    chain: [u8; 32],
    next: u64,
    seed: [u8; 32],
}

impl Writer {
    pub(crate) fn new(header: Vec<u8>, seed: [u8; 32]) -> Self {
        let hash =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &header).as_ref().try_into().unwrap();
        Self { header, frames: Vec::new(), hash, chain: hash, next: 0, seed }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.header.clone(), self.frames.concat()].concat()
    }

    /// Adds a frame as it is.
    pub(crate) fn frame(mut self, kind: u8, body: &[u8]) -> Self {
        let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        frame.push(kind);
        frame.extend(self.next.to_be_bytes());
        frame.extend(body);
        let digest = blake3::hash(&frame);
        self.chain = *blake3::hash(&[self.chain, *digest.as_bytes()].concat()).as_bytes();
        self.next = self.next.wrapping_add(1);
        self.frames.push(frame);
        self
    }

    /// Seals a plaintext with any kind, nonce flag and counter in its associated data.
    pub(crate) fn sealed_as(self, kind: u8, flag: u8, counter: u64, plain: &[u8]) -> Self {
        let mut associated = self.hash.to_vec();
        associated.extend(u32::try_from(plain.len() + 16).unwrap().to_be_bytes());
        associated.push(kind);
        associated.extend(counter.to_be_bytes());
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&counter.to_be_bytes());
        nonce[11] = flag;
        let key = hkdf(&self.hash, b"postern recording v1 payload");
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
        let mut body = plain.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::from(associated), &mut body).unwrap();
        self.frame(kind, &body)
    }

    pub(crate) fn sealed(self, kind: u8, plain: &[u8]) -> Self {
        let counter = self.next;
        self.sealed_as(kind, u8::from(kind == LAST), counter, plain)
    }

    pub(crate) fn chunk(self, content: &[u8]) -> Self {
        self.sealed(CHUNK, &[&[0], content].concat())
    }

    pub(crate) fn last(self, content: &[u8]) -> Self {
        self.sealed(LAST, &[&[0], content].concat())
    }

    pub(crate) fn claim(&self, state: Option<u8>, seed: [u8; 32], chain: [u8; 32]) -> Vec<u8> {
        let label: &[u8] = if state.is_some() {
            b"postern recording v1 end\n"
        } else {
            b"postern recording v1 checkpoint\n"
        };
        let state = state.map(|state| vec![state]).unwrap_or_default();
        let message = [label, &self.hash, &self.next.to_be_bytes(), &state, &chain].concat();
        [state, chain.to_vec(), sign(seed, &message)].concat()
    }

    pub(crate) fn checkpoint(self) -> Self {
        let body = self.claim(None, self.seed, self.chain);
        self.frame(CHECKPOINT, &body)
    }

    pub(crate) fn end(self, state: u8) -> Self {
        let body = self.claim(Some(state), self.seed, self.chain);
        self.frame(END, &body)
    }

    pub(crate) fn chain(&self) -> [u8; 32] {
        self.chain
    }

    pub(crate) fn header_hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The next frame is numbered as the case says.
    pub(crate) fn numbered(mut self, next: u64) -> Self {
        self.next = next;
        self
    }
}

fn hkdf(salt: &[u8], info: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let prk = Salt::new(HKDF_SHA256, salt).extract(&FILE_KEY);
    prk.expand(&[info], HKDF_SHA256).unwrap().fill(&mut out).unwrap();
    out
}

/// One event inside a chunk. Numbers here are below 2^14, except where a case writes its own bytes.
pub(crate) fn event(kind: u8, delta: u16, channel: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    [vec![kind], number(delta), number(channel), number(length), payload.to_vec()].concat()
}

pub(crate) fn number(value: u16) -> Vec<u8> {
    let low = u8::try_from(value & 0x7f).unwrap();
    if value < 128 { vec![low] } else { vec![low | 0x80, u8::try_from(value >> 7).unwrap()] }
}

/// A chunk's content.
pub(crate) fn content(base: u16, events: &[Vec<u8>]) -> Vec<u8> {
    [number(base), events.concat()].concat()
}

pub(crate) fn started(session: &str) -> Vec<u8> {
    let json = format!(
        r#"{{"type":"session_started","session":"{session}","person":"per_abcdefgh234567ab","person_name":"olga","identity":"SHA256:x","login":"deploy","target":"web-1","protocol":"ssh","grant":"grn_abcdefgh234567ab","reason":"a vector","client":"192.0.2.1:4711","started":"2023-11-14T22:13:20Z"}}"#
    );
    event(1, 0, 0, json.as_bytes())
}

pub(crate) fn ended() -> Vec<u8> {
    event(1, 0, 0, br#"{"type":"session_ended","reason":"client_left"}"#)
}
