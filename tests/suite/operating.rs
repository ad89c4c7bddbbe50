//! The commands of whoever keeps a bastion alive: ledger, policies, doctor, the service manager, client configuration.
//!
//! Reading and proving only; crashes, stops and restores are in `recovery`, metrics and logs in `service`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;

use serde_json::Value;

use crate::asking::policies;
use crate::client::{Pipes, run};
use crate::keeper::{self, Process};
use crate::postern::Hand;
use crate::ssh::ALL;
use crate::wait;
use crate::world::World;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|why| panic!("{why}: {text}"))
}

#[test]
fn one_entry_is_proven_and_one_that_is_not_there_is_not() {
    let world = World::shared();
    let target = world.target();
    world.grant("alice", &target, ALL);
    world.client("alice").ok(&target, "true");
    let session = world.session(&target);
    world.ended(&target);
    let carol = world.hand("carol");
    let proven = json(&carol.ok(&["ledger", "prove", &session, "--json"]));
    assert_eq!(proven["ok"], true);
    assert!(proven["entry"].to_string().contains(&session) && proven["checkpoint"].is_string(), "{proven}");
    assert!(carol.ok(&["ledger", "prove", "0"]).contains("proven"));
    carol.refused(&["ledger", "prove", "999999999"]);
    // Against another bastion's key nothing is proven.
    let other = World::fresh();
    let other = json(&other.machine.ok(&["ledger", "prove", "0", "--json"]));
    let said = carol.refused(&["ledger", "prove", "0", "--key", other["key"].as_str().unwrap()]);
    assert!(said.contains("key") || said.contains("sign"), "{said}");
}

#[test]
fn the_tail_follows_what_is_appended() {
    let world = World::shared();
    let mut tail = Pipes::start(world.machine.command(&["ledger", "tail", "-n", "1", "--follow"]));
    let target = world.target();
    tail.hear(&format!("target {target} registered"));
    let lines = world.machine.ok(&["ledger", "tail", "-n", "3", "--json"]);
    assert_eq!(lines.lines().map(json).count(), 3);
}

#[test]
fn a_copy_of_the_ledger_is_checked_without_a_bastion_and_a_changed_one_is_not() {
    let world = World::shared();
    let out = keeper::directory().join("copy");
    // Again into the same place, which by then may lack a few entries: it is the same ledger.
    world.machine.ok(&["ledger", "export", &out.to_string_lossy()]);
    world.machine.ok(&["ledger", "export", &out.to_string_lossy()]);
    let checkpoint = fs::read_to_string(out.join("checkpoint")).unwrap();
    let size: usize = checkpoint.lines().nth(1).unwrap().parse().unwrap();
    let entries = fs::read_to_string(out.join("entries.jsonl")).unwrap();
    assert_eq!(entries.lines().count(), size, "one line an entry");
    // The tile of the first leaves holds the hashes of these very lines.
    let tile = walk(&out.join("tile/0")).into_iter().next().expect("a tile of hashes");
    let hashes = fs::read(tile).unwrap();
    let leaf = |line: &str| crate::postern::sha256(&[&[0][..], line.as_bytes()].concat());
    let first = data_encoding::HEXLOWER.encode(&hashes[..32]);
    assert_eq!(first, leaf(entries.lines().next().unwrap()));
    assert_ne!(first, leaf(&entries.lines().next().unwrap().replace("node_initialised", "node_initialized")));
}

/// Every file below a directory, in order.
pub(crate) fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn the_tables_are_made_again_from_the_ledger() {
    let world = World::fresh();
    let target = world.target();
    let grant = world.grant("alice", &target, ALL);
    let said = world.machine.refused(&["ledger", "rebuild"]);
    assert!(
        said.contains("serve") || said.contains("use") || said.contains("stop"),
        "not while it serves: {said}"
    );
    world.stop();
    world.machine.ok(&["ledger", "rebuild"]);
    world.machine.ok(&["ledger", "verify"]);
    world.serve_again();
    assert!(world.hand("alice").ok(&["grants"]).contains(&grant), "the grant is there as before");
    assert_eq!(world.client("alice").ok(&target, "echo on"), "on\n");
}

