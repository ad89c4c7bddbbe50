//! What the data plane believes: a real gate, real signatures, and a grant changed in one way at a time.
//!
//! The ledger's own hashes and signatures are set aside here on purpose. Whoever could write past them still cannot
//! make an approver's signature, and each test names the words that forgery is met with. How a change of people takes
//! grants away is in `access`; that it does, through the command line, in the suite.

use std::net::Ipv4Addr;
use std::sync::RwLock;

use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey};

use super::*;
use crate::access::{Command, NewIdentity, RequestRule};
use crate::authn::{Authenticator, Authorities};
use crate::credential::postgres::{Administrations, Administrator};
use crate::credential::{Keystore, SealingKey, SshCertificateAuthority};
use crate::ledger::entry::{Actor, Fact, SessionFacts};
use crate::model::{
    Administration, Clock, Endpoint, HostTrust, Plane, PrincipalKind, Protocol, RequestId, Secret,
    Sensitivity, Signer, SigningKey, WindowClock,
};
use crate::policy::Engine;
use crate::recording::{Journal, JournalSettings};
use crate::session::{LastWords, Limits, Registry, Witnesses};
use crate::store::Store;

/// Whose key has which seed. Nobody is enrolled with [`STRANGER`]'s.
const ERIN: u8 = 1;
const ALICE: u8 = 2;
const BOB: u8 = 3;
const STRANGER: u8 = 9;

pub(in crate::session) struct World {
    pub(in crate::session) gate: Arc<Gate>,
    directory: tempfile::TempDir,
}

