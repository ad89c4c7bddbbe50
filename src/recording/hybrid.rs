//! age's post-quantum recipients (`age1pq1…`): X25519 together with ML-KEM-768, so that both must be broken.
//!
//! C2SP `age`, part "The MLKEM768-X25519 hybrid post-quantum recipient type": HPKE (RFC 9180, base mode) over the KEM
//! X-Wing, with HKDF-SHA256 and ChaCha20-Poly1305. The `age` library that fits the others we use does not have it; it
//! is judged by the published vectors (`tests/corpus/age/`). Everything else about an age file is the library's.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use age::secrecy::SecretString;
use age_core::format::{FileKey, Stanza};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::digest;
use bech32::{FromBase32 as _, ToBase32 as _, Variant};
use data_encoding::BASE64_NOPAD;
use ml_kem::ml_kem_768::{DecapsulationKey, EncapsulationKey};
use ml_kem::{Decapsulate as _, KeyExport as _};
use shake::{ExtendableOutput as _, Shake256, Update as _, XofReader as _};
use zeroize::{Zeroize as _, Zeroizing};

use super::hpke::{BODY, Suite};
use super::key::KeyError;
use crate::model::Secret;

const TAG: &str = "mlkem768x25519";
/// Recipients with this label are never mixed with others: the weakest would decide.
const LABEL: &str = "postquantum";
const PUBLIC: &str = "age1pq";
const SECRET: &str = "age-secret-key-pq-";
/// HPKE with KEM 0x647a (X-Wing).
const SUITE: Suite =
    Suite { id: b"HPKE\x64\x7a\x00\x01\x00\x03", info: b"age-encryption.org/mlkem768x25519" };
/// What X-Wing ends its hash with.
const X_WING: &[u8] = br"\.//^\";
const LATTICE_KEY: usize = 1184;
const LATTICE_SHARE: usize = 1088;
const CURVE: usize = 32;

/// A public key that files are encrypted to.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Recipient {
    lattice: Box<[u8; LATTICE_KEY]>,
    curve: [u8; CURVE],
}

/// The secret that opens them: a seed of 32 bytes.
pub(super) struct Identity {
    seed: Secret<[u8; 32]>,
}

/// What the seed stands for.
struct Expanded {
    lattice: DecapsulationKey,
    curve: PrivateKey,
    public: Recipient,
}

impl Identity {
    /// A fresh one.
    pub(super) fn generate() -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| KeyError::Unavailable)?;
        Ok(Self { seed: Secret::new(seed) })
    }

    /// Its text, for a file that only its owner may read.
    pub(super) fn to_secret_text(&self) -> SecretString {
        let mut text =
            bech32::encode(SECRET, self.seed.expose().to_base32(), Variant::Bech32).unwrap_or_default();
        let secret = SecretString::from(text.to_uppercase());
        text.zeroize();
        secret
    }

    /// The recipient that belongs to it; `None` when the libraries refuse the seed, which they have no reason to.
    pub(super) fn to_public(&self) -> Option<Recipient> {
        self.expand().map(|expanded| expanded.public)
    }

    fn expand(&self) -> Option<Expanded> {
        let mut hash = Shake256::default();
        hash.update(self.seed.expose());
        let mut bytes = Zeroizing::new([0; 96]);
        hash.finalize_xof().read(bytes.as_mut_slice());
        let (lattice, curve) = bytes.split_at_checked(64)?;
        let lattice = DecapsulationKey::from_seed(lattice.try_into().ok()?);
        let curve = PrivateKey::from_private_key(&X25519, curve).ok()?;
        let public = Recipient {
            lattice: Box::new(lattice.encapsulation_key().to_bytes().as_slice().try_into().ok()?),
            curve: curve.compute_public_key().ok()?.as_ref().try_into().ok()?,
        };
        Some(Expanded { lattice, curve, public })
    }
}

