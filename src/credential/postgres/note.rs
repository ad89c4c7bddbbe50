//! The comment on a session's role: whose it is, and what the session is bound to.
//!
//! Nobody but the administrative role can change it, the session least of all. After a crash it says which roles this
//! bastion left; while the session lives, row-level security can read its tenant there (`setup.rs`).

use std::fmt;
use std::str::FromStr;

use crate::model::{Login, PersonName, SessionId};

/// What every such comment begins with, and its version.
const MARK: &str = "postern/1";
const LONGEST: usize = 63;

/// Which bastion made a role: what tells ours from those of another bastion on the same server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// From the node's public key, which no other bastion has.
    #[must_use]
    pub fn of(node_key: &[u8]) -> Self {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, node_key);
        Self(data_encoding::HEXLOWER.encode(hash.as_ref().get(..8).unwrap_or_default()))
    }
}

/// What a role's comment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) origin: Origin,
    pub(super) session: SessionId,
    pub(super) person: PersonName,
    pub(super) login: Login,
    pub(super) tenant: Option<Tenant>,
}

/// A tenant's name as a role can be bound to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tenant(String);

/// Not a tenant's name, or not a comment of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable;

impl FromStr for Tenant {
    type Err = Unreadable;
    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let is_plain = (1..=LONGEST).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if is_plain { Ok(Self(text.to_owned())) } else { Err(Unreadable) }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, session, person, login, tenant } = self;
        write!(f, "{MARK} origin={} session={session} person={person} login={login}", origin.0)?;
        match tenant {
            Some(tenant) => write!(f, " tenant={}", tenant.0),
            None => Ok(()),
        }
    }
}

impl FromStr for Note {
    type Err = Unreadable;
    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let mut words = text.split(' ');
        if words.next() != Some(MARK) {
            return Err(Unreadable);
        }
        let mut next = |name: &str| words.next().and_then(|word| word.strip_prefix(name)?.strip_prefix('='));
        let origin = next("origin").ok_or(Unreadable)?.to_owned();
        let session = next("session").ok_or(Unreadable)?.parse().map_err(|_| Unreadable)?;
        let person = next("person").ok_or(Unreadable)?.parse().map_err(|_| Unreadable)?;
        let login = next("login").ok_or(Unreadable)?.parse().map_err(|_| Unreadable)?;
        let tenant = next("tenant").map(Tenant::from_str).transpose()?;
        let note = Self { origin: Origin(origin), session, person, login, tenant };
        if note.to_string() == text { Ok(note) } else { Err(Unreadable) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back_and_nothing_else_passes_for_one() {
        let note = Note {
            origin: Origin::of(b"a node's key"),
            session: SessionId::random().unwrap(),
            person: "alice".parse().unwrap(),
            login: "readonly".parse().unwrap(),
            tenant: None,
        };
        let bound = Note { tenant: Some("acme".parse().unwrap()), ..note.clone() };
        for note in [&note, &bound] {
            assert_eq!(note.to_string().parse::<Note>().as_ref(), Ok(note));
        }
        let text = bound.to_string();
        for other in
            ["", "postern/2", &format!("{text} "), &format!("{text} more=1"), &text.replace("ses_", "req_")]
        {
            assert!(other.parse::<Note>().is_err(), "{other:?}");
        }
        for tenant in ["", "a b", "a=b tenant=c", "ä", &"x".repeat(64)] {
            assert!(tenant.parse::<Tenant>().is_err(), "{tenant:?}");
        }
        assert_ne!(Origin::of(b"one"), Origin::of(b"another"));
    }
}
