//! One scenario per rule about what becomes of recordings: two people, neither of whom it shows, and never while held.
//!
//! Read next: `../decide/recordings.rs`.

use super::*;
use crate::access::{Conflict, EndedRecording};
use crate::ledger::entry::RemainsFacts;

const DAY: i64 = 24 * 3600;

/// A world in which Erin's session is over, and its recording.
fn world() -> (World, EndedRecording) {
    let mut world = World::new();
    let grant = world.grant(WindowClock::Approval);
    let session = world.start(ERIN, &grant, 0).unwrap();
    let start = world.state.session(&session).unwrap().facts.clone();
    let end = end(&session, EndReason::ClientLeft, &[]);
    world.by(&Actor::Node, Command::EndSession(Box::new(end.clone()))).unwrap();
    (world, EndedRecording { start, end, location: Some("s3://r/x.pstn".to_owned()) })
}

fn because() -> String {
    "because".to_owned()
}

fn ask(of: &EndedRecording) -> Command {
    let (session, recorded) = (of.start.session.clone(), of.start.person.clone());
    Command::AskDeletion { session, recorded, reason: because() }
}

fn confirm(of: &EndedRecording) -> Command {
    Command::ConfirmDeletion { recording: Box::new(of.clone()) }
}

fn hold(of: &EndedRecording) -> Command {
    Command::HoldRecording { session: of.start.session.clone(), reason: because() }
}

fn release(of: &EndedRecording) -> Command {
    let (session, recorded) = (of.start.session.clone(), of.start.person.clone());
    Command::ReleaseRecording { session, recorded, reason: because() }
}

fn by_retention(of: &EndedRecording) -> Command {
    Command::DeleteByRetention { recording: Box::new(of.clone()), keep_s: 60 }
}

#[test]
fn one_asks_another_confirms_and_then_nothing_is_decided_about_it_again() {
    let (mut world, recording) = world();
    let session = recording.start.session.clone();
    assert_eq!(world.person(BOB, confirm(&recording)), Err(Denied::NoSuchDeletion));
    world.person(ALICE, ask(&recording)).unwrap();
    assert_eq!(world.person(BOB, ask(&recording)).unwrap_err().code(), "unchanged");
    assert_eq!(world.person(ALICE, confirm(&recording)), Err(Denied::Separation(Conflict::Self_)));
    world.person(BOB, confirm(&recording)).unwrap();
    let deleted = world.state.recording(&session).unwrap().deleted.clone().unwrap();
    assert_eq!((deleted.by, deleted.facts.digest.as_str()), (actor(BOB), recording.end.digest.as_str()));
    for command in [ask(&recording), confirm(&recording), hold(&recording)] {
        assert_eq!(world.person(ALICE, command), Err(Denied::RecordingDeleted));
    }
    assert_eq!(world.by(&Actor::Node, by_retention(&recording)), Err(Denied::RecordingDeleted));
    // What the store does not give up is said once, and only the bastion says so.
    let (why, location) = ("locked".to_owned(), "s3://r/x.pstn".to_owned());
    let remains = RemainsFacts { session: session.clone(), location, why, until: Some(at(DAY)) };
    let leave = || Command::LeaveCopy(Box::new(remains.clone()));
    assert_eq!(world.by(&Actor::Operator, leave()), Err(Denied::ActorNotNode));
    assert_eq!(world.by(&Actor::Node, leave()).unwrap().len(), 1);
    assert_eq!(world.by(&Actor::Node, leave()).unwrap(), []);
    let remove = || Command::RemoveRecording { session: session.clone() };
    assert_eq!(world.by(&actor(BOB), remove()), Err(Denied::ActorNotNode));
    world.by(&Actor::Node, remove()).unwrap();
    assert_eq!(world.by(&Actor::Node, remove()), Err(Denied::NoSuchDeletion));
    assert!(world.state.is_deleted(&session) && world.state.recordings().next().is_none());
    assert_eq!(world.person(ALICE, ask(&recording)), Err(Denied::RecordingDeleted), "also when it is gone");
}

