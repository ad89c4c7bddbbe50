//! Every reachable state of a small world, searched: no session without a live grant, no approval by oneself, nothing
//! after an end or a revocation.
//!
//! The oracle keeps its own simple account of what was revoked, disabled, linked and when, and never asks the code
//! under test whether something was right.

use std::hash::{Hash, Hasher};

use stateright::{Checker, Model, Property};

use super::*;

/// One second of the model is this long, so that windows pass within a few.
const STRIDE: i64 = 2000;
/// How far time goes, in strides: past the longest window.
const END_OF_TIME: i64 = 3;

#[derive(Clone, Debug, PartialEq)]
struct Situation {
    state: State,
    /// Strides since the beginning.
    time: i64,
    made: usize,
    /// Person ids known to be one human with Erin.
    is_erin: BTreeSet<usize>,
    disabled: BTreeSet<usize>,
    /// The grant's end as the oracle knows it: when issued, started, revoked or voided.
    end: Option<i64>,
    wrong: Option<&'static str>,
}

/// Everything in which two situations of this world can differ. What is left out follows from it.
impl Hash for Situation {
    fn hash<H: Hasher>(&self, into: &mut H) {
        (self.time, self.made, &self.is_erin, &self.disabled, self.end, self.wrong).hash(into);
        for person in self.state.people() {
            (&person.disabled, &person.facts.roles).hash(into);
            for link in &person.links {
                (&link.identity, link.linked, link.unlinked).hash(into);
            }
        }
        let approvers =
            |approvals: &[Approval]| approvals.iter().map(|a| a.approver.clone()).collect::<Vec<_>>();
        for request in self.state.requests() {
            (request.lapses, approvers(&request.approvals)).hash(into);
        }
        for grant in self.state.grants() {
            (grant.issued, grant.usable_until(), grant.used, approvers(&grant.request.approvals)).hash(into);
        }
        for session in self.state.sessions() {
            (session.started, session.ending).hash(into);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Move {
    Ask,
    Approve(usize),
    Start,
    Revoke,
    Disable(usize),
    Enable(usize),
    /// Gives a person's first key to Erin.
    LinkToErin(usize),
    Stride,
    Tick,
    EndSession,
}

/// Erin asks once; how many approvals that takes, and when the clock starts.
struct Gate {
    needed: u32,
    clock: WindowClock,
}

impl Gate {
    fn command(&self, s: &Situation, action: Move) -> (Actor, Command) {
        let reason = "because".to_owned();
        match action {
            Move::Ask => (actor(ERIN), wish("web-1", rule(self.needed, self.clock))),
            Move::Approve(n) => {
                let hash = s.state.request(&req(0)).map(|r| r.hash.clone()).unwrap_or_default();
                (actor(n), approval(n, &req(0), hash, 3600))
            }
            Move::Start => (actor(ERIN), start(ERIN, &grn(0), 0)),
            Move::Revoke => (actor(ALICE), Command::RevokeGrant { grant: grn(0), reason }),
            Move::Disable(n) => (Actor::Operator, Command::DisablePerson { person: per(n), reason }),
            Move::Enable(n) => (Actor::Operator, Command::EnablePerson { person: per(n) }),
            Move::LinkToErin(n) => {
                (Actor::Operator, Command::LinkIdentity { person: per(ERIN), identity: key(n) })
            }
            Move::Stride | Move::Tick => (Actor::Node, Command::Tick),
            Move::EndSession => {
                (Actor::Node, Command::EndSession(Box::new(end(&ses(0), EndReason::ClientLeft, &[]))))
            }
        }
    }

    /// What the oracle makes of a move the rules let pass.
    fn account(&self, before: &Situation, after: &mut Situation, action: Move) {
        let was_unused = before.state.grant(&grn(0)).is_some_and(|grant| !grant.used);
        match action {
            Move::Ask if before.disabled.contains(&ERIN) => after.wrong = Some("a disabled person asked"),
            Move::Approve(n) => {
                if after.is_erin.contains(&n) || n == ERIN || n == AGENT {
                    after.wrong = Some("somebody approved who is not somebody else");
                }
                if before.disabled.contains(&n) || before.disabled.contains(&ERIN) {
                    after.wrong = Some("a disabled person took part in an approval");
                }
                if after.state.grant(&grn(0)).is_some() {
                    let window = if self.clock == WindowClock::Approval { 3600 } else { 300 };
                    after.end = Some(before.time * STRIDE + window);
                }
            }
            Move::Start => {
                if before.end.is_none_or(|end| before.time * STRIDE >= end) {
                    after.wrong = Some("a session started without a live grant");
                }
                if before.disabled.contains(&ERIN) {
                    after.wrong = Some("a disabled person started a session");
                }
                if approved_by(before, &before.disabled) || approved_by(before, &before.is_erin) {
                    after.wrong = Some("a session started under an approval that no longer counts");
                }
                if was_unused && self.clock == WindowClock::FirstUse {
                    after.end = Some(before.time * STRIDE + 3600);
                }
            }
            Move::Revoke | Move::Disable(ERIN) => after.end = None,
            Move::LinkToErin(n) => {
                after.is_erin.insert(n);
                if was_unused && approved_by(before, &after.is_erin) {
                    after.end = None;
                }
            }
            Move::Disable(n) if was_unused && approved_by(before, &BTreeSet::from([n])) => after.end = None,
            Move::Ask | Move::Disable(_) | Move::Enable(_) | Move::Stride | Move::Tick | Move::EndSession => {
            }
        }
        if let Move::Disable(n) = action {
            after.disabled.insert(n);
        }
        if let Move::Enable(n) = action {
            after.disabled.remove(&n);
        }
    }
}

/// Whether one of these people approved the grant; every approval is needed in this world.
fn approved_by(s: &Situation, people: &BTreeSet<usize>) -> bool {
    let approvals = s.state.approvals_of(&grn(0)).unwrap_or_default();
    approvals.iter().any(|approval| people.iter().any(|n| approval.approver == per(*n)))
}

impl Model for Gate {
    type State = Situation;
    type Action = Move;

    fn init_states(&self) -> Vec<Situation> {
        let mut world = World::new();
        // A second administrator, so that Alice can be disabled.
        let roles = BTreeSet::from(["approver".parse().unwrap(), "admin".parse().unwrap()]);
        world.by(&Actor::Operator, Command::ChangeRoles { person: per(BOB), roles }).unwrap();
        vec![Situation {
            state: world.state,
            time: 0,
            made: 0,
            is_erin: BTreeSet::from([ERIN]),
            disabled: BTreeSet::new(),
            end: None,
            wrong: None,
        }]
    }

    fn actions(&self, s: &Situation, actions: &mut Vec<Move>) {
        if s.made == 0 {
            actions.push(Move::Ask);
        }
        actions.extend([Move::Start, Move::Revoke, Move::Tick, Move::EndSession]);
        actions.extend([ERIN, ALICE, BOB, AGENT].map(Move::Approve));
        actions.extend([ERIN, BOB].map(Move::Disable));
        actions.extend([ERIN, BOB].map(Move::Enable));
        actions.push(Move::LinkToErin(BOB));
        if s.time < END_OF_TIME {
            actions.push(Move::Stride);
        }
    }

    fn next_state(&self, before: &Situation, action: Move) -> Option<Situation> {
        let mut after = before.clone();
        if action == Move::Stride {
            after.time += 1;
            return Some(after);
        }
        let (by, command) = self.command(before, action);
        let now = at(before.time * STRIDE);
        let fresh = Fresh { person: per(500), request: req(0), grant: grn(0) };
        let facts = decide(&before.state, &by, command, now, fresh).ok()?;
        for fact in facts {
            // Sequence numbers would make equal situations different.
            drop(apply(&mut after.state, &Entry { v: 1, seq: 0, at: now, by: by.clone(), fact }));
        }
        after.made += usize::from(action == Move::Ask);
        self.account(before, &mut after, action);
        Some(after)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no rule is broken", |_, s: &Situation| s.wrong.is_none()),
            Property::always("a session goes on only while its grant does", |_, s: &Situation| {
                let stands = s.state.standing(&ses(0), at(s.time * STRIDE)).is_ok();
                !stands || s.end.is_some_and(|end| s.time * STRIDE < end)
            }),
            Property::always("a disabled person's session does not go on", |_, s: &Situation| {
                !s.disabled.contains(&ERIN) || s.state.standing(&ses(0), at(s.time * STRIDE)).is_err()
            }),
            Property::sometimes("a session runs", |_, s: &Situation| {
                s.state.standing(&ses(0), at(s.time * STRIDE)).is_ok()
            }),
            Property::sometimes("a running session has to end", |_, s: &Situation| {
                s.state.session(&ses(0)).is_some_and(|session| session.ending.is_some())
            }),
        ]
    }
}

#[test]
fn no_reachable_situation_breaks_a_rule() {
    for needed in [1, 2] {
        for clock in [WindowClock::Approval, WindowClock::FirstUse] {
            let checked = Gate { needed, clock }.checker().spawn_bfs().join();
            checked.assert_properties();
            // Far fewer would mean that the moves no longer reach what they are meant to.
            assert!(checked.unique_state_count() > 500, "{} states", checked.unique_state_count());
        }
    }
}
