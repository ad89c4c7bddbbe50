//! What the engine must do whatever the rules say: deny on any error, keep the good set, keep the floor.
//!
//! The default rules themselves are judged by their table, `policies/decisions.toml`; the properties here hold them to a
//! second, independent statement of the same promises.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::model::{
    Action, Administration, Capability, Endpoint, GrantId, HostTrust, Login, PersonId, PersonName, Plane,
    PrincipalKind, Proof, Protocol, RequestId, Sensitivity, Target, Timestamp, WindowClock,
};

#[test]
fn the_default_set_passes_its_own_table() {
    let outcomes = Engine::test(None).unwrap().unwrap();
    assert!(outcomes.len() >= 40);
    assert!(outcomes.iter().all(|o| o.wrong.is_none()));
    let allowed = outcomes.iter().filter(|o| o.decision.is_allowed()).count();
    assert!(allowed >= 15 && outcomes.len() - allowed >= 15, "the table must try both answers");
}

#[test]
fn every_rule_of_the_default_set_decides_some_row() {
    let engine = Engine::load(None).unwrap();
    let tried: BTreeSet<String> =
        Engine::test(None).unwrap().unwrap().iter().flat_map(|o| ids_of(&o.decision)).collect();
    let set = engine.set();
    let all: BTreeSet<String> = set.policies.policies().map(|p| p.id().to_string()).collect();
    assert_eq!(
        all.difference(&tried).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "add a row for each to decisions.toml"
    );
}

#[test]
fn every_action_is_in_the_schema() {
    let engine = Engine::load(None).unwrap();
    let known: BTreeSet<String> =
        engine.set().schema.actions().map(|uid| uid.id().unescaped().to_owned()).collect();
    let uses = ["shell", "exec", "sftp", "forward=h:1"].map(|c| Action::Use(c.parse().unwrap()));
    for action in Action::NAMED.iter().chain(&uses) {
        assert!(known.contains(action.as_str()), "{action} is missing from postern.cedarschema");
    }
}

#[test]
fn a_set_that_contradicts_its_table_never_comes_into_force() {
    let site = Site::new();
    let engine = Engine::load(Some(site.path())).unwrap();
    let before = engine.hash();
    site.append("default.cedar", "@id(\"everything\") permit (principal, action, resource);");
    let reload = || engine.reload(|_| Ok::<_, String>(()));
    assert!(matches!(reload(), Err(ReloadError::Unusable(PolicyError::Table(_)))));
    assert_eq!(engine.hash(), before);
    let rows = Engine::test(Some(site.path())).unwrap().unwrap();
    let wrong = rows.iter().filter(|row| row.wrong.is_some()).count();
    assert!(wrong > 0 && wrong < rows.len(), "the test shows which rows came out otherwise");
    site.write("decisions.toml", "");
    assert_ne!(reload().unwrap().hash, before);
}

#[test]
fn a_reload_names_the_rules_that_came_changed_and_went() {
    let site = Site::new();
    let forbid = "@id(\"nobody\") @reason(\"no\") forbid (principal, action, resource) when { principal.name == \"x\" };";
    site.write("more.cedar", forbid);
    let engine = Engine::load(Some(site.path())).unwrap();
    fs::remove_file(site.path().join("more.cedar")).unwrap();
    site.append("default.cedar", &forbid.replace("nobody", "somebody"));
    site.append("approvals.toml", "# more");
    let changes = engine.reload(|_| Ok::<_, String>(())).unwrap().rules;
    assert_eq!((changes.removed, changes.added), (vec!["nobody".to_owned()], vec!["somebody".to_owned()]));
    assert_eq!(changes.altered, ["approvals.toml"]);
}

#[test]
fn a_reload_that_cannot_be_noted_changes_nothing_and_none_overtakes_another() {
    let site = Site::new();
    let engine = Engine::load(Some(site.path())).unwrap();
    let (hash, files) = engine.files();
    site.append("approvals.toml", "# one");
    let other = engine.clone();
    let second = engine.reload(|_| {
        // A second reload begins while the first is being noted.
        let second = std::thread::spawn(move || other.reload(|_| Ok::<_, String>(())).unwrap().hash);
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!second.is_finished());
        Err(second)
    });
    let Err(ReloadError::Unnoted(second)) = second else { panic!("it was not noted") };
    let second = second.join().unwrap();
    assert_ne!(second, hash);
    assert_eq!(engine.hash(), second, "the first put back what was before it, and not over the second");
    assert_eq!(Engine::load(Some(site.path())).unwrap().hash(), second);
    let elsewhere = engine.reload_from(None, |_| Err("full"));
    assert!(matches!(elsewhere, Err(ReloadError::Unnoted("full"))));
    assert_eq!(engine.files().0, second);
    assert_ne!(engine.files().1, files);
}

