//! The server's half of SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL's clients speak it, with channel binding to the
//! server's certificate (`tls-server-end-point`, RFC 5929).
//!
//! PostgreSQL's clients leave SCRAM's user name empty, so who is proving themselves is not known before the proof. All secrets
//! that are open at a time therefore share one salt, and the proof is held against each of them: they are random and long, so
//! a salt of their own would add nothing.

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use data_encoding::BASE64;
use zeroize::Zeroize as _;

/// Without channel binding, and with.
pub const MECHANISMS: [&str; 2] = ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"];
/// The longest message of a client, in bytes.
pub const LONGEST: usize = 2048;
const HASH: usize = 32;

/// Why a client's message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// It is bound to another connection than this, or not at all although it could be.
    #[error("the login is not bound to this TLS connection: somebody may be in between")]
    Binding,
    /// It is not SCRAM.
    #[error("the login's message is malformed")]
    Malformed,
    /// It proves nothing that is known here.
    #[error("the password is wrong, used up or too old")]
    Unproven,
}

/// What a server keeps of a secret.
#[derive(Clone)]
pub struct Verifier {
    stored: [u8; HASH],
    server: [u8; HASH],
}

impl Verifier {
    /// From a secret in printable ASCII, which needs no normalising (SASLprep, RFC 4013).
    #[must_use]
    pub fn new(secret: &[u8], salt: &[u8], rounds: std::num::NonZeroU32) -> Self {
        let mut salted = [0; HASH];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, secret, &mut salted);
        let client = mac(&salted, b"Client Key");
        let server = mac(&salted, b"Server Key");
        salted.zeroize();
        Self { stored: sha256(&client), server }
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.stored.zeroize();
        self.server.zeroize();
    }
}

/// An exchange whose first two messages were said.
#[derive(Debug)]
pub struct Exchange {
    /// What the client must repeat, in its own base 64: its header and the binding.
    bound: String,
    nonce: String,
    /// `client-first-message-bare` and `server-first-message`, with commas behind them.
    said: String,
}

impl Exchange {
    /// Takes the client's first message; gives the exchange and the server's. `binding` is the hash of the certificate this
    /// connection was made with, and `nonce` is fresh and printable.
    ///
    /// # Errors
    /// [`ScramError`].
    pub fn begin(
        mechanism: &str,
        first: &[u8],
        binding: &[u8],
        (salt, rounds): (&[u8], std::num::NonZeroU32),
        nonce: &str,
    ) -> Result<(Self, String), ScramError> {
        let first = text(first)?;
        let mut parts = first.splitn(3, ',');
        let (flag, name, bare) = (next(&mut parts)?, next(&mut parts)?, next(&mut parts)?);
        let is_bound = match (mechanism == MECHANISMS[1], flag) {
            (true, "p=tls-server-end-point") => true,
            (false, "n") => false,
            // "The server has no binding", says somebody about a server that offers it.
            (false, "y") | (true, "n" | "y") => return Err(ScramError::Binding),
            (_, _) => return Err(ScramError::Malformed),
        };
        // An authorization identity is nothing PostgreSQL knows.
        if !name.is_empty() {
            return Err(ScramError::Malformed);
        }
        let mut fields = bare.split(',');
        let theirs = match (fields.next(), fields.next()) {
            (Some(user), Some(nonce)) if user.starts_with("n=") => nonce.strip_prefix("r="),
            _ => None,
        };
        let theirs = theirs.filter(|nonce| !nonce.is_empty() && nonce.bytes().all(|b| b.is_ascii_graphic()));
        let nonce = format!("{}{nonce}", theirs.ok_or(ScramError::Malformed)?);
        let answer = format!("r={nonce},s={},i={rounds}", BASE64.encode(salt));
        let mut bound = format!("{flag},,").into_bytes();
        if is_bound {
            bound.extend_from_slice(binding);
        }
        let (bound, said) = (BASE64.encode(&bound), format!("{bare},{answer},"));
        Ok((Self { bound, nonce, said }, answer))
    }

    /// Takes the client's proof; gives which of the secrets it proves, and the server's proof.
    ///
    /// # Errors
    /// [`ScramError`].
    pub fn finish<'a>(
        &self,
        last: &[u8],
        secrets: impl IntoIterator<Item = &'a Verifier>,
    ) -> Result<(usize, String), ScramError> {
        let last = text(last)?;
        let (unproven, proof) = last.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let mut fields = unproven.split(',');
        let bound = fields.next().and_then(|field| field.strip_prefix("c=")).ok_or(ScramError::Malformed)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(ScramError::Malformed)?;
        if bound != self.bound {
            return Err(ScramError::Binding);
        }
        if nonce != self.nonce {
            return Err(ScramError::Malformed);
        }
        let proof = BASE64.decode(proof.as_bytes()).map_err(|_| ScramError::Malformed)?;
        let proof: [u8; HASH] = proof.try_into().map_err(|_| ScramError::Malformed)?;
        let message = format!("{}{unproven}", self.said);
        let mut found = None;
        // All of them, whichever it is, so that the time taken says nothing.
        for (index, secret) in secrets.into_iter().enumerate() {
            let signature = mac(&secret.stored, message.as_bytes());
            let key: [u8; HASH] = std::array::from_fn(|at| {
                proof.get(at).copied().unwrap_or_default() ^ signature.get(at).copied().unwrap_or_default()
            });
            if constant_time::verify_slices_are_equal(&sha256(&key), &secret.stored).is_ok() {
                found =
                    Some((index, format!("v={}", BASE64.encode(&mac(&secret.server, message.as_bytes())))));
            }
        }
        found.ok_or(ScramError::Unproven)
    }
}

