//! One scenario per rule: what is refused, with which reason, and what ends what.
//!
//! Each test names one rule and would fail without it. What holds over all histories is in `random.rs` and `model.rs`.

use super::super::{Conflict, GrantEnd, RequestEnd};
use super::*;
use crate::ledger::entry::{Scope, StoredFacts};
use WindowClock::{Approval as FromApproval, FirstUse};

fn reason() -> String {
    "because".to_owned()
}

#[test]
fn one_approval_gives_a_grant_and_a_grant_a_session() {
    let mut world = World::new();
    let request = world.ask(ERIN, rule(1, FromApproval));
    assert_eq!(world.start(ERIN, &grn(0), 0), Err(Denied::NoSuchGrant), "no grant, no session");
    let grant = world.approve(ALICE, &request).unwrap().unwrap();
    assert!(world.state.request(&request).is_none());
    assert_eq!(world.state.approvals_of(&grant).unwrap().len(), 1);
    let session = world.start(ERIN, &grant, 0).unwrap();
    assert_eq!(world.state.standing(&session, world.now), Ok(at(3600)));
    assert_eq!(world.state.standing(&session, at(3600)), Err(EndReason::GrantExpired));
}

#[test]
fn nobody_approves_for_themselves_in_any_guise() {
    let mut world = World::new();
    let own = world.ask(ALICE, rule(1, FromApproval));
    assert_eq!(world.approve(ALICE, &own), Err(Denied::Separation(Conflict::Self_)));
    assert_eq!(
        world.approve(AGENT, &own),
        Err(Denied::Separation(Conflict::Workload)),
        "a workload of theirs"
    );
    let agents = world.ask(AGENT, rule(1, FromApproval));
    assert_eq!(world.approve(ALICE, &agents), Err(Denied::Separation(Conflict::OwnWorkload)));
    assert_eq!(world.approve(AGENT, &agents), Err(Denied::Separation(Conflict::Self_)));
    assert!(world.approve(BOB, &agents).unwrap().is_some());
    let erins = world.ask(ERIN, rule(1, FromApproval));
    assert_eq!(world.approve(AGENT, &erins), Err(Denied::Separation(Conflict::Workload)));
    assert_eq!(world.approve(ERIN, &erins), Err(Denied::Separation(Conflict::Self_)));
}

#[test]
fn a_linked_identity_is_the_same_human_before_and_after() {
    let mut world = World::new();
    // Bob's key becomes Erin's: from now on the two ids are one human.
    let request = world.ask(ERIN, rule(2, FromApproval));
    world.approve(BOB, &request).unwrap();
    let link = |identity| Command::LinkIdentity { person: per(ERIN), identity };
    world.by(&Actor::Operator, link(key(BOB))).unwrap();
    assert!(world.state.request(&request).unwrap().approvals.is_empty(), "the approval no longer counts");
    let again = Command::LinkIdentity { person: per(BOB), identity: key(20) };
    world.by(&Actor::Operator, again).unwrap();
    let by = Actor::Person { person: per(BOB), identity: key(20).identity };
    let mut command = world.approval(BOB, &request, 3600);
    if let Command::Approve(approval) = &mut command {
        approval.identity = key(20).identity;
    }
    assert_eq!(world.by(&by, command), Err(Denied::Separation(Conflict::Linked)), "also with another key");
}

