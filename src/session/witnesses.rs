//! What the ledger's witnesses last said, and whether sessions may begin.
//!
//! A witness that knows more of the ledger than the ledger itself, or another history of it, means that the node was
//! put back to an older state or that somebody wrote past it: nothing begins then. Whether a witness must have signed
//! lately is the configuration's. Who asks the witnesses is `serve`; live sessions go on.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::{Clock, Timestamp};

/// How long after a start sessions wait for the witnesses' first words.
const FIRST_WORDS: Duration = Duration::from_secs(10);

/// The witnesses of this node's ledger. Cloning shares it.
#[derive(Clone)]
pub struct Witnesses {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    /// Since boot.
    began: Duration,
    /// How old a cosignature may be for sessions to begin; zero: they begin without.
    within: Duration,
    /// How many witnesses must have signed so lately.
    quorum: usize,
    standings: Mutex<Vec<Standing>>,
}

/// What one witness last said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// The newest head it signed.
    pub cosigned: Option<Cosigned>,
    /// What is wrong, if something is.
    pub trouble: Option<Trouble>,
}

/// A head that a witness signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cosigned {
    /// How many entries it had.
    pub size: u64,
    /// When.
    pub at: Timestamp,
    /// The same moment, since boot.
    since_boot: Duration,
}

/// Why a witness did not sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It has seen another history.
    Forked,
    /// It has seen more entries than there are.
    RolledBack {
        /// How many it has seen.
        theirs: u64,
    },
    /// It could not be asked, or would not answer.
    Silent(String),
}

impl Witnesses {
    /// Witnesses of whom nothing is known yet.
    #[must_use]
    pub fn new(
        clock: Clock,
        names: impl IntoIterator<Item = String>,
        within: Duration,
        quorum: usize,
    ) -> Self {
        let standing = |name| Standing { name, cosigned: None, trouble: None };
        let standings = Mutex::new(names.into_iter().map(standing).collect());
        let began = clock.since_boot();
        Self { shared: Arc::new(Shared { clock, began, within, quorum, standings }) }
    }

    /// Notes that a witness signed a head of this size.
    pub fn signed(&self, name: &str, size: u64) {
        let (at, since_boot) = (self.shared.clock.now(), self.shared.clock.since_boot());
        if let Some(standing) = self.lock().iter_mut().find(|standing| standing.name == name) {
            standing.cosigned = Some(Cosigned { size, at, since_boot });
            standing.trouble = None;
        }
    }

    /// Notes that a witness did not sign. What says that the ledger was changed stays until it signs again. Says
    /// whether this is new.
    pub fn troubled(&self, name: &str, trouble: Trouble) -> bool {
        let mut standings = self.lock();
        let Some(standing) = standings.iter_mut().find(|standing| standing.name == name) else {
            return false;
        };
        let is_new = standing.trouble.as_ref() != Some(&trouble);
        let hides = matches!(trouble, Trouble::Silent(_)) && standing.is_alarm();
        if is_new && !hides {
            standing.trouble = Some(trouble);
        }
        is_new && !hides
    }

    /// What each last said.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        self.lock().clone()
    }

    /// Why no session may begin now, if so.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let (shared, standings) = (&*self.shared, self.lock());
        if let Some(standing) = standings.iter().find(|standing| standing.is_alarm()) {
            let trouble = standing.trouble.as_ref().map_or_else(String::new, Trouble::to_string);
            return Some(format!("the witness {} says of the ledger: {trouble}", standing.name));
        }
        let now = shared.clock.since_boot();
        let is_early = now.saturating_sub(shared.began) < FIRST_WORDS;
        if is_early
            && standings.iter().any(|standing| standing.cosigned.is_none() && standing.trouble.is_none())
        {
            return Some("the ledger's witnesses are being asked; try again in a moment".to_owned());
        }
        let is_fresh = |standing: &&Standing| {
            standing.cosigned.is_some_and(|head| now.saturating_sub(head.since_boot) <= shared.within)
        };
        let fresh = standings.iter().filter(is_fresh).count();
        (!shared.within.is_zero() && fresh < shared.quorum).then(|| {
            let (quorum, within) = (shared.quorum, shared.within.as_secs());
            format!("{fresh} of the {quorum} witnesses wanted have signed the ledger in the last {within} s")
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Standing>> {
        self.shared.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    /// Whether it says that the ledger was changed.
    #[must_use]
    pub const fn is_alarm(&self) -> bool {
        matches!(self.trouble, Some(Trouble::Forked | Trouble::RolledBack { .. }))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forked => f.write_str("it has seen another history"),
            Self::RolledBack { theirs } => {
                write!(f, "it has seen {theirs} entries, more than there are now: a backup was put back")
            }
            Self::Silent(words) => write!(f, "it does not sign: {words}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn witnesses(within: u64, quorum: usize) -> (Clock, Witnesses) {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let names = ["a".to_owned(), "b".to_owned()];
        (clock.clone(), Witnesses::new(clock, names, Duration::from_secs(within), quorum))
    }

    #[test]
    fn without_witnesses_nothing_is_refused() {
        assert_eq!(Witnesses::new(Clock::system(), [], Duration::ZERO, 1).refusal(), None);
    }

    #[test]
    fn after_a_start_the_first_words_are_waited_for_but_not_for_ever() {
        let (_, all) = witnesses(0, 1);
        all.signed("a", 3);
        assert!(all.refusal().unwrap().contains("being asked"));
        all.troubled("b", Trouble::Silent("refused".to_owned()));
        assert_eq!(all.refusal(), None);
        let (again, all) = witnesses(0, 1);
        assert!(all.refusal().is_some());
        again.advance(FIRST_WORDS);
        assert_eq!(all.refusal(), None);
    }

    #[test]
    fn a_changed_ledger_lets_nothing_begin_until_that_witness_signs_again() {
        let (clock, all) = witnesses(0, 1);
        clock.advance(FIRST_WORDS);
        assert!(all.troubled("a", Trouble::RolledBack { theirs: 9 }));
        assert!(!all.troubled("a", Trouble::RolledBack { theirs: 9 }), "said once");
        assert!(!all.troubled("a", Trouble::Silent("gone".to_owned())), "silence hides nothing");
        all.signed("b", 5);
        assert!(all.refusal().unwrap().contains("9 entries"));
        all.troubled("a", Trouble::Forked);
        assert!(all.refusal().unwrap().contains("another history"));
        all.signed("a", 9);
        assert_eq!(all.refusal(), None);
    }

    #[test]
    fn a_quorum_must_have_signed_lately_where_that_is_wanted() {
        let (clock, all) = witnesses(60, 2);
        clock.advance(FIRST_WORDS);
        all.signed("a", 5);
        assert!(all.refusal().unwrap().starts_with("1 of the 2"));
        all.signed("b", 5);
        assert_eq!(all.refusal(), None);
        clock.advance(Duration::from_secs(61));
        assert!(all.refusal().unwrap().starts_with("0 of the 2"));
    }
}
