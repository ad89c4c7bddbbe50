//! OpenSSH user certificates of the configured user CAs: every check, in one place, each with its own reason.
//!
//! A certificate is accepted when a configured CA signed it, it is a user certificate inside its window, its
//! principals are plain names and include the person's, and every critical option is one we enforce. Anything unknown
//! is a no. The identity is `ssh-ca:NAME` and the key id as that CA wrote it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use russh::keys::ssh_key::Fingerprint;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};

use super::evidence::Certified;
use super::ssh_key::{self, KeyFault};
use crate::model::{Identity, PersonName, Timestamp};

/// Serial numbers remembered for noticing that one was given out twice.
const MOST_SERIALS: usize = 65_536;
/// Principals in a certificate at most.
const MOST_PRINCIPALS: usize = 256;
/// Longest key id or principal, in bytes.
const LONGEST_TEXT: usize = 255;
/// Extensions OpenSSH itself defines; they limit what a server offers, and the grant limits more.
const EXTENSIONS: [&str; 6] = [
    "no-touch-required",
    "permit-X11-forwarding",
    "permit-agent-forwarding",
    "permit-port-forwarding",
    "permit-pty",
    "permit-user-rc",
];

/// A user CA that the configuration trusts.
#[derive(Debug, Clone)]
pub struct UserCa {
    /// Its name, as in `[authn.user_cas.NAME]`.
    pub name: String,
    /// Its public key: a plain key, never a certificate.
    pub key: PublicKey,
    /// Principals that stand for anybody it certifies; empty means that the person's own name must be among them.
    pub principals: BTreeSet<String>,
    /// Extensions of its own that are accepted and have no effect here.
    pub extensions: BTreeSet<String>,
    /// Serial numbers taken back.
    pub revoked_serials: BTreeSet<u64>,
    /// Key ids taken back.
    pub revoked_key_ids: BTreeSet<String>,
    /// Set when the CA itself is no longer trusted: its certificates are refused with that reason.
    pub revoked: bool,
}

impl UserCa {
    /// A CA with nothing revoked and nothing special.
    #[must_use]
    pub fn new(name: &str, key: PublicKey) -> Self {
        Self {
            name: name.to_owned(),
            key,
            principals: BTreeSet::new(),
            extensions: BTreeSet::new(),
            revoked_serials: BTreeSet::new(),
            revoked_key_ids: BTreeSet::new(),
            revoked: false,
        }
    }
}

/// What the issuer of an identity proved by certificate begins with; the CA's name follows.
pub(super) const ISSUER: &str = "ssh-ca:";

/// The user CAs in force, and the serial numbers seen.
#[derive(Debug, Default)]
pub struct Authorities {
    by_fingerprint: BTreeMap<String, UserCa>,
    serials: Mutex<BTreeMap<(String, u64), Seen>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    certified: String,
    until: u64,
}

/// Why a configured CA cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityFault {
    /// The key is not accepted.
    #[error("the user CA {name:?} cannot be used: {fault}")]
    Key {
        /// The CA.
        name: String,
        /// What is wrong.
        fault: KeyFault,
    },
    /// Two CAs share a key or a name.
    #[error("the user CA {0:?} is configured twice, by name or by key")]
    Twice(String),
}