#[test]
fn whom_it_shows_and_whoever_is_them_has_no_say() {
    let (mut world, recording) = world();
    for (n, denied) in [(ERIN, Denied::OwnRecording), (AGENT, Denied::OwnRecording)] {
        assert_eq!(world.person(n, ask(&recording)), Err(denied), "a workload is no person");
    }
    assert_eq!(world.by(&Actor::Operator, ask(&recording)), Err(Denied::ActorNotPerson));
    world.person(ALICE, hold(&recording)).unwrap();
    assert_eq!(world.person(ERIN, release(&recording)), Err(Denied::OwnRecording));
    assert_eq!(world.by(&Actor::Operator, release(&recording)), Err(Denied::ActorNotPerson));
    world.person(BOB, release(&recording)).unwrap();
    world.person(ALICE, ask(&recording)).unwrap();
    // Bob turns out to be Erin.
    let link = Command::LinkIdentity { person: per(ERIN), identity: key(BOB) };
    world.by(&Actor::Operator, link).unwrap();
    let back = Command::LinkIdentity { person: per(BOB), identity: key(BOB) };
    world.by(&Actor::Operator, back).unwrap();
    assert_eq!(world.person(BOB, confirm(&recording)), Err(Denied::OwnRecording));
    assert!(world.state.recording(&recording.start.session).unwrap().deleted.is_none());
}

#[test]
fn two_who_turn_out_to_be_one_are_one() {
    let (mut world, recording) = world();
    world.person(ALICE, ask(&recording)).unwrap();
    let link = Command::LinkIdentity { person: per(ALICE), identity: key(BOB) };
    world.by(&Actor::Operator, link).unwrap();
    let back = Command::LinkIdentity { person: per(BOB), identity: key(BOB) };
    world.by(&Actor::Operator, back).unwrap();
    assert_eq!(world.person(BOB, confirm(&recording)), Err(Denied::Separation(Conflict::Linked)));
}

#[test]
fn what_is_held_is_deleted_by_nobody_and_nothing() {
    let (mut world, recording) = world();
    world.person(ALICE, ask(&recording)).unwrap();
    world.by(&Actor::Operator, hold(&recording)).unwrap();
    assert_eq!(world.person(BOB, hold(&recording)).unwrap_err().code(), "unchanged");
    let held = Denied::RecordingHeld { reason: because() };
    assert_eq!(world.person(BOB, confirm(&recording)), Err(held.clone()));
    assert_eq!(world.person(BOB, ask(&recording)), Err(held.clone()));
    assert_eq!(world.by(&Actor::Node, by_retention(&recording)), Err(held));
    world.person(BOB, release(&recording)).unwrap();
    assert_eq!(world.person(BOB, release(&recording)).unwrap_err().code(), "unchanged");
    assert_eq!(world.by(&actor(BOB), by_retention(&recording)), Err(Denied::ActorNotNode));
    world.by(&Actor::Node, by_retention(&recording)).unwrap();
}

#[test]
fn what_was_asked_lapses_is_withdrawn_or_falls_with_whoever_asked() {
    let (mut world, recording) = world();
    let session = recording.start.session.clone();
    let withdraw = || Command::WithdrawDeletion { session: session.clone() };
    assert_eq!(world.person(BOB, withdraw()), Err(Denied::NoSuchDeletion));
    world.person(ALICE, ask(&recording)).unwrap();
    world.person(BOB, withdraw()).unwrap();
    assert_eq!((world.state.recording(&session), world.state.next_due()), (None, Some(at(3600))));
    world.person(ALICE, ask(&recording)).unwrap();
    world.later(7 * DAY);
    assert_eq!(world.person(BOB, confirm(&recording)), Err(Denied::NoSuchDeletion), "before the tick, too");
    world.by(&Actor::Node, Command::Tick).unwrap();
    assert_eq!((world.state.recording(&session), world.state.next_due()), (None, None));
    world.person(ALICE, ask(&recording)).unwrap();
    let roles = ["admin".parse().unwrap()].into();
    world.by(&Actor::Operator, Command::ChangeRoles { person: per(ALICE), roles }).unwrap();
    assert_eq!(world.person(BOB, confirm(&recording)), Err(Denied::NoSuchDeletion));
    world.person(BOB, ask(&recording)).unwrap();
    let disable = Command::DisablePerson { person: per(BOB), reason: because() };
    world.by(&Actor::Operator, disable).unwrap();
    assert_eq!(world.person(ALICE, confirm(&recording)), Err(Denied::NoSuchDeletion));
}

#[test]
fn a_session_that_goes_on_can_be_held_and_not_deleted() {
    let (mut world, mut recording) = world();
    let grant = world.grant(WindowClock::Approval);
    let live = world.start(ERIN, &grant, 1).unwrap();
    (recording.start.session, recording.end.session) = (live.clone(), live);
    assert_eq!(world.person(ALICE, ask(&recording)), Err(Denied::SessionLive));
    assert_eq!(world.by(&Actor::Node, by_retention(&recording)), Err(Denied::SessionLive));
    world.person(ALICE, hold(&recording)).unwrap();
    assert!(world.state.is_held(&recording.start.session));
}
