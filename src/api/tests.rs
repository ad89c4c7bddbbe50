//! Every route as nobody, as a stranger and as the right person; and the ways the API could be talked into something.
//!
//! The bastion they run against is `test_world.rs`; how each route is called is `test_rows.rs`.

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::error::ApiError;
use super::openapi;
use super::routes::{Guard, PREFIX, ROUTES};
use super::test_rows::{Stranger, row};
use super::test_world::{From, World, submit};
use crate::access::{Command, NewIdentity};
use crate::ledger::entry::{Actor, StoredFacts};
use crate::model::Identity;

#[tokio::test]
async fn every_route_refuses_nobody_and_strangers_serves_the_right_person_and_is_in_the_ledger() {
    for route in ROUTES {
        let world = World::new().await;
        let name = format!("{} {}", route.method, route.path);
        let (who, path, body, stranger) = row(&world, route).await;
        let right = world.sign_in(who).await;
        let sam = world.sign_in("sam").await;
        let method = route.method.as_str();
        let is_open = matches!(route.guard, Guard::Open);
        let before = world.size();

        if !is_open {
            for from in [From::Nobody, From::Unlabelled, From::Token("pst_api_forged"), From::Token("")] {
                let (status, answer) = world.call(from, method, &path, &body).await;
                assert_eq!(status, StatusCode::UNAUTHORIZED, "{name}: {answer}");
            }
            let (status, answer) = world.call(From::Token(&sam), method, &path, &body).await;
            let got = match status {
                StatusCode::OK if answer == json!({ "items": [], "next": null }) => Stranger::Nothing,
                StatusCode::OK => Stranger::Served,
                StatusCode::FORBIDDEN => Stranger::Refused,
                StatusCode::NOT_FOUND => Stranger::Hidden,
                other => panic!("{name}: {other} {answer}"),
            };
            assert_eq!(got, stranger, "{name}: {answer}");
            assert_eq!(world.size(), before, "{name}: what is refused changes nothing");
        }

        let response = world.response(From::Token(&right), method, &path, &body).await;
        let status = response.status();
        let grown = world.size() > before;
        if status != StatusCode::OK {
            let text = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            panic!("{name}: {status} {}", String::from_utf8_lossy(&text));
        }
        assert_eq!(
            grown, route.leaves_entry,
            "{name}: whether it is in the ledger, before a byte of the answer"
        );
    }
}

#[tokio::test]
async fn the_machines_operator_may_do_everything_that_does_not_take_a_person() {
    for route in ROUTES {
        let world = World::new().await;
        let (_, path, body, _) = row(&world, route).await;
        let (method, name) = (route.method.as_str(), format!("{} {}", route.method, route.path));
        let response = world.response(From::Operator, method, &path, &body).await;
        let needs_person = [
            "/requests/{request}/approve",
            "/requests",
            "/recordings/{session}/release",
            "/recordings/{session}/deletion",
            "/recordings/{session}/deletion/confirm",
        ];
        let needs_person = needs_person.contains(&route.path) && method == "POST";
        let expected = if needs_person { StatusCode::FORBIDDEN } else { StatusCode::OK };
        assert_eq!(response.status(), expected, "{name}");
    }
}

#[tokio::test]
async fn a_list_too_long_for_the_ledger_is_the_callers_fault_and_an_unreadable_recording_is_not_missing() {
    let world = World::new().await;
    let recipients = (0..64).map(|n| format!("{n:0>2000}")).collect();
    let set = Command::SetReviewers { recipients };
    let error = ApiError::from(world.store.submit(Actor::Operator, set).await.unwrap_err());
    assert!(format!("{error:?}").contains("shorten the list"), "{error:?}");
    assert_eq!(error.into_response().status(), StatusCode::BAD_REQUEST);

    // A link to itself is there and cannot be opened.
    let file = world.directory.path().join(format!("recordings/{}.pstn", world.over));
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(&file, &file).unwrap();
    let path = format!("/recordings/{}/content", world.over);
    let (status, answer) = world.call(From::Operator, "GET", &path, "").await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("failed")));
    let state = async || {
        let (_, listed) = world.call(From::Operator, "GET", "/recordings", "").await;
        let all = listed["items"].as_array().unwrap().clone();
        all.into_iter().find(|one| one["session"] == world.over.as_str()).unwrap()["state"].clone()
    };
    assert_eq!(state().await, "unreadable");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(state().await, "missing");
    assert_eq!(world.call(From::Operator, "GET", &path, "").await.1["error"]["code"], "recording_missing");
}