#[test]
fn bad_sets_are_refused_each_with_its_own_error() {
    let refused = |file: &str, text: &str| {
        let site = Site::new();
        site.write("decisions.toml", "");
        site.write(file, text);
        Engine::load(Some(site.path())).unwrap_err()
    };
    let permit = |rest: &str| format!("@id(\"x\") permit (principal, action, resource){rest};");
    assert!(matches!(refused("x.cedar", "permit principal"), PolicyError::Syntax { .. }));
    assert!(matches!(
        refused("x.cedar", "permit (principal, action, resource);"),
        PolicyError::Nameless { .. }
    ));
    let unreasoned = "@id(\"x\") forbid (principal, action, resource);";
    assert!(matches!(refused("x.cedar", unreasoned), PolicyError::Nameless { .. }));
    let twice = "@id(\"see-targets\") permit (principal, action, resource);";
    assert!(matches!(refused("x.cedar", twice), PolicyError::Nameless { .. }));
    let template = "@id(\"x\") permit (principal == ?principal, action, resource);";
    assert!(matches!(refused("x.cedar", template), PolicyError::Syntax { .. }));
    for untyped in [
        " when { principal.nmae == \"x\" }",
        " when { principal.enabled == 1 }",
        " when { context.grant has ends }",
    ] {
        assert!(matches!(refused("x.cedar", &permit(untyped)), PolicyError::Validation(_)), "{untyped}");
    }
    let never = permit(" when { false }");
    assert!(
        matches!(refused("x.cedar", &never), PolicyError::Validation(_)),
        "a rule that never holds is a mistake"
    );
    assert!(matches!(refused("floor.cedar", ""), PolicyError::Foreign(_)));
    assert!(matches!(refused("postern.cedarschema", "entity Person;"), PolicyError::Foreign(_)));
    assert!(matches!(refused("approvals.toml", ""), PolicyError::Approvals(_)));
    assert!(matches!(refused("decisions.toml", "[[decision]]\nwho = 1"), PolicyError::Table(_)));
}

#[test]
fn a_directory_that_lacks_a_file_is_refused() {
    for file in ["approvals.toml", "default.cedar"] {
        let site = Site::new();
        fs::remove_file(site.path().join(file)).unwrap();
        assert!(matches!(Engine::load(Some(site.path())), Err(PolicyError::Read { .. })), "{file}");
    }
    assert!(matches!(Engine::load(Some(Path::new("/nonexistent"))), Err(PolicyError::Read { .. })));
}

#[test]
fn a_rule_that_fails_to_evaluate_is_a_deny_even_when_others_permit() {
    let site = Site::new();
    site.write("decisions.toml", "");
    site.append(
        "default.cedar",
        "@id(\"overflow\") @reason(\"x\") forbid (principal, action == Action::\"ssh:forward\", resource) \
         when { context has forward_port && context.forward_port * 9223372036854775807 == 7 };",
    );
    let engine = Engine::load(Some(site.path())).unwrap();
    let world = World::new(&["operator"]);
    let ask = |can: &str| {
        let action = Action::Use(can.parse().unwrap());
        let grant = world.grant(&[can], Some("2031-01-01T00:00:00Z"));
        engine.decide(&world.session(&action, Some(&grant)))
    };
    assert!(ask("shell").is_allowed());
    let Decision::Deny(denied) = ask("forward=h:80") else { panic!("an evaluation error must deny") };
    assert!(denied.detail.contains("overflow"), "{denied:?}");
    assert!(!denied.reason.contains("overflow"), "internals are not for the person: {denied:?}");
}

#[test]
fn a_session_question_without_a_login_is_a_deny() {
    let engine = Engine::load(None).unwrap();
    let world = World::new(&["operator"]);
    let grant = world.grant(&["shell"], None);
    let mut question = world.session(&Action::SessionOpen, Some(&grant));
    assert!(engine.decide(&question).is_allowed());
    question.resource = Resource::Target { target: &world.target, login: None };
    assert!(!engine.decide(&question).is_allowed());
    question.resource = Resource::Bastion;
    assert!(!engine.decide(&question).is_allowed());
}