#[test]
fn policies_are_checked_and_tested_without_a_bastion() {
    let place = keeper::directory();
    let hand = Hand::new("nobody", &place.join("home"), &[]);
    assert!(hand.ok(&["policy", "check"]).contains("good"));
    let rows = hand.list(&["policy", "test"]);
    assert!(rows.len() > 20 && rows.iter().all(|row| row["wrong"].is_null()), "{rows:?}");
    let dir = place.join("rules");
    let shown = dir.to_string_lossy().into_owned();
    policies(&dir, "approvals.toml", |text| text.replace("lapses = \"24h\"", "lapses = \"23h\""));
    let good = json(&hand.ok(&["policy", "check", &shown, "--json"]));
    assert!(good["ok"] == true && good["hash"] != json(&hand.ok(&["policy", "check", "--json"]))["hash"]);
    // A rule that lets operators approve is legal Cedar, and not what the table expects.
    policies(&dir, "default.cedar", |text| text.replacen("Role::\"approver\"", "Role::\"operator\"", 1));
    let said = hand.refused(&["policy", "check", &shown]);
    assert!(said.contains("never comes into force") && said.contains("approver"), "{said}");
    let said = hand.run(&["policy", "test", &shown, "--json"]);
    let rows = json(&said.out);
    let wrong = |row: &&Value| row["wrong"].is_string() && row["expected"] != row["allowed"];
    assert!(
        said.code == 1
            && rows["ok"] == false
            && rows["items"].as_array().unwrap().iter().any(|row| wrong(&row))
    );
    assert!(said.err.contains("expected no, allowed by"), "{}", said.err);
    policies(&dir, "default.cedar", |text| format!("{text}\npermit(principal, action)"));
    let said = hand.refused(&["policy", "test", &shown]);
    assert!(said.contains("default.cedar"), "{said}");
}

#[test]
fn policy_explains_who_may_and_what_a_request_needs() {
    let world = World::shared();
    let address = World::address(&world.target());
    // As approvals.toml promises: which rule fits, also where the machine's operator asks about nobody.
    let said = world.machine.ok(&["policy", "explain", &address]);
    assert!(said.contains("everything else") && said.contains("approver"), "{said}");
    assert!(!said.contains("decided by"), "nobody was asked about: {said}");
    let explain =
        |who: &str| json(&world.machine.ok(&["policy", "explain", &address, "--person", who, "--json"]));
    let (alice, bob) = (explain("alice"), explain("bob"));
    assert_eq!((&alice["allowed"], &bob["allowed"]), (&Value::Bool(true), &Value::Bool(false)));
    assert_eq!(alice["rule"]["rule"], "everything else");
    assert!(bob["reason"].is_string(), "{bob}");
    let own = json(&world.hand("carol").ok(&["policy", "explain", &address, "--json"]));
    assert_eq!(own["allowed"], false, "carol, who asks about herself, is no operator: {own}");
    let approving = ["--person", "bob", "--action", "request:approve", "--json"];
    let approving = [&["policy", "explain", &address][..], &approving].concat();
    assert_eq!(json(&world.machine.ok(&approving))["allowed"], true);
    world.machine.refused(&["policy", "explain", "root@no-such-target"]);
}

/// Who lacks the right to look is told so, and never that what they may not see is damaged.
#[test]
fn verifying_everything_without_the_right_says_what_is_missing() {
    let world = World::shared();
    let said = world.hand("bob").refused(&["verify", "--all"]);
    assert!(said.contains("ledger:read") && said.contains("reviewer"), "{said}");
    assert!(!said.contains("does not hold"), "{said}");
}

#[test]
fn status_says_how_to_reach_it_and_how_it_is() {
    let world = World::shared();
    let status = json(&world.machine.ok(&["status", "--json"]));
    assert_eq!(status["recording"]["admits"], true, "{status}");
    let shown = world.hand("alice").ok(&["status"]);
    for wanted in [&world.ssh_port.to_string(), "alice (operator)", "ssh-ed25519 ", "SHA256:"] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    let who = json(&world.hand("erin").ok(&["whoami", "--json"]));
    assert_eq!(who["roles"], serde_json::json!(["approver", "operator"]), "{who}");
}