#[tokio::test]
async fn a_recording_that_was_moved_comes_from_where_the_ledger_says() {
    let world = World::new().await;
    std::fs::remove_file(world.directory.path().join(format!("recordings/{}.pstn", world.over))).unwrap();
    let path = format!("/recordings/{}/content", world.over);
    let moved = async |location: &str| {
        let (session, location) = (world.over.clone(), location.to_owned());
        let facts = StoredFacts { session, location, bytes: 14, sha256: "55".to_owned() };
        submit(&world.store, Actor::Node, Command::StoreRecording(Box::new(facts))).await;
    };
    moved("s3://recordings/x.pstn").await;
    let (_, listed) = world.call(From::Operator, "GET", "/recordings", "").await;
    let one =
        listed["items"].as_array().unwrap().iter().find(|one| one["session"] == world.over.as_str()).unwrap();
    assert_eq!(
        (&one["state"], &one["is_here"], &one["bytes"]),
        (&json!("finished"), &json!(false), &json!(14))
    );
    assert_eq!(one["stored"]["location"], "s3://recordings/x.pstn");
    let response = world.response(From::Operator, "GET", &path, "").await;
    assert_eq!(response.status(), StatusCode::OK);
    let bytes = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
    assert_eq!(&bytes[..], b"from the store");
    moved("s3://elsewhere/x.pstn").await;
    assert_eq!(world.call(From::Operator, "GET", &path, "").await.1["error"]["code"], "recording_missing");
}

#[tokio::test]
async fn a_deleted_recording_says_by_whom_and_why_instead_of_its_bytes() {
    let world = World::new().await;
    let path = |verb: &str| format!("/recordings/{}/{verb}", world.over);
    let body = json!({ "reason": "a wish" }).to_string();
    let (ada, rita) = (world.sign_in("ada").await, world.sign_in("rita").await);
    let (status, asked) = world.call(From::Token(&ada), "POST", &path("deletion"), &body).await;
    assert_eq!((status, &asked["asked"]["by"]), (StatusCode::OK, &json!("ada")));
    let (status, answer) = world.call(From::Token(&ada), "POST", &path("deletion/confirm"), "").await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::FORBIDDEN, &json!("separation")));
    let (_, held) = world.call(From::Token(&ada), "POST", &path("hold"), &body).await;
    assert_eq!(held["held"]["reason"], "a wish");
    let (status, answer) = world.call(From::Token(&ada), "POST", &path("release"), &body).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::FORBIDDEN, &json!("refused")));
    let (_, answer) = world.call(From::Token(&rita), "POST", &path("deletion/confirm"), "").await;
    assert_eq!(answer["error"]["code"], "recording_held");
    world.call(From::Token(&rita), "POST", &path("release"), &body).await;
    let (status, deleted) = world.call(From::Token(&rita), "POST", &path("deletion/confirm"), "").await;
    assert_eq!((status, &deleted["state"]), (StatusCode::OK, &json!("deleted")), "{deleted}");
    let (_, answer) = world.call(From::Token(&rita), "GET", &path("content"), "").await;
    let words = answer["error"]["message"].as_str().unwrap();
    assert_eq!(answer["error"]["code"], "recording_deleted");
    assert!(words.contains("ada asked and rita confirmed: a wish"), "{words}");
    let (_, answer) = world.call(From::Token(&ada), "POST", &path("deletion"), &body).await;
    assert_eq!(answer["error"]["code"], "recording_deleted");
}

