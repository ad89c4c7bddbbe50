//! The person's SSH key, for signing in and approving: in an ssh-agent, or in a file.
//!
//! Signatures are SSHSIG (OpenSSH `PROTOCOL.sshsig`), armored, exactly as `ssh-keygen -Y sign` makes them. A private
//! key that is encrypted asks for its passphrase on the terminal and is never written anywhere.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::{AgentClient, AgentStream};
use russh::keys::ssh_key::{LineEnding, SshSig};
use russh::keys::{HashAlg, PrivateKey, PublicKey};

use super::exit::{CliError, io_error};
use super::out;
use super::profile::home;

/// Keys tried at most when nobody says which.
pub(crate) const MOST_TRIED: usize = 8;
/// Key files looked for when there is no agent.
const DEFAULT_FILES: [&str; 2] = ["id_ed25519", "id_ecdsa"];
const WHICH: &str = "name a key with --ssh-key FILE (or POSTERN_SSH_KEY), or load one with 'ssh-add'";

type Agent = AgentClient<Box<dyn AgentStream + Send + Unpin>>;

/// A key that can sign, and what to present for it.
pub(crate) struct Signer {
    holder: Holder,
    public: PublicKey,
    /// `TYPE BASE64` of the key, or of a certificate for it.
    presented: String,
}

enum Holder {
    Agent,
    File(PathBuf),
}

impl Signer {
    /// The keys to try, in order: the file that is named; else what the agent holds and the usual files, with the
    /// `preferred` fingerprint first.
    pub(crate) async fn candidates(
        named: Option<&Path>,
        preferred: Option<&str>,
    ) -> Result<Vec<Self>, CliError> {
        let mut found = match named {
            Some(path) => Self::named(path).await?,
            None => Self::usual().await?,
        };
        found.sort_by_key(|signer| preferred.is_none_or(|wanted| signer.fingerprint() != wanted));
        found.truncate(MOST_TRIED);
        if found.is_empty() {
            return Err(CliError::failed("no SSH key to sign with").hint(WHICH));
        }
        Ok(found)
    }

    /// The key's `SHA256:…` fingerprint.
    pub(crate) fn fingerprint(&self) -> String {
        self.public.fingerprint(HashAlg::Sha256).to_string()
    }

