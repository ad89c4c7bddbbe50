//! Every kind of entry as one sentence, for `postern ledger tail`. What others chose is escaped by whoever prints it.
//!
//! JSON has the whole entry; a sentence has what a person looks for when they read down a list.

use std::fmt::Display;

use crate::cli::words;
use crate::ledger::entry::{Actor, DeletionCause, Fact, RequestFacts, Scope};
use crate::model::{PersonId, PolicyChanges, WindowClock};

/// What is now so; `name` says what a person is called.
pub(crate) fn of(fact: &Fact, name: &dyn Fn(&PersonId) -> String) -> String {
    match fact {
        Fact::NodeInitialised { origin, .. } => format!("the ledger of {origin} begins"),
        Fact::PersonAdded(facts) => {
            format!("{} enrolled ({}), roles {}", facts.name, facts.person, list(&facts.roles))
        }
        Fact::IdentityLinked { person, identity, .. } => format!("{identity} linked to {}", name(person)),
        Fact::IdentityUnlinked { person, identity } => {
            format!("{identity} no longer linked to {}", name(person))
        }
        Fact::RolesChanged { person, roles } => format!("{} now has roles {}", name(person), list(roles)),
        Fact::PersonDisabled { person, reason } => format!("{} disabled: {reason}", name(person)),
        Fact::PersonEnabled { person } => format!("{} enabled again", name(person)),
        Fact::TargetAdded { target } => format!("target {} registered", target.name),
        Fact::TargetTrusted { target, .. } => format!("what {target} must show was pinned"),
        Fact::TargetTested { target, login } => {
            format!("{login}@{target} to be tried, with a certificate that runs nothing")
        }
        Fact::TargetRemoved { target, reason } => format!("target {target} removed: {reason}"),
        Fact::RequestMade { request, .. } => requested(request, name),
        Fact::RequestApproved(approval) => {
            format!("{} approved by {}", approval.request, name(&approval.approver))
        }
        Fact::RequestDenied { request, reason } => format!("{request} denied: {reason}"),
        Fact::RequestWithdrawn { request } => format!("{request} withdrawn"),
        Fact::RequestLapsed { request } => format!("{request} lapsed: nobody answered in time"),
        Fact::GrantIssued(_)
        | Fact::GrantStarted { .. }
        | Fact::GrantRevoked { .. }
        | Fact::GrantEnded { .. }
        | Fact::Revoked { .. } => right(fact, name),
        Fact::SessionStarted(_)
        | Fact::SessionTerminated { .. }
        | Fact::RecordingCheckpoint { .. }
        | Fact::SessionEnded(_)
        | Fact::CleanupDone { .. }
        | Fact::RecordingViewed { .. } => session(fact, name),
        Fact::RecordingStored(_)
        | Fact::RecordingHeld { .. }
        | Fact::RecordingReleased { .. }
        | Fact::RecordingDeletionAsked { .. }
        | Fact::RecordingDeletionWithdrawn { .. }
        | Fact::RecordingDeletionLapsed { .. }
        | Fact::RecordingDeleted(_)
        | Fact::RecordingRemoved { .. }
        | Fact::RecordingCopyRemains(_) => recording(fact, name),
        Fact::RecordingRewrapped(facts) => {
            format!("recording of {} made readable for the reviewers of this moment", facts.session)
        }
        Fact::ReviewersChanged { recipients } => {
            format!("recordings are now encrypted to {} reviewers: {}", recipients.len(), list(recipients))
        }
        Fact::PolicyLoaded { hash, rules } => policies(hash, rules),
        Fact::ConfigurationLoaded { hash } => format!("configuration {hash} in force"),
        Fact::SignedIn { client } => format!("signed in from {client}"),
    }
}

/// Which policies, and what is different: a rule that is gone comes first.
fn policies(hash: &str, rules: &PolicyChanges) -> String {
    let kinds = [("removed", &rules.removed), ("altered", &rules.altered), ("added", &rules.added)];
    let changes = kinds.iter().filter(|(_, names)| !names.is_empty());
    let changes: String = changes.map(|(kind, names)| format!("; {kind}: {}", names.join(", "))).collect();
    format!("policies {hash} in force{changes}")
}

/// Who caused it.
pub(crate) fn by(actor: &Actor, name: &dyn Fn(&PersonId) -> String) -> String {
    match actor {
        Actor::Node => "the bastion".to_owned(),
        Actor::Operator => "the machine's operator".to_owned(),
        Actor::Person { person, .. } => name(person),
    }
}

fn requested(request: &RequestFacts, name: &dyn Fn(&PersonId) -> String) -> String {
    let ticket = request.ticket.as_ref().map_or_else(String::new, |ticket| format!(" ({ticket})"));
    format!(
        "{} asks for {}@{} for {}: {}{ticket} ({})",
        name(&request.person),
        request.login,
        request.target,
        words::duration(request.duration_s),
        request.reason,
        request.request,
    )
}