/// A rule may look at how somebody signed in, so what is said of them looks at how they could.
#[tokio::test]
async fn who_can_approve_and_why_is_said_of_the_ways_people_have_to_prove_who_they_are() {
    use russh::keys::PublicKey;
    use russh::keys::ssh_key::public::{Ed25519PublicKey, KeyData, SkEd25519};
    let world = World::new().await;
    let rule = "@id(\"touch\") @reason(\"use a security key\")\nforbid (principal, action == Action::\"request:approve\", resource) \
                when { context.proof == \"ssh_key\" };";
    std::fs::write(world.directory.path().join("policies/touch.cedar"), rule).unwrap();
    std::fs::write(world.directory.path().join("policies/decisions.toml"), "").unwrap();
    let (status, answer) = world.call(From::Operator, "POST", "/policies/reload", "").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let path = format!("/requests/{}", world.request);
    let can_approve = async || world.call(From::Operator, "GET", &path, "").await.1["can_approve"].clone();
    let ask = json!({ "person": "alice", "action": "request:approve", "target": "web-1", "login": "deploy" });
    let explain = async || world.call(From::Operator, "POST", "/policies/explain", &ask.to_string()).await.1;
    let link = async |identity, public_key| {
        let identity = NewIdentity { identity, public_key };
        let command = Command::LinkIdentity { person: world.person("alice"), identity };
        world.store.submit(Actor::Operator, command).await.unwrap();
    };
    assert_eq!(can_approve().await, json!([]));
    assert_eq!((&explain().await["allowed"], &explain().await["proof"]), (&json!(false), &json!("ssh_key")));

    link(Identity { issuer: "ssh-ca:corp".to_owned(), subject: "alice@corp".to_owned() }, None).await;
    assert_eq!(explain().await["otherwise"], json!(["ssh_certificate"]));

    let key = SkEd25519::new(Ed25519PublicKey([7; 32]), "ssh:");
    let key = PublicKey::from(KeyData::SkEd25519(key));
    let fingerprint = key.fingerprint(russh::keys::HashAlg::Sha256).to_string();
    link(Identity::ssh_key(&fingerprint), Some(key.to_openssh().unwrap())).await;
    assert_eq!(can_approve().await, json!(["alice"]), "named once, however many ways there are");
    let explained = explain().await;
    assert_eq!(explained["otherwise"], json!(["ssh_certificate", "ssh_security_key"]), "{explained}");
}

#[tokio::test]
async fn policies_are_shown_as_they_are_in_force_and_a_rule_that_goes_is_named() {
    let world = World::new().await;
    let ada = world.sign_in("ada").await;
    let file = world.directory.path().join("policies/more.cedar");
    let rule = "@id(\"no-x\") @reason(\"no\") forbid (principal, action, resource) when { principal.name == \"x\" };";
    let shown =
        async || world.call(From::Operator, "GET", "/policies", "").await.1.to_string().contains("no-x");
    let reload = async || world.call(From::Token(&ada), "POST", "/policies/reload", "").await.1;
    std::fs::write(&file, rule).unwrap();
    assert!(!shown().await, "a file alone is not in force");
    assert_eq!(reload().await["rules"], json!({ "added": ["no-x"] }));
    std::fs::remove_file(&file).unwrap();
    assert!(shown().await, "nor out of force when it is gone");
    assert_eq!(reload().await["rules"], json!({ "removed": ["no-x"] }));
    assert!(!shown().await);
    let (_, entries) = world.call(From::Operator, "GET", "/ledger/entries", "").await;
    let last = entries["items"].as_array().unwrap().last().unwrap();
    assert_eq!(last["fact"]["rules"], json!({ "removed": ["no-x"] }), "{last}");
}

