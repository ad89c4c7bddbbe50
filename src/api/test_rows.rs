//! How to call each route so that it succeeds, by whom, and what somebody without any role gets. A route that is not
//! here fails the tests.
//!
//! The callers and things named here are made in `test_world.rs`.

use serde_json::json;

use super::routes::Route;
use super::test_world::{World, key_of, public};
use crate::access::Command;
use crate::ledger::entry::Actor;

/// What somebody without any role gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// The same as anybody.
    Served,
    /// An empty list.
    Nothing,
    /// 403: they may know of it and not do it.
    Refused,
    /// 404: they may not know of it.
    Hidden,
}

use Stranger::{Hidden, Nothing, Refused, Served};

/// Who is the right person, the path, the body, and what a stranger gets.
pub(super) type Row = (&'static str, String, String, Stranger);

/// How to call a route.
pub(super) async fn row(world: &World, route: &Route) -> Row {
    let path = route
        .path
        .replace("{person}", world.person("paul").as_str())
        .replace("{target}", "web-1")
        .replace("{request}", world.request.as_str())
        .replace("{grant}", world.grant.as_str())
        .replace("{seq}", "1");
    match route.path.split('/').nth(1) {
        Some("sign-in" | "sign-out" | "status" | "people") => about_people(world, route, path).await,
        Some("host-keys" | "targets" | "requests" | "grants" | "revocations") => {
            about_access(world, route, path)
        }
        _ => about_what_happened(world, route, path).await,
    }
}

async fn about_people(world: &World, route: &Route, path: String) -> Row {
    let (none, paul) = (String::new(), world.person("paul"));
    match (route.method.as_str(), route.path) {
        ("POST", "/sign-in") => ("ada", path, world.signed_challenge("ada").await, Served),
        ("POST", "/sign-in/challenge" | "/sign-out") | ("GET", "/status") => ("erin", path, none, Served),
        ("GET", "/people") => ("ada", path, none, Refused),
        ("POST", "/people") => {
            let body = json!({ "name": "new", "roles": ["operator"], "public_keys": [public(1)] });
            ("ada", path, body.to_string(), Refused)
        }
        ("POST", "/people/{person}/identities") => {
            ("ada", path, json!({ "public_key": public(2) }).to_string(), Refused)
        }
        ("DELETE", "/people/{person}/identities") => {
            let fingerprint = key_of("paul").fingerprint(russh::keys::HashAlg::Sha256).to_string();
            let body = json!({ "identity": { "issuer": "ssh-key", "subject": fingerprint } });
            ("ada", path, body.to_string(), Refused)
        }
        ("PUT", "/people/{person}/roles") => {
            ("ada", path, json!({ "roles": ["reviewer"] }).to_string(), Refused)
        }
        ("POST", "/people/{person}/disable") => ("ada", path, reason(), Refused),
        ("POST", "/people/{person}/enable") => {
            let command = Command::DisablePerson { person: paul, reason: "a test".to_owned() };
            world.store.submit(Actor::Operator, command).await.unwrap();
            ("ada", path, none, Refused)
        }
        _ => unknown(route),
    }
}

fn about_access(world: &World, route: &Route, path: String) -> Row {
    let none = String::new();
    match (route.method.as_str(), route.path) {
        ("GET", "/targets") => ("erin", path, none, Served),
        ("POST", "/targets") => {
            let body = json!({ "name": "web-2", "endpoint": { "host": "web-2.internal", "port": 22 } });
            ("ada", path, body.to_string(), Refused)
        }
        ("POST", "/targets/{target}/trust") => {
            ("ada", path, json!({ "trust": { "keys": [public(3)] } }).to_string(), Refused)
        }
        ("GET", "/targets/{target}/host-keys") => ("ada", path, none, Refused),
        ("POST", "/host-keys") => {
            let body = json!({ "endpoint": { "host": "web-2.internal", "port": 22 } });
            ("ada", path, body.to_string(), Refused)
        }
        ("POST", "/targets/{target}/test") => {
            ("ada", path, json!({ "login": "deploy" }).to_string(), Refused)
        }
        ("DELETE", "/targets/{target}") => ("ada", path, reason(), Refused),
        ("GET", "/requests" | "/grants") => ("erin", path, none, Nothing),
        ("POST", "/requests") => {
            let body = json!({ "login": "deploy", "target": "web-1", "reason": "a test" });
            ("erin", path, body.to_string(), Refused)
        }
        ("GET", "/requests/{request}") => ("erin", path, none, Hidden),
        ("POST", "/requests/{request}/approve") => {
            let hash = world.store.read(|state| state.request(&world.request).unwrap().hash.clone());
            ("alice", path, world.approval("alice", world.request.as_str(), &hash, 60), Hidden)
        }
        ("POST", "/requests/{request}/deny" | "/grants/{grant}/revoke") => ("alice", path, reason(), Hidden),
        ("POST", "/requests/{request}/withdraw") => ("erin", path, none, Hidden),
        ("POST", "/revocations") => {
            ("ada", path, json!({ "scope": "everything", "reason": "a test" }).to_string(), Refused)
        }
        _ => unknown(route),
    }
}

async fn about_what_happened(world: &World, route: &Route, path: String) -> Row {
    let none = String::new();
    let live = |path: String| path.replace("{session}", world.live.as_str());
    let over = |path: String| path.replace("{session}", world.over.as_str());
    match (route.method.as_str(), route.path) {
        ("GET", "/sessions") => ("erin", path, none, Nothing),
        ("GET", "/sessions/{session}") => ("erin", live(path), none, Hidden),
        ("GET", "/sessions/{session}/receipt") => ("erin", over(path), none, Hidden),
        ("POST", "/sessions/{session}/terminate") => ("alice", live(path), reason(), Hidden),
        ("GET", "/sessions/{session}/watch") => {
            world.record();
            ("rita", live(path), none, Hidden)
        }
        ("POST", "/recordings/upload") => ("ada", path, none, Refused),
        ("GET", "/recordings") => ("rita", path, none, Nothing),
        ("GET", "/recordings/{session}/content" | "/recordings/{session}/ledger") => {
            ("rita", over(path), none, Hidden)
        }
        ("GET", "/recordings/{session}/key") => ("rita", over(path), none, Hidden),
        ("PUT", "/recordings/{session}/key") => {
            let reviewers = world.store.read(|state| state.node().reviewers.clone());
            let wrapped = data_encoding::BASE64.encode(b"age-encryption.org/v1\n");
            let body = json!({ "wrapped": wrapped, "reviewers": reviewers }).to_string();
            ("rita", over(path), body, Hidden)
        }
        ("POST", path_of) if path_of.starts_with("/recordings/{session}/") => {
            about_keeping(world, path_of, over(path)).await
        }
        ("GET", "/reviewers") => ("ada", path, none, Refused),
        ("PUT", "/reviewers") => {
            let recipient = crate::recording::ReviewerIdentity::generate().recipients().remove(0).to_string();
            ("ada", path, json!({ "recipients": [recipient] }).to_string(), Refused)
        }
        ("GET", "/policies") => ("rita", path, none, Refused),
        ("POST", "/policies/reload") => {
            let file = world.directory.path().join("policies/default.cedar");
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, format!("// changed\n{text}")).unwrap();
            ("ada", path, none, Refused)
        }
        ("POST", "/policies/explain") => {
            let body =
                json!({ "person": "erin", "action": "request:make", "target": "web-1", "login": "deploy" });
            ("rita", path, body.to_string(), Refused)
        }
        ("GET", "/ledger/consistency") => ("rita", format!("{path}?from=2"), none, Refused),
        ("GET", "/ledger/entries" | "/ledger/checkpoint" | "/ledger/cosigned" | "/ledger/proof/{seq}") => {
            ("rita", path, none, Refused)
        }
        _ => unknown(route),
    }
}

async fn about_keeping(world: &World, path_of: &str, path: String) -> Row {
    let (session, recorded) = (world.over.clone(), world.person("erin"));
    let none = String::new();
    let reason_of = || "a test".to_owned();
    match path_of.rsplit('/').next() {
        Some("hold") => ("ada", path, reason(), Hidden),
        Some("release") => {
            let command = Command::HoldRecording { session, reason: reason_of() };
            world.store.submit(Actor::Operator, command).await.unwrap();
            ("rita", path, reason(), Hidden)
        }
        Some("deletion") => ("rita", path, reason(), Hidden),
        // Asked by one, confirmed or refused by another.
        _ => {
            let command = Command::AskDeletion { session, recorded, reason: reason_of() };
            world.store.submit(world.actor("rita"), command).await.unwrap();
            ("ada", path, none, Hidden)
        }
    }
}

fn unknown(route: &Route) -> ! {
    panic!(
        "{} {} is new: say here how to call it, by whom, and what a stranger gets",
        route.method, route.path
    )
}

fn reason() -> String {
    json!({ "reason": "a test" }).to_string()
}
