//! What an age plugin shows and asks while it opens a recording with a reviewer's hardware key.
//!
//! On standard error and the terminal, never on standard output, which may be a file. Read next: `recording/plugin.rs`.

use age::secrecy::SecretString;

use super::out;
use crate::recording::Ask;

/// What to do where nobody can be asked.
const NO_TERMINAL: &str = "run this in a terminal: the key wants an answer";

/// Whoever sits at this terminal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terminal;

impl Ask for Terminal {
    fn show(&self, message: &str) {
        out::note(&out::safe(message));
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        let no = no.map_or_else(String::new, |no| format!(", no: {}", out::safe(no)));
        out::confirm(&format!("{} (yes: {}{no})", out::safe(message), out::safe(yes)), NO_TERMINAL).ok()
    }

    fn line(&self, message: &str) -> Option<String> {
        out::ask(&format!("{}: ", out::safe(message)), NO_TERMINAL).ok()
    }

    fn secret(&self, message: &str) -> Option<SecretString> {
        let secret = out::ask_secret(&format!("{}: ", out::safe(message)), NO_TERMINAL).ok()?;
        Some(SecretString::from(secret.as_str()))
    }
}
