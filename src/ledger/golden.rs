//! Every kind of entry, with the exact bytes it was released with.
//!
//! The bytes are in `entries.golden.jsonl`; whoever changes them makes ledgers in the field unverifiable. Read next:
//! `canonical.rs`.
use std::collections::{BTreeMap, BTreeSet};

use super::CanonicalError;
use super::entry::{
    Actor, Approval, DeletionCause, DeletionFacts, EndFacts, Fact, GrantFacts, PersonFacts, Receipt,
    RemainsFacts, RewrapFacts, Scope, SessionFacts, StoredFacts, Verified,
};
use super::entry::{Entry, RequestFacts};
use crate::model::{
    Administration, Capability, EndReason, Endpoint, HostTrust, Identity, Plane, PrincipalKind, Protocol,
    Sensitivity, Target, Timestamp, WindowClock,
};

/// Every kind of fact once, as written by the first release. A line that changes here makes ledgers in the
/// field unverifiable: add a new kind instead.
const GOLDEN: &str = include_str!("entries.golden.jsonl");

#[test]
fn every_kind_of_entry_has_its_released_bytes_and_survives_them() {
    let all = one_of_each();
    let lines: Vec<String> =
        all.iter().map(|entry| String::from_utf8(entry.canonical().unwrap()).unwrap()).collect();
    assert_eq!(lines.join("\n") + "\n", GOLDEN);
    for (entry, line) in all.iter().zip(GOLDEN.lines()) {
        assert_eq!(&Entry::parse(entry.seq, line.as_bytes()).unwrap(), entry);
    }
    // One of each, and each kind the schema knows.
    let schema = serde_json::to_value(schemars::schema_for!(Fact)).unwrap();
    assert_eq!(all.len(), schema["oneOf"].as_array().unwrap().len());
    let kind =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["fact"]["type"].to_string();
    assert_eq!(GOLDEN.lines().map(kind).collect::<BTreeSet<_>>().len(), all.len());
}

/// What PostgreSQL targets added to the kinds there were. The same rule holds.
const GOLDEN_POSTGRES: &str = include_str!("postgres.golden.jsonl");

#[test]
fn entries_of_postgres_targets_have_their_released_bytes_and_survive_them() {
    let entries: Vec<Entry> = (0..).zip(postgres_targets()).map(|(seq, fact)| entry(seq, fact)).collect();
    let lines: Vec<String> =
        entries.iter().map(|entry| String::from_utf8(entry.canonical().unwrap()).unwrap()).collect();
    assert_eq!(lines.join("\n") + "\n", GOLDEN_POSTGRES);
    for (entry, line) in entries.iter().zip(GOLDEN_POSTGRES.lines()) {
        assert_eq!(&Entry::parse(entry.seq, line.as_bytes()).unwrap(), entry);
    }
    // What is as by default is left out, so that it has one form.
    let spelt = GOLDEN_POSTGRES.lines().next().unwrap().replace(
        r#""labels":{}"#,
        r#""labels":{},"administration":{"role":"postern_admin","database":"postgres"}"#,
    );
    assert!(Entry::parse(0, spelt.as_bytes()).is_err());
}

#[test]
fn another_version_index_or_length_is_refused() {
    let entry = one_of_each().remove(0);
    let text = String::from_utf8(entry.canonical().unwrap()).unwrap();
    assert!(Entry::parse(1, text.as_bytes()).is_err());
    assert!(Entry::parse(0, text.replace("\"v\":1", "\"v\":2").as_bytes()).is_err());
    assert!(Entry::parse(0, b"{}").is_err());
    for other in [
        text.replace("\"v\":1", "\"v\": 1"),
        text.replace("{\"v\":1", "{\"w\":2,\"v\":1"),
        format!("{text}\n"),
    ] {
        assert!(Entry::parse(0, other.as_bytes()).is_err(), "{other}");
    }
    let origin = "x".repeat(Entry::LONGEST);
    let fact = Fact::NodeInitialised { origin, checkpoint_key: String::new() };
    assert!(matches!(Entry { fact, ..entry }.canonical(), Err(CanonicalError::TooLong { .. })));
}

