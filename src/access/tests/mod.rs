//! Tests of the access rules: a small world to play in here, one file per kind of test beside it.
//!
//! `rules.rs` has one scenario per rule, `random.rs` properties over random histories, `model.rs` every reachable
//! state of a small world.

mod judge;
mod model;
mod random;
mod recordings;
mod rules;

use std::collections::BTreeSet;

use data_encoding::{BASE64, BASE64_NOPAD};

use super::{Command, Denied, Effect, Fresh, NewIdentity, RequestRule, State, apply, decide};
use crate::ledger::entry::{Actor, Approval, EndFacts, Entry, Receipt, SessionFacts};
use crate::model::{
    Administration, Capability, EndReason, Endpoint, GrantId, HostTrust, Identity, PersonId, Plane,
    PrincipalKind, Protocol, RequestId, Sensitivity, SessionId, Target, Timestamp, WindowClock,
};

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// The `n`th id of any kind, for n below 676.
pub(super) fn id<T: std::str::FromStr>(prefix: &str, n: usize) -> T
where
    T::Err: std::fmt::Debug,
{
    let letter = |n: usize| char::from(b'a' + u8::try_from(n % 26).unwrap());
    format!("{prefix}{}{}{}", "a".repeat(14), letter(n / 26), letter(n)).parse().unwrap()
}

pub(super) fn per(n: usize) -> PersonId {
    id("per_", n)
}
pub(super) fn req(n: usize) -> RequestId {
    id("req_", n)
}
pub(super) fn grn(n: usize) -> GrantId {
    id("grn_", n)
}
pub(super) fn ses(n: usize) -> SessionId {
    id("ses_", n)
}

/// The `n`th key: a public key line and the identity it is.
pub(super) fn key(n: usize) -> NewIdentity {
    let blob = format!("key {n}");
    let print =
        BASE64_NOPAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, blob.as_bytes()).as_ref());
    NewIdentity {
        identity: Identity::ssh_key(&format!("SHA256:{print}")),
        public_key: Some(format!("ssh-ed25519 {}", BASE64.encode(blob.as_bytes()))),
    }
}

pub(super) fn target(name: &str) -> Target {
    Target {
        name: name.parse().unwrap(),
        protocol: Protocol::Ssh,
        endpoint: Endpoint { host: "10.0.0.1".to_owned(), port: 22 },
        trust: HostTrust::Unpinned,
        plane: Plane::Platform,
        environment: "prod".to_owned(),
        sensitivity: Sensitivity::Normal,
        tenant: None,
        logins: BTreeSet::new(),
        labels: std::collections::BTreeMap::new(),
        administration: Administration::default(),
    }
}

pub(super) fn rule(approvals_needed: u32, clock: WindowClock) -> RequestRule {
    RequestRule {
        approvals_needed,
        approver_roles: BTreeSet::from(["approver".parse().unwrap()]),
        clock,
        longest_s: 7200,
        lapses_after_s: 600,
        use_within_s: 300,
    }
}

/// The `n`th person acting with the `n`th key, as [`World`] enrols them.
pub(super) fn actor(n: usize) -> Actor {
    Actor::Person { person: per(n), identity: key(n).identity }
}

/// A ledger's state with everybody enrolled, and every entry that led there.
pub(super) struct World {
    pub(super) state: State,
    pub(super) entries: Vec<Entry>,
    pub(super) now: Timestamp,
    made: usize,
}

/// Persons 0 to 3 are called so; the agent is Alice's.
pub(super) const ERIN: usize = 0;
pub(super) const ALICE: usize = 1;
pub(super) const BOB: usize = 2;
pub(super) const AGENT: usize = 3;

impl World {
    /// Erin may ask; Alice (also the administrator) and Bob may approve; the agent has the role and still may not.
    pub(super) fn new() -> Self {
        let mut world = Self { state: State::default(), entries: Vec::new(), now: at(0), made: 0 };
        let origin =
            Command::Initialise { origin: "gate/ledger".to_owned(), checkpoint_key: "key".to_owned() };
        world.by(&Actor::Node, origin).unwrap();
        let person =
            |name: &str, roles: &[&str]| (name.to_owned(), PrincipalKind::Person, None, roles.join(" "));
        let agent = ("agent-7".to_owned(), PrincipalKind::Workload, Some(per(ALICE)), "approver".to_owned());
        let everybody = [
            person("erin", &["operator"]),
            person("alice", &["approver", "admin"]),
            person("bob", &["approver"]),
            agent,
        ];
        for (n, (name, kind, owner, roles)) in everybody.into_iter().enumerate() {
            let add = Command::AddPerson {
                name: name.parse().unwrap(),
                kind,
                owner,
                roles: roles.split(' ').map(|role| role.parse().unwrap()).collect(),
                identities: vec![key(n)],
            };
            let fresh = Fresh { person: per(n), request: req(600), grant: grn(600) };
            world.with(&Actor::Operator, add, fresh).unwrap();
        }
        for name in ["web-1", "web-2"] {
            world.by(&Actor::Operator, Command::AddTarget(Box::new(target(name)))).unwrap();
        }
        world
    }

