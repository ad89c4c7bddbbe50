//! Since which entry every target is registered as it is now.
//!
//! Retention judges a recording by what its target was, and whoever may register targets could take one away and
//! register it anew as something that is kept for less. So a registration counts for the sessions after it alone. The
//! state does not remember when a target was registered: the ledger is read once, and then what came since. Read next:
//! `removing.rs`.

use std::collections::BTreeMap;

use crate::ledger::entry::{Entry, Fact};
use crate::model::{Target, TargetName};
use crate::store::{Store, StoreError};

/// Entries read at once.
const PAGE: u64 = 1000;

/// When targets were registered last, by index of the entry.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    next: u64,
    since: BTreeMap<TargetName, u64>,
}

/// The targets of one moment, each with the entry that registered it or a later one of its name.
pub(super) struct Registered(BTreeMap<TargetName, (Target, u64)>);

impl Registrations {
    /// Reads what is new in the ledger. The targets are taken before that: one that is registered anew meanwhile is too
    /// young then, never too old.
    pub(super) fn learn(&mut self, store: &Store) -> Result<Registered, StoreError> {
        let targets: Vec<Target> = store.read(|state| state.targets().cloned().collect());
        loop {
            let page = store.entries(self.next, PAGE)?;
            page.iter().for_each(|entry| self.observe(entry));
            if page.is_empty() {
                return Ok(self.of(targets));
            }
        }
    }

    fn observe(&mut self, entry: &Entry) {
        self.next = entry.seq.saturating_add(1);
        if let Fact::TargetAdded { target } = &entry.fact {
            self.since.insert(target.name.clone(), entry.seq);
        }
    }

    fn of(&self, targets: Vec<Target>) -> Registered {
        let with_seq = |target: Target| {
            let since = *self.since.get(&target.name)?;
            Some((target.name.clone(), (target, since)))
        };
        Registered(targets.into_iter().filter_map(with_seq).collect())
    }
}

impl Registered {
    /// What a target was when a session began at this entry; none when it was registered anew since.
    pub(super) fn at(&self, name: &TargetName, session_seq: u64) -> Option<&Target> {
        self.0.get(name).filter(|(_, since)| *since < session_seq).map(|(target, _)| target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::entry::Actor;
    use crate::model::{Administration, Endpoint, HostTrust, Plane, Protocol, Sensitivity, Timestamp};

    fn target(environment: &str) -> Target {
        Target {
            name: "web-1".parse().unwrap(),
            protocol: Protocol::Ssh,
            endpoint: Endpoint { host: "h".to_owned(), port: 22 },
            trust: HostTrust::Unpinned,
            administration: Administration::default(),
            plane: Plane::Platform,
            environment: environment.to_owned(),
            sensitivity: Sensitivity::Normal,
            tenant: None,
            logins: std::collections::BTreeSet::new(),
            labels: BTreeMap::new(),
        }
    }

    #[test]
    fn a_registration_counts_for_the_sessions_after_it_alone() {
        let mut known = Registrations::default();
        let web = target("prod").name;
        let added = |seq, environment| {
            let fact = Fact::TargetAdded { target: target(environment) };
            Entry { v: 1, seq, at: Timestamp::UNIX_EPOCH, by: Actor::Operator, fact }
        };
        known.observe(&added(3, "prod"));
        assert_eq!(known.of(vec![target("prod")]).at(&web, 5), Some(&target("prod")));
        let reason = "moved".to_owned();
        let fact = Fact::TargetRemoved { target: web.clone(), reason };
        known.observe(&Entry { v: 1, seq: 6, at: Timestamp::UNIX_EPOCH, by: Actor::Operator, fact });
        known.observe(&added(7, "test"));
        let anew = known.of(vec![target("test")]);
        assert_eq!((anew.at(&web, 5), anew.at(&web, 8)), (None, Some(&target("test"))));
        assert_eq!(known.of(Vec::new()).at(&web, 8), None);
        // What was taken before it was registered anew is not believed to be older than that.
        assert_eq!(known.of(vec![target("prod")]).at(&web, 5), None);
        assert_eq!(known.next, 8);
    }
}