impl Authorities {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.by_fingerprint.is_empty()
    }

    /// The given CAs.
    ///
    /// # Errors
    /// When a key is not accepted, or two CAs share a name or key.
    pub fn new(cas: impl IntoIterator<Item = UserCa>) -> Result<Self, AuthorityFault> {
        let mut by_fingerprint = BTreeMap::new();
        let mut names = BTreeSet::new();
        for ca in cas {
            ssh_key::check(ca.key.key_data())
                .map_err(|fault| AuthorityFault::Key { name: ca.name.clone(), fault })?;
            let fingerprint = ca.key.fingerprint(HashAlg::Sha256).to_string();
            let name = ca.name.clone();
            if !names.insert(name.clone()) || by_fingerprint.insert(fingerprint, ca).is_some() {
                return Err(AuthorityFault::Twice(name));
            }
        }
        Ok(Self { by_fingerprint, serials: Mutex::default() })
    }

    /// Whether a certificate that was accepted once would be now, as far as what was taken back since goes.
    pub(super) fn still_trusts(&self, identity: &Identity, certified: Certified) -> bool {
        let Some(name) = identity.issuer.strip_prefix(ISSUER) else { return false };
        self.by_fingerprint.get(&certified.signer.to_string()).is_some_and(|ca| {
            ca.name == name
                && !ca.revoked
                && !ca.revoked_serials.contains(&certified.serial)
                && !ca.revoked_key_ids.contains(&identity.subject)
        })
    }

    /// Takes over the serial numbers that others have seen.
    pub(super) fn remembering(self, before: &Self) -> Self {
        let seen = before.serials.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self { serials: Mutex::new(seen), ..self }
    }

    /// Notices a serial number that the CA gave to two different keys or people. Zero means "none" in OpenSSH.
    pub(super) fn remember(&self, cert: &Certificate, checked: &Checked) -> Result<(), CertificateFault> {
        if cert.serial() == 0 {
            return Ok(());
        }
        let now = cert.valid_before();
        let seen = Seen {
            certified: format!("{} {}", cert.public_key().fingerprint(HashAlg::Sha256), cert.key_id()),
            until: now,
        };
        let mut serials = self.serials.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (checked.ca.clone(), cert.serial());
        if serials.get(&key).is_some_and(|before| before.certified != seen.certified) {
            return Err(CertificateFault::SerialReused(cert.serial()));
        }
        if serials.len() >= MOST_SERIALS
            && let Some(oldest) =
                serials.iter().min_by_key(|(_, seen)| seen.until).map(|(key, _)| key.clone())
        {
            serials.remove(&oldest);
        }
        serials.insert(key, seen);
        Ok(())
    }
}

/// Why a certificate is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// The certificate, or its CA, is signed in a way that is not accepted.
    #[error("it is signed with {0}, which is not accepted")]
    Algorithm(String),
    /// Its CA is no longer trusted.
    #[error("its CA {0:?} is revoked")]
    CaRevoked(String),
    /// A critical option that is not enforced here.
    #[error("its critical option {0:?} is not known")]
    CriticalOption(String),
    /// Over.
    #[error("it ended at {0}")]
    Expired(String),
    /// An extension that is not known.
    #[error("its extension {0:?} is not known; list it under the CA's 'extensions' to accept it")]
    Extension(String),
    /// Bound to one command; the gate runs sessions under grants.
    #[error("it is bound to one command (force-command), which the gate does not run")]
    ForceCommand,
    /// The certified key, or the CA's, is not accepted.
    #[error("{0}")]
    Key(#[from] KeyFault),
    /// The key id is empty or not plain text.
    #[error("its key id is empty, too long, or holds control characters")]
    KeyId,
    /// The key id was taken back.
    #[error("its key id is revoked")]
    KeyIdRevoked,
    /// Not a user certificate.
    #[error("it is a host certificate")]
    NotAUser,
    /// Not begun.
    #[error("it begins at {0}")]
    NotYet(String),
    /// No principals: OpenSSH takes that as "everybody", we do not.
    #[error("it has no principals")]
    NoPrincipals,
    /// A principal with a wildcard, separator or control character.
    #[error("its principal {0:?} is not a plain name")]
    Principal(String),
    /// The serial number was taken back.
    #[error("its serial number {0} is revoked")]
    SerialRevoked(u64),
    /// The serial number was given to somebody else before.
    #[error("its serial number {0} was given out twice by its CA")]
    SerialReused(u64),
    /// The signature does not fit.
    #[error("its signature is wrong")]
    Signature,
    /// Not valid from where the client is.
    #[error("it is not valid from {0}")]
    SourceAddress(String),
    /// No configured CA signed it.
    #[error("no configured user CA signed it (its signer is {0})")]
    UntrustedCa(String),
    /// It demands a PIN at every use, which an SSH server behind our library cannot see.
    #[error("it demands verification at every use (verify-required), which cannot be seen at SSH login")]
    VerifyRequired,
    /// Its principals do not include the person.
    #[error("its principals do not include {0}")]
    WrongPrincipal(PersonName),
}