#[test]
fn the_floor_holds_under_rules_that_allow_everything() {
    let site = Site::new();
    site.write("decisions.toml", "");
    site.write("default.cedar", "@id(\"everything\") permit (principal, action, resource);");
    let engine = Engine::load(Some(site.path())).unwrap();
    let mut world = World::new(&[]);
    let over = world.grant(&["shell"], Some("2029-12-31T23:59:59Z"));
    let shell = Action::Use(Capability::Shell);
    assert!(!engine.decide(&world.session(&Action::SessionOpen, None)).is_allowed());
    assert!(!engine.decide(&world.session(&shell, Some(&over))).is_allowed());
    let request = RequestId::random().unwrap();
    let own = Resource::Request {
        request: &request,
        requester: &world.principal.person,
        requester_owner: None,
        login: &world.login,
        target: &world.target,
    };
    assert!(!engine.decide(&world.ask(&Action::RequestApprove, own)).is_allowed());
    assert!(engine.decide(&world.ask(&Action::PersonManage, Resource::Bastion)).is_allowed());
    world.principal.enabled = false;
    assert!(!engine.decide(&world.ask(&Action::PersonManage, Resource::Bastion)).is_allowed());
}

#[test]
fn text_from_people_is_never_policy() {
    let engine = Engine::load(None).unwrap();
    let mut world = World::new(&["operator"]);
    let hostile = "\") || true || (\"\u{202e}\\\n\0";
    hostile.clone_into(&mut world.target.environment);
    world.target.tenant = Some(hostile.to_owned());
    world.target.labels = BTreeMap::from([(hostile.to_owned(), hostile.to_owned())]);
    assert!(!engine.decide(&world.session(&Action::SessionOpen, None)).is_allowed());
    assert!(!engine.decide(&world.ask(&Action::PersonManage, Resource::Bastion)).is_allowed());
    let grant = world.grant(&["shell"], None);
    assert!(engine.decide(&world.session(&Action::SessionOpen, Some(&grant))).is_allowed());
}

