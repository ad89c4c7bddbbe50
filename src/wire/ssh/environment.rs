//! Which environment variables of the client are passed on: a short list of names, and values that can do no harm.
//!
//! Variables such as `LD_PRELOAD` or `BASH_ENV` change what a target runs; so a name that is not listed is refused,
//! and so is any value with characters that a locale or terminal name never has. Next: the adapter that asks.

/// Most variables passed on in one channel.
pub const MOST: usize = 32;
/// Longest value.
pub const LONGEST_VALUE: usize = 128;

/// Names passed on as they are; beside them `LC_` and capital letters or underscores. `GIT_PROTOCOL` is how git asks for version 2.
const NAMES: [&str; 5] = ["COLORTERM", "GIT_PROTOCOL", "LANG", "NO_COLOR", "TERM"];
/// Longest name that begins with `LC_`.
const LONGEST_LOCALE: usize = 24;

/// Why a variable is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name is not one that is passed on.
    #[error("this variable is not passed on to targets")]
    Name,
    /// The channel has set as many as it may.
    #[error("at most {MOST} variables are passed on")]
    TooMany,
    /// The value is too long or has characters that are not passed on.
    #[error("the value is longer than {LONGEST_VALUE} bytes or has characters that are not passed on")]
    Value,
}

/// What one channel has set so far.
#[derive(Debug, Default)]
pub struct Environment {
    accepted: usize,
}

impl Environment {
    /// Whether one more variable is passed on.
    ///
    /// # Errors
    /// When it is not, and why.
    pub fn accept(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        if !is_listed(name) {
            return Err(Refusal::Name);
        }
        if !is_harmless(value) {
            return Err(Refusal::Value);
        }
        if self.accepted >= MOST {
            return Err(Refusal::TooMany);
        }
        self.accepted += 1;
        Ok(())
    }
}

/// Whether a terminal name (`TERM` in a pty request) may be passed on.
#[must_use]
pub fn is_terminal_name(term: &str) -> bool {
    !term.is_empty() && is_harmless(term)
}

fn is_listed(name: &str) -> bool {
    let is_locale = |rest: &str| {
        !rest.is_empty()
            && rest.len() <= LONGEST_LOCALE
            && rest.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
    };
    NAMES.contains(&name) || name.strip_prefix("LC_").is_some_and(is_locale)
}

fn is_harmless(value: &str) -> bool {
    value.len() <= LONGEST_VALUE
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_@:=+".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_names_with_plain_values_pass() {
        let accept = |name, value| Environment::default().accept(name, value);
        for (name, value) in [
            ("LANG", "de_DE.UTF-8@euro"),
            ("LC_ALL", "C"),
            ("LC_KEY_FORM", "x"),
            ("TERM", "xterm-256color"),
            ("GIT_PROTOCOL", "version=2"),
            ("LANG", ""),
        ] {
            assert_eq!(accept(name, value), Ok(()), "{name}");
        }
        for name in [
            "LD_PRELOAD",
            "BASH_ENV",
            "PATH",
            "LC_",
            "LC_all",
            "LC_ALL\0",
            "lang",
            "",
            "LANGUAGE",
            "GIT_SSH",
            "SSH_AUTH_SOCK",
        ] {
            assert_eq!(accept(name, "C"), Err(Refusal::Name), "{name:?}");
        }
        for value in ["() { :; }", "a b", "../x", "a\n", "%s", "ä", &"a".repeat(LONGEST_VALUE + 1)] {
            assert_eq!(accept("LANG", value), Err(Refusal::Value), "{value:?}");
        }
    }

    #[test]
    fn a_channel_sets_only_so_many() {
        let mut environment = Environment::default();
        for _ in 0..MOST {
            environment.accept("LANG", "C").unwrap();
        }
        assert_eq!(environment.accept("LANG", "C"), Err(Refusal::TooMany));
    }

    #[test]
    fn a_terminal_name_is_plain() {
        assert!(is_terminal_name("xterm-256color"));
        assert!(
            !is_terminal_name("") && !is_terminal_name("xterm\u{1b}]0;x") && !is_terminal_name("../../x")
        );
    }
}