    /// Decides and applies; requests and grants get the ids of the count so far.
    pub(super) fn by(&mut self, by: &Actor, command: Command) -> Result<Vec<Effect>, Denied> {
        let n = self.made;
        self.with(by, command, Fresh { person: per(100 + n), request: req(n), grant: grn(n) })
    }

    fn with(&mut self, by: &Actor, command: Command, fresh: Fresh) -> Result<Vec<Effect>, Denied> {
        let facts = decide(&self.state, by, command, self.now, fresh)?;
        self.made += 1;
        let mut effects = Vec::new();
        for fact in facts {
            let seq = self.entries.last().map_or(0, |entry| entry.seq + 1);
            let entry = Entry { v: 1, seq, at: self.now, by: by.clone(), fact };
            effects.extend(apply(&mut self.state, &entry));
            self.entries.push(entry);
        }
        Ok(effects)
    }

    pub(super) fn person(&mut self, n: usize, command: Command) -> Result<Vec<Effect>, Denied> {
        self.by(&actor(n), command)
    }

    pub(super) fn later(&mut self, seconds: i64) {
        self.now += std::time::Duration::from_secs(u64::try_from(seconds).unwrap());
    }

    /// Somebody asks for `deploy@web-1` for an hour.
    pub(super) fn ask(&mut self, n: usize, rule: RequestRule) -> RequestId {
        let id = req(self.made);
        self.person(n, wish("web-1", rule)).unwrap();
        id
    }

    pub(super) fn approval(&self, n: usize, request: &RequestId, duration_s: u64) -> Command {
        let hash = self.state.request(request).map(|r| r.hash.clone()).unwrap_or_default();
        approval(n, request, hash, duration_s)
    }

    pub(super) fn approve(&mut self, n: usize, request: &RequestId) -> Result<Option<GrantId>, Denied> {
        let command = self.approval(n, request, 3600);
        let effects = self.person(n, command)?;
        Ok(effects.into_iter().find_map(|e| if let Effect::GrantOpen(id) = e { Some(id) } else { None }))
    }

    /// Erin asks, Alice approves.
    pub(super) fn grant(&mut self, clock: WindowClock) -> GrantId {
        let request = self.ask(ERIN, rule(1, clock));
        self.approve(ALICE, &request).unwrap().unwrap()
    }

    pub(super) fn start(&mut self, n: usize, grant: &GrantId, session: usize) -> Result<SessionId, Denied> {
        self.person(n, start(n, grant, session)).map(|_| ses(session))
    }

    pub(super) fn ending(&self, session: &SessionId) -> Option<EndReason> {
        self.state.session(session).and_then(|session| session.ending)
    }
}

pub(super) fn wish(on: &str, rule: RequestRule) -> Command {
    Command::MakeRequest {
        login: "deploy".parse().unwrap(),
        target: on.parse().unwrap(),
        capabilities: BTreeSet::from([Capability::Shell]),
        duration_s: 3600,
        reason: "the disk is full".to_owned(),
        ticket: None,
        rule,
    }
}

pub(super) fn approval(n: usize, request: &RequestId, hash: String, duration_s: u64) -> Command {
    Command::Approve(Box::new(Approval {
        request: request.clone(),
        hash,
        approver: per(n),
        identity: key(n).identity,
        duration_s,
        signature: "verified elsewhere".to_owned(),
    }))
}

pub(super) fn start(n: usize, grant: &GrantId, session: usize) -> Command {
    Command::StartSession(Box::new(SessionFacts {
        session: ses(session),
        grant: grant.clone(),
        person: per(n),
        identity: key(n).identity,
        login: "deploy".parse().unwrap(),
        target: "web-1".parse().unwrap(),
        client: "192.0.2.1:50000".to_owned(),
        recording: "00".repeat(32),
        credential: "postern ses".to_owned(),
    }))
}

pub(super) fn end(session: &SessionId, reason: EndReason, left_over: &[&str]) -> EndFacts {
    EndFacts {
        session: session.clone(),
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
        left_over: left_over.iter().map(|&text| text.to_owned()).collect(),
    }
}

pub(super) fn replay(entries: &[Entry]) -> State {
    let mut state = State::default();
    for entry in entries {
        drop(apply(&mut state, entry));
    }
    state
}
