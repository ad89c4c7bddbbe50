//! A bastion in a temporary directory for the API's tests: a real store, policy and authenticator, seven people, one
//! target, and one of everything a route can be about. Only the live sessions are a stand-in.
//!
//! No test is here; those are in `tests.rs`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use futures_util::StreamExt as _;
use futures_util::future::ready;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::access::{Command, NewIdentity, RequestRule};
use crate::authn::{Authenticator, Authorities, SIGN_IN_NAMESPACE, sign_in_message};
use crate::ledger::entry::{Actor, Approval, EndFacts, Fact, Receipt, SessionFacts};
use crate::model::{
    Clock, EndReason, Endpoint, GrantId, Identity, Login, PersonId, PrincipalKind, Protocol, RequestId,
    Secret, SessionId, Signer, SigningKey, Target, Timestamp, WindowClock,
};
use crate::policy::Engine;
use crate::recording::{Journal, JournalSettings, Recorder, RecordingSpec, ReviewerIdentity, Watch, event};
use crate::store::Store;

/// The server's name in signatures.
const SERVER: &str = "sha256:test";
/// Everybody, with their roles; their keys are made from their place in this list.
const PEOPLE: [(&str, &[&str]); 7] = [
    ("ada", &["admin"]),
    ("erin", &["operator"]),
    ("alice", &["approver"]),
    ("rita", &["reviewer"]),
    ("sam", &[]),
    ("zoe", &["operator"]),
    ("paul", &["operator"]),
];

/// The bastion, and one of everything.
pub(super) struct World {
    pub(super) router: Router,
    pub(super) store: Store,
    pub(super) directory: tempfile::TempDir,
    /// Erin's open request.
    pub(super) request: RequestId,
    /// Erin's grant, in force.
    pub(super) grant: GrantId,
    /// Erin's live session under it.
    pub(super) live: SessionId,
    /// Erin's session that is over.
    pub(super) over: SessionId,
    pub(super) sessions: Arc<Sessions>,
}

/// Who a call is from.
#[derive(Clone, Copy)]
pub(super) enum From<'a> {
    /// Over HTTPS, without a token.
    Nobody,
    /// Through the control socket.
    Operator,
    /// A connection that was not labelled.
    Unlabelled,
    /// Over HTTPS, with a token.
    Token(&'a str),
}

/// A stand-in for the session registry: one recorder to watch, and every session ends at once.
#[derive(Default)]
pub(super) struct Sessions {
    recorder: Mutex<Option<Recorder>>,
    _journal: Mutex<Option<Journal>>,
}

impl Live for Sessions {
    fn count(&self) -> usize {
        1
    }

    fn wait_ended<'a>(&'a self, sessions: &'a [SessionId], _: Duration) -> Later<'a, Vec<Cut>> {
        let cut = |session: &SessionId| Cut { session: session.clone(), cut: Clock::system().now() };
        Box::pin(ready(sessions.iter().map(cut).collect()))
    }

    fn watch(&self, _: &SessionId) -> Option<Watch> {
        self.recorder.lock().unwrap().as_ref().map(Recorder::watch)
    }

    fn test_target(&self, _: Target, _: Login) -> Later<'_, Vec<Step>> {
        Box::pin(ready(vec![Step { name: "reach".to_owned(), ok: true, detail: String::new() }]))
    }

    fn host_keys(&self, _: Endpoint, _: Protocol) -> Later<'_, Result<Vec<HostKey>, String>> {
        Box::pin(ready(Ok(vec![HostKey { line: public(9), fingerprint: "SHA256:x".to_owned() }])))
    }

    fn witnesses(&self) -> Vec<Witness> {
        Vec::new()
    }

    fn keeping(&self) -> Option<Keeping> {
        None
    }

    fn move_again(&self) {}

    fn fetch<'a>(&'a self, location: &'a str) -> Later<'a, Result<Option<Fetched>, String>> {
        let bytes = Bytes::from_static(b"from the store");
        let found = (bytes.len() as u64, futures_util::stream::once(ready(Ok(bytes))).boxed());
        Box::pin(ready(Ok(location.starts_with("s3://recordings/").then_some(found))))
    }

    fn room(&self) -> Room {
        Room { free_bytes: 1, admits: true }
    }
}