impl World {
    /// Erin may ask, Alice and Bob may approve, web-1 is there.
    pub(in crate::session) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (root, clock) = (directory.path(), Clock::system());
        let signer: Arc<dyn Signer> = Arc::new(SigningKey::from_seed(&Secret::new([42; 32])).unwrap());
        let store = Store::open(&root.join("ledger"), Arc::clone(&signer), "test", clock.clone()).unwrap();
        let mut settings =
            JournalSettings::new(root.join("journal"), root.join("recordings"), signer, clock.clone());
        settings.limits.segment_bytes = 2 << 20;
        let gate = Arc::new(Gate {
            authenticator: Authenticator::new(Arc::new(store.clone()), Authorities::default(), clock.clone()),
            policy: Engine::load(None).unwrap(),
            journal: Journal::open(settings).unwrap().0,
            user_authority: SshCertificateAuthority::new(Arc::new(key(7))),
            databases: {
                let sealing = SealingKey::random().unwrap();
                let keys = Keystore::create(root, &sealing, &[], &clock).unwrap();
                Administrations::new(Administrator::new(
                    keys.database_ca().unwrap().clone(),
                    b"node",
                    clock.clone(),
                ))
            },
            last_words: LastWords::start(&clock).unwrap(),
            witnesses: Witnesses::new(clock.clone(), [], Duration::ZERO, 0),
            registry: Registry::default(),
            limits: RwLock::new(Limits::default()),
            store,
            clock,
        });
        let world = Self { gate, directory };
        for (name, role, seed) in
            [("erin", "operator", ERIN), ("alice", "approver", ALICE), ("bob", "approver", BOB)]
        {
            world.operator(Command::AddPerson {
                name: name.parse().unwrap(),
                kind: PrincipalKind::Person,
                owner: None,
                roles: [role.parse().unwrap()].into(),
                identities: vec![new_identity(seed)],
            });
        }
        world.operator(Command::AddTarget(Box::new(target())));
        world
    }

    fn operator(&self, command: Command) -> Vec<Fact> {
        self.submit(Actor::Operator, command)
    }

    fn submit(&self, by: Actor, command: Command) -> Vec<Fact> {
        let entries = self.gate.store.submit_blocking(by, command).unwrap();
        entries.iter().map(|entry| entry.fact.clone()).collect()
    }

    fn person(&self, seed: u8) -> PersonId {
        self.gate
            .store
            .read(|state| state.person_by_identity(&identity(seed)).unwrap().0.facts.person.clone())
    }

    fn actor(&self, seed: u8) -> Actor {
        Actor::Person { person: self.person(seed), identity: identity(seed) }
    }

    /// Erin asks for a shell; the request and its hash.
    fn ask(&self, duration_s: u64) -> (RequestId, String) {
        let made = self.submit(
            self.actor(ERIN),
            Command::MakeRequest {
                login: "deploy".parse().unwrap(),
                target: "web-1".parse().unwrap(),
                capabilities: [Capability::Shell].into(),
                duration_s,
                reason: "deploying".to_owned(),
                ticket: None,
                rule: RequestRule {
                    approvals_needed: 1,
                    approver_roles: ["approver".parse().unwrap()].into(),
                    clock: WindowClock::Approval,
                    longest_s: 3600,
                    lapses_after_s: 3600,
                    use_within_s: 0,
                },
            },
        );
        let Some(Fact::RequestMade { request, hash, .. }) = made.first() else { panic!("{made:?}") };
        (request.request.clone(), hash.clone())
    }

    /// Alice approves what Erin asked for, with `signature` when it is given and her own otherwise.
    pub(in crate::session) fn granted(&self, signature: Option<&str>) -> access::Grant {
        self.granted_for(600, signature)
    }

    fn granted_for(&self, duration_s: u64, signature: Option<&str>) -> access::Grant {
        let (request, hash) = self.ask(duration_s);
        let signature = signature
            .map_or_else(|| signed(ALICE, &Approval::message(&request, &hash, duration_s)), str::to_owned);
        let (approver, identity) = (self.person(ALICE), identity(ALICE));
        let approval = Approval { request, hash, approver, identity, duration_s, signature };
        let facts = self.submit(self.actor(ALICE), Command::Approve(Box::new(approval)));
        let issued = facts.iter().find_map(|fact| {
            let Fact::GrantIssued(grant) = fact else { return None };
            self.gate.store.read(|state| state.grant(&grant.grant).cloned())
        });
        issued.unwrap()
    }

    /// A session of Erin's begins under a grant, past the permit.
    pub(in crate::session) fn used(&self, grant: &access::Grant) {
        self.submit(Actor::Node, self.start(&grant.facts.grant));
    }

    fn start(&self, grant: &GrantId) -> Command {
        Command::StartSession(Box::new(SessionFacts {
            session: SessionId::random().unwrap(),
            grant: grant.clone(),
            person: self.person(ERIN),
            identity: identity(ERIN),
            login: "deploy".parse().unwrap(),
            target: "web-1".parse().unwrap(),
            client: "192.0.2.1".to_owned(),
            recording: "00".repeat(32),
            credential: "x".to_owned(),
        }))
    }

    /// What Erin gets who connects to deploy@web-1: the grant her session would start under, or a no.
    fn obtain(&self) -> Result<GrantId, NoPermit> {
        let (who, session, login, target) = self.erin_connects();
        let ending = Ending::new(self.gate.clock.clone(), None);
        let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Permit::obtain(&self.gate, &session, &who, (&login, &target), client, &ending)
            .map(|permit| permit.subject.grant.clone())
    }

    fn erin_connects(&self) -> (Authenticated, SessionId, Login, TargetName) {
        let who = self.gate.authenticator.by_ssh_key(key(ERIN).public_key()).unwrap();
        (who, SessionId::random().unwrap(), "deploy".parse().unwrap(), "web-1".parse().unwrap())
    }
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn identity(seed: u8) -> Identity {
    Identity::ssh_key(&key(seed).fingerprint(HashAlg::Sha256).to_string())
}

fn new_identity(seed: u8) -> NewIdentity {
    let line = key(seed).public_key().to_openssh().unwrap();
    NewIdentity { identity: identity(seed), public_key: Some(line.trim().to_owned()) }
}

fn signed(seed: u8, message: &[u8]) -> String {
    key(seed).sign(Approval::NAMESPACE, HashAlg::Sha512, message).unwrap().to_string()
}

