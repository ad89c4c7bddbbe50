//! A session's hold on its role: what logs in with it, and the end of both.
//!
//! The password is wiped when the lease is taken back; by then the server has forgotten its verifier. Who relays asks
//! for the parts of a login one at a time, and gets none any more once the lease is over.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;

use super::administration::{Administration, Administrator, Mint};
use super::ending::{RoleEnding, Step};
use super::error::PostgresError;
use crate::model::{HostTrust, Login, RoleId, Secret, SessionId};
use crate::net::tls_to_target;

/// What one session logs in with on its target.
pub struct PostgresCredential {
    by: Administrator,
    role: RoleId,
    login: Login,
    session: SessionId,
    password: Secret<String>,
}

impl PostgresCredential {
    pub(super) fn new(by: Administrator, role: RoleId, password: Secret<String>, wanted: &Mint<'_>) -> Self {
        Self { by, role, login: wanted.login.clone(), session: wanted.session.clone(), password }
    }

    /// The role to log in as.
    #[must_use]
    pub const fn role(&self) -> &RoleId {
        &self.role
    }

    /// The role whose rights it has.
    #[must_use]
    pub const fn login(&self) -> &Login {
        &self.login
    }

    /// Its password, for SCRAM-SHA-256. It is never sent.
    #[must_use]
    pub const fn password(&self) -> &Secret<String> {
        &self.password
    }

    /// What to call the connection in `application_name`, so that the server's own log names the session.
    #[must_use]
    pub fn application(&self) -> String {
        format!("postern {}", self.session)
    }

    /// TLS for one login now: the server must prove itself as `trust` says, and is shown a certificate for this role.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub fn tls(&self, trust: &HostTrust) -> Result<ClientConfig, PostgresError> {
        let ours = self.by.ca.certify(self.role.as_str(), self.by.clock.now())?;
        Ok(tls_to_target(trust, Some(ours))?)
    }
}

/// The credential of one session, and the way to end it. Not cloneable: the session owns it.
pub struct PostgresLease {
    administration: Arc<Administration>,
    role: RoleId,
    login: Login,
    credential: Mutex<Option<Arc<PostgresCredential>>>,
}

impl PostgresLease {
    /// Makes a session's role.
    ///
    /// # Errors
    /// See [`PostgresError`]; then there is no such role.
    pub async fn mint(administration: Arc<Administration>, wanted: &Mint<'_>) -> Result<Self, PostgresError> {
        let credential = administration.mint(wanted).await?;
        let (role, login) = (credential.role().clone(), credential.login().clone());
        Ok(Self { administration, role, login, credential: Mutex::new(Some(Arc::new(credential))) })
    }

    /// What to log in with, or `None` when the lease has been taken back.
    #[must_use]
    pub fn credential(&self) -> Option<Arc<PostgresCredential>> {
        self.credential.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its role on the target.
    #[must_use]
    pub const fn role(&self) -> &RoleId {
        &self.role
    }

    /// Cuts the session off on the target, in one round trip: the first thing to do when it ends.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn cut(&self) -> Result<Step, PostgresError> {
        self.forget();
        self.administration.cut(&self.role, &self.login).await
    }

    /// Ends the lease: the password is wiped (with its last user, a login that is being cut), the backends are gone, what
    /// the session made belongs to the granted role, and its own role is dropped. What could not be done is in the
    /// ending, and [`Administration::end`] may be asked again.
    pub async fn take_back(&self) -> RoleEnding {
        self.forget();
        self.administration.end(&self.role).await
    }

    fn forget(&self) {
        drop(self.credential.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
