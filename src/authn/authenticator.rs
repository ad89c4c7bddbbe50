//! The one maker of principals: each way in ends here, asks the directory whose the proved identity is, and lets in
//! nobody who is unknown or disabled.
//!
//! The callers prove possession where the protocol does it (an SSH connection's own signature); where it does not
//! (signing in to the API), the signature is verified here.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use russh::keys::{Certificate, PublicKey};

use super::approval::{self, ApprovalFault, ApprovalProof};
use super::challenge::Challenges;
use super::directory::Directory;
use super::evidence::{Authenticated, Certified, Rejected};
use super::ssh_certificate::Authorities;
use super::sshsig::SignatureFault;
use super::tokens::{TokenFault, Tokens};
use super::{ssh_certificate, ssh_key, sshsig};
use crate::ledger::entry::Approval;
use crate::model::{Clock, Identity, Proof};

/// The SSHSIG namespace of signing in.
pub const SIGN_IN_NAMESPACE: &str = "sign-in@postern";

/// The exact bytes somebody signs to sign in. The server's name keeps a false server from passing the signature on.
#[must_use]
pub fn sign_in_message(server: &str, nonce: &str) -> Vec<u8> {
    format!("postern sign-in v1\nserver {server}\nnonce {nonce}\n").into_bytes()
}

/// What somebody presents to sign in to the API.
#[derive(Debug, Clone, Copy)]
pub struct SignIn<'a> {
    /// A public key or a certificate, in OpenSSH's form.
    pub key: &'a str,
    /// The nonce they were given.
    pub nonce: &'a str,
    /// The name of the server they believe to speak to.
    pub server: &'a str,
    /// Armored SSHSIG over [`sign_in_message`], namespace [`SIGN_IN_NAMESPACE`].
    pub signature: &'a str,
    /// Where they connect from.
    pub from: Option<IpAddr>,
}

/// Turns evidence into principals. Cloning shares it.
#[derive(Clone)]
pub struct Authenticator {
    directory: Arc<dyn Directory>,
    authorities: Arc<RwLock<Arc<Authorities>>>,
    clock: Clock,
}

impl Authenticator {
    /// An authenticator over a directory and the user CAs the configuration names.
    #[must_use]
    pub fn new(directory: Arc<dyn Directory>, authorities: Authorities, clock: Clock) -> Self {
        Self { directory, authorities: Arc::new(RwLock::new(Arc::new(authorities))), clock }
    }

    /// Puts other user CAs, and what is revoked of them, in force. The caller re-asks every live session.
    pub fn replace_authorities(&self, authorities: Authorities) {
        let mut in_force = self.authorities.write().unwrap_or_else(PoisonError::into_inner);
        *in_force = Arc::new(authorities.remembering(&in_force));
    }

    /// Whether what proved an identity has not been taken back since. Whose it is, is the directory's affair.
    #[must_use]
    pub fn still_trusts(&self, identity: &Identity, certified: Option<Certified>) -> bool {
        certified.is_none_or(|certified| self.authorities().still_trusts(identity, certified))
    }

    fn authorities(&self) -> Arc<Authorities> {
        Arc::clone(&self.authorities.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a key belongs to anybody; proves nothing and admits nobody. Lets an SSH server ask for a signature.
    #[must_use]
    pub fn knows_key(&self, key: &PublicKey) -> bool {
        ssh_key::check(key.key_data()).is_ok()
            && self
                .directory
                .holder_of(&ssh_key::identity_of(key.key_data()))
                .is_some_and(|known| known.enabled)
    }

    /// Whether certificates of any user CA are accepted. An SSH client that offers one is only seen to offer its key.
    #[must_use]
    pub fn takes_certificates(&self) -> bool {
        !self.authorities().is_empty()
    }

    /// The person whose key it is. The caller has proof that the client holds the key.
    ///
    /// # Errors
    /// When the key is not accepted, nobody's, or a disabled person's.
    pub fn by_ssh_key(&self, key: &PublicKey) -> Result<Authenticated, Rejected> {
        ssh_key::check(key.key_data())?;
        let identity = ssh_key::identity_of(key.key_data());
        let known =
            self.directory.holder_of(&identity).ok_or(Rejected::Unknown { identity: identity.clone() })?;
        Authenticated::admit(known, identity, ssh_key::proof_of(key.key_data()), None)
    }

    /// The person a configured user CA certified. The caller has proof that the client holds the certified key.
    ///
    /// # Errors
    /// When any check of the certificate fails, or it is nobody's, or a disabled person's.
    pub fn by_ssh_certificate(
        &self,
        cert: &Certificate,
        from: Option<IpAddr>,
    ) -> Result<Authenticated, Rejected> {
        let authorities = self.authorities();
        let checked = ssh_certificate::check(cert, &authorities, from, self.clock.now())?;
        let identity = checked.identity();
        let known =
            self.directory.holder_of(&identity).ok_or(Rejected::Unknown { identity: identity.clone() })?;
        checked.names(&known.name)?;
        authorities.remember(cert, &checked)?;
        Authenticated::admit(known, identity, Proof::SshCertificate, Some(checked.certified()))
    }

    /// The person who signed a challenge. Uses the nonce up once the signature fits.
    ///
    /// # Errors
    /// When the nonce, the signature, the key or certificate, or the person is not accepted.
    pub fn by_signature(
        &self,
        given: SignIn<'_>,
        challenges: &Challenges,
    ) -> Result<Authenticated, Rejected> {
        challenges.look(given.nonce)?;
        let message = sign_in_message(given.server, given.nonce);
        let signed = sshsig::verify(given.signature, SIGN_IN_NAMESPACE, &message)?;
        let presented = if ssh_key::is_certificate_line(given.key) {
            let certificate = ssh_key::parse_certificate(given.key)?;
            let same = certificate.public_key() == signed.key();
            same.then(|| self.by_ssh_certificate(&certificate, given.from))
        } else {
            let key = ssh_key::parse_public_key(given.key)?;
            (key.key_data() == signed.key()).then(|| self.by_ssh_key(&key))
        };
        let who = presented.ok_or_else(|| SignatureFault::WrongKey(signed.fingerprint()))??;
        challenges.spend(given.nonce)?;
        Ok(who)
    }

    /// The person a bearer token stands for.
    ///
    /// # Errors
    /// When the token is not alive, or its person is unlinked or disabled.
    pub fn by_token(&self, token: &str, tokens: &Tokens) -> Result<Authenticated, Rejected> {
        let who = tokens.redeem(token, &*self.directory)?;
        if !self.still_trusts(who.identity(), who.certified()) {
            tokens.take_back(token);
            return Err(TokenFault::Unknown.into());
        }
        Ok(who)
    }

    /// Verifies the signature of an approval against the keys enrolled for its approver.
    ///
    /// # Errors
    /// When the signature does not fit, or the key is not the approver's.
    pub fn check_approval(&self, approval: &Approval) -> Result<ApprovalProof, ApprovalFault> {
        approval::verify(approval, &*self.directory)
    }
}