impl World {
    pub(super) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let signer: Arc<dyn Signer> = Arc::new(SigningKey::from_seed(&Secret::new([42; 32])).unwrap());
        let store = Store::open(&directory.path().join("ledger"), signer, "test", clock.clone()).unwrap();
        let policies = directory.path().join("policies");
        std::fs::create_dir(&policies).unwrap();
        for (name, text) in Engine::defaults() {
            std::fs::write(policies.join(name), text).unwrap();
        }
        let sessions = Arc::new(Sessions::default());
        let recordings = directory.path().join("recordings");
        std::fs::create_dir(&recordings).unwrap();
        let cosigned = directory.path().join("cosigned");
        std::fs::write(&cosigned, "note").unwrap();
        let router = router(Context {
            authenticator: Authenticator::new(Arc::new(store.clone()), Authorities::default(), clock.clone()),
            policy: Engine::load(Some(&policies)).unwrap(),
            store: store.clone(),
            live: Arc::<Sessions>::clone(&sessions),
            cosigned,
            recordings: recordings.clone(),
            clock,
            node: NodeFacts { fingerprint: SERVER.to_owned(), ..NodeFacts::default() },
        });
        for (place, (name, roles)) in PEOPLE.iter().enumerate() {
            enrol(&store, name, roles, &key(u8::try_from(place).unwrap())).await;
        }
        submit(&store, Actor::Operator, Command::AddTarget(Box::new(target()))).await;
        let mut world = Self {
            router,
            directory,
            request: RequestId::random().unwrap(),
            grant: GrantId::random().unwrap(),
            live: SessionId::random().unwrap(),
            over: SessionId::random().unwrap(),
            sessions,
            store,
        };
        world.grant = world.granted().await;
        world.request = world.asked("erin").await.0;
        world.start(&world.live).await;
        world.start(&world.over).await;
        world.end(&world.over).await;
        std::fs::write(recordings.join(format!("{}.pstn", world.over)), b"sealed").unwrap();
        world
    }

    /// Makes the live session one that can be watched.
    pub(super) fn record(&self) {
        let signer: Arc<dyn Signer> = Arc::new(SigningKey::from_seed(&Secret::new([42; 32])).unwrap());
        let root = self.directory.path();
        let mut settings =
            JournalSettings::new(root.join("journal"), root.join("recordings"), signer, Clock::system());
        settings.limits.segment_bytes = 2 << 20;
        let (journal, _) = Journal::open(settings).unwrap();
        let facts = event::SessionFacts {
            session: self.live.clone(),
            person: self.person("erin"),
            person_name: "erin".parse().unwrap(),
            identity: "ssh-key".to_owned(),
            login: "deploy".parse().unwrap(),
            target: "web-1".parse().unwrap(),
            protocol: Protocol::Ssh,
            grant: self.grant.clone(),
            reason: "x".to_owned(),
            client: "192.0.2.1".to_owned(),
            started: Clock::system().now(),
        };
        let recipients = ReviewerIdentity::generate().recipients();
        let recorder = Recorder::open(&journal, RecordingSpec { facts, recipients }).unwrap();
        *self.sessions.recorder.lock().unwrap() = Some(recorder);
        *self.sessions._journal.lock().unwrap() = Some(journal);
    }

    /// Records a shell starting in the live session.
    pub(super) fn happen(&self) {
        let recorder = self.sessions.recorder.lock().unwrap();
        recorder.as_ref().unwrap().record(vec![(1, event::Body::Shell)]).unwrap();
    }

    pub(super) async fn call(
        &self,
        from: From<'_>,
        method: &str,
        path: &str,
        body: &str,
    ) -> (StatusCode, Value) {
        let response = self.response(from, method, path, body).await;
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 4 << 20).await.unwrap();
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| text()))
    }

    pub(super) async fn response(
        &self,
        from: From<'_>,
        method: &str,
        path: &str,
        body: &str,
    ) -> axum::response::Response {
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        if let From::Token(token) = from {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let peer = match from {
            From::Unlabelled => None,
            From::Operator => Some(Peer(None)),
            From::Nobody | From::Token(_) => Some(Peer(Some(SocketAddr::from(([192, 0, 2, 7], 4022))))),
        };
        if let Some(peer) = peer {
            request = request.extension(peer);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Signs somebody in, the way the command line does.
    pub(super) async fn sign_in(&self, name: &str) -> String {
        let body = self.signed_challenge(name).await;
        let (status, answer) = self.call(From::Nobody, "POST", "/sign-in", &body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["token"].as_str().unwrap().to_owned()
    }

    /// The body of a sign-in.
    pub(super) async fn signed_challenge(&self, name: &str) -> String {
        let (_, challenge) = self.call(From::Nobody, "POST", "/sign-in/challenge", "").await;
        let nonce = challenge["nonce"].as_str().unwrap();
        let key = key_of(name);
        let signature =
            key.sign(SIGN_IN_NAMESPACE, HashAlg::Sha512, &sign_in_message(SERVER, nonce)).unwrap();
        let line = key.public_key().to_openssh().unwrap();
        json!({ "key": line, "nonce": nonce, "server": SERVER, "signature": signature.to_string() })
            .to_string()
    }

    /// The body of an approval by somebody.
    pub(super) fn approval(&self, name: &str, request: &str, hash: &str, duration_s: u64) -> String {
        let message = Approval::message(&request.parse().unwrap(), hash, duration_s);
        let signature =
            key_of(name).sign(Approval::NAMESPACE, HashAlg::Sha512, &message).unwrap().to_string();
        json!({ "hash": hash, "duration_s": duration_s, "signature": signature }).to_string()
    }

    pub(super) fn person(&self, name: &str) -> PersonId {
        let name = name.parse().unwrap();
        self.store.read(|state| state.person_named(&name).unwrap().facts.person.clone())
    }

    /// How many entries there are.
    pub(super) fn size(&self) -> usize {
        let mut from = 0;
        loop {
            let page = self.store.entries(from, 1000).unwrap();
            match page.last() {
                Some(last) => from = last.seq + 1,
                None => return usize::try_from(from).unwrap(),
            }
        }
    }

    pub(super) fn actor(&self, name: &str) -> Actor {
        Actor::Person { person: self.person(name), identity: identity(&key_of(name)) }
    }

    /// Somebody asks, past the API.
    async fn asked(&self, name: &str) -> (RequestId, String) {
        let rule = RequestRule {
            approvals_needed: 1,
            approver_roles: ["approver".parse().unwrap()].into(),
            clock: WindowClock::Approval,
            longest_s: 3600,
            lapses_after_s: 3600,
            use_within_s: 0,
        };
        let command = Command::MakeRequest {
            login: "deploy".parse().unwrap(),
            target: "web-1".parse().unwrap(),
            capabilities: ["shell".parse().unwrap()].into(),
            duration_s: 600,
            reason: "deploying".to_owned(),
            ticket: None,
            rule,
        };
        let entries = submit(&self.store, self.actor(name), command).await;
        let Fact::RequestMade { request, hash, .. } = &entries[0] else { panic!("{entries:?}") };
        (request.request.clone(), hash.clone())
    }

    async fn granted(&self) -> GrantId {
        let (request, hash) = self.asked("erin").await;
        let message = Approval::message(&request, &hash, 600);
        let key = key_of("alice");
        let approval = Approval {
            request,
            hash,
            approver: self.person("alice"),
            identity: identity(&key),
            duration_s: 600,
            signature: key.sign(Approval::NAMESPACE, HashAlg::Sha512, &message).unwrap().to_string(),
        };
        let facts = submit(&self.store, self.actor("alice"), Command::Approve(Box::new(approval))).await;
        let issued = facts
            .into_iter()
            .find_map(|fact| if let Fact::GrantIssued(grant) = fact { Some(grant.grant) } else { None });
        issued.unwrap()
    }

    async fn start(&self, session: &SessionId) {
        let facts = SessionFacts {
            session: session.clone(),
            grant: self.grant.clone(),
            person: self.person("erin"),
            identity: identity(&key_of("erin")),
            login: "deploy".parse().unwrap(),
            target: "web-1".parse().unwrap(),
            client: "192.0.2.1".to_owned(),
            recording: "00".repeat(32),
            credential: "x".to_owned(),
        };
        submit(&self.store, Actor::Node, Command::StartSession(Box::new(facts))).await;
    }

    pub(super) async fn end(&self, session: &SessionId) {
        let now = Timestamp::UNIX_EPOCH;
        let receipt = Receipt {
            decided: now,
            cut: now,
            decided_to_cut_us: 9,
            target_ended: None,
            credential_dead: None,
        };
        let facts = EndFacts {
            session: session.clone(),
            reason: EndReason::ClientLeft,
            receipt,
            frames: 3,
            digest: "00".repeat(32),
            bytes: 6,
            left_over: Vec::new(),
        };
        submit(&self.store, Actor::Node, Command::EndSession(Box::new(facts))).await;
    }
}

/// Somebody's key.
pub(super) fn key_of(name: &str) -> PrivateKey {
    let place = PEOPLE.iter().position(|(known, _)| *known == name).unwrap();
    key(u8::try_from(place).unwrap())
}

/// A public key that is nobody's yet.
pub(super) fn public(seed: u8) -> String {
    key(100 + seed).public_key().to_openssh().unwrap()
}

pub(super) async fn submit(store: &Store, by: Actor, command: Command) -> Vec<Fact> {
    let entries = store.submit(by, command).await.unwrap();
    entries.iter().map(|entry| entry.fact.clone()).collect()
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed + 1; 32]))
}

fn identity(key: &PrivateKey) -> Identity {
    Identity::ssh_key(&key.fingerprint(HashAlg::Sha256).to_string())
}

fn target() -> Target {
    let mut target = gone::target(&"web-1".parse().unwrap());
    target.plane = crate::model::Plane::Platform;
    target.sensitivity = crate::model::Sensitivity::Normal;
    target.environment = "staging".to_owned();
    target
}

async fn enrol(store: &Store, name: &str, roles: &[&str], key: &PrivateKey) {
    let command = Command::AddPerson {
        name: name.parse().unwrap(),
        kind: PrincipalKind::Person,
        owner: None,
        roles: roles.iter().map(|role| role.parse().unwrap()).collect(),
        identities: vec![NewIdentity {
            identity: identity(key),
            public_key: Some(key.public_key().to_openssh().unwrap().trim().to_owned()),
        }],
    };
    submit(store, Actor::Operator, command).await;
}