#[test]
fn linking_after_approval_voids_unused_grants_and_leaves_used_ones() {
    let mut world = World::new();
    let used = world.grant(FromApproval);
    let session = world.start(ERIN, &used, 0).unwrap();
    let unused = world.grant(FirstUse);
    let others = world.ask(BOB, rule(1, FromApproval));
    let others = world.approve(ALICE, &others).unwrap().unwrap();
    // The key Alice signed with stays hers: only that she is one human with Erin takes something away.
    let spare = Command::LinkIdentity { person: per(ALICE), identity: key(30) };
    world.by(&Actor::Operator, spare).unwrap();
    let link = Command::LinkIdentity { person: per(ERIN), identity: key(30) };
    let effects = world.by(&Actor::Operator, link).unwrap();
    assert!(
        effects
            .iter()
            .any(|e| matches!(e, Effect::GrantOver(g, GrantEnd::Voided) if g.facts.grant == unused))
    );
    assert!(world.state.grant(&unused).is_none());
    assert!(world.state.grant(&used).is_some() && world.ending(&session).is_none());
    assert!(world.state.grant(&others).is_some(), "a bystander's grant stays");
    assert_eq!(world.start(ERIN, &unused, 1), Err(Denied::NoSuchGrant));
    assert_eq!(
        world.start(ERIN, &used, 1),
        Err(Denied::GrantUnbacked),
        "and the used one begins nothing more"
    );
}

#[test]
fn n_of_m_counts_humans() {
    let mut world = World::new();
    let request = world.ask(ERIN, rule(2, FromApproval));
    assert_eq!(world.approve(ALICE, &request).unwrap(), None);
    assert_eq!(world.approve(ALICE, &request), Err(Denied::AlreadyApproved));
    assert!(world.approve(BOB, &request).unwrap().is_some());
    assert_eq!(world.approve(BOB, &request), Err(Denied::NoSuchRequest), "granted once");
}

#[test]
fn an_approver_disabled_or_stripped_before_the_grant_does_not_count() {
    for take in [
        Command::DisablePerson { person: per(BOB), reason: reason() },
        Command::ChangeRoles { person: per(BOB), roles: BTreeSet::new() },
        Command::UnlinkIdentity { person: per(BOB), identity: key(BOB).identity },
    ] {
        let mut world = World::new();
        let request = world.ask(ERIN, rule(2, FromApproval));
        world.approve(BOB, &request).unwrap();
        world.by(&Actor::Operator, take.clone()).unwrap();
        assert_eq!(world.approve(ALICE, &request).unwrap(), None, "{take:?}: one is not two");
    }
}

#[test]
fn an_approver_who_may_no_longer_approve_voids_unused_grants_and_stops_new_sessions_under_used_ones() {
    let takes = [
        Command::DisablePerson { person: per(BOB), reason: reason() },
        Command::ChangeRoles { person: per(BOB), roles: BTreeSet::from(["operator".parse().unwrap()]) },
        Command::UnlinkIdentity { person: per(BOB), identity: key(BOB).identity },
    ];
    for take in takes {
        let mut world = World::new();
        let mut granted = |approver| {
            let request = world.ask(ERIN, rule(1, FromApproval));
            world.approve(approver, &request).unwrap().unwrap()
        };
        let (used, unused, alices) = (granted(BOB), granted(BOB), granted(ALICE));
        let session = world.start(ERIN, &used, 0).unwrap();
        let effects = world.by(&Actor::Operator, take.clone()).unwrap();
        let voided: Vec<_> = effects
            .iter()
            .filter_map(|e| {
                let Effect::GrantOver(grant, GrantEnd::Voided) = e else { return None };
                Some(grant.facts.grant.clone())
            })
            .collect();
        assert_eq!(voided, std::slice::from_ref(&unused), "{take:?}");
        assert_eq!(world.start(ERIN, &unused, 1), Err(Denied::NoSuchGrant), "{take:?}");
        assert_eq!(world.start(ERIN, &used, 2), Err(Denied::GrantUnbacked), "{take:?}");
        assert_eq!(world.ending(&session), None, "{take:?}: what runs goes on");
        world.start(ERIN, &alices, 3).unwrap();
    }
}