#[test]
fn an_entry_written_another_way_is_refused() {
    let text = String::from_utf8(one_of_each().remove(0).canonical().unwrap()).unwrap();
    let others = [
        format!("{text} "),
        text.replacen(',', ", ", 1),
        text.replacen('{', "{\"more\":1,", 1),
        text.replacen("\"v\":1,\"seq\":0", "\"seq\":0,\"v\":1", 1),
        text.replacen("2026-08-01T12:00:00.000001Z", "2026-08-01T12:00:00.0000010Z", 1),
    ];
    assert!(Entry::parse(0, text.as_bytes()).is_ok());
    for other in others {
        assert_ne!(other, text);
        let error = Entry::parse(0, other.as_bytes()).unwrap_err();
        assert!(matches!(error, CanonicalError::Unreadable { seq: 0, .. }), "{other}");
    }
}

#[test]
fn any_change_to_a_request_changes_its_hash() {
    let Fact::RequestMade { request, .. } = fact_of("request_made") else { panic!("not a request") };
    let changes: [fn(&mut RequestFacts); 5] = [
        |r| r.login = "root".parse().unwrap(),
        |r| r.duration_s += 1,
        |r| r.reason.push('!'),
        |r| r.ticket = None,
        |r| r.clock = WindowClock::FirstUse,
    ];
    for change in changes {
        let mut other = request.clone();
        change(&mut other);
        assert_ne!(other.hash(), request.hash());
    }
    assert_eq!(request.hash().len(), 64);
}

fn fact_of(kind: &str) -> Fact {
    let found = one_of_each().into_iter().map(|entry| entry.fact);
    found.into_iter().find(|fact| serde_json::to_value(fact).unwrap()["type"] == kind).unwrap()
}

fn entry(seq: u64, fact: Fact) -> Entry {
    let by = Actor::Person {
        person: "per_aaaaaaaaaaaaaaaa".parse().unwrap(),
        identity: Identity::ssh_key("SHA256:abc"),
    };
    let at: Timestamp = "2026-08-01T12:00:00.000001Z".parse().unwrap();
    Entry { v: 1, seq, at, by, fact }
}

fn one_of_each() -> Vec<Entry> {
    let facts = [people(), targets(), requests(), grants(), sessions(), node(), recordings(), deletions()]
        .into_iter()
        .flatten();
    (0..).zip(facts).map(|(seq, fact)| entry(seq, fact)).collect()
}

fn people() -> Vec<Fact> {
    let person: crate::model::PersonId = "per_bbbbbbbbbbbbbbbb".parse().unwrap();
    let identity = Identity { issuer: "ssh-ca:staff".to_owned(), subject: "erin".to_owned() };
    let roles = BTreeSet::from(["operator".parse().unwrap(), "approver".parse().unwrap()]);
    let facts = PersonFacts {
        person: person.clone(),
        name: "erin".parse().unwrap(),
        kind: PrincipalKind::Workload,
        owner: Some("per_aaaaaaaaaaaaaaaa".parse().unwrap()),
        roles: roles.clone(),
    };
    let key = Some("ssh-ed25519 AAAA".to_owned());
    vec![
        Fact::PersonAdded(facts),
        Fact::IdentityLinked { person: person.clone(), identity: identity.clone(), public_key: key },
        Fact::IdentityUnlinked { person: person.clone(), identity },
        Fact::RolesChanged { person: person.clone(), roles },
        Fact::PersonDisabled { person: person.clone(), reason: "left".to_owned() },
        Fact::PersonEnabled { person },
    ]
}

fn targets() -> Vec<Fact> {
    let target = Target {
        name: "web-1".parse().unwrap(),
        protocol: Protocol::Ssh,
        endpoint: Endpoint { host: "10.0.0.1".to_owned(), port: 22 },
        trust: HostTrust::Keys(vec!["ssh-ed25519 AAAA".to_owned()]),
        plane: Plane::ApplicationData,
        environment: "prod".to_owned(),
        sensitivity: Sensitivity::High,
        tenant: Some("acme".to_owned()),
        logins: BTreeSet::from(["deploy".parse().unwrap()]),
        labels: BTreeMap::from([("team".to_owned(), "web".to_owned())]),
        administration: Administration::default(),
    };
    let name = target.name.clone();
    let trust = HostTrust::Authority("ssh-ed25519 BBBB".to_owned());
    vec![
        Fact::TargetAdded { target },
        Fact::TargetTrusted { target: name.clone(), trust },
        Fact::TargetRemoved { target: name, reason: "gone".to_owned() },
    ]
}

