//! Finished recordings move to a store, whatever the store does meanwhile, and are read from there.
//!
//! The store is a real one and speaks S3 (`store`). Sessions never wait for it; no recording is there twice, changed or
//! over another.

use std::fs;

use crate::postern::sha256;
use crate::service::get;
use crate::ssh::ALL;
use crate::store::{ACCESS, SECRET, State, Store};
use crate::wait;
use crate::world::World;

/// More than two parts, and what stays behind while it is written.
const LONG: usize = 45_000_000;

/// A world whose recordings go to a store, and stay here too for `keep_local`.
pub(crate) fn world(store: &Store, keep_local: &str) -> World {
    with(table(store, keep_local))
}

/// What `[recording.store]` says of a store.
pub(crate) fn table(store: &Store, keep_local: &str) -> toml::Table {
    let credentials = crate::keeper::directory().join("store");
    fs::write(&credentials, format!("AWS_ACCESS_KEY_ID={ACCESS}\nAWS_SECRET_ACCESS_KEY={SECRET}\n")).unwrap();
    let mut table = toml::Table::new();
    table.insert("url".into(), "s3://recordings".into());
    table.insert("endpoint".into(), format!("http://127.0.0.1:{}", store.wire.port).into());
    table.insert("credentials".into(), credentials.to_string_lossy().into_owned().into());
    table.insert("keep_local".into(), keep_local.into());
    table
}

pub(crate) fn with(store: toml::Table) -> World {
    World::with(|config| {
        let recording = config.entry("recording").or_insert_with(|| toml::Table::new().into());
        recording.as_table_mut().unwrap().insert("store".into(), store.into());
    })
}

/// A finished session in which something was said; gives its id.
pub(crate) fn recorded(world: &World, command: &str) -> String {
    let target = world.target();
    world.grant("alice", &target, ALL);
    world.client("alice").through(&target, command, Vec::new());
    let session = world.session(&target);
    world.ended(&target);
    session
}

/// Waits until the ledger says that a recording was moved; gives where to.
pub(crate) fn moved(world: &World, session: &str) -> String {
    wait::until(wait::LONG, &format!("the recording of {session} is moved"), || {
        let rows = world.hand("carol").list(&["recordings"]);
        let row = rows.into_iter().find(|row| row["session"] == session)?;
        row["stored"]["location"].as_str().map(str::to_owned)
    })
}

/// How often the ledger says so.
fn entries(world: &World, session: &str) -> usize {
    let entries = world.hand("carol").list(&["ledger", "tail", "--lines", "500"]);
    let is_it = |entry: &&serde_json::Value| {
        entry["fact"]["type"] == "recording_stored" && entry["fact"]["session"] == session
    };
    entries.iter().filter(is_it).count()
}

fn is_verified(world: &World) {
    world.hand("carol").ok(&["verify", "--all", "--identity", &world.reading_key()]);
}

