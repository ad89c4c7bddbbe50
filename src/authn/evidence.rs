//! The outcome of authentication: an [`Authenticated`] that only this module can make, or a [`Rejected`] that says
//! why not. The reasons are for our log and for people who already proved who they are; a stranger is told nothing
//! but "no".

use std::collections::BTreeSet;

use super::challenge::ChallengeFault;
use super::directory::Known;
use super::ssh_certificate::CertificateFault;
use super::ssh_key::KeyFault;
use super::sshsig::SignatureFault;
use super::tokens::TokenFault;
use russh::keys::ssh_key::Fingerprint;

use crate::model::{Identity, PersonId, PersonName, PrincipalKind, Proof, Role, Timestamp};

/// Somebody who proved an identity that is linked to an enabled person.
///
/// There is no public constructor and no `Clone`: holding one is proof that the check ran.
#[derive(Debug)]
pub struct Authenticated {
    known: Known,
    identity: Identity,
    proof: Proof,
    certified: Option<Certified>,
}

/// What a certificate said beside who it is for: needed to know later whether it still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certified {
    /// When it ends.
    pub until: Timestamp,
    /// Its serial number.
    pub serial: u64,
    /// The key that signed it: a CA whose key was replaced vouches for nothing it signed before.
    pub(super) signer: Fingerprint,
}

impl Authenticated {
    /// Made from evidence that was checked; fails for people who are disabled.
    pub(super) fn admit(
        known: Known,
        identity: Identity,
        proof: Proof,
        certified: Option<Certified>,
    ) -> Result<Self, Rejected> {
        if !known.enabled {
            return Err(Rejected::Disabled { name: known.name });
        }
        Ok(Self { known, identity, proof, certified })
    }

    /// The person's id.
    #[must_use]
    pub const fn person(&self) -> &PersonId {
        &self.known.person
    }

    /// What the person is called.
    #[must_use]
    pub const fn name(&self) -> &PersonName {
        &self.known.name
    }

    /// Person or workload.
    #[must_use]
    pub const fn kind(&self) -> PrincipalKind {
        self.known.kind
    }

    /// The roles they had when they proved it.
    #[must_use]
    pub const fn roles(&self) -> &BTreeSet<Role> {
        &self.known.roles
    }

    /// What they proved.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How they proved it.
    #[must_use]
    pub const fn proof(&self) -> Proof {
        self.proof
    }

    /// The certificate behind it, where there was one.
    #[must_use]
    pub const fn certified(&self) -> Option<Certified> {
        self.certified
    }
}

/// Why evidence was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// A certificate failed one of its checks.
    #[error("the certificate is refused: {0}")]
    Certificate(#[from] CertificateFault),
    /// The sign-in nonce is not one of ours, was used, or is old.
    #[error("the sign-in challenge is refused: {0}")]
    Challenge(#[from] ChallengeFault),
    /// The person exists and is disabled.
    #[error("{name} is disabled; an administrator can enable them with 'postern people enable {name}'")]
    Disabled {
        /// Who.
        name: PersonName,
    },
    /// The key is of a kind or size that is not accepted.
    #[error("the key is refused: {0}")]
    Key(#[from] KeyFault),
    /// The signature does not prove what it should.
    #[error("the signature is refused: {0}")]
    Signature(#[from] SignatureFault),
    /// The token is unknown, over, or was taken back.
    #[error("{0}")]
    Token(#[from] TokenFault),
    /// Nobody has this identity.
    #[error("no person has the identity {identity}; an administrator can link it with 'postern people link'")]
    Unknown {
        /// The identity that was proved.
        identity: Identity,
    },
}