fn target() -> Target {
    Target {
        name: "web-1".parse().unwrap(),
        protocol: Protocol::Ssh,
        endpoint: Endpoint { host: "127.0.0.1".to_owned(), port: 22 },
        trust: HostTrust::Unpinned,
        plane: Plane::Platform,
        environment: "staging".to_owned(),
        sensitivity: Sensitivity::Normal,
        tenant: None,
        logins: BTreeSet::new(),
        labels: std::collections::BTreeMap::new(),
        administration: Administration::default(),
    }
}

#[test]
fn a_grant_as_it_was_approved_opens_a_session() {
    let world = World::new();
    assert_eq!(world.obtain(), Err(NoPermit::NoGrant));
    let grant = world.granted(None);
    assert_eq!(check_approvals(&world.gate, &grant), Ok(()));
    assert_eq!(world.obtain(), Ok(grant.facts.grant));
}

/// Policies of the site that forbid sessions under grants that end after `latest`.
fn forbid_long_grants(world: &World, latest: Timestamp) {
    let ours = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let place = world.directory.path().join("policies");
    std::fs::create_dir(&place).unwrap();
    for name in ["approvals.toml", "default.cedar"] {
        std::fs::copy(ours.join(name), place.join(name)).unwrap();
    }
    let rule = format!(
        "@id(\"not-so-long\")\n@reason(\"too long\")\nforbid (principal, action == Action::\"session:open\", resource)\n\
         when {{ context has grant && context.grant has ends && context.grant.ends > datetime(\"{latest:.3}\") }};\n"
    );
    std::fs::write(place.join("long.cedar"), rule).unwrap();
    drop(world.gate.policy.reload_from(Some(place), |_| Ok::<_, std::convert::Infallible>(())).unwrap());
}

#[test]
fn a_session_begins_under_the_longest_grant_that_policy_lets_it_begin_with() {
    let world = World::new();
    let long = world.granted_for(1800, None);
    let short = world.granted_for(600, None);
    assert_eq!(world.obtain(), Ok(long.facts.grant));
    let ends = short.facts.ends.unwrap();
    forbid_long_grants(&world, ends + Duration::from_secs(60));
    assert_eq!(world.obtain(), Ok(short.facts.grant));
    std::fs::remove_dir_all(world.directory.path().join("policies")).unwrap();
    forbid_long_grants(&world, ends - Duration::from_secs(60));
    let refused = world.obtain();
    assert!(matches!(&refused, Err(NoPermit::Refused { words, .. }) if words == "too long"), "{refused:?}");
}

/// What was asked for in vain is never something the session does, however the question about that falls.
#[test]
fn a_use_that_is_refused_ends_nothing() {
    let world = World::new();
    world.granted(None);
    let (who, session, login, target) = world.erin_connects();
    let ending = Ending::new(world.gate.clock.clone(), None);
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let permit = Permit::obtain(&world.gate, &session, &who, (&login, &target), client, &ending).unwrap();
    let (gate, subject) = (&world.gate, &permit.subject);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        let asking = threads.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(subject.ask(gate, &Action::Use(Capability::Exec)).is_err());
            }
        });
        let cut = (0..300).filter(|_| subject.still(gate).is_err()).count();
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        asking.join().unwrap();
        assert_eq!(cut, 0, "times the session would have ended");
    });
    assert!(subject.ask(gate, &Action::Use(Capability::Shell)).is_ok());
    assert!(subject.still(gate).is_ok());
}

/// A way to change a grant: what is changed, how, and the words it is refused with.
type Edit<'a> = (&'a str, &'a dyn Fn(&mut access::Grant), &'a str);