#[test]
fn a_finished_recording_is_moved_and_read_from_the_store() {
    let store = Store::start();
    let world = world(&store, "0s");
    let session = recorded(&world, "echo seen by nobody but carol");
    assert_eq!(moved(&world, &session), format!("s3://recordings/{session}.pstn"));
    wait::until(wait::LONG, "the copy here goes", || (!world.recording(&session).exists()).then_some(()));
    assert_eq!(store.objects().len(), 1);
    assert_eq!(entries(&world, &session), 1);
    let events = world.events(&session);
    assert!(crate::client::contains(&crate::review::bytes(&events, "output"), b"seen by nobody but carol"));
    let carol = world.hand("carol");
    assert!(carol.ok(&["verify", &session]).contains("verified"));
    is_verified(&world);
    // Who examines the directory gets what was moved from the bastion.
    let here = world.state.join("recordings");
    world.machine.ok(&["verify", "--all", "--recordings", &here.to_string_lossy()]);
    assert!(carol.ok(&["recordings"]).contains("s3://recordings"));
    let space: serde_json::Value =
        serde_json::from_str(&carol.ok(&["recordings", "--space", "--json"])).unwrap();
    let (all, alice) = (&space["all"], &space["people"]["alice"]);
    assert_eq!((&all["recordings"], &all["here_bytes"]), (&1.into(), &0.into()), "{space}");
    assert_eq!((alice, &alice["stored_bytes"]), (all, &store.objects()[0].1.into()), "{space}");
    assert!(carol.ok(&["recordings", "--space"]).contains("alice"));
    wait::until(wait::LONG, "the doctor sees it", || {
        world.machine.ok(&["doctor"]).contains("everything is there").then_some(())
    });
    // What the store loses is missing, wherever it was.
    store.lose(&format!("/buckets/recordings/{session}.pstn"));
    let said = carol.run(&["verify", "--all"]);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("MISSING") || said.out.contains("missing"), "{}", said.out);
    // The credentials are nowhere but in their file.
    let database = fs::read_dir(world.state.join("ledger"))
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap());
    for bytes in database.chain([world.log().into_bytes()]) {
        assert!(!crate::client::contains(&bytes, SECRET.as_bytes()));
    }
}

#[test]
fn a_store_that_is_down_costs_nothing_and_gets_everything_later() {
    let store = Store::start();
    store.wire.is(State::Cut);
    let world = world(&store, "168h");
    let sessions: Vec<String> = (0..3).map(|n| recorded(&world, &format!("echo {n}"))).collect();
    wait::until(wait::LONG, "the trouble shows", || {
        let said = world.machine.ok(&["status"]);
        said.contains("3 recordings").then_some(())
    });
    let said = world.machine.ok(&["doctor"]);
    assert!(said.contains("warn  store"), "{said}");
    assert!(get(&world, "/readyz").starts_with("HTTP/1.1 200"), "sessions go on");
    assert!(get(&world, "/metrics").contains("postern_store_waiting 3"));
    is_verified(&world);
    store.wire.is(State::Whole);
    for session in &sessions {
        moved(&world, session);
        assert_eq!(entries(&world, session), 1);
        assert!(world.recording(session).exists(), "the copy here stays for a week");
    }
    assert_eq!(store.objects().len(), 3);
    assert_eq!(world.log().matches("not moved to the store so far").count(), 1, "said once: {}", world.log());
}

#[test]
fn what_is_refused_is_said_once_and_tried_again_when_somebody_says_so() {
    let store = Store::start();
    store.wire.is(State::Refusing);
    let world = world(&store, "168h");
    let session = recorded(&world, "true");
    wait::until(wait::LONG, "the refusal is a matter for somebody", || {
        get(&world, "/metrics").contains("postern_store_needs_somebody 1").then_some(())
    });
    let said = world.machine.run(&["doctor"]);
    assert!(
        said.code == 1 && said.out.contains("fail  store") && said.out.contains("AccessDenied"),
        "{}",
        said.out
    );
    let faults = world.log().matches("somebody has to see to it").count();
    assert_eq!(faults, 1, "{}", world.log());
    store.wire.is(State::Whole);
    std::thread::sleep(wait::LONG.min(std::time::Duration::from_secs(5)));
    assert!(store.objects().is_empty(), "nobody said so yet");
    world.hand("alice").refused(&["recordings", "upload"]);
    world.machine.ok(&["recordings", "upload"]);
    moved(&world, &session);
    wait::until(wait::LONG, "all is well again", || {
        world.machine.ok(&["doctor"]).contains("everything is there").then_some(())
    });
}

