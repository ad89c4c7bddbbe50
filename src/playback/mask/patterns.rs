//! What looks like a secret: a built-in list, and what somebody adds.
//!
//! The engine takes time linear in the text, whatever the pattern, so a hostile recording cannot stall it. Of a match, the
//! first group is the secret, or all of it where there is no group.

use std::ops::Range;

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

/// The most memory one compiled pattern may take.
const LARGEST: usize = 1 << 20;
/// Where a private key begins and ends; the lines between are secret too.
const BEGIN: &str = r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY( BLOCK)?-----";
const END: &str = r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY( BLOCK)?-----";

/// Their places in the set of patterns.
const KEY_BEGINS: usize = 0;
const KEY_ENDS: usize = 1;

/// Forms of secrets, and names that stand before them.
const BUILT_IN: &[&str] = &[
    // Keys of cloud providers and of code hosts, by their fixed beginnings.
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|glpat-[A-Za-z0-9_-]{20,})",
    r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    r"\bAIza[A-Za-z0-9_-]{35}",
    r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}",
    // Identities of age, and JSON web tokens.
    r"(?i)\bAGE-(?:SECRET-KEY|PLUGIN)-[A-Z0-9-]{20,}",
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    // Credentials in headers and in addresses.
    r"(?i)\b(?:bearer|basic)\s+([A-Za-z0-9._~+/=-]{8,})",
    r"(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,100}:([^\s/@]{1,200})@",
    // A name that promises a secret, and what is assigned to it.
    r#"(?i)(?:pass(?:word|wd|phrase)?|pwd|secret(?:[_-]?(?:access[_-]?)?key)?|token|api[_-]?key|credentials?)["']?\s*[:=]\s*(?:"([^"]+)|'([^']+)|([^\s"'&;,]+))"#,
    // The same as an option of a command.
    r#"(?i)--?(?:pass(?:word|wd|phrase)?|secret|token|api-?key)\s+["']?([^\s"'-][^\s"']*)"#,
];

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is no pattern: {why}")]
pub struct PatternError {
    pattern: String,
    why: String,
}

/// What to leave out.
#[derive(Debug, Clone)]
pub struct Mask {
    any: RegexSet,
    patterns: Vec<Regex>,
}

impl Mask {
    /// The built-in list and these patterns.
    ///
    /// # Errors
    /// When one is no regular expression, is too large, or matches nothing at all.
    pub fn new(more: &[String]) -> Result<Self, PatternError> {
        let own = [BEGIN, END].into_iter().chain(BUILT_IN.iter().copied());
        let all: Vec<&str> = own.chain(more.iter().map(String::as_str)).collect();
        let patterns = all.iter().map(|pattern| compile(pattern)).collect::<Result<Vec<_>, _>>()?;
        let mut set = RegexSetBuilder::new(&all);
        let wrong = |why: regex::Error| PatternError { pattern: more.join(" "), why: why.to_string() };
        let any = set.size_limit(LARGEST * 16).build().map_err(wrong)?;
        Ok(Self { any, patterns })
    }

    /// What a text holds.
    pub(super) fn find(&self, text: &[u8]) -> Findings {
        let mut found = Findings::default();
        for index in &self.any.matches(text) {
            let Some(pattern) = self.patterns.get(index) else { continue };
            if index == KEY_BEGINS {
                let mut begins = pattern.find_iter(text).map(|begin| begin.start());
                found.first_begin = begins.next();
                found.last_begin = begins.last().or(found.first_begin);
            } else if index == KEY_ENDS {
                found.last_end = pattern.find_iter(text).last().map(|end| end.start());
            } else {
                for captures in pattern.captures_iter(text) {
                    let secret = captures.iter().skip(1).flatten().next().or_else(|| captures.get(0));
                    let secret = secret.filter(|secret| !secret.is_empty());
                    found.secrets.extend(secret.map(|secret| secret.range()));
                }
            }
        }
        found
    }
}

/// What was found in a text.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// The secrets, as ranges of bytes.
    pub(super) secrets: Vec<Range<usize>>,
    /// Where the first private key begins.
    pub(super) first_begin: Option<usize>,
    /// Where the last one begins.
    pub(super) last_begin: Option<usize>,
    /// Where the last end of one stands.
    pub(super) last_end: Option<usize>,
}

fn compile(pattern: &str) -> Result<Regex, PatternError> {
    let wrong = |why: String| PatternError { pattern: pattern.to_owned(), why };
    let built = RegexBuilder::new(pattern).size_limit(LARGEST).build();
    let regex = built.map_err(|error| wrong(error.to_string()))?;
    if regex.is_match(b"") { Err(wrong("it matches nothing at all".to_owned())) } else { Ok(regex) }
}
