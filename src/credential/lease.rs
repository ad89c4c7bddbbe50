//! Our hold on a session's credential: one owner, one end.
//!
//! The key is made when the lease is and wiped when the lease is taken back; certificates are signed for it one login
//! at a time, so that a lease which was taken back can open nothing more, and what it has opened is cut with the
//! session's sockets.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use russh::keys::PrivateKey;

use super::ssh_certificate::{
    MintError, SshCertificateAuthority, SshCredential, UserCertificate, fresh_key, key_id,
};
use crate::model::{Capability, Clock, Login, PersonName, SessionId, Timestamp};

/// The credential of one session. Not cloneable: the session owns it.
pub struct Lease {
    authority: SshCertificateAuthority,
    session: SessionId,
    person: PersonName,
    login: Login,
    capabilities: BTreeSet<Capability>,
    clock: Clock,
    key: Mutex<Option<Arc<PrivateKey>>>,
}

impl Lease {
    /// Makes the session's key. Nothing is signed before the first login.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn mint(
        authority: SshCertificateAuthority,
        session: SessionId,
        person: PersonName,
        login: Login,
        capabilities: BTreeSet<Capability>,
        clock: Clock,
    ) -> Result<Self, MintError> {
        let key = Mutex::new(Some(fresh_key()?));
        Ok(Self { authority, session, person, login, capabilities, clock, key })
    }

    /// A certificate for one login from `source`, or `None` when the lease has been taken back.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn credential(&self, source: Option<IpAddr>) -> Result<Option<SshCredential>, MintError> {
        let key = self.key.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(key) = key else { return Ok(None) };
        let says = UserCertificate {
            session: &self.session,
            person: &self.person,
            login: &self.login,
            source,
            allows_terminal: self.capabilities.contains(&Capability::Shell)
                || self.capabilities.contains(&Capability::Exec),
            allows_forward: self.capabilities.iter().any(|c| matches!(c, Capability::Forward { .. })),
        };
        self.authority.user(&key, &says, self.clock.now()).map(Some)
    }

    /// What the target's log calls this session.
    #[must_use]
    pub fn key_id(&self) -> String {
        key_id(&self.session, &self.person)
    }

    /// The login it is for.
    #[must_use]
    pub const fn login(&self) -> &Login {
        &self.login
    }

    /// Ends the lease: the key is dropped (and wiped with its last user, a login in progress that is being cut), and
    /// no certificate is signed from now on. Returns when, and whether the key is wiped already.
    pub fn take_back(&self) -> (Timestamp, bool) {
        let key = self.key.lock().unwrap_or_else(PoisonError::into_inner).take();
        let is_wiped = key.is_none_or(|key| Arc::into_inner(key).is_some());
        (self.clock.now(), is_wiped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_taken_back_signs_nothing() {
        let lease = Lease::mint(
            SshCertificateAuthority::new(fresh_key().unwrap()),
            SessionId::random().unwrap(),
            "alice".parse().unwrap(),
            "deploy".parse().unwrap(),
            BTreeSet::from([Capability::Shell]),
            Clock::system(),
        )
        .unwrap();
        let first = lease.credential(None).unwrap().unwrap();
        let second = lease.credential(None).unwrap().unwrap();
        assert_ne!(first.certificate.serial(), second.certificate.serial());
        lease.take_back();
        assert!(lease.credential(None).unwrap().is_none());
    }
}