#[tokio::test]
async fn a_request_is_approved_with_a_signature_by_somebody_else_and_revoked_again() {
    let world = World::new().await;
    let (erin, alice, zoe) =
        (world.sign_in("erin").await, world.sign_in("alice").await, world.sign_in("zoe").await);
    let wish =
        json!({ "login": "deploy", "target": "web-1", "for_s": 900, "reason": "deploy 1.2" }).to_string();
    let (_, asked) = world.call(From::Token(&erin), "POST", "/requests", &wish).await;
    let (id, hash) = (asked["request"]["request"].as_str().unwrap(), asked["hash"].as_str().unwrap());
    assert_eq!(asked["state"], "open");
    assert_eq!(asked["can_approve"], json!(["alice"]));
    let path = format!("/requests/{id}/approve");

    let others = world.approval("erin", id, hash, 900);
    let (status, answer) = world.call(From::Token(&alice), "POST", &path, &others).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "somebody else's signature: {answer}");
    let (status, _) = world.call(From::Token(&erin), "POST", &path, &others).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "one's own request");
    let (status, _) =
        world.call(From::Token(&zoe), "POST", &path, &world.approval("zoe", id, hash, 900)).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "not hers to see");
    let longer = world.approval("alice", id, hash, 901);
    assert_eq!(world.call(From::Token(&alice), "POST", &path, &longer).await.0, StatusCode::BAD_REQUEST);
    let edited = world.approval("alice", id, hash, 900).replace("900", "899");
    assert_eq!(world.call(From::Token(&alice), "POST", &path, &edited).await.0, StatusCode::BAD_REQUEST);
    let other_hash = world.approval("alice", id, &"ab".repeat(32), 900);
    assert_eq!(world.call(From::Token(&alice), "POST", &path, &other_hash).await.0, StatusCode::CONFLICT);

    let (status, approved) =
        world.call(From::Token(&alice), "POST", &path, &world.approval("alice", id, hash, 300)).await;
    assert_eq!(status, StatusCode::OK, "{approved}");
    assert_eq!(approved["state"], "granted");
    let grant = approved["grant"].as_str().unwrap();
    let (_, grants) = world.call(From::Token(&erin), "GET", "/grants", "").await;
    let issued =
        grants["items"].as_array().unwrap().iter().find(|item| item["grant"]["grant"] == grant).unwrap();
    assert_eq!(issued["grant"]["duration_s"], 300, "an approver may shorten");

    let revoke = format!("/grants/{}/revoke", world.grant);
    let (status, ended) =
        world.call(From::Token(&alice), "POST", &revoke, &json!({ "reason": "leak" }).to_string()).await;
    assert_eq!(status, StatusCode::OK, "{ended}");
    assert_eq!(ended["ended"][0]["session"], world.live.as_str());
    assert_eq!(ended["still_live"], json!([]));
    let (_, all) = world.call(From::Token(&erin), "GET", "/grants?state=all", "").await;
    let gone =
        all["items"].as_array().unwrap().iter().find(|item| item["grant"]["grant"] == world.grant.as_str());
    assert_eq!(gone.unwrap()["ended"], "revoked");
}

#[tokio::test]
async fn a_thing_is_found_by_the_beginning_of_its_id_and_only_by_who_may_see_it() {
    let world = World::new().await;
    let (erin, zoe) = (world.sign_in("erin").await, world.sign_in("zoe").await);
    let body: String = world.live.as_str().chars().skip(4).take(6).collect();
    for path in [format!("/sessions/ses_{body}"), format!("/sessions/{body}")] {
        let (status, found) = world.call(From::Token(&erin), "GET", &path, "").await;
        assert_eq!((status, &found["session"]["session"]), (StatusCode::OK, &json!(world.live.as_str())));
        let (status, hers) = world.call(From::Token(&zoe), "GET", &path, "").await;
        let (_, none) = world.call(From::Token(&zoe), "GET", "/sessions/ses_aaaaaaaaaaaaaaaa", "").await;
        assert_eq!((status, hers), (StatusCode::NOT_FOUND, none), "the same answer as for what is not there");
    }
    for odd in ["/sessions/ses_", "/sessions/%25", "/sessions/..%2f..%2fetc", "/people/%00/enable"] {
        let (status, _) = world.call(From::Token(&erin), "GET", odd, "").await;
        assert!(matches!(status.as_u16(), 400 | 404 | 405), "{odd}: {status}");
    }
}