    /// The file it is in, by its full name; `None` for a key in an agent.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        match &self.holder {
            Holder::Agent => None,
            Holder::File(path) => std::path::absolute(path).ok(),
        }
    }

    /// The key, or a certificate for it, in OpenSSH's form.
    pub(crate) fn presented(&self) -> &str {
        &self.presented
    }

    /// An armored SSHSIG over `message` for `namespace`.
    pub(crate) async fn sign(&self, namespace: &str, message: &[u8]) -> Result<String, CliError> {
        let failed = |error| CliError::failed(format!("cannot sign: {error}"));
        let signature = match &self.holder {
            Holder::File(path) => {
                read_private(path)?.sign(namespace, HashAlg::Sha512, message).map_err(failed)?
            }
            Holder::Agent => {
                let agent = agent().await.ok_or_else(|| CliError::failed("the ssh-agent is gone"))?;
                return sign_with(agent, &self.public, namespace, message).await;
            }
        };
        signature.to_pem(LineEnding::LF).map_err(failed)
    }

    /// A named file: a private key, or a public one whose private half the agent holds.
    async fn named(path: &Path) -> Result<Vec<Self>, CliError> {
        let text = zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(io_error("read", path))?);
        if text.starts_with("-----BEGIN") {
            return Self::of_file(path);
        }
        let public = PublicKey::from_openssh(text.trim()).map_err(|_| {
            CliError::usage(format!("{} is neither a private nor a public SSH key", path.display()))
        })?;
        let mut held = in_agent().await;
        held.retain(|signer| signer.public.key_data() == public.key_data());
        if held.is_empty() {
            return Err(CliError::failed(format!("the ssh-agent does not hold {}", path.display()))
                .hint("add it with 'ssh-add', or name the private key's file"));
        }
        Ok(held)
    }

    async fn usual() -> Result<Vec<Self>, CliError> {
        let mut found = in_agent().await;
        for name in DEFAULT_FILES {
            let path = home().join(".ssh").join(name);
            if path.exists() {
                found.extend(Self::of_file(&path)?);
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        found.retain(|signer| seen.insert(signer.presented.clone()));
        Ok(found)
    }

    /// A key file, and beside it a certificate where there is one. Nothing is decrypted before something is signed.
    fn of_file(path: &Path) -> Result<Vec<Self>, CliError> {
        let text = zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(io_error("read", path))?);
        let key = PrivateKey::from_openssh(text.as_bytes()).map_err(|error| {
            CliError::failed(format!("{} is no OpenSSH private key: {error}", path.display())).hint(WHICH)
        })?;
        let public = key.public_key().clone();
        let plain =
            Self { holder: Holder::File(path.to_owned()), presented: line(&public)?, public: public.clone() };
        let mut found = vec![plain];
        let mut certificate = path.as_os_str().to_owned();
        certificate.push("-cert.pub");
        match std::fs::read_to_string(PathBuf::from(certificate)) {
            Ok(text) => found.push(Self {
                holder: Holder::File(path.to_owned()),
                presented: text.trim().to_owned(),
                public,
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("read the certificate beside", path)(error)),
        }
        Ok(found)
    }
}

/// What the agent holds; nothing when there is none.
async fn in_agent() -> Vec<Signer> {
    match agent().await {
        Some(agent) => held_by(agent).await,
        None => Vec::new(),
    }
}

async fn held_by(mut agent: Agent) -> Vec<Signer> {
    let identities = agent.request_identities().await.unwrap_or_default();
    let signers = identities.into_iter().filter_map(|identity| {
        let (public, presented) = match identity {
            AgentIdentity::PublicKey { key, .. } => {
                let presented = line(&key).ok()?;
                (key, presented)
            }
            AgentIdentity::Certificate { certificate, .. } => {
                let presented = certificate.to_openssh().ok()?.trim().to_owned();
                (PublicKey::new(certificate.public_key().clone(), ""), presented)
            }
        };
        // RSA is not accepted by the bastion; offering it would only use up attempts.
        (!public.algorithm().is_rsa()).then_some(Signer { holder: Holder::Agent, public, presented })
    });
    signers.collect()
}

/// An agent's signature: it is given the data SSHSIG wraps around a message's hash, and never sees the message.
async fn sign_with(
    mut agent: Agent,
    key: &PublicKey,
    namespace: &str,
    message: &[u8],
) -> Result<String, CliError> {
    let failed = |error| CliError::failed(format!("cannot sign: {error}"));
    let data = SshSig::signed_data(namespace, HashAlg::Sha512, message).map_err(failed)?;
    let signed = agent.sign_request_signature(key, Some(HashAlg::Sha512), &data).await;
    let signature = signed.map_err(|_| {
        CliError::failed("the ssh-agent did not sign")
            .hint("is the agent locked, or does the key wait for a touch or a confirmation?")
    })?;
    let signature = SshSig::new(key.key_data().clone(), namespace, HashAlg::Sha512, signature);
    signature.map_err(failed)?.to_pem(LineEnding::LF).map_err(failed)
}

async fn agent() -> Option<Agent> {
    AgentClient::connect_env().await.ok().map(AgentClient::dynamic)
}

fn line(key: &PublicKey) -> Result<String, CliError> {
    let mut bare = key.clone();
    bare.set_comment("");
    bare.to_openssh().map(|text| text.trim().to_owned()).map_err(CliError::failed)
}

fn read_private(path: &Path) -> Result<PrivateKey, CliError> {
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(io_error("read", path))?);
    let key = PrivateKey::from_openssh(text.as_bytes()).map_err(CliError::failed)?;
    if !key.is_encrypted() {
        return Ok(key);
    }
    let question = format!("Passphrase for {}: ", path.display());
    let passphrase = out::ask_secret(&question, "load the key into an ssh-agent with 'ssh-add'")?;
    key.decrypt(passphrase.as_bytes()).map_err(|_| CliError::failed("that is not the passphrase of this key"))
}

#[cfg(test)]
#[path = "signer_tests.rs"]
mod tests;