#[test]
fn who_could_do_something_is_asked_of_each() {
    let engine = Engine::load(None).unwrap();
    let world = World::new(&["operator"]);
    let people = [World::new(&["admin"]).principal, World::new(&["reviewer"]).principal];
    let could = engine.who_could(&people, &Action::PersonManage, Resource::Bastion, world.now);
    assert_eq!(could.iter().map(|(_, d)| d.is_allowed()).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn the_first_approval_rule_that_fits_holds() {
    let engine = Engine::load(None).unwrap();
    let mut world = World::new(&[]);
    let name = |world: &World, login: &str| engine.rule_for(&world.target, &login.parse().unwrap()).name;
    assert_eq!(name(&world, "deploy"), "production");
    world.target.sensitivity = Sensitivity::High;
    assert_eq!(name(&world, "deploy"), "sensitive targets");
    assert_eq!(name(&world, "root"), "superuser on sensitive targets");
    world.target.plane = Plane::ApplicationData;
    let rule = engine.rule_for(&world.target, &world.login);
    assert_eq!((rule.approvals, rule.clock), (2, WindowClock::FirstUse));
    assert_eq!(rule.use_within, std::time::Duration::from_secs(4 * 3600));
    world.target.plane = Plane::Platform;
    world.target.sensitivity = Sensitivity::Normal;
    "dev".clone_into(&mut world.target.environment);
    assert_eq!(name(&world, "deploy"), "everything else");
}

#[test]
fn every_example_is_a_set_that_loads() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/examples");
    let mut tried = 0;
    for example in fs::read_dir(examples).unwrap() {
        let path = example.unwrap().path();
        if path.is_dir() {
            let _engine = Engine::load(Some(&path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let rows = Engine::test(Some(&path)).unwrap();
            assert!(rows.is_some_and(|rows| !rows.is_empty()), "{} has no table", path.display());
            tried += 1;
        }
    }
    assert!(tried >= 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The promise said a second time, in Rust: the default set opens a session exactly when all of this holds.
    #[test]
    fn a_session_opens_exactly_when_the_promises_say_so(
        roles in proptest::collection::btree_set(prop_oneof!["operator", "approver", "reviewer", "admin"], 0..4),
        (enabled, is_workload, owner_approved) in any::<(bool, bool, bool)>(),
        (has_grant, other_person, other_login, other_target) in
            (prop::bool::weighted(0.9), prop::bool::weighted(0.1), prop::bool::weighted(0.1), prop::bool::weighted(0.1)),
        self_approved in prop::bool::weighted(0.1),
        left_ms in prop_oneof![Just(None), (-5_i64..5).prop_map(Some)],
        can in proptest::collection::btree_set(prop_oneof!["shell", "exec", "sftp", "forward=h:1", "forward=h:2"], 0..5),
        wanted in prop_oneof![Just(None), "shell|exec|sftp|forward=h:1".prop_map(Some)],
    ) {
        let engine = shared();
        let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
        let mut world = World::new(&roles);
        world.principal.enabled = enabled;
        let owner = PersonId::random().unwrap();
        if is_workload {
            world.principal.kind = PrincipalKind::Workload;
            world.principal.owner = Some(owner.clone());
        }
        let can: Vec<&str> = can.iter().map(String::as_str).collect();
        let mut grant = world.grant(&can, None);
        grant.ends = left_ms.map(|ms| world.now + jiff::SignedDuration::from_millis(ms));
        if other_person { grant.person = PersonId::random().unwrap(); }
        if other_login { grant.login = "other".parse().unwrap(); }
        if other_target { grant.target = "other".parse().unwrap(); }
        if self_approved { grant.approvers.insert(world.principal.person.clone()); }
        if owner_approved { grant.approvers.insert(owner); }
        let action = wanted.as_ref().map_or(Action::SessionOpen, |c| Action::Use(c.parse().unwrap()));

        let is_granted = wanted.as_ref().is_none_or(|c| can.contains(&c.as_str()));
        let must = enabled
            && roles.contains(&"operator")
            && has_grant
            && !other_person && !other_login && !other_target
            && !self_approved
            && !(is_workload && owner_approved)
            && left_ms.is_none_or(|ms| ms > 0)
            && is_granted;
        let decision = engine.decide(&world.session(&action, has_grant.then_some(&grant)));
        prop_assert_eq!(decision.is_allowed(), must, "{:?}", decision);
    }
}

fn shared() -> &'static Engine {
    static ENGINE: std::sync::OnceLock<Engine> = std::sync::OnceLock::new();
    ENGINE.get_or_init(|| Engine::load(None).unwrap())
}

fn ids_of(decision: &Decision) -> Vec<String> {
    match decision {
        Decision::Allow(allowed) => allowed.policies.clone(),
        Decision::Deny(denied) => denied.policies.clone(),
    }
}

/// One person, one target, one moment.
struct World {
    principal: Principal,
    target: Target,
    login: Login,
    now: Timestamp,
}

impl World {
    fn new(roles: &[&str]) -> Self {
        Self {
            principal: Principal {
                person: PersonId::random().unwrap(),
                name: "olga".parse::<PersonName>().unwrap(),
                kind: PrincipalKind::Person,
                owner: None,
                roles: roles.iter().map(|r| r.parse().unwrap()).collect(),
                proof: Proof::SshKey,
                enabled: true,
            },
            target: Target {
                name: "web-1".parse().unwrap(),
                protocol: Protocol::Ssh,
                endpoint: Endpoint { host: "192.0.2.1".to_owned(), port: 22 },
                trust: HostTrust::Unpinned,
                plane: Plane::Platform,
                environment: "prod".to_owned(),
                sensitivity: Sensitivity::Normal,
                tenant: None,
                logins: BTreeSet::new(),
                labels: BTreeMap::new(),
                administration: Administration::default(),
            },
            login: "deploy".parse().unwrap(),
            now: "2030-01-02T10:00:00.123Z".parse().unwrap(),
        }
    }

    fn grant(&self, can: &[&str], ends: Option<&str>) -> Grant {
        Grant {
            grant: GrantId::random().unwrap(),
            person: self.principal.person.clone(),
            login: self.login.clone(),
            target: self.target.name.clone(),
            capabilities: can.iter().map(|c| c.parse().unwrap()).collect(),
            approvers: BTreeSet::from([PersonId::random().unwrap()]),
            ends: ends.map(|at| at.parse().unwrap()),
        }
    }

    fn session<'a>(&'a self, action: &'a Action, grant: Option<&'a Grant>) -> Question<'a> {
        let resource = Resource::Target { target: &self.target, login: Some(&self.login) };
        Question { grant, ..self.ask(action, resource) }
    }

    fn ask<'a>(&'a self, action: &'a Action, resource: Resource<'a>) -> Question<'a> {
        let client = Some("::ffff:192.0.2.7".parse().unwrap());
        Question { principal: &self.principal, action, resource, grant: None, now: self.now, client }
    }
}

/// A policy directory of a site's own, beginning as a copy of the defaults.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        for (name, text) in Engine::defaults() {
            site.write(name, text);
        }
        site
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path().join(file), text).unwrap();
    }

    fn append(&self, file: &str, text: &str) {
        let before = fs::read_to_string(self.path().join(file)).unwrap();
        self.write(file, &format!("{before}\n{text}\n"));
    }
}
