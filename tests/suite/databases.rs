//! PostgreSQL targets as administrators meet them: registered, set up once by a superuser, tried without one.
//!
//! What a session's role can and cannot do is in `tests/postgres.rs`, through the library; here is what the binary
//! says and does.

use serde_json::Value;

use crate::postgres::Server;
use crate::terminal::Terminal;
use crate::wait;
use crate::world::World;

/// Registers a server's target; gives what was printed.
fn add(world: &World, name: &str, server: &Server, more: &[&str]) -> String {
    let address = format!("localhost:{}", server.port);
    let mut args = vec!["targets", "add", name, &address, "--protocol", "postgres", "--login", "readonly"];
    args.extend(more);
    world.machine.ok(&args)
}

/// `targets test` as JSON: the exit code, and the steps by name, result and words.
fn tried(world: &World, target: &str) -> (i32, Vec<(String, bool, String)>) {
    let said = world.machine.run(&["targets", "test", &format!("readonly@{target}"), "--json"]);
    let value: Value = serde_json::from_str(&said.out).unwrap_or_else(|why| panic!("{why}: {said:?}"));
    let step = |step: &Value| {
        let text = |name: &str| step[name].as_str().unwrap().to_owned();
        (text("name"), step["ok"] == true, text("detail"))
    };
    (said.code, value["steps"].as_array().unwrap().iter().map(step).collect())
}

/// The step that failed, and its words.
fn failed(world: &World, target: &str) -> (String, String) {
    let (code, steps) = tried(world, target);
    let (name, is_fine, words) = steps.last().cloned().unwrap();
    assert!(code == 1 && !is_fine, "{steps:?}");
    (name, words)
}

#[test]
fn what_is_printed_is_all_a_server_needs_and_everything_after_it_goes_without_superuser() {
    let world = World::shared();
    let server = Server::start();
    server.superuser("postgres", "CREATE ROLE readonly NOLOGIN");
    let ca = server.ca.to_string_lossy().into_owned();
    let printed = add(world, "db-printed", &server, &["--tls-ca", &ca, "--print-sql"]);
    let (step, words) = failed(world, "db-printed");
    assert!(step == "administer" && words.contains("postern_admin"), "before: {step}: {words}");
    server.apply(&printed);
    let (code, steps) = tried(world, "db-printed");
    let names: Vec<&str> = steps.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["reach", "trust", "administer", "mint", "log in", "end"]);
    assert!(code == 0 && steps.iter().all(|(_, is_fine, _)| *is_fine), "{steps:?}");
    assert_eq!(
        server.superuser("postgres", "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'pst\\_%'"),
        "0"
    );
    // Again, as after a login more: it may be run any number of times, and is printed the same.
    let again = world.machine.ok(&["targets", "sql", "db-printed"]);
    assert_eq!(again.trim(), printed.trim());
    server.apply(&again);
    assert_eq!(tried(world, "db-printed").0, 0);
    // Whoever trusts the role without its password is found out.
    let data = server.superuser("postgres", "SHOW hba_file");
    let rules = std::fs::read_to_string(&data).unwrap();
    std::fs::write(&data, format!("hostssl all +postern_sessions 127.0.0.1/32 trust\n{rules}")).unwrap();
    server.superuser("postgres", "SELECT pg_reload_conf()");
    wait::until(wait::LONG, "the server reads its rules again", || {
        let rules = server.superuser("postgres", "SELECT auth_method FROM pg_hba_file_rules LIMIT 1");
        (rules == "trust" && failed_quietly(world)).then_some(())
    });

    let tail = world.machine.ok(&["ledger", "tail", "-n", "50"]);
    assert!(tail.contains("readonly@db-printed to be tried"), "{tail}");
    world.hand("alice").refused(&["targets", "test", "readonly@db-printed"]);
}

/// Whether a role that is let in with a wrong password fails the trial, at the step that says so.
fn failed_quietly(world: &World) -> bool {
    let (code, steps) = tried(world, "db-printed");
    code == 1
        && steps
            .iter()
            .any(|(name, is_fine, words)| name == "log in" && !is_fine && words.contains("wrong password"))
}