fn postgres_targets() -> Vec<Fact> {
    let by_default = Target {
        name: "orders".parse().unwrap(),
        protocol: Protocol::Postgres,
        endpoint: Endpoint { host: "db.example".to_owned(), port: 5432 },
        trust: HostTrust::TlsKeys(vec!["sha256/AAAA".to_owned()]),
        plane: Plane::ApplicationData,
        environment: "prod".to_owned(),
        sensitivity: Sensitivity::High,
        tenant: None,
        logins: BTreeSet::from(["readonly".parse().unwrap()]),
        labels: BTreeMap::new(),
        administration: Administration::default(),
    };
    let administration =
        Administration { role: "gatekeeper".parse().unwrap(), database: "maintenance".to_owned() };
    let trust = HostTrust::TlsAuthority(vec!["MIIB".to_owned()]);
    vec![
        Fact::TargetAdded { target: by_default.clone() },
        Fact::TargetAdded { target: Target { administration, trust: trust.clone(), ..by_default.clone() } },
        Fact::TargetTrusted { target: by_default.name, trust },
    ]
}

fn requests() -> Vec<Fact> {
    let request = RequestFacts {
        request: "req_aaaaaaaaaaaaaaaa".parse().unwrap(),
        person: "per_bbbbbbbbbbbbbbbb".parse().unwrap(),
        identity: Identity::ssh_key("SHA256:def"),
        login: "deploy".parse().unwrap(),
        target: "web-1".parse().unwrap(),
        capabilities: BTreeSet::from([
            Capability::Shell,
            Capability::Forward { host: "::1".to_owned(), port: 80 },
        ]),
        duration_s: 3600,
        clock: WindowClock::Approval,
        reason: "disk full: \"/var\"".to_owned(),
        ticket: Some("OPS-1".to_owned()),
        asked: "2026-08-01T12:00:00Z".parse().unwrap(),
    };
    let id = request.request.clone();
    let approval = Approval {
        request: id.clone(),
        hash: "00".to_owned(),
        approver: "per_cccccccccccccccc".parse().unwrap(),
        identity: Identity::ssh_key("SHA256:ghi"),
        duration_s: 1800,
        signature: "-----BEGIN SSH SIGNATURE-----\n".to_owned(),
    };
    vec![
        Fact::RequestMade {
            hash: request.hash(),
            request,
            lapses: "2026-08-01T13:00:00Z".parse().unwrap(),
            approvals_needed: 2,
            approver_roles: BTreeSet::from(["approver".parse().unwrap()]),
            use_within_s: 600,
        },
        Fact::RequestApproved(approval),
        Fact::RequestDenied { request: id.clone(), reason: "no".to_owned() },
        Fact::RequestWithdrawn { request: id.clone() },
        Fact::RequestLapsed { request: id },
    ]
}

fn grants() -> Vec<Fact> {
    let grant: crate::model::GrantId = "grn_aaaaaaaaaaaaaaaa".parse().unwrap();
    let ends: Timestamp = "2026-08-01T14:00:00Z".parse().unwrap();
    let facts = GrantFacts {
        grant: grant.clone(),
        request: "req_aaaaaaaaaaaaaaaa".parse().unwrap(),
        hash: "00".to_owned(),
        person: "per_bbbbbbbbbbbbbbbb".parse().unwrap(),
        login: "deploy".parse().unwrap(),
        target: "web-1".parse().unwrap(),
        capabilities: BTreeSet::from([Capability::Exec]),
        duration_s: 1800,
        clock: WindowClock::FirstUse,
        ends: None,
        use_before: Some(ends),
    };
    let scope = Scope::Person("per_bbbbbbbbbbbbbbbb".parse().unwrap());
    vec![
        Fact::GrantIssued(facts),
        Fact::GrantStarted { grant: grant.clone(), ends },
        Fact::GrantRevoked { grant: grant.clone(), reason: "done".to_owned() },
        Fact::GrantEnded { grant },
        Fact::Revoked { scope, reason: "lost laptop".to_owned() },
    ]
}