impl Recipient {
    /// A fresh shared secret, and the share that tells the other side which.
    fn encapsulate(&self) -> Option<(Vec<u8>, Secret<[u8; 32]>)> {
        let (mut random, mut ephemeral) = ([0; 32], [0; CURVE]);
        aws_lc_rs::rand::fill(&mut random).ok()?;
        aws_lc_rs::rand::fill(&mut ephemeral).ok()?;
        let key = EncapsulationKey::new(&self.lattice.as_slice().try_into().ok()?).ok()?;
        let (share, lattice_secret) = key.encapsulate_deterministic(&random.into());
        let curve = PrivateKey::from_private_key(&X25519, &ephemeral).ok()?;
        random.zeroize();
        ephemeral.zeroize();
        let curve_share: [u8; CURVE] = curve.compute_public_key().ok()?.as_ref().try_into().ok()?;
        let secret = combine(&lattice_secret, &curve, &self.curve, &curve_share, &self.curve)?;
        Some(([share.as_slice(), &curve_share].concat(), secret))
    }
}

impl Expanded {
    /// The shared secret of a share; `None` when the curve's part is of low order.
    fn decapsulate(&self, share: &[u8]) -> Option<Secret<[u8; 32]>> {
        let (lattice, curve) = share.split_at_checked(LATTICE_SHARE)?;
        let lattice_secret = self.lattice.decapsulate_slice(lattice).ok()?;
        combine(&lattice_secret, &self.curve, curve, curve, &self.public.curve)
    }
}

/// X-Wing's combination: SHA3-256 over both secrets, the curve's share, the curve's public key, and a label.
fn combine(
    lattice: &[u8],
    mine: &PrivateKey,
    peer: &[u8],
    share: &[u8],
    public: &[u8],
) -> Option<Secret<[u8; 32]>> {
    let peer = UnparsedPublicKey::new(&X25519, peer);
    agree(mine, peer, (), |curve| {
        let mut hash = digest::Context::new(&digest::SHA3_256);
        [lattice, curve, share, public, X_WING].into_iter().for_each(|part| hash.update(part));
        hash.finish().as_ref().try_into().map(Secret::new).map_err(|_| ())
    })
    .ok()
}

impl age::Recipient for Recipient {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        let failed = || age::EncryptError::Io(std::io::Error::other("no hybrid share could be made"));
        let (share, secret) = self.encapsulate().ok_or_else(failed)?;
        let body = SUITE.seal(&secret, file_key).ok_or_else(failed)?;
        let stanza = Stanza { tag: TAG.to_owned(), args: vec![BASE64_NOPAD.encode(&share)], body };
        Ok((vec![stanza], HashSet::from([LABEL.to_owned()])))
    }
}

impl age::Identity for Identity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, age::DecryptError>> {
        const MALFORMED: Option<Result<FileKey, age::DecryptError>> =
            Some(Err(age::DecryptError::InvalidHeader));
        if stanza.tag != TAG {
            return None;
        }
        let [share] = stanza.args.as_slice() else { return MALFORMED };
        let Ok(share) = BASE64_NOPAD.decode(share.as_bytes()) else { return MALFORMED };
        if share.len() != LATTICE_SHARE + CURVE || stanza.body.len() != BODY {
            return MALFORMED;
        }
        let Some(secret) = self.expand()?.decapsulate(&share) else { return MALFORMED };
        SUITE.open(&secret, &stanza.body).map(Ok)
    }
}

impl FromStr for Recipient {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes = decode(text, PUBLIC)?;
        let (lattice, curve) = bytes.split_at_checked(LATTICE_KEY).ok_or(())?;
        let lattice = Box::new(lattice.try_into().map_err(|_| ())?);
        let curve = curve.try_into().map_err(|_| ())?;
        let recipient = Self { lattice, curve };
        // Not every text of that length is a key.
        recipient.encapsulate().map(|_| recipient).ok_or(())
    }
}

impl FromStr for Identity {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes = Secret::new(decode(text, SECRET)?);
        let seed = bytes.expose().as_slice().try_into().map_err(|_| ())?;
        Ok(Self { seed: Secret::new(seed) })
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.lattice.as_slice(), &self.curve].concat();
        f.write_str(&bech32::encode(PUBLIC, bytes.to_base32(), Variant::Bech32).map_err(|_| fmt::Error)?)
    }
}

