//! Who ended a request or a grant, when, and why: the entry that did it, found again in the ledger.
//!
//! The tables hold how something ended and when; by whom and with which words is in the entry alone. Whether the caller
//! may see the thing itself is asked before. Read next: `requests.rs`, `grants.rs`.

use serde::Serialize;

use super::call::Call;
use super::error::ApiError;
use crate::access::State;
use crate::ledger::entry::{Actor, Entry, Fact, Scope};
use crate::model::{PersonId, TargetName, Timestamp};

/// The end that somebody gave something.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub(super) struct Closed {
    /// When.
    pub(super) at: Timestamp,
    /// By whom: a name, or whose machine it is.
    pub(super) by: String,
    /// Why, where a reason was given.
    pub(super) reason: Option<String>,
}

/// Something that somebody ended.
pub(super) struct Over {
    /// The request's or grant's id.
    pub(super) id: String,
    /// When.
    pub(super) at: Timestamp,
    /// Whose it was.
    pub(super) person: PersonId,
    /// Where.
    pub(super) target: TargetName,
}

/// What ended each of some things; nothing for what ended by itself.
pub(super) async fn all(call: &Call, wanted: Vec<Option<Over>>) -> Result<Vec<Option<Closed>>, ApiError> {
    let searches: Vec<Option<Search>> = call.look(|state| {
        let search = |over: Over| {
            let owner = state.person(&over.person).and_then(|person| person.facts.owner.clone());
            Search { over, owner, found: None }
        };
        wanted.into_iter().map(|over| over.map(search)).collect()
    });
    let entries = call
        .history(move |store| {
            let find = |mut search: Search| {
                store.entries_at(search.over.at, |entry| search.see(entry)).map(|()| search.found)
            };
            searches.into_iter().map(|one| Ok(one.map(find).transpose()?.flatten())).collect()
        })
        .await?;
    let entries: Vec<Option<Entry>> = entries;
    Ok(call.look(|state| entries.into_iter().map(|entry| Some(closed(state, entry?))).collect()))
}

/// What ended one thing.
pub(super) async fn one(call: &Call, over: Option<Over>) -> Result<Option<Closed>, ApiError> {
    Ok(all(call, vec![over]).await?.pop().flatten())
}

/// Looks through the entries of one time for the one that ended a thing: what is committed together shares its time,
/// and may revoke much else.
struct Search {
    over: Over,
    /// Who answers for the person, when that is a workload.
    owner: Option<PersonId>,
    found: Option<Entry>,
}

impl Search {
    /// Sees the next entry. The first that ended the thing after it was made is the one; later ones found it over.
    fn see(&mut self, entry: &Entry) {
        if self.begins(&entry.fact) {
            self.found = None;
        } else if self.found.is_none() && self.ends(&entry.fact) {
            self.found = Some(entry.clone());
        }
    }

    fn begins(&self, fact: &Fact) -> bool {
        if let Fact::RequestMade { request, .. } = fact {
            return request.request.as_str() == self.over.id;
        }
        matches!(fact, Fact::GrantIssued(facts) if facts.grant.as_str() == self.over.id)
    }

    fn ends(&self, fact: &Fact) -> bool {
        let is_theirs =
            |person: &PersonId| *person == self.over.person || self.owner.as_ref() == Some(person);
        if let Fact::RequestDenied { request, .. } | Fact::RequestWithdrawn { request } = fact {
            return request.as_str() == self.over.id;
        }
        if let Fact::GrantRevoked { grant, .. } = fact {
            return grant.as_str() == self.over.id;
        }
        if let Fact::PersonDisabled { person, .. } | Fact::Revoked { scope: Scope::Person(person), .. } = fact
        {
            return is_theirs(person);
        }
        if let Fact::TargetRemoved { target, .. } | Fact::Revoked { scope: Scope::Target(target), .. } = fact
        {
            return *target == self.over.target;
        }
        matches!(fact, Fact::Revoked { scope: Scope::Everything, .. })
    }
}

fn closed(state: &State, entry: Entry) -> Closed {
    let by = match &entry.by {
        Actor::Node => "the bastion".to_owned(),
        Actor::Operator => "the machine's operator".to_owned(),
        Actor::Person { person, .. } => {
            state.person(person).map_or_else(|| person.to_string(), |known| known.facts.name.to_string())
        }
    };
    let reason = if let Fact::RequestDenied { reason, .. }
    | Fact::GrantRevoked { reason, .. }
    | Fact::PersonDisabled { reason, .. }
    | Fact::Revoked { reason, .. }
    | Fact::TargetRemoved { reason, .. } = entry.fact
    {
        Some(reason)
    } else {
        None
    };
    Closed { at: entry.at, by, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(letter: char) -> PersonId {
        format!("per_{}", letter.to_string().repeat(16)).parse().unwrap()
    }

    /// The reason of the entry that is found among facts of one time.
    fn cause(facts: Vec<Fact>) -> Option<String> {
        let over = Over {
            id: format!("grn_{}", "a".repeat(16)),
            at: Timestamp::UNIX_EPOCH,
            person: person('a'),
            target: "web-1".parse().unwrap(),
        };
        let mut search = Search { over, owner: Some(person('b')), found: None };
        for (seq, fact) in (0..).zip(facts) {
            search.see(&Entry { v: 1, seq, at: Timestamp::UNIX_EPOCH, by: Actor::Node, fact });
        }
        closed(&State::default(), search.found?).reason
    }

    fn revoked(scope: Scope, reason: &str) -> Fact {
        Fact::Revoked { scope, reason: reason.to_owned() }
    }

    #[test]
    fn of_many_revocations_of_one_time_the_one_that_ended_it_is_named() {
        let elsewhere = || revoked(Scope::Target("web-2".parse().unwrap()), "elsewhere");
        let others = || vec![revoked(Scope::Person(person('c')), "others"), elsewhere()];
        assert_eq!(cause(others()), None);
        let disabled = |of| Fact::PersonDisabled { person: person(of), reason: "disabled".to_owned() };
        for (fact, reason) in [
            (revoked(Scope::Person(person('a')), "theirs"), "theirs"),
            (revoked(Scope::Person(person('b')), "their owner's"), "their owner's"),
            (revoked(Scope::Target("web-1".parse().unwrap()), "there"), "there"),
            (revoked(Scope::Everything, "all"), "all"),
            (disabled('b'), "disabled"),
        ] {
            let mut facts = others();
            facts.push(fact);
            facts.push(revoked(Scope::Everything, "later"));
            assert_eq!(cause(facts).as_deref(), Some(reason));
        }
        assert_eq!(cause(vec![disabled('c')]), None);
    }
}
