//! Reviewers' keys on hardware: an identity that an age plugin opens files with (C2SP `age-plugin`).
//!
//! Runs where a reviewer reads, never on a bastion, which holds no identity. The plugin is a program `age-plugin-NAME` in
//! PATH; what it wants to say or ask goes through [`Ask`]. It is not started for a recording that names no hardware key.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use age::plugin::IdentityPluginV1;
use age::secrecy::SecretString;
use age_core::format::{FileKey, Stanza};

use super::hardware::STANZAS;

/// Talks with whoever holds the key.
pub trait Ask: Send + Sync {
    /// Shows a message, such as to touch the key.
    fn show(&self, message: &str);
    /// Asks for one of two answers; `None` when nobody can be asked.
    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool>;
    /// Asks for a line; `None` when nobody can be asked.
    fn line(&self, message: &str) -> Option<String>;
    /// Asks for a PIN or a passphrase; `None` when nobody can be asked.
    fn secret(&self, message: &str) -> Option<SecretString>;
}

/// An [`Ask`] as the library takes it.
#[derive(Clone)]
struct Asked(Arc<dyn Ask>);

impl age::Callbacks for Asked {
    fn display_message(&self, message: &str) {
        self.0.show(message);
    }
    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        self.0.confirm(message, yes, no)
    }
    fn request_public_string(&self, message: &str) -> Option<String> {
        self.0.line(message)
    }
    fn request_passphrase(&self, message: &str) -> Option<SecretString> {
        self.0.secret(message)
    }
}

/// Nobody to talk with.
#[derive(Debug)]
struct Nobody;

impl Ask for Nobody {
    fn show(&self, _message: &str) {}
    fn confirm(&self, _message: &str, _yes: &str, _no: Option<&str>) -> Option<bool> {
        None
    }
    fn line(&self, _message: &str) -> Option<String> {
        None
    }
    fn secret(&self, _message: &str) -> Option<SecretString> {
        None
    }
}

/// An identity of the form `AGE-PLUGIN-NAME-1…`.
pub(super) struct Identity {
    identity: age::plugin::Identity,
    ask: Asked,
    /// A key is asked once at a time, whatever is read side by side; what went wrong the last time is kept.
    trouble: Mutex<Option<String>>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.identity.plugin())
    }
}

impl Identity {
    /// Takes its text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let identity = text.parse().ok()?;
        Some(Self { identity, ask: Asked(Arc::new(Nobody)), trouble: Mutex::default() })
    }

    /// Talks with somebody from now on.
    pub(super) fn ask(&mut self, ask: Arc<dyn Ask>) {
        self.ask = Asked(ask);
    }

    /// Its text. It opens nothing without the hardware, and is kept from others all the same.
    pub(super) fn to_secret_text(&self) -> SecretString {
        SecretString::from(self.identity.to_string())
    }

    /// Why it could not be tried the last time, if it could not.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl age::Identity for Identity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, age::DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    /// What goes wrong here is kept and not told at once: another identity may open the file.
    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, age::DecryptError>> {
        if !stanzas.iter().any(|stanza| STANZAS.contains(&stanza.tag.as_str())) {
            return None;
        }
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *trouble = None;
        let identities = std::slice::from_ref(&self.identity);
        let plugin = IdentityPluginV1::new(self.identity.plugin(), identities, self.ask.clone());
        match plugin.map(|plugin| plugin.unwrap_stanzas(stanzas)) {
            Ok(Some(Err(error))) | Err(error) => *trouble = Some(error.to_string()),
            Ok(Some(Ok(key))) => return Some(Ok(key)),
            Ok(None) => {}
        }
        None
    }
}
