//! The store as a whole: on a real directory, with a real key, and with everything that can be done to its file.
//!
//! The parts have their own tests beside them; `damage.rs`, `feed.rs` and `look.rs` hold what would make this file long. Every backend
//! runs `conformance.rs` besides.

mod damage;
mod feed;
mod look;

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::backend::{Backend, Row, SessionRecord};
use super::sqlite::Sqlite;
use super::*;
use crate::access::{Command, Denied, EndedRecording, NewIdentity, Person, RequestRule, Session};
use crate::ledger::entry::{
    Actor, Approval, EndFacts, Entry, Fact, PersonFacts, Receipt, Scope, SessionFacts, StoredFacts,
};
use crate::ledger::{Checkpoint, TreeHash, verify_consistency, verify_inclusion};
use crate::model::{
    Administration, Capability, Clock, EndReason, Endpoint, GrantId, HostTrust, Identity, PersonId, Plane,
    PrincipalKind, Protocol, Secret, Sensitivity, SessionId, Signer, SigningKey, Target, Timestamp,
    WindowClock,
};

const ORIGIN: &str = "gate.example/ledger";

fn signer() -> Arc<dyn Signer> {
    Arc::new(SigningKey::from_seed(&Secret::new([1; 32])).unwrap())
}

fn open(directory: &Path) -> Result<Store, StoreError> {
    Store::open(directory, signer(), ORIGIN, Clock::system())
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn id<T: std::str::FromStr>(prefix: &str, n: usize) -> T
where
    T::Err: std::fmt::Debug,
{
    let digit = |n: usize| char::from(b'a' + u8::try_from(n % 26).unwrap());
    let body: String = [n / 17_576, n / 676, n / 26, n].into_iter().map(digit).collect();
    format!("{prefix}{}{body}", "a".repeat(12)).parse().unwrap()
}

fn session_facts(n: usize, grant: GrantId, person: PersonId, identity: Identity, on: &str) -> SessionFacts {
    SessionFacts {
        session: id("ses_", n),
        grant,
        person,
        identity,
        login: "deploy".parse().unwrap(),
        target: on.parse().unwrap(),
        client: "192.0.2.1:50000".to_owned(),
        recording: "00".repeat(32),
        credential: "key id".to_owned(),
    }
}

/// A live session, later for a higher number; even and odd ones are two people's, each third is on one target.
pub(super) fn live_session(n: usize) -> SessionRecord {
    let identity = Identity::ssh_key("SHA256:x");
    let facts = session_facts(n, id("grn_", 0), id("per_", n % 2), identity, &format!("web-{}", n % 3));
    let started = at(i64::try_from(n).unwrap());
    SessionRecord { session: Session { facts, started, seq: 0, ending: None }, end: None }
}

pub(super) fn person_row(n: usize) -> Row {
    let facts = PersonFacts {
        person: id("per_", n),
        name: format!("person-{n}").parse().unwrap(),
        kind: PrincipalKind::Person,
        owner: None,
        roles: std::collections::BTreeSet::new(),
    };
    Row::Person(Box::new(Person { facts, disabled: None, links: Vec::new() }))
}

/// Enrols somebody through the store.
fn enrol(store: &Store, name: &str, roles: &str) -> (PersonId, Actor) {
    let identity = Identity { issuer: "ssh-ca:staff".to_owned(), subject: name.to_owned() };
    let command = Command::AddPerson {
        name: name.parse().unwrap(),
        kind: PrincipalKind::Person,
        owner: None,
        roles: roles.split_whitespace().map(|role| role.parse().unwrap()).collect(),
        identities: vec![NewIdentity { identity: identity.clone(), public_key: None }],
    };
    let entries = store.submit_blocking(Actor::Operator, command).unwrap();
    let Fact::PersonAdded(facts) = &entries[0].fact else { panic!("not a person") };
    (facts.person.clone(), Actor::Person { person: facts.person.clone(), identity })
}

fn add_target(store: &Store) {
    let target = Target {
        name: "web-1".parse().unwrap(),
        protocol: Protocol::Ssh,
        endpoint: Endpoint { host: "10.0.0.1".to_owned(), port: 22 },
        trust: HostTrust::Unpinned,
        plane: Plane::Platform,
        environment: "prod".to_owned(),
        sensitivity: Sensitivity::Normal,
        tenant: None,
        logins: std::collections::BTreeSet::new(),
        labels: std::collections::BTreeMap::new(),
        administration: Administration::default(),
    };
    store.submit_blocking(Actor::Operator, Command::AddTarget(Box::new(target))).unwrap();
}

/// Two people, a target, and a grant for the first.
struct Story {
    erin: (PersonId, Actor),
    grant: GrantId,
}

fn story(store: &Store) -> Story {
    let erin = enrol(store, "erin", "operator");
    let alice = enrol(store, "alice", "approver admin");
    add_target(store);
    let grant = granted(store, &erin.1, &alice);
    Story { erin, grant }
}

fn granted(store: &Store, asks: &Actor, approves: &(PersonId, Actor)) -> GrantId {
    let rule = RequestRule {
        approvals_needed: 1,
        approver_roles: std::collections::BTreeSet::from(["approver".parse().unwrap()]),
        clock: WindowClock::Approval,
        longest_s: 7200,
        lapses_after_s: 600,
        use_within_s: 300,
    };
    let wish = Command::MakeRequest {
        login: "deploy".parse().unwrap(),
        target: "web-1".parse().unwrap(),
        capabilities: std::collections::BTreeSet::from([Capability::Shell]),
        duration_s: 3600,
        reason: "the disk is full".to_owned(),
        ticket: None,
        rule,
    };
    let made = store.submit_blocking(asks.clone(), wish).unwrap();
    let Fact::RequestMade { request, hash, .. } = &made[0].fact else { panic!("not a request") };
    let Actor::Person { identity, .. } = &approves.1 else { panic!("not a person") };
    let approval = Approval {
        request: request.request.clone(),
        hash: hash.clone(),
        approver: approves.0.clone(),
        identity: identity.clone(),
        duration_s: 3600,
        signature: "verified elsewhere".to_owned(),
    };
    let made = store.submit_blocking(approves.1.clone(), Command::Approve(Box::new(approval))).unwrap();
    let Fact::GrantIssued(facts) = &made[1].fact else { panic!("not a grant") };
    facts.grant.clone()
}

fn start(story: &Story, n: usize) -> Command {
    let Actor::Person { person, identity } = &story.erin.1 else { panic!("not a person") };
    let facts = session_facts(n, story.grant.clone(), person.clone(), identity.clone(), "web-1");
    Command::StartSession(Box::new(facts))
}

fn end(n: usize, reason: EndReason) -> Command {
    Command::EndSession(Box::new(EndFacts {
        session: id("ses_", n),
        reason,
        receipt: Receipt {
            decided: at(1),
            cut: at(1),
            decided_to_cut_us: 200,
            target_ended: None,
            credential_dead: None,
        },
        frames: 3,
        digest: "11".repeat(32),
        bytes: 1000,
        left_over: Vec::new(),
    }))
}

const SOON: Duration = Duration::from_secs(20);

#[test]
fn sqlite_conforms() {
    conformance::all(&|| {
        let directory = scratch();
        Box::new(move || {
            let path = directory.path().join("ledger.db");
            if !path.exists() {
                std::fs::write(&path, b"").unwrap();
            }
            Box::new(Sqlite::open(&path).unwrap()) as Box<dyn Backend>
        })
    });
}

#[test]
fn what_was_submitted_is_there_after_reopening() {
    let directory = scratch();
    let store = open(directory.path()).unwrap();
    let story = story(&store);
    store.submit_blocking(story.erin.1.clone(), start(&story, 0)).unwrap();
    let (before, size) = (store.read(Clone::clone), store.verify().unwrap().size);
    drop(store);
    let store = open(directory.path()).unwrap();
    assert_eq!(store.read(Clone::clone), before);
    assert_eq!(store.verify().unwrap().size, size);
    assert!(matches!(store.entries(0, 1).unwrap()[0].fact, Fact::NodeInitialised { .. }));
}

#[test]
fn where_a_recording_was_moved_to_is_kept_and_a_ledger_of_the_first_layout_learns_to_keep_it() {
    let directory = scratch();
    let store = open(directory.path()).unwrap();
    story(&store);
    drop(store);
    let first = rusqlite::Connection::open(directory.path().join("ledger.db")).unwrap();
    first
        .execute_batch(
            "DROP TABLE stored; DROP TABLE recordings; DROP TABLE rewrapped; PRAGMA user_version = 1",
        )
        .unwrap();
    drop(first);
    let looked = Store::look(directory.path(), signer().public_key(), ORIGIN, Clock::system());
    assert!(matches!(looked, Err(StoreError::Backend(BackendError::Older { found: 1, .. }))));
    let store = open(directory.path()).unwrap();
    let (session, location) = (id::<SessionId>("ses_", 7), "s3://recordings/x.pstn".to_owned());
    assert_eq!(store.stored(&session).unwrap(), None);
    let facts = StoredFacts { session: session.clone(), location, bytes: 1, sha256: "55".to_owned() };
    store.submit_blocking(Actor::Node, Command::StoreRecording(Box::new(facts.clone()))).unwrap();
    drop(store);
    // A ledger of the second layout learns the rest.
    let second = rusqlite::Connection::open(directory.path().join("ledger.db")).unwrap();
    second.execute_batch("DROP TABLE recordings; DROP TABLE rewrapped; PRAGMA user_version = 2").unwrap();
    drop(second);
    let store = open(directory.path()).unwrap();
    assert_eq!(store.stored(&session).unwrap().unwrap().facts, facts);
    let hold = Command::HoldRecording { session: session.clone(), reason: "a matter".to_owned() };
    store.submit_blocking(Actor::Operator, hold).unwrap();
    assert!(store.recording(&session).unwrap().unwrap().held.is_some());
    store.verify().unwrap();
    drop(store);
    Store::rebuild(directory.path(), signer().as_ref(), ORIGIN).unwrap();
    assert_eq!(open(directory.path()).unwrap().stored(&session).unwrap().unwrap().facts, facts);
}

#[test]
fn what_was_deleted_is_told_for_good_and_made_again_from_the_entries() {
    let directory = scratch();
    let store = open(directory.path()).unwrap();
    let story = story(&store);
    store.submit_blocking(story.erin.1.clone(), start(&story, 0)).unwrap();
    let session: SessionId = id("ses_", 0);
    store.submit_blocking(Actor::Node, end(0, EndReason::ClientLeft)).unwrap();
    let kept = |store: &Store| {
        let filter = Filter { kept_only: true, ..Filter::default() };
        store.session_history(&filter).unwrap().len()
    };
    let before = kept(&store);
    let record = store.session_history(&Filter::by_prefix(session.as_str())).unwrap().remove(0);
    let (start, end) = (record.session.facts, record.end.unwrap().facts);
    let recording = Box::new(EndedRecording { start, end, location: None });
    store.submit_blocking(Actor::Node, Command::DeleteByRetention { recording, keep_s: 60 }).unwrap();
    assert_eq!(kept(&store), before - 1);
    let remove = Command::RemoveRecording { session: session.clone() };
    store.submit_blocking(Actor::Node, remove).unwrap();
    let deleted = |store: &Store| store.recording(&session).unwrap().unwrap().deleted.unwrap();
    let (told, state) = (deleted(&store), store.read(Clone::clone));
    assert!(told.removed.is_some() && state.is_deleted(&session) && state.recording(&session).is_none());
    store.verify().unwrap();
    drop(store);
    Store::rebuild(directory.path(), signer().as_ref(), ORIGIN).unwrap();
    let store = open(directory.path()).unwrap();
    assert_eq!((deleted(&store), kept(&store)), (told, before - 1));
    assert_eq!(store.read(Clone::clone), state);
}

#[test]
fn a_denied_command_appends_nothing_and_others_in_its_group_are_not_harmed() {
    let directory = scratch();
    let store = open(directory.path()).unwrap();
    let story = story(&store);
    let size = store.verify().unwrap().size;
    let denied = store.submit_blocking(Actor::Operator, start(&story, 0));
    assert_eq!(denied.unwrap_err(), SubmitError::Denied(Denied::ActorNotPerson));
    assert_eq!(store.verify().unwrap().size, size);
    store.submit_blocking(story.erin.1.clone(), start(&story, 0)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_submissions_are_decided_one_by_one() {
    let directory = scratch();
    let store = open(directory.path()).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let store = store.clone();
        tasks.spawn(async move {
            let add = Command::AddPerson {
                name: "erin".parse().unwrap(),
                kind: PrincipalKind::Person,
                owner: None,
                roles: std::collections::BTreeSet::new(),
                identities: Vec::new(),
            };
            store.submit(Actor::Operator, add).await
        });
    }
    let outcomes = tasks.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "the name is taken once");
}

#[test]
fn a_second_process_is_told_so_and_the_directory_is_free_afterwards() {
    let directory = scratch();
    let store = open(directory.path()).unwrap();
    assert!(matches!(open(directory.path()), Err(StoreError::Locked { .. })));
    drop(store);
    drop(open(directory.path()).unwrap());
}

#[test]
fn a_receipt_and_any_entry_prove_themselves_against_the_signed_head() {
    let directory = scratch();
    let store = open(directory.path()).unwrap();
    let story = story(&store);
    let old = Checkpoint::open(&store.checkpoint().unwrap(), store.checkpoint_key()).unwrap();
    store.submit_blocking(story.erin.1.clone(), start(&story, 0)).unwrap();
    let session: SessionId = id("ses_", 0);
    let ended = store.submit_blocking(Actor::Node, end(0, EndReason::ClientLeft)).unwrap()[0].seq;
    for n in 0..600 {
        store
            .submit_blocking(
                Actor::Node,
                Command::LoadPolicy { hash: format!("{n:x}"), rules: crate::model::PolicyChanges::default() },
            )
            .unwrap();
    }
    let session = store.session_history(&Filter::by_prefix(session.as_str())).unwrap().remove(0);
    assert_eq!(
        session.end.as_ref().map(|end| (end.facts.reason, end.seq)),
        Some((EndReason::ClientLeft, ended))
    );
    for proof in [store.prove(ended).unwrap(), store.prove(0).unwrap(), store.prove(300).unwrap()] {
        let head = Checkpoint::open(&proof.checkpoint, store.checkpoint_key()).unwrap();
        let leaf = TreeHash::leaf(&proof.entry.bytes);
        assert!(verify_inclusion(leaf, proof.entry.seq, head.size, &proof.proof, &head.root));
    }
    let (proof, note) = store.prove_consistency(old.size).unwrap();
    let new = Checkpoint::open(&note, store.checkpoint_key()).unwrap();
    assert!(verify_consistency(old.size, &old.root, new.size, &new.root, &proof));
    assert!(matches!(store.prove(new.size), Err(StoreError::NotFound(_))));
}

#[test]
fn an_entry_is_found_by_its_time() {
    let directory = scratch();
    let store = open(directory.path()).unwrap();
    let story = story(&store);
    for n in 0..50 {
        store
            .submit_blocking(
                Actor::Node,
                Command::LoadPolicy { hash: format!("{n:x}"), rules: crate::model::PolicyChanges::default() },
            )
            .unwrap();
    }
    let revoke = Command::RevokeGrant { grant: story.grant.clone(), reason: "wrong server".to_owned() };
    let at = store.submit_blocking(Actor::Operator, revoke).unwrap()[0].at;
    for n in 50..80 {
        store
            .submit_blocking(
                Actor::Node,
                Command::LoadPolicy { hash: format!("{n:x}"), rules: crate::model::PolicyChanges::default() },
            )
            .unwrap();
    }
    let is_it =
        |entry: &Entry| matches!(&entry.fact, Fact::GrantRevoked { grant, .. } if *grant == story.grant);
    let found = |at| {
        let mut found = Vec::new();
        store.entries_at(at, |entry| found.push(entry.clone())).unwrap();
        found
    };
    assert!(found(at).iter().any(|entry| is_it(entry) && entry.by == Actor::Operator));
    assert!(found(at).iter().all(|entry| entry.at == at));
    assert_eq!(found(at + Duration::from_secs(3600)), []);
    // Many of one time: a revocation of everything ends each thing with one entry, in one moment.
    let (first, last) = (store.entries(0, 1).unwrap().remove(0), found(at).pop().unwrap());
    assert_eq!(found(first.at)[0], first);
    assert!(store.entries(last.seq + 1, 1).unwrap()[0].at > at);
}

/// Many sessions do not make one more slower, and revoking everything ends each with its own entry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_sessions_end_each_with_its_own_entry() {
    const SESSIONS: usize = 2000;
    let directory = scratch();
    let store = open(directory.path()).unwrap();
    let story = tokio::task::spawn_blocking({
        let store = store.clone();
        move || story(&store)
    })
    .await
    .unwrap();
    let everyone = |make: &dyn Fn(usize) -> (Actor, Command)| {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..SESSIONS {
            let (store, (by, command)) = (store.clone(), make(n));
            tasks.spawn(async move { store.submit(by, command).await.map(|entries| entries.len()) });
        }
        tasks.join_all()
    };
    let started = everyone(&|n| (story.erin.1.clone(), start(&story, n))).await;
    assert!(started.iter().all(|outcome| *outcome == Ok(1)));
    let revoke = Command::Revoke { scope: Scope::Everything, reason: "drill".to_owned() };
    assert_eq!(store.submit(Actor::Operator, revoke).await.unwrap().len(), 1);
    let now = at(0);
    let standing = store
        .read(|state| state.sessions().filter(|s| state.standing(&s.facts.session, now).is_ok()).count());
    assert_eq!(standing, 0);
    let ended = everyone(&|n| (Actor::Node, end(n, EndReason::EverythingRevoked))).await;
    assert!(ended.iter().all(|outcome| *outcome == Ok(1)));
    assert_eq!(store.read(|state| state.sessions().count()), 0);
    store.verify().unwrap();
}