#[tokio::test]
async fn lists_hold_what_is_live_and_what_is_over_to_the_same_filter() {
    let world = World::new().await;
    let operator = |path: String| {
        let world = &world;
        async move { world.call(From::Operator, "GET", &path, "").await.1["items"].as_array().unwrap().len() }
    };
    for list in ["/recordings?", "/sessions?state=all&", "/requests?state=all&", "/grants?state=all&"] {
        let theirs = operator(format!("{list}person=erin&target=web-1")).await;
        assert!(theirs > 0, "{list}");
        assert_eq!(theirs, operator(list.to_owned()).await, "{list} all there is, is erin's on web-1");
        assert_eq!(operator(format!("{list}person=zoe")).await, 0, "{list} of somebody else's");
        assert_eq!(operator(format!("{list}target=web-9")).await, 0, "{list} on another target");
    }
}

#[tokio::test]
async fn bodies_are_bounded_plain_and_exactly_what_is_expected() {
    let world = World::new().await;
    let erin = world.sign_in("erin").await;
    let wish = |reason: &str| json!({ "login": "deploy", "target": "web-1", "reason": reason }).to_string();
    let size = world.size();
    let cases = [
        (wish("a\u{1b}]0;owned\u{7}"), 400),
        (wish("a\nb"), 400),
        (wish("invoice\u{202e}gpj"), 400),
        (wish("zero\u{200b}width"), 400),
        (wish(&"x".repeat(2 << 20)), 413),
        (wish(&"x".repeat(40_000)), 400),
        ("{".to_owned(), 400),
        ("[]".to_owned(), 400),
        (json!({ "login": "deploy", "target": "web-1", "reason": "x", "approved": true }).to_string(), 400),
        (json!({ "login": "*", "target": "web-1", "reason": "x" }).to_string(), 400),
        (json!({ "login": "deploy", "target": "web-1" }).to_string(), 400),
        (json!({ "login": "deploy", "target": "nowhere", "reason": "x" }).to_string(), 404),
    ];
    for (body, expected) in cases {
        let (status, answer) = world.call(From::Token(&erin), "POST", "/requests", &body).await;
        assert_eq!(status.as_u16(), expected, "{body:.60} {answer}");
        assert!(answer["error"]["code"].is_string() && answer["error"]["message"].is_string(), "{answer}");
        assert!(!answer.to_string().contains('\u{1b}'));
    }
    assert_eq!(world.size(), size);
}

#[tokio::test]
async fn a_disabled_person_is_out_at_once_and_a_token_ends_with_sign_out() {
    let world = World::new().await;
    let (ada, paul) = (world.sign_in("ada").await, world.sign_in("paul").await);
    assert_eq!(world.call(From::Token(&paul), "GET", "/status", "").await.0, StatusCode::OK);
    let body = json!({ "reason": "left" }).to_string();
    assert_eq!(world.call(From::Token(&ada), "POST", "/people/paul/disable", &body).await.0, StatusCode::OK);
    assert_eq!(world.call(From::Token(&paul), "GET", "/status", "").await.0, StatusCode::UNAUTHORIZED);
    let again = world.signed_challenge("paul").await;
    assert_eq!(world.call(From::Nobody, "POST", "/sign-in", &again).await.0, StatusCode::UNAUTHORIZED);

    let signed = world.signed_challenge("ada").await;
    assert_eq!(world.call(From::Nobody, "POST", "/sign-in", &signed).await.0, StatusCode::OK);
    let (status, _) = world.call(From::Nobody, "POST", "/sign-in", &signed).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "a challenge is good once");
    world.call(From::Token(&ada), "POST", "/sign-out", "").await;
    assert_eq!(world.call(From::Token(&ada), "GET", "/status", "").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_last_admin_stays() {
    let world = World::new().await;
    let reason = json!({ "reason": "x" }).to_string();
    let (status, answer) = world.call(From::Operator, "POST", "/people/ada/disable", &reason).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::CONFLICT, &json!("last_admin")));
}