#[test]
fn a_name_that_is_taken_is_an_alarm_and_never_overwritten() {
    let store = Store::start();
    let world = world(&store, "168h");
    let target = world.target();
    world.grant("alice", &target, ALL);
    let mut pipes = world.client("alice").open(&target, &["echo ready; read x"]);
    pipes.hear("ready");
    let session = world.session(&target);
    store.put(&format!("{session}.pstn"), b"something else");
    pipes.say("\n").unwrap();
    pipes.end(wait::LONG);
    world.ended(&target);
    wait::until(wait::LONG, "the alarm", || {
        world.machine.ok(&["status"]).contains("nothing was overwritten").then_some(())
    });
    assert_eq!(store.objects(), [(format!("{session}.pstn"), 14)]);
    assert!(world.hand("carol").ok(&["recordings", "--json"]).contains("nothing was overwritten"));
    // Others are moved all the same, and what was taken for the same is not.
    let other = recorded(&world, "true");
    moved(&world, &other);
    is_verified(&world);
    // After a restart it is tried again; by then the name is free.
    store.lose(&format!("/buckets/recordings/{session}.pstn"));
    world.signal("TERM");
    world.serve_ends();
    world.serve_again();
    moved(&world, &session);
}

#[test]
fn a_crash_in_the_middle_of_an_upload_leaves_one_whole_object() {
    let store = Store::start();
    store.wire.is(State::Stopping(20 << 20));
    let world = world(&store, "168h");
    let session = recorded(&world, &format!("head -c {LONG} /dev/urandom"));
    let note = world.state.join(format!("recordings/sending/{session}.json"));
    wait::until(wait::LONG, "a part is sent, and the rest hangs", || {
        let text = fs::read_to_string(&note).unwrap_or_default();
        text.contains("sha256").then_some(())
    });
    assert!(store.objects().is_empty());
    world.kill();
    store.wire.is(State::Whole);
    let before = store.parts();
    world.serve_again();
    moved(&world, &session);
    let file = fs::read(world.recording(&session)).unwrap();
    assert_eq!(store.objects(), [(format!("{session}.pstn"), file.len() as u64)]);
    assert_eq!((store.parts(), note.exists(), before.len()), (Vec::new(), false, 1), "nothing is left over");
    assert_eq!(entries(&world, &session), 1);
    let entries = world.hand("carol").list(&["ledger", "tail", "--lines", "500"]);
    let stored = entries.iter().find(|entry| entry["fact"]["type"] == "recording_stored").unwrap();
    assert_eq!(stored["fact"]["sha256"], sha256(&file).as_str());
}

#[test]
fn a_long_one_is_sent_while_it_runs_and_a_part_that_the_store_loses_is_sent_again() {
    let store = Store::start();
    let world = world(&store, "0s");
    let target = world.target();
    world.grant("alice", &target, ALL);
    let script = format!("head -c {LONG} /dev/urandom | base64 -w0 > /dev/stderr; echo over; read x");
    let mut pipes = world.client("alice").open(&target, &[&script]);
    wait::until(wait::LONG, "parts are sent while the session runs", || {
        (store.parts().len() >= 2).then_some(())
    });
    assert!(world.sessions(&target)[0]["ended"].is_null(), "it still runs");
    store.lose(&store.parts()[0]);
    pipes.hear("over");
    pipes.say("\n").unwrap();
    pipes.end(wait::LONG);
    let session = world.session(&target);
    world.ended(&target);
    moved(&world, &session);
    wait::until(wait::LONG, "the copy here goes", || (!world.recording(&session).exists()).then_some(()));
    assert_eq!(store.objects().len(), 1);
    is_verified(&world);
}

#[test]
fn a_directory_is_a_store_too() {
    let there = crate::keeper::directory().join("kept");
    fs::create_dir(&there).unwrap();
    let mut table = toml::Table::new();
    table.insert("url".into(), format!("file://{}", there.display()).into());
    table.insert("keep_local".into(), "0s".into());
    let world = with(table);
    let session = recorded(&world, "echo kept");
    moved(&world, &session);
    wait::until(wait::LONG, "the copy here goes", || (!world.recording(&session).exists()).then_some(()));
    assert_eq!(fs::read_dir(&there).unwrap().count(), 1);
    is_verified(&world);
    let events = world.events(&session);
    assert!(crate::client::contains(&crate::review::bytes(&events, "output"), b"kept"));
}