#[test]
fn one_approver_too_many_is_not_missed() {
    let mut world = World::new();
    let both = world.ask(ERIN, rule(2, FromApproval));
    world.approve(ALICE, &both).unwrap();
    let both = world.approve(BOB, &both).unwrap().unwrap();
    let one = world.ask(ERIN, rule(1, FromApproval));
    let one = world.approve(ALICE, &one).unwrap().unwrap();
    world.by(&Actor::Operator, Command::DisablePerson { person: per(BOB), reason: reason() }).unwrap();
    assert!(world.state.grant(&both).is_none(), "one is not two");
    assert!(world.state.grant(&one).is_some());
    world.by(&Actor::Operator, Command::EnablePerson { person: per(BOB) }).unwrap();
    assert!(world.state.grant(&both).is_none(), "what was voided stays so");
}

#[test]
fn the_shortest_approval_wins_and_none_lengthens() {
    let mut world = World::new();
    let request = world.ask(ERIN, rule(2, FromApproval));
    for (duration_s, asked_s) in [(3601, 3600), (0, 3600)] {
        let command = world.approval(ALICE, &request, duration_s);
        assert_eq!(world.person(ALICE, command), Err(Denied::ApprovalTooLong { asked_s }));
    }
    let command = world.approval(ALICE, &request, 60);
    world.person(ALICE, command).unwrap();
    let grant = world.approve(BOB, &request).unwrap().unwrap();
    assert_eq!(world.state.grant(&grant).unwrap().facts.ends, Some(at(60)));
}

#[test]
fn an_approval_is_of_exactly_this_request_by_exactly_this_person() {
    let mut world = World::new();
    let request = world.ask(ERIN, rule(1, FromApproval));
    let wrong = approval(ALICE, &request, "00".repeat(32), 3600);
    assert_eq!(world.person(ALICE, wrong), Err(Denied::HashDiffers));
    let alices = world.approval(ALICE, &request, 3600);
    assert_eq!(world.person(BOB, alices.clone()), Err(Denied::ActorUnknown), "sent by somebody else");
    assert_eq!(world.by(&Actor::Operator, alices), Err(Denied::ActorNotPerson));
    let nobody = Command::ChangeRoles { person: per(BOB), roles: BTreeSet::new() };
    world.by(&Actor::Operator, nobody).unwrap();
    assert!(matches!(world.approve(BOB, &request), Err(Denied::NotApprover { .. })));
}

#[test]
fn requests_end_by_denial_withdrawal_and_time() {
    let mut world = World::new();
    let over = |effects: &[Effect]| {
        effects.iter().find_map(|e| if let Effect::RequestOver(_, how) = e { Some(*how) } else { None })
    };
    let request = world.ask(ERIN, rule(1, FromApproval));
    let withdraw =
        |request: &RequestId, as_manager| Command::Withdraw { request: request.clone(), as_manager };
    assert_eq!(world.person(BOB, withdraw(&request, false)), Err(Denied::NotRequester));
    let effects = world.person(ERIN, withdraw(&request, false)).unwrap();
    assert_eq!(over(&effects), Some(RequestEnd::Withdrawn));

    let request = world.ask(ERIN, rule(1, FromApproval));
    assert!(world.person(BOB, withdraw(&request, true)).is_ok());

    let request = world.ask(ERIN, rule(1, FromApproval));
    let deny = Command::Deny { request: request.clone(), reason: reason() };
    assert_eq!(over(&world.person(BOB, deny.clone()).unwrap()), Some(RequestEnd::Denied));
    assert_eq!(world.person(BOB, deny), Err(Denied::NoSuchRequest));
    assert_eq!(world.approve(ALICE, &request), Err(Denied::NoSuchRequest));

    let request = world.ask(ERIN, rule(1, FromApproval));
    let lapses = world.state.request(&request).unwrap().lapses;
    assert_eq!(world.state.next_due(), Some(lapses));
    world.later(600);
    assert_eq!(world.approve(ALICE, &request), Err(Denied::NoSuchRequest), "before the tick as well");
    assert_eq!(over(&world.by(&Actor::Node, Command::Tick).unwrap()), Some(RequestEnd::Lapsed));
    assert_eq!(world.state.next_due(), None);
}

