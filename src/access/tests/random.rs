//! Properties over random histories: whatever people do, in whatever order.
//!
//! A failing history is shrunk to its shortest and shows the command that broke the property. Single rules have their own
//! tests in `rules.rs`; every reachable state of a small world is in `model.rs`.

use proptest::prelude::*;

use super::*;
use crate::ledger::entry::Scope;

/// What one random step tries; numbers pick persons, requests, grants and sessions, existing or not.
#[derive(Debug, Clone)]
enum Step {
    Ask(usize, u32, bool),
    Approve(usize, usize, u64),
    Deny(usize, usize),
    Withdraw(usize, usize),
    Start(usize, usize),
    End(usize),
    Terminate(usize),
    RevokeGrant(usize),
    Revoke(usize),
    Disable(usize),
    Enable(usize),
    Link(usize, usize),
    Unlink(usize, usize),
    Roles(usize, bool),
    Later(i64),
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_usize, 1..3_u32, any::<bool>()).prop_map(|(n, needed, first)| Step::Ask(n, needed, first)),
        6 => (0..4_usize, any::<usize>(), 1..4000_u64).prop_map(|(n, r, s)| Step::Approve(n, r, s)),
        1 => (0..4_usize, any::<usize>()).prop_map(|(n, r)| Step::Deny(n, r)),
        1 => (0..4_usize, any::<usize>()).prop_map(|(n, r)| Step::Withdraw(n, r)),
        6 => (0..4_usize, any::<usize>()).prop_map(|(n, g)| Step::Start(n, g)),
        2 => any::<usize>().prop_map(Step::End),
        1 => any::<usize>().prop_map(Step::Terminate),
        1 => any::<usize>().prop_map(Step::RevokeGrant),
        1 => (0..5_usize).prop_map(Step::Revoke),
        1 => (0..4_usize).prop_map(Step::Disable),
        2 => (0..4_usize).prop_map(Step::Enable),
        1 => (0..4_usize, 0..6_usize).prop_map(|(n, k)| Step::Link(n, k)),
        1 => (0..4_usize, 0..6_usize).prop_map(|(n, k)| Step::Unlink(n, k)),
        1 => (0..4_usize, any::<bool>()).prop_map(|(n, approver)| Step::Roles(n, approver)),
        2 => (1..2000_i64).prop_map(Step::Later),
        1 => Just(Step::Tick),
    ]
}

fn pick<T: Clone>(items: impl Iterator<Item = T>, n: usize) -> Option<T> {
    let items: Vec<T> = items.collect();
    if items.is_empty() { None } else { items.get(n % items.len()).cloned() }
}

/// Takes a step; most are refused, which is part of the point.
fn take(world: &mut World, step: &Step, sessions: &mut usize) {
    let reason = "because".to_owned();
    let request = |world: &World, n| pick(world.state.requests().map(|r| r.facts.request.clone()), n);
    let grant = |world: &World, n| pick(world.state.grants().map(|g| g.facts.grant.clone()), n);
    let session = |world: &World, n| pick(world.state.sessions().map(|s| s.facts.session.clone()), n);
    let (by, command) = match *step {
        Step::Ask(n, needed, first) => {
            let clock = if first { WindowClock::FirstUse } else { WindowClock::Approval };
            (actor(n), Some(wish("web-1", rule(needed, clock))))
        }
        Step::Approve(n, r, s) => (actor(n), request(world, r).map(|r| world.approval(n, &r, s))),
        Step::Deny(n, r) => (actor(n), request(world, r).map(|request| Command::Deny { request, reason })),
        Step::Withdraw(n, r) => {
            (actor(n), request(world, r).map(|request| Command::Withdraw { request, as_manager: false }))
        }
        Step::Start(n, g) => {
            *sessions += 1;
            (actor(n), grant(world, g).map(|g| start(n, &g, *sessions)))
        }
        Step::End(s) => {
            let end = session(world, s)
                .map(|s| Command::EndSession(Box::new(end(&s, EndReason::ClientLeft, &["x"]))));
            (Actor::Node, end)
        }
        Step::Terminate(s) => {
            let terminate = session(world, s).map(|session| Command::TerminateSession { session, reason });
            (Actor::Operator, terminate)
        }
        Step::RevokeGrant(g) => {
            (Actor::Operator, grant(world, g).map(|grant| Command::RevokeGrant { grant, reason }))
        }
        Step::Revoke(4) => (Actor::Operator, Some(Command::Revoke { scope: Scope::Everything, reason })),
        Step::Revoke(n) => (Actor::Operator, Some(Command::Revoke { scope: Scope::Person(per(n)), reason })),
        Step::Disable(n) => (Actor::Operator, Some(Command::DisablePerson { person: per(n), reason })),
        Step::Enable(n) => (Actor::Operator, Some(Command::EnablePerson { person: per(n) })),
        Step::Link(n, k) => {
            (Actor::Operator, Some(Command::LinkIdentity { person: per(n), identity: key(k) }))
        }
        Step::Unlink(n, k) => {
            let identity = key(k).identity;
            (Actor::Operator, Some(Command::UnlinkIdentity { person: per(n), identity }))
        }
        Step::Roles(n, approver) => {
            let role = if approver { "approver" } else { "operator" };
            let roles = BTreeSet::from([role.parse().unwrap()]);
            (Actor::Operator, Some(Command::ChangeRoles { person: per(n), roles }))
        }
        Step::Later(seconds) => {
            world.later(seconds);
            return;
        }
        Step::Tick => (Actor::Node, Some(Command::Tick)),
    };
    if let Some(command) = command {
        drop(world.by(&by, command));
    }
}

