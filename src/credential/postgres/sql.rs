//! Names and texts as they stand in SQL. Whatever goes into a statement here went through one of these two.
//!
//! The quoting itself is libpq's, as the protocol crate has it. What it would pass on to be cut short or refused by
//! the server (PostgreSQL silently cuts names at 63 bytes) is refused here.

use postgres_protocol::escape::{escape_identifier, escape_literal};

use super::error::PostgresError;

/// The longest name, in bytes, that PostgreSQL does not cut.
const LONGEST_NAME: usize = 63;
/// The longest text that any statement of ours carries.
const LONGEST_TEXT: usize = 1024;

/// A role's or database's name.
pub(super) fn name(text: &str) -> Result<String, PostgresError> {
    if text.is_empty() || text.len() > LONGEST_NAME || text.contains('\0') {
        return Err(PostgresError::Name { what: "an empty or too long text" });
    }
    Ok(escape_identifier(text))
}

/// A text.
pub(super) fn text(text: &str) -> Result<String, PostgresError> {
    if text.len() > LONGEST_TEXT || text.contains('\0') {
        return Err(PostgresError::Name { what: "a text that is too long, or has a zero in it" });
    }
    Ok(escape_literal(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What PostgreSQL's lexer makes of a quoted text, for `standard_conforming_strings` on and off.
    fn lexed(quoted: &str, quote: char) -> Option<String> {
        let (body, escapes) = match quoted.strip_prefix(" E") {
            Some(body) => (body, true),
            None => (quoted, false),
        };
        let mut chars = body.strip_prefix(quote)?.chars().peekable();
        let mut text = String::new();
        while let Some(c) = chars.next() {
            if c == quote {
                if chars.next_if_eq(&quote).is_none() {
                    return chars.next().is_none().then_some(text);
                }
            } else if c == '\\' && escapes {
                text.push(chars.next_if_eq(&'\\')?);
                continue;
            } else if c == '\\' && quote == '\'' {
                return None; // it would mean something else with the setting off
            }
            text.push(c);
        }
        None
    }

    #[test]
    fn hostile_names_stay_names() {
        for hostile in
            ["x\"; drop role admin; --", "'; --", "$$", "../../../x", "a,b", "\u{202e}x", "\\'; --", "\\"]
        {
            assert_eq!(lexed(&name(hostile).unwrap(), '"').as_deref(), Some(hostile));
            assert_eq!(lexed(&text(hostile).unwrap(), '\'').as_deref(), Some(hostile));
        }
        for refused in ["", "a\0b", &"x".repeat(64)] {
            assert!(name(refused).is_err(), "{refused:?}");
        }
        assert!(text("a\0b").is_err() && text(&"x".repeat(1 << 20)).is_err());
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_what_is_meant(given in "[^\\x00]{1,15}") {
            prop_assert_eq!(lexed(&name(&given).unwrap(), '"'), Some(given.clone()));
            prop_assert_eq!(lexed(&text(&given).unwrap(), '\''), Some(given));
        }
    }
}