#[tokio::test]
async fn watching_shows_events_as_they_happen_until_the_right_to_it_ends() {
    let world = World::new().await;
    world.record();
    let rita = world.sign_in("rita").await;
    let path = format!("/sessions/{}/watch", world.live);
    let response = world.response(From::Token(&rita), "GET", &path, "").await;
    let mut lines = response.into_body().into_data_stream();
    world.happen();
    let line = lines.next().await.unwrap().unwrap();
    let event: Value = serde_json::from_slice(line.trim_ascii()).unwrap();
    assert_eq!((&event["type"], &event["channel"]), (&json!("shell"), &json!(1)));

    let command = Command::DisablePerson { person: world.person("rita"), reason: "x".to_owned() };
    world.store.submit(Actor::Operator, command).await.unwrap();
    world.happen();
    assert!(lines.next().await.is_none(), "a watcher who is disabled sees nothing more");
}

#[tokio::test]
async fn a_receipt_proves_that_the_end_is_in_the_ledger() {
    use crate::ledger::{Checkpoint, TreeHash, verify_inclusion};
    let world = World::new().await;
    let erin = world.sign_in("erin").await;
    let path = format!("/sessions/{}/receipt", world.over);
    let (_, receipt) = world.call(From::Token(&erin), "GET", &path, "").await;
    let head =
        Checkpoint::open(receipt["checkpoint"].as_str().unwrap(), world.store.checkpoint_key()).unwrap();
    let (index, size) =
        (receipt["proof"]["index"].as_u64().unwrap(), receipt["proof"]["size"].as_u64().unwrap());
    let hash = |hex: &Value| {
        let bytes = data_encoding::HEXLOWER.decode(hex.as_str().unwrap().as_bytes()).unwrap();
        TreeHash::from_bytes(bytes.try_into().unwrap())
    };
    let proof: Vec<TreeHash> = receipt["proof"]["hashes"].as_array().unwrap().iter().map(hash).collect();
    let leaf = world.store.prove(index).unwrap().entry.leaf;
    assert_eq!(head.size, size);
    assert!(verify_inclusion(leaf, index, size, &proof, &head.root));
    assert_eq!(receipt["entry"]["fact"]["session"], world.over.as_str());
    let live = format!("/sessions/{}/receipt", world.live);
    assert_eq!(world.call(From::Token(&erin), "GET", &live, "").await.0, StatusCode::CONFLICT);
}

#[test]
fn the_document_has_every_route_and_every_reference_leads_somewhere() {
    let document = openapi::document();
    for route in ROUTES {
        let operation =
            &document["paths"][format!("{PREFIX}{}", route.path)][route.method.as_str().to_ascii_lowercase()];
        assert_eq!(operation["summary"], route.summary, "{}", route.path);
        assert_eq!(operation["requestBody"].is_object(), route.takes.is_some(), "{}", route.path);
    }
    let listed = &document["paths"][format!("{PREFIX}/sessions")]["get"]["parameters"];
    let names: Vec<&str> =
        listed.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["person", "target", "before", "state"]);
    let text = document.to_string();
    let mut references = 0;
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
        references += 1;
    }
    assert!(references > 50, "{references}");
    let ids: Vec<&str> =
        text.split("\"operationId\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let unique: std::collections::BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!((unique.len(), ids.len()), (ROUTES.len(), ROUTES.len()));
}

/// A list that was to be of one person's would else be of everybody's.
#[tokio::test]
async fn what_is_not_in_a_routes_query_is_refused() {
    let world = World::new().await;
    for (path, good) in [
        ("/sessions?state=all&person=erin&target=web-1", true),
        ("/ledger/entries?from=1&limit=2", true),
        ("/sessions?persn=erin", false),
        ("/people?state=all", false),
    ] {
        let (status, answer) = world.call(From::Operator, "GET", path, "").await;
        assert_eq!(status, if good { StatusCode::OK } else { StatusCode::BAD_REQUEST }, "{path} {answer}");
    }
}