/// Each fault is put in, named by the doctor with what to do, and taken out again.
#[test]
fn the_doctor_finds_what_is_wrong() {
    let world = World::fresh();
    let checks = || {
        let said = world.machine.run(&["doctor", "--json"]);
        let report = json(&said.out);
        assert_eq!(said.code == 0, report["ok"] == true, "{said:?}");
        report
    };
    let level = |report: &Value, what: &str| {
        let check = report["checks"].as_array().unwrap().iter().find(|check| check["what"] == what).cloned();
        check.map(|check| check["level"].as_str().unwrap().to_owned()).unwrap_or_default()
    };
    let well = checks();
    assert!(well["ok"] == true && level(&well, "node") == "ok", "{well:#}");
    fs::set_permissions(&world.state, Permissions::from_mode(0o755)).unwrap();
    assert_eq!(level(&checks(), "directory"), "fail");
    fs::set_permissions(&world.state, Permissions::from_mode(0o700)).unwrap();
    let path = world.state.join("postern.toml");
    let good = fs::read(&path).unwrap();
    fs::write(&path, "[ssh]\nlissen = 'x'\n").unwrap();
    let ill = checks();
    assert!(level(&ill, "configuration") == "fail" && ill.to_string().contains("lissen"), "{ill:#}");
    fs::write(&path, good).unwrap();
    world.kill();
    let stopped = checks();
    assert!(level(&stopped, "node") == "warn" && level(&stopped, "ledger") == "ok", "{stopped:#}");
    let key = world.state.join("keys/user-ca.sealed");
    let good = fs::read(&key).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(&key, bad).unwrap();
    assert_eq!(level(&checks(), "keys"), "fail");
    fs::write(&key, good).unwrap();
    fs::rename(world.state.join("ledger"), world.state.join("ledger.away")).unwrap();
    assert_eq!(level(&checks(), "ledger"), "fail");
    fs::rename(world.state.join("ledger.away"), world.state.join("ledger")).unwrap();
    assert_eq!(checks()["ok"], true);
}

/// A directory that nobody serves is evidence too: reading it leaves every byte, also of what a crash left, and a copy
/// needs no sealing key.
#[test]
fn reading_a_stopped_bastions_directory_changes_nothing_in_it() {
    let world = World::fresh();
    let target = world.target();
    world.grant("alice", &target, ALL);
    world.client("alice").ok(&target, "echo evidence");
    world.ended(&target);
    world.kill();
    let copy = keeper::directory().join("copy");
    crate::campaign::copy(&world.state, &copy);
    fs::remove_file(copy.join("sealing.key")).unwrap();
    let contents = |dir: &std::path::Path| {
        let files = walk(dir).into_iter().filter(|path| path.is_file());
        files.map(|path| (crate::postern::sha256(&fs::read(&path).unwrap()), path)).collect::<Vec<_>>()
    };
    let recordings = world.state.join("recordings");
    for dir in [&world.state, &copy] {
        let before = contents(dir);
        assert!(before.iter().any(|(_, path)| path.ends_with("ledger/ledger.db-wal")), "a log was left");
        let shown = dir.to_string_lossy().into_owned();
        let hand = Hand::new("examiner", &keeper::directory(), &["--dir", &shown]);
        let out = keeper::directory().join("export");
        hand.run(&["doctor"]);
        for command in [
            &["ledger", "verify"][..],
            &["ledger", "tail"],
            &["ledger", "prove", "0"],
            &["ledger", "export", &out.to_string_lossy()],
            &["status"],
            &["people", "list"],
            &["sessions"],
            &["recordings"],
            &["grants", "--all"],
            &["policy", "explain", &World::address(&target), "--person", "alice"],
            &["verify", "--all", "--recordings", &recordings.to_string_lossy()],
        ] {
            hand.ok(command);
        }
        assert_eq!(contents(dir), before);
    }
    // What changes something opens it for that, as a start would.
    world.machine.ok(&["revoke", "--all", "--reason", "examined"]);
    assert!(world.machine.ok(&["ledger", "tail"]).contains("examined"));
}

/// What a service manager hears of a bastion's life, on a socket of its own.
#[test]
fn a_service_manager_is_told_when_it_is_ready_reloads_and_stops() {
    let world = World::fresh();
    world.stop();
    let path = keeper::directory().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(wait::LONG)).unwrap();
    let hear = || {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).expect("the bastion says something");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut command = world.machine.command(&["serve"]);
    command.env("NOTIFY_SOCKET", &path);
    let mut process = Process::start(command, &world.dir.join("notified.log"));
    assert_eq!(hear().trim(), "READY=1", "{}", process.log());
    assert!(std::net::TcpStream::connect(("127.0.0.1", world.ssh_port)).is_ok(), "ready is ready");
    process.signal("HUP");
    let reloading = hear();
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert_eq!(hear().trim(), "READY=1");
    process.signal("TERM");
    assert_eq!(hear().trim(), "STOPPING=1");
    assert!(process.end(wait::LONG).success());
}