fn each_is_a_forgery(world: &World, good: &access::Grant, edits: &[Edit<'_>]) {
    for (what, edit, words) in edits {
        let mut grant = good.clone();
        edit(&mut grant);
        let Err(Unfit::Forged(said)) = check_approvals(&world.gate, &grant) else {
            panic!("{what}: {:?}", check_approvals(&world.gate, &grant));
        };
        assert!(said.contains(words), "{what}: {said}");
    }
    assert_eq!(check_approvals(&world.gate, good), Ok(()), "and the grant itself is good");
}

#[test]
fn a_request_edited_after_its_approval_is_a_forgery() {
    let world = World::new();
    let good = world.granted(None);
    // The hash follows the edit in one place after the other; only the signature cannot.
    let edited = |grant: &mut access::Grant| grant.request.facts.duration_s = 3600;
    let hashed = |grant: &mut access::Grant| {
        edited(grant);
        grant.request.hash = grant.request.facts.hash();
        grant.facts.hash.clone_from(&grant.request.hash);
    };
    let hashed_everywhere = |grant: &mut access::Grant| {
        hashed(grant);
        let hash = grant.request.hash.clone();
        grant.request.approvals.iter_mut().for_each(|approval| approval.hash.clone_from(&hash));
    };
    each_is_a_forgery(
        &world,
        &good,
        &[
            ("the request", &edited, "its request is not the one that was approved"),
            (
                "the reason",
                &|grant| grant.request.facts.reason.push('!'),
                "its request is not the one that was approved",
            ),
            ("the grant's hash", &|g| g.facts.hash = "00".repeat(32), "not the one that was approved"),
            ("the request and its hash", &hashed, "an approval is for something else"),
            ("all of them", &hashed_everywhere, "the approval's signature is refused"),
        ],
    );
}

#[test]
fn a_grant_that_gives_something_else_is_a_forgery() {
    let world = World::new();
    let good = world.granted(None);
    let bob = world.person(BOB);
    let else_ = "it gives something else than was asked for";
    each_is_a_forgery(
        &world,
        &good,
        &[
            ("the person", &|grant| grant.facts.person = bob.clone(), else_),
            ("the login", &|grant| grant.facts.login = "root".parse().unwrap(), else_),
            ("the target", &|grant| grant.facts.target = "db-1".parse().unwrap(), else_),
            ("other capabilities", &|g| g.facts.capabilities = [Capability::Exec].into(), else_),
            ("longer than asked", &|grant| grant.facts.duration_s = 601, else_),
            (
                "longer than approved",
                &|grant| grant.request.approvals.iter_mut().for_each(|approval| approval.duration_s = 599),
                "an approval is for something else",
            ),
        ],
    );
}

#[test]
fn a_signature_that_is_not_the_approvers_is_a_forgery() {
    let world = World::new();
    let good = world.granted(None);
    let (erin, bob) = (world.person(ERIN), world.person(BOB));
    let nobody = PersonId::random().unwrap();
    let request = &good.request;
    let message = Approval::message(&request.facts.request, &request.hash, 600);
    let first = |change: &dyn Fn(&mut Approval), grant: &mut access::Grant| {
        change(grant.request.approvals.first_mut().unwrap());
    };
    // Signed with a key, in its own name, for somebody.
    let signed_by = |seed: u8, approver: &PersonId, grant: &mut access::Grant| {
        let change = |approval: &mut Approval| {
            approval.approver = approver.clone();
            approval.identity = identity(seed);
            approval.signature = signed(seed, &message);
        };
        first(&change, grant);
    };
    let alice = world.person(ALICE);
    let not_theirs = "is not enrolled for the approver";
    let refused = "the approval's signature is refused";
    each_is_a_forgery(
        &world,
        &good,
        &[
            ("no signature", &|g| first(&|a| a.signature = "none".to_owned(), g), refused),
            ("of something else", &|g| first(&|a| a.signature = signed(ALICE, b"x"), g), refused),
            ("by another's key", &|g| first(&|a| a.signature = signed(BOB, &message), g), refused),
            ("in another's name", &|g| first(&|a| a.approver = bob.clone(), g), not_theirs),
            ("in nobody's name", &|g| first(&|a| a.approver = nobody.clone(), g), not_theirs),
            ("with a key nobody enrolled", &|g| signed_by(STRANGER, &alice, g), not_theirs),
            ("by the requester", &|g| signed_by(ERIN, &erin, g), "it lacks approvals"),
            ("none at all", &|grant| grant.request.approvals.clear(), "it lacks approvals"),
            ("none needed", &|grant| grant.request.approvals_needed = 0, "it lacks approvals"),
            (
                "one person's counted twice",
                &|grant| {
                    grant.request.approvals_needed = 2;
                    grant.request.approvals.extend(good.request.approvals.clone());
                },
                "it lacks approvals",
            ),
        ],
    );
}

#[test]
fn a_forged_grant_opens_nothing_and_spoils_no_other() {
    let world = World::new();
    let forged = world.granted(Some(&signed(STRANGER, b"anything")));
    let Err(NoPermit::Forged(words)) = world.obtain() else { panic!("it opened") };
    assert!(words.contains(forged.facts.grant.as_str()), "{words}");
    let good = world.granted(None);
    world.granted(Some("nor is this one"));
    assert_eq!(world.obtain(), Ok(good.facts.grant));
}

/// Whatever makes Alice somebody whose approval no longer counts.
fn takes(world: &World) -> [Command; 3] {
    let (person, reason) = (world.person(ALICE), "moved on".to_owned());
    [
        Command::DisablePerson { person: person.clone(), reason },
        Command::ChangeRoles { person: person.clone(), roles: ["operator".parse().unwrap()].into() },
        Command::UnlinkIdentity { person, identity: identity(ALICE) },
    ]
}

#[test]
fn an_approval_whose_approver_may_no_longer_approve_is_no_forgery_and_opens_nothing() {
    for nth in 0..3 {
        let world = World::new();
        let (unused, used) = (world.granted(None), world.granted(None));
        world.used(&used);
        let take = takes(&world)[nth].clone();
        world.operator(take.clone());
        assert_eq!(check_approvals(&world.gate, &used), Err(Unfit::Unbacked), "{take:?}");
        assert_eq!(check_approvals(&world.gate, &unused), Err(Unfit::Unbacked), "{take:?}");
        let Err(NoPermit::Refused { reason: EndReason::GrantRevoked, words }) = world.obtain() else {
            panic!("{take:?}: {:?}", world.obtain());
        };
        assert!(words.contains("no longer count"), "{take:?}: {words}");
    }
}

/// A key that was the approver's at some other time than when the grant was issued is no excuse.
#[test]
fn a_key_given_up_before_the_approval_is_a_forgery() {
    let world = World::new();
    let person = world.person(ALICE);
    world.operator(Command::LinkIdentity { person: person.clone(), identity: new_identity(STRANGER) });
    world.operator(Command::UnlinkIdentity { person, identity: identity(STRANGER) });
    let mut grant = world.granted(None);
    let message = Approval::message(&grant.request.facts.request, &grant.request.hash, 600);
    let approval = grant.request.approvals.first_mut().unwrap();
    approval.identity = identity(STRANGER);
    approval.signature = signed(STRANGER, &message);
    let said = check_approvals(&world.gate, &grant);
    assert!(matches!(&said, Err(Unfit::Forged(words)) if words.contains("not enrolled")), "{said:?}");
}

/// D-34: a thousand openings from a twentieth of a second before a grant's end to as long after it, the way sessions
/// open: a permit first, then the start on the ledger. Whatever the two find, no start is at or after the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_thousand_openings_around_the_deadline_none_starts_after_it() {
    let (world, ends) = tokio::task::spawn_blocking(|| {
        let world = World::new();
        let grant = world.granted_for(3, None);
        world.used(&grant);
        (Arc::new(world), grant.facts.ends.unwrap())
    })
    .await
    .unwrap();
    let span = Duration::from_millis(100);
    let mut openings = tokio::task::JoinSet::new();
    for nth in 0..1000 {
        let world = Arc::clone(&world);
        openings.spawn(async move {
            let at = ends - span / 2 + span * nth / 1000;
            let left = at.duration_since(world.gate.clock.now());
            tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await;
            let grant = world.obtain().ok()?;
            world.gate.store.submit(Actor::Node, world.start(&grant)).await.ok()
        });
    }
    let mut started = 0;
    while let Some(opening) = openings.join_next().await {
        let Some(entries) = opening.unwrap() else { continue };
        started += 1;
        assert!(entries.iter().all(|entry| entry.at < ends), "{entries:?} after {ends}");
    }
    assert!(started < 1000, "those after the end found no grant");
    assert_eq!(world.obtain(), Err(NoPermit::NoGrant));
}