/// What must hold in every state, written without the rules' own words.
fn holds(world: &World) -> Result<(), TestCaseError> {
    let state = &world.state;
    for session in state.sessions().filter(|session| session.ending.is_none()) {
        let grant = state.grant(&session.facts.grant);
        prop_assert!(grant.is_some(), "a session goes on without a grant");
        prop_assert!(state.is_active(&session.facts.person), "a disabled person's session goes on");
        let person = state.person(&session.facts.person).unwrap();
        prop_assert!(
            person.link(&session.facts.identity).is_some(),
            "a session goes on under a lost identity"
        );
        prop_assert!(state.target(&session.facts.target).is_some());
    }
    for grant in state.grants() {
        let mut humans: BTreeSet<&PersonId> = grant.request.approvals.iter().map(|a| &a.approver).collect();
        prop_assert!(u32::try_from(humans.len()).is_ok_and(|n| n >= grant.request.approvals_needed));
        prop_assert!(humans.insert(&grant.facts.person), "the requester is among the approvers");
        prop_assert!(
            !humans.contains(&per(AGENT)) || grant.facts.person == per(AGENT),
            "a workload approved"
        );
        let is_agents = grant.facts.person == per(AGENT);
        prop_assert!(!(is_agents && humans.contains(&per(ALICE))), "an owner approved their workload");
        let shortest = grant.request.approvals.iter().map(|a| a.duration_s).min();
        prop_assert_eq!(Some(grant.facts.duration_s), shortest);
        prop_assert_eq!(&grant.facts.hash, &grant.request.facts.hash());
    }
    prop_assert!(
        state.people().any(|p| p.disabled.is_none() && p.facts.roles.iter().any(|r| r.as_str() == "admin"))
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_history_keeps_the_rules_and_replays_to_the_same_state(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut world = World::new();
        let mut sessions = 0;
        for step in &steps {
            take(&mut world, step, &mut sessions);
            holds(&world)?;
        }
        prop_assert_eq!(&replay(&world.entries), &world.state, "applying from scratch");
        for entry in &world.entries {
            let bytes = entry.canonical().unwrap();
            let again = Entry::parse(entry.seq, &bytes).unwrap();
            prop_assert_eq!(&again, entry);
            prop_assert_eq!(again.canonical().unwrap(), bytes);
        }
    }

    #[test]
    fn a_state_put_together_from_its_parts_is_the_same(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        let mut sessions = 0;
        steps.iter().for_each(|step| take(&mut world, step, &mut sessions));
        let state = &world.state;
        let again = State::assemble(
            state.node().clone(),
            state.people().cloned().collect(),
            state.targets().cloned().collect(),
            state.requests().cloned().collect(),
            state.grants().cloned().collect(),
            state.sessions().cloned().collect(),
            state.left_over().map(|(id, what)| (id.clone(), what.clone())).collect(),
        );
        prop_assert_eq!(&again, state);
    }

    /// Entries in any order, as damage might leave them, give a state and no panic, the same one each time.
    #[test]
    fn applying_is_total_and_deterministic(
        steps in prop::collection::vec(step(), 1..40), order in prop::collection::vec(any::<usize>(), 1..60),
    ) {
        let mut world = World::new();
        let mut sessions = 0;
        steps.iter().for_each(|step| take(&mut world, step, &mut sessions));
        let shuffled: Vec<Entry> =
            order.iter().map(|n| world.entries[n % world.entries.len()].clone()).collect();
        prop_assert_eq!(replay(&shuffled), replay(&shuffled));
    }
}