/// A certificate that passed every check that needs no directory.
#[derive(Debug)]
pub(super) struct Checked {
    ca: String,
    key_id: String,
    principals: Vec<String>,
    any_of: BTreeSet<String>,
    until: Timestamp,
    serial: u64,
    signer: Fingerprint,
}

impl Checked {
    pub(super) fn identity(&self) -> Identity {
        Identity { issuer: format!("{ISSUER}{}", self.ca), subject: self.key_id.clone() }
    }

    pub(super) const fn certified(&self) -> Certified {
        Certified { until: self.until, serial: self.serial, signer: self.signer }
    }

    /// Whether the certificate speaks of this person.
    pub(super) fn names(&self, name: &PersonName) -> Result<(), CertificateFault> {
        let named = self.principals.iter().any(|p| p == name.as_str() || self.any_of.contains(p));
        if named { Ok(()) } else { Err(CertificateFault::WrongPrincipal(name.clone())) }
    }
}

/// Checks a certificate against the CAs in force.
pub(super) fn check(
    cert: &Certificate,
    authorities: &Authorities,
    from: Option<IpAddr>,
    now: Timestamp,
) -> Result<Checked, CertificateFault> {
    let signer = cert.signature_key();
    ssh_key::check(signer)?;
    ssh_key::check(cert.public_key())?;
    let fingerprint = signer.fingerprint(HashAlg::Sha256).to_string();
    let ca = authorities.by_fingerprint.get(&fingerprint).filter(|ca| ca.key.key_data() == signer);
    let ca = ca.ok_or(CertificateFault::UntrustedCa(fingerprint))?;
    check_signature(cert, signer)?;
    if ca.revoked {
        return Err(CertificateFault::CaRevoked(ca.name.clone()));
    }
    if cert.cert_type() != CertType::User {
        return Err(CertificateFault::NotAUser);
    }
    let until = check_window(cert, now)?;
    if ca.revoked_serials.contains(&cert.serial()) {
        return Err(CertificateFault::SerialRevoked(cert.serial()));
    }
    if !is_plain(cert.key_id()) {
        return Err(CertificateFault::KeyId);
    }
    if ca.revoked_key_ids.contains(cert.key_id()) {
        return Err(CertificateFault::KeyIdRevoked);
    }
    check_principals(cert)?;
    check_options(cert, ca, from)?;
    Ok(Checked {
        ca: ca.name.clone(),
        key_id: cert.key_id().to_owned(),
        principals: cert.valid_principals().to_vec(),
        any_of: ca.principals.clone(),
        until,
        serial: cert.serial(),
        signer: cert.signature_key().fingerprint(HashAlg::Sha256),
    })
}

/// The CA's own signature: a modern algorithm that fits the key, over exactly these bytes, and by a touched key.
fn check_signature(cert: &Certificate, signer: &KeyData) -> Result<(), CertificateFault> {
    let algorithm = cert.signature().algorithm();
    let is_sha1 = matches!(algorithm, Algorithm::Rsa { hash: None });
    let fits =
        matches!(algorithm, Algorithm::Rsa { .. }) && signer.is_rsa() || algorithm == signer.algorithm();
    if is_sha1 || !fits {
        return Err(CertificateFault::Algorithm(algorithm.as_str().chars().take(80).collect()));
    }
    cert.verify_signature().map_err(|_| CertificateFault::Signature)?;
    let flags = cert.signature().as_bytes().iter().rev().nth(4).copied().unwrap_or(0);
    if ssh_key::is_security_key(signer) && flags & 1 == 0 {
        return Err(CertificateFault::Signature);
    }
    Ok(())
}