#[test]
fn a_window_can_start_at_first_use_and_ends_absolutely() {
    let mut world = World::new();
    let grant = world.grant(FirstUse);
    world.later(200);
    let session = world.start(ERIN, &grant, 0).unwrap();
    assert_eq!(world.state.standing(&session, world.now), Ok(at(3800)));
    world.later(100);
    let second = world.start(ERIN, &grant, 1).unwrap();
    assert_eq!(world.state.standing(&second, world.now), Ok(at(3800)), "the second use moves nothing");
    world.later(3500);
    assert!(matches!(world.start(ERIN, &grant, 2), Err(Denied::GrantOver { .. })));
    world.by(&Actor::Node, Command::Tick).unwrap();
    assert_eq!(world.ending(&session), Some(EndReason::GrantExpired));

    let grant = world.grant(FirstUse);
    world.later(300);
    assert!(matches!(world.start(ERIN, &grant, 3), Err(Denied::GrantOver { .. })), "used too late");
}

#[test]
fn a_session_fits_its_grant_or_does_not_start() {
    let mut world = World::new();
    let grant = world.grant(FromApproval);
    assert_eq!(world.start(BOB, &grant, 0), Err(Denied::GrantDiffers), "another person");
    assert_eq!(world.by(&actor(BOB), start(ERIN, &grant, 0)), Err(Denied::GrantDiffers), "in another's name");
    let changes: [fn(&mut SessionFacts); 2] =
        [|s| s.login = "root".parse().unwrap(), |s| s.target = "web-2".parse().unwrap()];
    for change in changes {
        let Command::StartSession(mut facts) = start(ERIN, &grant, 0) else { panic!("not a start") };
        change(&mut facts);
        assert_eq!(world.person(ERIN, Command::StartSession(facts)), Err(Denied::GrantDiffers));
    }
    world.start(ERIN, &grant, 0).unwrap();
    assert_eq!(world.start(ERIN, &grant, 0), Err(Denied::SessionExists));
}

#[test]
fn whatever_takes_a_right_away_ends_its_sessions_with_the_right_reason() {
    let person = |person| Command::Revoke { scope: Scope::Person(person), reason: reason() };
    type Take = fn(GrantId) -> Command;
    let cases: [(Take, EndReason); 8] = [
        (|grant| Command::RevokeGrant { grant, reason: reason() }, EndReason::GrantRevoked),
        (|_| Command::TerminateSession { session: ses(0), reason: reason() }, EndReason::SessionTerminated),
        (|_| Command::DisablePerson { person: per(ERIN), reason: reason() }, EndReason::PersonRevoked),
        (
            |_| Command::UnlinkIdentity { person: per(ERIN), identity: key(ERIN).identity },
            EndReason::PersonRevoked,
        ),
        (
            |_| Command::RemoveTarget { target: "web-1".parse().unwrap(), reason: reason() },
            EndReason::TargetRevoked,
        ),
        (
            |_| Command::Revoke { scope: Scope::Target("web-1".parse().unwrap()), reason: reason() },
            EndReason::TargetRevoked,
        ),
        (|_| Command::Revoke { scope: Scope::Everything, reason: reason() }, EndReason::EverythingRevoked),
        (|_| Command::Revoke { scope: Scope::Person(per(ERIN)), reason: reason() }, EndReason::PersonRevoked),
    ];
    for (take, reason) in cases {
        let mut world = World::new();
        let grant = world.grant(FromApproval);
        let bobs = world.ask(BOB, rule(1, FromApproval));
        let bobs = world.approve(ALICE, &bobs).unwrap().unwrap();
        let session = world.start(ERIN, &grant, 0).unwrap();
        let bystander = world.start(BOB, &bobs, 1).unwrap();
        world.by(&Actor::Operator, take(grant.clone())).unwrap();
        assert_eq!(world.ending(&session), Some(reason));
        assert_eq!(world.state.standing(&session, world.now), Err(reason));
        let is_wide = matches!(reason, EndReason::TargetRevoked | EndReason::EverythingRevoked);
        assert_eq!(world.ending(&bystander).is_some(), is_wide, "{reason:?} and a bystander");
        // The first reason stays, and the session is there until its end is noted.
        world.by(&Actor::Operator, person(per(BOB))).unwrap();
        assert_eq!(world.ending(&session), Some(reason));
        world.by(&Actor::Node, Command::EndSession(Box::new(end(&session, reason, &[])))).unwrap();
        assert!(world.state.session(&session).is_none());
        assert_eq!(world.state.standing(&session, world.now), Err(EndReason::SessionTerminated));
    }
}