/// The bytes of a Bech32 text of a kind.
fn decode(text: &str, kind: &str) -> Result<Vec<u8>, ()> {
    let (found, data, variant) = bech32::decode(text).map_err(|_| ())?;
    if found.to_lowercase() != kind || variant != Variant::Bech32 {
        return Err(());
    }
    Vec::from_base32(&data).map_err(|_| ())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use age_core::format::FILE_KEY_BYTES;
    use age_core::secrecy::ExposeSecret as _;

    use super::*;

    /// A vector: what is expected, the identities, the SHA-256 of what is inside, and the file.
    struct Vector {
        expect: String,
        identities: Vec<String>,
        payload: String,
        file: Vec<u8>,
    }

    fn vector(path: &std::path::Path) -> Vector {
        let bytes = std::fs::read(path).unwrap();
        let end = bytes.windows(2).position(|two| two == b"\n\n").unwrap();
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let all = |key: &str| -> Vec<String> {
            head.lines()
                .filter_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
                .map(str::to_owned)
                .collect()
        };
        let file = bytes[end + 2..].to_vec();
        let payload = all("payload").pop().unwrap_or_default();
        Vector { expect: all("expect").remove(0), identities: all("identity"), payload, file }
    }

    /// What becomes of a file, in the vectors' words.
    fn outcome(vector: &Vector) -> String {
        let identities: Vec<Box<dyn age::Identity>> = vector
            .identities
            .iter()
            .map(|text| match text.parse::<Identity>() {
                Ok(identity) => Box::new(identity) as Box<dyn age::Identity>,
                Err(()) => Box::new(text.parse::<age::x25519::Identity>().unwrap()),
            })
            .collect();
        let opened = age::Decryptor::new_buffered(vector.file.as_slice())
            .and_then(|file| file.decrypt(identities.iter().map(AsRef::as_ref)));
        match opened {
            Ok(mut reader) => {
                let mut plain = Vec::new();
                reader.read_to_end(&mut plain).unwrap();
                let sum = digest::digest(&digest::SHA256, &plain);
                assert_eq!(data_encoding::HEXLOWER.encode(sum.as_ref()), vector.payload);
                "success".to_owned()
            }
            Err(age::DecryptError::NoMatchingKeys | age::DecryptError::DecryptionFailed) => {
                "no match".to_owned()
            }
            Err(_) => "header failure".to_owned(),
        }
    }

    #[test]
    fn every_published_vector_has_its_outcome() {
        let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/age");
        let mut count = 0;
        for entry in std::fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with("hybrid") {
                let vector = vector(&path);
                assert_eq!(outcome(&vector), vector.expect, "{}", path.display());
                count += 1;
            }
        }
        assert_eq!(count, 18);
    }

    #[test]
    fn a_key_survives_its_text_and_opens_only_what_is_for_it() {
        let (mine, other) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let public = mine.to_public().unwrap();
        assert!(public.to_string().parse() == Ok(public.clone()));
        let again: Identity = mine.to_secret_text().expose_secret().parse().unwrap();
        assert!(again.to_public() == Some(public.clone()));
        let key = FileKey::new(Box::new([7; FILE_KEY_BYTES]));
        let (stanzas, labels) = age::Recipient::wrap_file_key(&public, &key).unwrap();
        assert_eq!(labels, HashSet::from([LABEL.to_owned()]));
        let opened = age::Identity::unwrap_stanza(&again, &stanzas[0]).unwrap().unwrap();
        assert_eq!(opened.expose_secret(), key.expose_secret());
        assert!(age::Identity::unwrap_stanza(&other, &stanzas[0]).is_none());
        for text in ["age1pq1", "", "AGE-SECRET-KEY-PQ-1", &public.to_string().repeat(2)] {
            assert!(text.parse::<Recipient>().is_err() && text.parse::<Identity>().is_err(), "{text}");
        }
    }
}
