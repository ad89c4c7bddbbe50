//! The one entrance: who may act at all, and which file decides about which command.
//!
//! Whatever a command says, its actor must be somebody who may act; everything else is the noun's own file. Never here: a
//! rule about one noun.

use super::{people, recordings, requests, rights, sessions, targets, text};
use crate::access::command::{Command, Fresh};
use crate::access::denied::Denied;
use crate::access::state::State;
use crate::ledger::entry::{Actor, Fact};
use crate::model::Timestamp;

/// Decides what a command does.
///
/// # Errors
/// [`Denied`], when the rules do not allow it; nothing is to be appended then.
pub fn decide(
    state: &State,
    by: &Actor,
    command: Command,
    now: Timestamp,
    fresh: Fresh,
) -> Result<Vec<Fact>, Denied> {
    may_act(state, by, &command)?;
    match command {
        Command::AddPerson { name, kind, owner, roles, identities } => {
            let facts = crate::ledger::entry::PersonFacts { person: fresh.person, name, kind, owner, roles };
            people::add(state, facts, &identities)
        }
        Command::AddTarget(target) => targets::add(state, *target),
        Command::Approve(approval) => requests::approve(state, by, *approval, now, fresh.grant),
        Command::AskDeletion { session, recorded, reason } => {
            recordings::ask_deletion(state, by, session, &recorded, reason, now)
        }
        Command::ChangeRoles { person, roles } => people::change_roles(state, person, roles),
        Command::CleanUp { session, what } => sessions::clean_up(state, session, what),
        Command::ConfirmDeletion { recording } => recordings::confirm_deletion(state, by, *recording, now),
        Command::DeleteByRetention { recording, keep_s } => {
            recordings::delete_by_retention(state, by, *recording, keep_s)
        }
        Command::Deny { request, reason } => requests::deny(state, request, reason),
        Command::DisablePerson { person, reason } => people::disable(state, person, reason),
        Command::EnablePerson { person } => people::enable(state, person),
        Command::EndSession(end) => sessions::end(state, *end),
        Command::HoldRecording { session, reason } => recordings::hold(state, session, reason),
        Command::Initialise { origin, checkpoint_key } => initialise(state, origin, checkpoint_key),
        Command::LeaveCopy(facts) => recordings::leave_copy(state, by, *facts),
        Command::LinkIdentity { person, identity } => people::link(state, &person, &identity),
        Command::LoadConfiguration { hash } => {
            let fact = Fact::ConfigurationLoaded { hash: hash.clone() };
            noted(state.node().configuration.as_ref(), &hash, fact)
        }
        Command::LoadPolicy { hash, rules } => {
            let fact = Fact::PolicyLoaded { hash: hash.clone(), rules };
            noted(state.node().policy.as_ref(), &hash, fact)
        }
        Command::MakeRequest { login, target, capabilities, duration_s, reason, ticket, rule } => {
            let wish = requests::Wish { login, target, capabilities, duration_s, reason, ticket };
            requests::make(state, by, wish, rule, now, fresh.request)
        }
        Command::PinRecording { session, frame, digest } => sessions::pin(state, session, frame, digest),
        Command::ReleaseRecording { session, recorded, reason } => {
            recordings::release(state, by, session, &recorded, reason)
        }
        Command::RemoveRecording { session } => recordings::remove(state, by, session),
        Command::RemoveTarget { target, reason } => targets::remove(state, target, reason),
        Command::Revoke { scope, reason } => rights::revoke(state, scope, reason),
        Command::RevokeGrant { grant, reason } => rights::revoke_grant(state, grant, reason),
        Command::RewrapRecording(facts) => recordings::rewrap(state, *facts),
        Command::SetReviewers { recipients } => targets::set_reviewers(state, recipients),
        Command::SignIn { client } => sessions::sign_in(by, client),
        Command::StartSession(facts) => sessions::start(state, by, *facts, now),
        Command::StoreRecording(facts) => recordings::store(state, by, *facts),
        Command::TerminateSession { session, reason } => sessions::terminate(state, session, reason),
        Command::TestTarget { target, login } => targets::test(state, target, login),
        Command::Tick => Ok(rights::tick(state, now)),
        Command::TrustTarget { target, trust } => targets::trust(state, target, trust),
        Command::UnlinkIdentity { person, identity } => people::unlink(state, person, identity),
        Command::ViewRecording { session, how } => sessions::view(session, how),
        Command::WithdrawDeletion { session } => recordings::withdraw_deletion(state, session),
        Command::Withdraw { request, as_manager } => requests::withdraw(state, by, request, as_manager),
    }
}

/// A person must be enrolled, active, and hold the identity they proved; and there must be a ledger to change.
fn may_act(state: &State, by: &Actor, command: &Command) -> Result<(), Denied> {
    if state.node().origin.is_empty() && !matches!(command, Command::Initialise { .. }) {
        return Err(Denied::NotInitialised);
    }
    match by {
        Actor::Node | Actor::Operator => Ok(()),
        Actor::Person { person, identity } => {
            let known = state.person(person).ok_or(Denied::ActorUnknown)?;
            known.link(identity).ok_or(Denied::ActorUnknown)?;
            if state.is_active(person) { Ok(()) } else { Err(Denied::ActorDisabled) }
        }
    }
}

fn initialise(state: &State, origin: String, checkpoint_key: String) -> Result<Vec<Fact>, Denied> {
    if !state.node().origin.is_empty() {
        return Err(Denied::AlreadyInitialised);
    }
    text::line("the origin", &origin, text::NAME)?;
    Ok(vec![Fact::NodeInitialised { origin, checkpoint_key }])
}

fn noted(known: Option<&String>, hash: &String, fact: Fact) -> Result<Vec<Fact>, Denied> {
    text::line("the hash", hash, text::NAME)?;
    Ok(if known == Some(hash) { Vec::new() } else { vec![fact] })
}