#[test]
fn requests_and_grants_stand_side_by_side() {
    let mut world = World::new();
    let (one, two) = (world.ask(ERIN, rule(1, FromApproval)), world.ask(ERIN, rule(1, FirstUse)));
    let grant = world.approve(ALICE, &one).unwrap().unwrap();
    assert!(world.state.request(&two).is_some());
    let deny = Command::Deny { request: two, reason: reason() };
    world.person(ALICE, deny).unwrap();
    let three = world.ask(ERIN, rule(1, FromApproval));
    let other = world.approve(BOB, &three).unwrap().unwrap();
    let (login, on) = ("deploy".parse().unwrap(), "web-1".parse().unwrap());
    assert_eq!(world.state.live_grants(&per(ERIN), &login, &on, world.now).count(), 2);
    world.person(ALICE, Command::RevokeGrant { grant, reason: reason() }).unwrap();
    let left: Vec<_> =
        world.state.live_grants(&per(ERIN), &login, &on, world.now).map(|g| g.facts.grant.clone()).collect();
    assert_eq!(left, [other]);
}

#[test]
fn disabling_an_owner_stops_their_workloads() {
    let mut world = World::new();
    let request = world.ask(AGENT, rule(1, FromApproval));
    let grant = world.approve(BOB, &request).unwrap().unwrap();
    let session = world.start(AGENT, &grant, 0).unwrap();
    let admin = Command::ChangeRoles { person: per(BOB), roles: BTreeSet::from(["admin".parse().unwrap()]) };
    world.by(&Actor::Operator, admin).unwrap();
    world.by(&Actor::Operator, Command::DisablePerson { person: per(ALICE), reason: reason() }).unwrap();
    assert_eq!(world.ending(&session), Some(EndReason::PersonRevoked));
    assert_eq!(world.person(AGENT, wish("web-1", rule(1, FromApproval))), Err(Denied::ActorDisabled));
    world.by(&Actor::Operator, Command::EnablePerson { person: per(ALICE) }).unwrap();
    assert!(world.state.grant(&grant).is_none(), "what ended stays ended");
    world.ask(AGENT, rule(1, FromApproval));
}

#[test]
fn the_last_administrator_stays() {
    let mut world = World::new();
    let last = Err(Denied::LastAdmin { name: "alice".parse().unwrap() });
    let takes = [
        Command::DisablePerson { person: per(ALICE), reason: reason() },
        Command::ChangeRoles { person: per(ALICE), roles: BTreeSet::new() },
        Command::UnlinkIdentity { person: per(ALICE), identity: key(ALICE).identity },
        Command::LinkIdentity { person: per(BOB), identity: key(ALICE) },
    ];
    for take in &takes {
        assert_eq!(world.by(&Actor::Operator, take.clone()), last, "{take:?}");
    }
    let admin = Command::ChangeRoles { person: per(BOB), roles: BTreeSet::from(["admin".parse().unwrap()]) };
    world.by(&Actor::Operator, admin).unwrap();
    let [disable, ..] = takes;
    world.by(&Actor::Operator, disable).unwrap();
}