#[test]
fn a_database_is_believed_by_its_ca_or_a_confirmed_key_and_never_without_tls() {
    let world = World::shared();
    let (server, other) = (Server::start(), Server::with("ssl = off\n"));
    server.superuser("postgres", "CREATE ROLE readonly NOLOGIN");
    let said = add(world, "db-unpinned", &server, &[]);
    assert!(said.contains("not pinned") && said.contains("targets sql db-unpinned"), "{said}");
    server.apply(&world.machine.ok(&["targets", "sql", "db-unpinned"]));
    assert_eq!(failed(world, "db-unpinned").0, "trust");
    let wrong = format!("sha256/{}=", "A".repeat(43));
    world.machine.refused(&["targets", "trust", "db-unpinned", "--fingerprint", &wrong]);
    world.machine.ok(&["targets", "trust", "db-unpinned", "--tls-key", &wrong]);
    let (step, words) = failed(world, "db-unpinned");
    assert!(step == "trust" && words.contains("not a pinned one"), "{words}");
    let other_ca = other.ca.to_string_lossy().into_owned();
    world.machine.ok(&["targets", "trust", "db-unpinned", "--tls-ca", &other_ca]);
    let (step, words) = failed(world, "db-unpinned");
    assert!(step == "trust" && words.contains("CA"), "{words}");
    let ca = server.ca.to_string_lossy().into_owned();
    world.machine.ok(&["targets", "trust", "db-unpinned", "--tls-ca", &ca]);
    assert_eq!(tried(world, "db-unpinned").0, 0);
    world.machine.ok(&["targets", "trust", "db-unpinned", "--yes"]);
    assert_eq!(tried(world, "db-unpinned").0, 0, "by the key it showed");
    // What proves an SSH server proves no database.
    let key = world.sshd.host_key();
    let said =
        world.machine.refused(&["targets", "trust", "db-unpinned", "--host-key", &key.to_string_lossy()]);
    assert!(said.contains("postgres"), "{said}");

    let address = format!("127.0.0.1:{}", other.port);
    let scan =
        ["targets", "add", "db-plain", &address, "--protocol", "postgres", "--login", "readonly", "--scan"];
    assert!(world.machine.refused(&scan).contains("TLS"));
    add(world, "db-plain", &other, &["--tls-ca", &other_ca]);
    let (step, words) = failed(world, "db-plain");
    assert!(step == "trust" && words.contains("does not offer TLS"), "{words}");

    let rows = world.machine.list(&["targets", "list"]);
    let row = rows.iter().find(|row| row["name"] == "db-plain").unwrap();
    assert_eq!(row["protocol"], "postgres");
    assert!(world.machine.ok(&["targets", "list"]).contains("postgres"));
}

#[test]
fn what_is_no_database_target_is_refused_before_anything_is_registered() {
    let world = World::shared();
    let add = ["targets", "add", "db-wrong", "localhost"];
    for (more, words) in [
        (&["--protocol", "postgres"][..], "logins"),
        (&["--protocol", "postgres", "--login", "postern_admin"], "administers"),
        (&["--protocol", "postgres", "--login", "readonly", "--tls-key", "sha256/AAAA"], "sha256/"),
    ] {
        let said = world.machine.refused(&[&add[..], more].concat());
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(world.machine.run(&[&add[..], &["--print-sql"]].concat()).code, 2);
    let said = world.machine.refused(&["targets", "sql", "web-1"]);
    assert!(said.contains("no database"), "{said}");
    assert!(world.machine.list(&["targets", "list"]).iter().all(|row| row["name"] != "db-wrong"));
}

/// A bastion whose directory was made before there were databases gets the CA it lacks at its next start, once.
#[test]
fn the_database_ca_is_made_once_and_can_be_replaced_like_the_others() {
    let world = World::fresh();
    let keys = world.state.join("keys");
    let pem = || std::fs::read_to_string(keys.join("database-ca.pem")).ok();
    let made = pem().unwrap();
    world.stop();
    for name in ["database-ca.pem", "database-ca.sealed"] {
        std::fs::remove_file(keys.join(name)).unwrap();
    }
    assert!(world.machine.ok(&["keys", "list"]).contains("user-ca"), "it is looked at as it is");
    assert_eq!(pem(), None);
    world.serve_again();
    let next = pem().unwrap();
    assert_ne!(next, made);
    world.restart();
    assert_eq!(pem().as_ref(), Some(&next));
    assert!(world.machine.ok(&["keys", "list"]).contains("database-ca"));
    let said = world.machine.ok(&["keys", "prepare", "database-ca"]);
    assert!(said.contains("ssl_ca_file"), "{said}");
    let prepared = std::fs::read_to_string(keys.join("database-ca.next.pem")).unwrap();
    world.machine.ok(&["keys", "rotate", "database-ca"]);
    assert_eq!(pem(), Some(prepared.clone()));
    world.restart();
    let status: Value = serde_json::from_str(&world.machine.ok(&["status", "--json"])).unwrap();
    assert_eq!(status["database_ca"].as_str().map(str::trim), Some(prepared.trim()));
}

/// A database is not reached over SSH, whoever may do what there, and hears nothing of the attempt.
#[test]
fn ssh_to_a_database_is_refused_in_plain_words() {
    let world = World::shared();
    let server = Server::start();
    server.superuser("postgres", "CREATE ROLE readonly NOLOGIN");
    add(world, "db-by-ssh", &server, &["--tls-ca", &server.ca.to_string_lossy()]);
    let mut command = world.client("alice").tool("ssh");
    command.args(["-o", "BatchMode=no", "-o", "LogLevel=INFO", "-tt", "readonly@db-by-ssh@gate", "true"]);
    command.env("SSH_ASKPASS_REQUIRE", "never");
    let mut terminal = Terminal::start(&command);
    terminal.see("db-by-ssh is no ssh target, it speaks postgres");
    assert_ne!(terminal.end(wait::LONG), Some(0));
}