fn right(fact: &Fact, name: &dyn Fn(&PersonId) -> String) -> String {
    if let Fact::GrantIssued(grant) = fact {
        let length = words::duration(grant.duration_s);
        let clock = match grant.clock {
            WindowClock::Approval => "from now",
            WindowClock::FirstUse => "from first use",
        };
        let (person, login, target) = (name(&grant.person), &grant.login, &grant.target);
        return format!("{person} may be {login}@{target} for {length} {clock} ({})", grant.grant);
    }
    if let Fact::GrantStarted { grant, ends } = fact {
        return format!("{grant} used for the first time; it ends at {ends}");
    }
    if let Fact::GrantRevoked { grant, reason } = fact {
        return format!("{grant} revoked: {reason}");
    }
    if let Fact::GrantEnded { grant } = fact {
        return format!("{grant} is over");
    }
    let Fact::Revoked { scope, reason } = fact else { return String::new() };
    let what = match scope {
        Scope::Everything => "all access".to_owned(),
        Scope::Person(person) => format!("all access of {}", name(person)),
        Scope::Target(target) => format!("all access to {target}"),
    };
    format!("{what} revoked: {reason}")
}

fn session(fact: &Fact, name: &dyn Fn(&PersonId) -> String) -> String {
    if let Fact::SessionStarted(facts) = fact {
        let (person, login, target) = (name(&facts.person), &facts.login, &facts.target);
        return format!("{} began: {person} as {login}@{target} from {}", facts.session, facts.client);
    }
    if let Fact::SessionTerminated { session, reason } = fact {
        return format!("{session} ordered to end: {reason}");
    }
    if let Fact::RecordingCheckpoint { session, frame, .. } = fact {
        return format!("recording of {session} pinned at frame {frame}");
    }
    if let Fact::SessionEnded(end) = fact {
        let left = if end.left_over.is_empty() {
            String::new()
        } else {
            format!("; still to be cleaned: {}", list(&end.left_over))
        };
        return format!("{} ended: {}{left}", end.session, end.reason);
    }
    if let Fact::CleanupDone { session, what } = fact {
        return format!("{session}: {what} is clean now");
    }
    let Fact::RecordingViewed { session, how } = fact else { return String::new() };
    format!("recording of {session} viewed, to {how}")
}

fn recording(fact: &Fact, name: &dyn Fn(&PersonId) -> String) -> String {
    if let Fact::RecordingStored(facts) = fact {
        let (session, location) = (&facts.session, &facts.location);
        return format!("recording of {session} moved to {location} ({})", words::bytes(facts.bytes));
    }
    if let Fact::RecordingHeld { session, reason } = fact {
        return format!("recording of {session} held: {reason}");
    }
    if let Fact::RecordingReleased { session, reason } = fact {
        return format!("recording of {session} released: {reason}");
    }
    if let Fact::RecordingDeletionAsked { session, reason, .. } = fact {
        return format!("recording of {session} asked to be deleted: {reason}");
    }
    if let Fact::RecordingDeletionWithdrawn { session } = fact {
        return format!("recording of {session} is not to be deleted after all");
    }
    if let Fact::RecordingDeletionLapsed { session } = fact {
        return format!("recording of {session} stays: nobody confirmed in time");
    }
    if let Fact::RecordingDeleted(facts) = fact {
        let (session, bytes) = (&facts.session, words::bytes(facts.bytes));
        return match &facts.cause {
            DeletionCause::Asked { by, reason, .. } => {
                format!("recording of {session} deleted, as {} asked: {reason} ({bytes})", name(by))
            }
            DeletionCause::Retention { keep_s } => {
                format!("recording of {session} deleted, kept for {} ({bytes})", words::duration(*keep_s))
            }
        };
    }
    if let Fact::RecordingRemoved { session } = fact {
        return format!("nothing is left of the recording of {session}");
    }
    let Fact::RecordingCopyRemains(facts) = fact else { return String::new() };
    let until = facts.until.map_or_else(String::new, |until| format!(", until {until}"));
    format!("the copy at {} of a deleted recording remains{until}: {}", facts.location, facts.why)
}

fn list<'a, T: Display + 'a>(things: impl IntoIterator<Item = &'a T>) -> String {
    let words: Vec<String> = things.into_iter().map(ToString::to_string).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::Role;

    #[test]
    fn entries_read_as_sentences() {
        let name = |person: &PersonId| {
            if person.as_str().ends_with('a') { "alice".to_owned() } else { person.to_string() }
        };
        let person: PersonId = "per_aaaaaaaaaaaaaaaa".parse().unwrap();
        let roles: BTreeSet<Role> = ["operator".parse().unwrap(), "reviewer".parse().unwrap()].into();
        let fact = Fact::RolesChanged { person: person.clone(), roles };
        assert_eq!(of(&fact, &name), "alice now has roles operator, reviewer");
        let fact = Fact::Revoked { scope: Scope::Person(person), reason: "left".to_owned() };
        assert_eq!(of(&fact, &name), "all access of alice revoked: left");
        let fact = Fact::RecordingViewed {
            session: "ses_aaaaaaaaaaaaaaaa".parse().unwrap(),
            how: "play".to_owned(),
        };
        assert_eq!(of(&fact, &name), "recording of ses_aaaaaaaaaaaaaaaa viewed, to play");
        assert_eq!(by(&Actor::Node, &name), "the bastion");
    }
}