fn text(message: &[u8]) -> Result<&str, ScramError> {
    let is_short = message.len() <= LONGEST;
    std::str::from_utf8(message).ok().filter(|_| is_short).ok_or(ScramError::Malformed)
}

fn next<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Result<&'a str, ScramError> {
    parts.next().ok_or(ScramError::Malformed)
}

fn mac(key: &[u8], message: &[u8]) -> [u8; HASH] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    tag.as_ref().try_into().unwrap_or_default()
}

fn sha256(bytes: &[u8]) -> [u8; HASH] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    // RFC 7677 part 3.
    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const ANSWER: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn salted() -> (Vec<u8>, NonZeroU32) {
        (BASE64.decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), NonZeroU32::new(4096).unwrap())
    }

    fn begin(mechanism: &str, first: &str) -> Result<(Exchange, String), ScramError> {
        let (salt, rounds) = salted();
        Exchange::begin(mechanism, first.as_bytes(), b"certificate", (&salt, rounds), NONCE)
    }

    fn secrets(texts: &[&str]) -> Vec<Verifier> {
        let (salt, rounds) = salted();
        texts.iter().map(|text| Verifier::new(text.as_bytes(), &salt, rounds)).collect()
    }

    #[test]
    fn the_published_example_is_proved_and_only_by_its_secret() {
        let (exchange, answer) = begin(MECHANISMS[0], FIRST).unwrap();
        assert_eq!(answer, ANSWER);
        let proved = exchange.finish(LAST.as_bytes(), &secrets(&["other", "pencil", "another"]));
        assert_eq!(proved, Ok((1, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_owned())));
        assert_eq!(exchange.finish(LAST.as_bytes(), &secrets(&["pencils"])), Err(ScramError::Unproven));
        assert_eq!(exchange.finish(LAST.as_bytes(), &[]), Err(ScramError::Unproven));
        let (other, _) = begin(MECHANISMS[0], "n,,n=,r=another").unwrap();
        assert_eq!(other.finish(LAST.as_bytes(), &secrets(&["pencil"])), Err(ScramError::Malformed));
    }

    #[test]
    fn who_could_be_bound_to_the_connection_has_to_be() {
        let bound = "p=tls-server-end-point,,n=,r=abc";
        let (exchange, _) = begin(MECHANISMS[1], bound).unwrap();
        let last =
            |c: &str| format!("c={},r=abc{NONCE},p={}", BASE64.encode(c.as_bytes()), BASE64.encode(&[0; 32]));
        let right = last("p=tls-server-end-point,,certificate");
        assert_eq!(exchange.finish(right.as_bytes(), &secrets(&["x"])), Err(ScramError::Unproven));
        for wrong in ["p=tls-server-end-point,,other", "p=tls-server-end-point,,", "n,,"] {
            let said = exchange.finish(last(wrong).as_bytes(), &secrets(&["x"]));
            assert_eq!(said, Err(ScramError::Binding), "{wrong}");
        }
        for (mechanism, first) in
            [(MECHANISMS[0], "y,,n=,r=abc"), (MECHANISMS[1], "n,,n=,r=abc"), (MECHANISMS[1], "y,,n=,r=abc")]
        {
            assert_eq!(begin(mechanism, first).unwrap_err(), ScramError::Binding, "{mechanism} {first}");
        }
        for (mechanism, first) in [
            (MECHANISMS[0], bound),
            (MECHANISMS[1], "p=tls-unique,,n=,r=abc"),
            (MECHANISMS[0], "n,a=admin,n=,r=abc"),
            (MECHANISMS[0], "n,,n=,r="),
            (MECHANISMS[0], "n,,r=abc"),
            (MECHANISMS[0], "n,,m=ext,n=,r=abc"),
            (MECHANISMS[0], ""),
        ] {
            assert_eq!(begin(mechanism, first).unwrap_err(), ScramError::Malformed, "{mechanism} {first}");
        }
    }

    proptest! {
        #[test]
        fn any_message_is_one_or_an_error(
            first in "[npy=,a-z-]{0,40}|n,,n=,r=[ -~]{0,20}", last in "[crp=,a-zA-Z0-9+/]{0,80}",
        ) {
            if let Ok((exchange, _)) = begin(MECHANISMS[0], &first) {
                prop_assert!(exchange.finish(last.as_bytes(), &secrets(&["x"])).is_err());
            }
        }
    }
}