fn sessions() -> Vec<Fact> {
    let session: crate::model::SessionId = "ses_aaaaaaaaaaaaaaaa".parse().unwrap();
    let at: Timestamp = "2026-08-01T12:30:00.000123Z".parse().unwrap();
    let facts = SessionFacts {
        session: session.clone(),
        grant: "grn_aaaaaaaaaaaaaaaa".parse().unwrap(),
        person: "per_bbbbbbbbbbbbbbbb".parse().unwrap(),
        identity: Identity::ssh_key("SHA256:def"),
        login: "deploy".parse().unwrap(),
        target: "web-1".parse().unwrap(),
        client: "192.0.2.1:50000".to_owned(),
        recording: "11".to_owned(),
        credential: "postern ses_aaaaaaaaaaaaaaaa erin".to_owned(),
    };
    let verified = Verified { at, how: "connection reset".to_owned() };
    let end = EndFacts {
        session: session.clone(),
        reason: EndReason::GrantRevoked,
        receipt: Receipt {
            decided: at,
            cut: at,
            decided_to_cut_us: 210,
            target_ended: Some(verified),
            credential_dead: None,
        },
        frames: 12,
        digest: "22".to_owned(),
        bytes: 4096,
        left_over: vec!["a process".to_owned()],
    };
    vec![
        Fact::SessionStarted(facts),
        Fact::SessionTerminated { session: session.clone(), reason: "stop".to_owned() },
        Fact::RecordingCheckpoint { session: session.clone(), frame: 7, digest: "33".to_owned() },
        Fact::SessionEnded(end),
        Fact::CleanupDone { session: session.clone(), what: "a process".to_owned() },
        Fact::RecordingViewed { session, how: "play".to_owned() },
    ]
}

fn recordings() -> Vec<Fact> {
    let session = "ses_aaaaaaaaaaaaaaaa".parse().unwrap();
    let location = "s3://recordings/ses_aaaaaaaaaaaaaaaa.pstn".to_owned();
    vec![Fact::RecordingStored(StoredFacts { session, location, bytes: 4096, sha256: "55".to_owned() })]
}

fn deletions() -> Vec<Fact> {
    let session: crate::model::SessionId = "ses_aaaaaaaaaaaaaaaa".parse().unwrap();
    let at: Timestamp = "2026-08-02T12:00:00Z".parse().unwrap();
    let (reason, location) =
        ("a customer's wish".to_owned(), "s3://recordings/ses_aaaaaaaaaaaaaaaa.pstn".to_owned());
    let by = "per_bbbbbbbbbbbbbbbb".parse().unwrap();
    let deleted = DeletionFacts {
        session: session.clone(),
        cause: DeletionCause::Asked { by, at, reason: reason.clone() },
        recording: "11".to_owned(),
        frames: 12,
        digest: "22".to_owned(),
        bytes: 4096,
        location: Some(location.clone()),
    };
    let why = "AccessDenied".to_owned();
    vec![
        Fact::RecordingHeld { session: session.clone(), reason: reason.clone() },
        Fact::RecordingReleased { session: session.clone(), reason: reason.clone() },
        Fact::RecordingDeletionAsked { session: session.clone(), reason, lapses: at },
        Fact::RecordingDeletionWithdrawn { session: session.clone() },
        Fact::RecordingDeletionLapsed { session: session.clone() },
        Fact::RecordingDeleted(deleted),
        Fact::RecordingCopyRemains(RemainsFacts { session: session.clone(), location, why, until: Some(at) }),
        Fact::RecordingRemoved { session: session.clone() },
        Fact::RecordingRewrapped(RewrapFacts {
            session,
            reviewers: "66".to_owned(),
            wrapped: "YWdl".to_owned(),
        }),
    ]
}

/// The other way to be deleted, beside the one in `deletions`.
#[test]
fn a_deletion_by_retention_has_its_released_bytes() {
    let Fact::RecordingDeleted(facts) = fact_of("recording_deleted") else { panic!("not a deletion") };
    let facts = DeletionFacts { cause: DeletionCause::Retention { keep_s: 60 }, location: None, ..facts };
    let text = serde_json::to_string(&Fact::RecordingDeleted(facts)).unwrap();
    let expected = r#"{"type":"recording_deleted","session":"ses_aaaaaaaaaaaaaaaa","cause":{"retention":{"keep_s":60}},"recording":"11","frames":12,"digest":"22","bytes":4096,"location":null}"#;
    assert_eq!(text, expected);
}

fn node() -> Vec<Fact> {
    let hash = "44".to_owned();
    vec![
        Fact::NodeInitialised { origin: "gate".to_owned(), checkpoint_key: "gate+0+A".to_owned() },
        Fact::ReviewersChanged { recipients: BTreeSet::from(["age1x".to_owned()]) },
        Fact::PolicyLoaded { hash: hash.clone(), rules: crate::model::PolicyChanges::default() },
        Fact::ConfigurationLoaded { hash },
        Fact::SignedIn { client: "192.0.2.1:50001".to_owned() },
        Fact::TargetTested { target: "web-1".parse().unwrap(), login: "deploy".parse().unwrap() },
    ]
}