/// The printed lines, put where they say, are all that plain `ssh` needs, straight and through a jump.
#[test]
fn the_printed_client_configuration_works_as_it_stands() {
    let world = World::shared();
    let target = world.target();
    world.grant("alice", &target, ALL);
    let said = world.hand("alice").ok(&["ssh-config"]);
    let (config, known) = said.split_once("# Into ~/.ssh/known_hosts").expect("two parts");
    let home = keeper::directory();
    let known = known.split_once('\n').unwrap().1;
    fs::write(home.join("known_hosts"), known).unwrap();
    let key = world.hand("alice").key();
    let more = format!(
        "\nHost *\n  IdentityFile {}\n  IdentitiesOnly yes\n  IdentityAgent none\n  BatchMode yes\n  UserKnownHostsFile {}\n  \
         GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n",
        key.display(),
        home.join("known_hosts").display()
    );
    fs::write(home.join("config"), format!("{config}{more}")).unwrap();
    let ssh = |args: &[&str]| {
        let mut command = std::process::Command::new("ssh");
        world.client("alice").environment(&mut command);
        run(command.arg("-F").arg(home.join("config")).args(args))
    };
    let address = World::address(&target);
    let straight = ssh(&[&format!("{address}@bastion"), "echo straight"]);
    assert_eq!((straight.code, straight.out.as_str()), (0, "straight\n"), "{straight:?}");
    let jumped = ssh(&[&address, "echo jumped"]);
    assert_eq!((jumped.code, jumped.out.as_str()), (0, "jumped\n"), "by the printed ProxyJump: {jumped:?}");
    let asked = ssh(&["-J", "bastion", &address, "echo asked"]);
    assert_eq!((asked.code, asked.out.as_str()), (0, "asked\n"), "by -J: {asked:?}");
}

#[test]
fn the_demo_checks_itself_with_its_own_target() {
    let hand = Hand::new("nobody", &keeper::directory(), &[]);
    let said = hand.run(&["demo", "--builtin-target", "--check", "--json"]);
    let report = json(&said.out);
    assert_eq!((said.code, &report["ok"]), (0, &Value::Bool(true)), "{report:#}");
}

/// Closing the window ends the demo as Ctrl-C does: no server and no directory stays.
#[test]
fn the_demo_ends_with_its_terminal() {
    let place = keeper::directory();
    let hand = Hand::new("nobody", &place, &[]);
    for (number, name) in ["HUP", "TERM", "INT"].into_iter().enumerate() {
        let log = place.join(format!("demo-{number}.log"));
        let mut process = Process::start(hand.command(&["demo"]), &log);
        let root = wait::until(wait::LONG, "the demo says where it is", || {
            let log = process.log();
            let (root, rest) = log.split_once("running in ")?.1.split_once(',')?;
            rest.contains("plays the recording").then(|| std::path::PathBuf::from(root))
        });
        assert!(root.is_dir(), "{}", root.display());
        process.signal(name);
        assert!(process.end(wait::LONG).success(), "{name}: {}", process.log());
        assert!(!root.exists(), "{name} leaves {}", root.display());
    }
}

/// A check that cannot fail would be worth nothing: here its `scp` is missing.
#[test]
fn a_demo_in_which_a_step_fails_says_which_and_fails() {
    let place = keeper::directory();
    let tools = place.join("tools");
    fs::create_dir(&tools).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    for tool in ["ssh", "ssh-keygen", "ssh-keyscan", "sh", "bash", "cat", "env", "id", "tty", "stty"] {
        let found = std::env::split_paths(&path).map(|dir| dir.join(tool)).find(|path| path.exists());
        std::os::unix::fs::symlink(found.unwrap_or_else(|| panic!("{tool} is missing")), tools.join(tool))
            .unwrap();
    }
    let hand = Hand::new("nobody", &place, &[]);
    let mut command = hand.command(&["demo", "--builtin-target", "--check", "--json"]);
    command.env("PATH", &tools);
    let said = run(&mut command);
    let report = json(&said.out);
    assert_eq!((said.code, &report["ok"]), (1, &Value::Bool(false)), "{report:#}");
    let steps = report["steps"].as_array().unwrap();
    let (last, before) = steps.split_last().unwrap();
    assert_eq!((&last["name"], &last["ok"]), (&Value::from("upload and download"), &Value::Bool(false)));
    assert!(before.iter().all(|step| step["ok"] == true), "{report:#}");
    assert!(last["detail"].as_str().unwrap().contains("scp does not run"), "{last}");
}