#[test]
fn strangers_former_identities_and_the_disabled_can_do_nothing() {
    let mut world = World::new();
    let stranger = Actor::Person { person: per(99), identity: key(99).identity };
    assert_eq!(world.by(&stranger, wish("web-1", rule(1, FromApproval))), Err(Denied::ActorUnknown));
    let borrowed = Actor::Person { person: per(ERIN), identity: key(BOB).identity };
    assert_eq!(world.by(&borrowed, wish("web-1", rule(1, FromApproval))), Err(Denied::ActorUnknown));
    let unlink = Command::UnlinkIdentity { person: per(ERIN), identity: key(ERIN).identity };
    world.by(&Actor::Operator, unlink).unwrap();
    assert_eq!(world.person(ERIN, wish("web-1", rule(1, FromApproval))), Err(Denied::ActorUnknown));
    world.by(&Actor::Operator, Command::DisablePerson { person: per(BOB), reason: reason() }).unwrap();
    assert_eq!(world.person(BOB, wish("web-1", rule(1, FromApproval))), Err(Denied::ActorDisabled));
}

#[test]
fn unfit_input_is_refused_by_name() {
    let mut world = World::new();
    let reason = |reason: &str| {
        let mut command = wish("web-1", rule(1, FromApproval));
        if let Command::MakeRequest { reason: text, .. } = &mut command {
            reason.clone_into(text);
        }
        command
    };
    let what = "the reason";
    assert_eq!(world.person(ERIN, reason(" ")), Err(Denied::Empty { what }));
    assert_eq!(world.person(ERIN, reason(&"x".repeat(1001))), Err(Denied::TooLong { what, most: 1000 }));
    for hidden in ["a\nb", "a\u{1b}[2Jb", "a\u{202e}b", "a\u{200b}b"] {
        assert_eq!(world.person(ERIN, reason(hidden)), Err(Denied::Unprintable { what }));
    }
    let unusable = Err(Denied::RuleUnusable { target: "web-1".parse().unwrap() });
    assert_eq!(world.person(ERIN, wish("web-1", rule(0, FromApproval))), unusable, "never without approval");
    let nowhere = Err(Denied::NoSuchTarget { target: "web-9".parse().unwrap() });
    assert_eq!(world.person(ERIN, wish("web-9", rule(1, FromApproval))), nowhere);
    let mut short = rule(1, FromApproval);
    short.longest_s = 60;
    assert_eq!(world.person(ERIN, wish("web-1", short)), Err(Denied::WindowUnfit { longest_s: 60 }));
    let keyless = NewIdentity { public_key: None, ..key(50) };
    let other = NewIdentity { public_key: key(51).public_key, ..key(50) };
    for identity in [keyless, other] {
        let link = Command::LinkIdentity { person: per(ERIN), identity };
        assert_eq!(world.by(&Actor::Operator, link), Err(Denied::KeyDiffers));
    }
    let mut only_root = target("web-3");
    only_root.logins.insert("root".parse().unwrap());
    world.by(&Actor::Operator, Command::AddTarget(Box::new(only_root))).unwrap();
    let refused = world.person(ERIN, wish("web-3", rule(1, FromApproval))).unwrap_err();
    assert_eq!(refused.code(), "login_not_offered");
}

#[test]
fn what_is_left_over_is_remembered_until_it_is_clean() {
    let mut world = World::new();
    let grant = world.grant(FromApproval);
    let session = world.start(ERIN, &grant, 0).unwrap();
    let facts = end(&session, EndReason::ClientLeft, &["a process"]);
    world.by(&Actor::Node, Command::EndSession(Box::new(facts.clone()))).unwrap();
    assert_eq!(
        world.by(&Actor::Node, Command::EndSession(Box::new(facts))),
        Err(Denied::NoSuchSession),
        "a session ends once"
    );
    assert_eq!(world.state.left_over().count(), 1);
    let clean = |what: &str| Command::CleanUp { session: session.clone(), what: what.to_owned() };
    assert_eq!(world.by(&Actor::Node, clean("another")), Err(Denied::NoSuchLeftOver));
    world.by(&Actor::Node, clean("a process")).unwrap();
    assert_eq!(world.state.left_over().count(), 0);
}