/// The window, to the second, as `PROTOCOL.certkeys` has it: after <= now < before.
fn check_window(cert: &Certificate, now: Timestamp) -> Result<Timestamp, CertificateFault> {
    let time = |seconds: u64| i64::try_from(seconds).ok().and_then(|s| Timestamp::from_second(s).ok());
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    if seconds < cert.valid_after() {
        let text = time(cert.valid_after()).map_or_else(|| "never".to_owned(), |t| t.to_string());
        return Err(CertificateFault::NotYet(text));
    }
    let until = time(cert.valid_before()).unwrap_or(Timestamp::MAX);
    if seconds >= cert.valid_before() {
        return Err(CertificateFault::Expired(until.to_string()));
    }
    Ok(until)
}

fn check_principals(cert: &Certificate) -> Result<(), CertificateFault> {
    let principals = cert.valid_principals();
    if principals.is_empty() {
        return Err(CertificateFault::NoPrincipals);
    }
    let odd = principals.iter().find(|p| !is_plain(p) || p.contains(['*', '?', ',', '!', ' ']));
    match odd {
        Some(odd) => Err(CertificateFault::Principal(odd.chars().take(80).collect())),
        None if principals.len() > MOST_PRINCIPALS => Err(CertificateFault::Principal("too many".to_owned())),
        None => Ok(()),
    }
}

fn check_options(cert: &Certificate, ca: &UserCa, from: Option<IpAddr>) -> Result<(), CertificateFault> {
    for (name, value) in cert.critical_options().iter() {
        match name.as_str() {
            "force-command" => return Err(CertificateFault::ForceCommand),
            "verify-required" => return Err(CertificateFault::VerifyRequired),
            "source-address" => check_source(value, from)?,
            _ => return Err(CertificateFault::CriticalOption(name.chars().take(80).collect())),
        }
    }
    let unknown = cert
        .extensions()
        .keys()
        .find(|name| !EXTENSIONS.contains(&name.as_str()) && !ca.extensions.contains(*name));
    match unknown {
        Some(name) => Err(CertificateFault::Extension(name.chars().take(80).collect())),
        None => Ok(()),
    }
}

/// A comma-separated list of addresses and CIDR blocks, one of which must hold the client.
fn check_source(list: &str, from: Option<IpAddr>) -> Result<(), CertificateFault> {
    let Some(from) = from.map(|address| address.to_canonical()) else {
        return Err(CertificateFault::SourceAddress("an unknown address".to_owned()));
    };
    let allowed = list.split(',').any(|block| block_holds(block, from));
    if allowed { Ok(()) } else { Err(CertificateFault::SourceAddress(from.to_string())) }
}

/// Whether a CIDR block or single address holds an address. What cannot be read holds nothing.
fn block_holds(block: &str, from: IpAddr) -> bool {
    let (base, bits) = match block.split_once('/') {
        Some((base, bits)) => (base, bits.parse::<u32>().ok()),
        None => (block, Some(128)),
    };
    let (Ok(base), Some(bits)) = (base.parse::<IpAddr>(), bits) else { return false };
    let whole = !block.contains('/');
    match (base, from) {
        (IpAddr::V4(base), IpAddr::V4(from)) => {
            let bits = if whole { 32 } else { bits };
            bits <= 32 && (u32::from(base) ^ u32::from(from)).checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(base), IpAddr::V6(from)) => {
            bits <= 128 && (u128::from(base) ^ u128::from(from)).checked_shr(128 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// Text that is there, bounded, and without control characters.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST_TEXT && !text.chars().any(char::is_control)
}