#[test]
fn noting_what_is_already_so_appends_nothing() {
    let mut world = World::new();
    for command in [
        Command::LoadPolicy { hash: "aa".to_owned(), rules: crate::model::PolicyChanges::default() },
        Command::LoadConfiguration { hash: "bb".to_owned() },
        Command::SetReviewers { recipients: BTreeSet::from(["age1x".to_owned()]) },
    ] {
        assert_eq!(world.by(&Actor::Node, command.clone()).unwrap(), [Effect::Node]);
        assert_eq!(world.by(&Actor::Node, command).unwrap(), []);
    }
}

#[test]
fn only_the_bastion_says_where_an_ended_sessions_recording_is() {
    let mut world = World::new();
    let grant = world.grant(FromApproval);
    let session = world.start(ERIN, &grant, 0).unwrap();
    let location = "s3://recordings/x.pstn".to_owned();
    let facts = StoredFacts { session: session.clone(), location, bytes: 1, sha256: "55".to_owned() };
    let store = |facts: &StoredFacts| Command::StoreRecording(Box::new(facts.clone()));
    assert_eq!(world.by(&Actor::Node, store(&facts)), Err(Denied::SessionLive));
    let over = end(&session, EndReason::ClientLeft, &[]);
    world.by(&Actor::Node, Command::EndSession(Box::new(over))).unwrap();
    for by in [Actor::Operator, actor(ERIN)] {
        assert_eq!(world.by(&by, store(&facts)), Err(Denied::ActorNotNode));
    }
    assert_eq!(
        world
            .by(&Actor::Node, store(&StoredFacts { location: "x\ny".to_owned(), ..facts.clone() }))
            .unwrap_err()
            .code(),
        "unprintable"
    );
    let before = world.state.clone();
    assert_eq!(world.by(&Actor::Node, store(&facts)).unwrap(), [Effect::RecordingStored(Box::new(facts))]);
    assert_eq!(world.state, before, "the state remembers no past sessions");
}

#[test]
fn a_database_proves_itself_over_tls_and_names_its_logins() {
    let mut world = World::new();
    let mut add = |change: fn(&mut Target)| {
        let mut database = target("orders");
        database.protocol = Protocol::Postgres;
        database.logins = BTreeSet::from(["readonly".parse().unwrap()]);
        change(&mut database);
        world.by(&Actor::Operator, Command::AddTarget(Box::new(database)))
    };
    assert!(matches!(add(|target| target.logins.clear()), Err(Denied::Empty { .. })));
    let own = add(|target| target.logins.extend(["postern_admin".parse().unwrap()]));
    assert!(matches!(own, Err(Denied::AdministrativeLogin { .. })));
    let ssh = add(|target| target.trust = HostTrust::Keys(vec!["ssh-ed25519 AAAA".to_owned()]));
    assert!(matches!(ssh, Err(Denied::TrustUnfit { protocol: Protocol::Postgres, .. })));
    assert!(matches!(
        add(|target| target.administration.database = "a\nb".to_owned()),
        Err(Denied::Unprintable { .. })
    ));
    add(|target| target.trust = HostTrust::TlsKeys(vec!["sha256/AAAA".to_owned()])).unwrap();
    let trust = |target: &str, trust| Command::TrustTarget { target: target.parse().unwrap(), trust };
    let tls = HostTrust::TlsAuthority(vec!["MIIB".to_owned()]);
    world.by(&Actor::Operator, trust("orders", tls.clone())).unwrap();
    let unfit = world.by(&Actor::Operator, trust("web-1", tls));
    assert!(matches!(unfit, Err(Denied::TrustUnfit { protocol: Protocol::Ssh, .. })));
}
