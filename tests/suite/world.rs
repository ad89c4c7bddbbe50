//! A world to test in: a bastion that serves, five people, a real SSH server behind it.
//!
//! alice is an operator, bob an approver, carol a reviewer (and the holder of the reading key), dave an admin, erin an
//! operator and approver. Most tests share one world and keep out of each other's way with a target name of their
//! own; those that break something, or need their own limits, make a fresh one.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use serde_json::Value;

use crate::client::Client;
use crate::keeper::{self, Process};
use crate::postern::{Hand, field, id};
use crate::sshd::{self, Sshd};
use crate::wait;

/// Everything one test needs.
pub(crate) struct World {
    pub(crate) dir: PathBuf,
    /// The bastion's own directory.
    pub(crate) state: PathBuf,
    pub(crate) ssh_port: u16,
    pub(crate) api_port: u16,
    pub(crate) metrics_port: u16,
    pub(crate) sshd: Sshd,
    /// Whoever runs the machine: `postern --dir`.
    pub(crate) machine: Hand,
    serve: Mutex<Option<Process>>,
    names: AtomicU32,
}

/// The people, with their roles.
const PEOPLE: [(&str, &str); 5] = [
    ("alice", "operator"),
    ("bob", "approver"),
    ("carol", "reviewer"),
    ("dave", "admin"),
    ("erin", "operator,approver"),
];

/// A section of the configuration, to be changed.
pub(crate) fn section<'a>(table: &'a mut toml::Table, name: &str) -> &'a mut toml::Table {
    let section = table.entry(name).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    section.as_table_mut().unwrap()
}

impl World {
    /// The world most tests share. It ends with the suite.
    pub(crate) fn shared() -> &'static Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(|| Self::with(|_| {}))
    }

    /// A world of one's own, as `postern init` makes it.
    pub(crate) fn fresh() -> Self {
        Self::with(|_| {})
    }

    /// A world of one's own, with the configuration changed before the first start.
    pub(crate) fn with(configure: impl FnOnce(&mut toml::Table)) -> Self {
        let dir = keeper::directory();
        let state = dir.join("state");
        let machine = Hand::new("machine", &dir.join("home/machine"), &["--dir", &state.to_string_lossy()]);
        let sshd = Sshd::start(&dir.join("sshd"), "", "");
        let world = Self {
            ssh_port: sshd::free_port(),
            api_port: sshd::free_port(),
            metrics_port: sshd::free_port(),
            serve: Mutex::new(None),
            names: AtomicU32::new(0),
            dir,
            state,
            sshd,
            machine,
        };
        world.initialise();
        world.configure(|table| {
            world.ports(table);
            configure(table);
        });
        world.serve();
        world.enrol();
        let printed = world.add_target("web-1", world.sshd.port);
        let ca = printed.lines().find_map(key_in).expect("`targets add` prints the CA key to install");
        fs::write(world.sshd.dir.join("user_ca.pub"), format!("{ca}\n")).unwrap();
        world.write_client_files();
        world
    }

    /// Somebody by name.
    pub(crate) fn hand(&self, name: &str) -> Hand {
        Hand::new(name, &self.dir.join("home").join(name), &[])
    }

    /// Somebody's SSH client.
    pub(crate) fn client(&self, name: &str) -> Client {
        Client::new(self, name)
    }

    /// A target name nobody else uses, for the world's SSH server.
    pub(crate) fn target(&self) -> String {
        let name = format!("t-{}", self.names.fetch_add(1, Ordering::Relaxed));
        self.add_target(&name, self.sshd.port);
        name
    }

    /// Registers a target at a port of this machine, with the world's host key; gives what was printed.
    pub(crate) fn add_target(&self, name: &str, port: u16) -> String {
        let address = format!("127.0.0.1:{port}");
        let host_key = self.sshd.host_key();
        let login = sshd::login();
        self.machine.ok(&[
            "targets",
            "add",
            name,
            &address,
            "--login",
            &login,
            "--host-key",
            &host_key.to_string_lossy(),
        ])
    }

    /// `login@target`, as people type it.
    pub(crate) fn address(target: &str) -> String {
        format!("{}@{target}", sshd::login())
    }

    /// Asks as `who` for `can` on `target`; gives the request's id.
    pub(crate) fn request(&self, who: &str, target: &str, can: &str, length: &str) -> String {
        let address = Self::address(target);
        let said = self.hand(who).ok(&[
            "request",
            &address,
            "--for",
            length,
            "--reason",
            "the suite needs it",
            "--can",
            can,
        ]);
        id(&said, "req_").unwrap_or_else(|| panic!("`request` prints the request's id: {said}"))
    }

    /// A grant for an hour: `who` asks, bob approves; gives the grant's id.
    pub(crate) fn grant(&self, who: &str, target: &str, can: &str) -> String {
        self.grant_for(who, target, can, "1h")
    }

    /// A grant of a given length.
    pub(crate) fn grant_for(&self, who: &str, target: &str, can: &str, length: &str) -> String {
        let request = self.request(who, target, can, length);
        let said = self.hand("bob").ok(&["approve", &request, "--yes"]);
        id(&said, "grn_").unwrap_or_else(|| {
            let grants = self.hand(who).list(&["grants"]);
            let row = grants.iter().find(|row| row.to_string().contains(&request)).expect("a grant");
            id(&row.to_string(), "grn_").unwrap()
        })
    }

    /// The sessions on a target, newest last, as `postern sessions --json` shows them to an admin.
    pub(crate) fn sessions(&self, target: &str) -> Vec<Value> {
        let mut rows = self.hand("dave").list(&["sessions"]);
        rows.retain(|row| field(row, "target") == Some(&Value::from(target)));
        rows.sort_by_key(|row| field(row, "started").map(Value::to_string));
        rows
    }

    /// The id of the one session on a target.
    pub(crate) fn session(&self, target: &str) -> String {
        let rows = wait::until(wait::LONG, &format!("a session on {target}"), || {
            Some(self.sessions(target)).filter(|rows| !rows.is_empty())
        });
        assert_eq!(rows.len(), 1, "one session on {target}: {rows:?}");
        id(&rows[0].to_string(), "ses_").unwrap()
    }

    /// Waits until every session on a target is over; gives the last one's row.
    pub(crate) fn ended(&self, target: &str) -> Value {
        wait::until(wait::LONG, &format!("the sessions on {target} end"), || {
            let rows = self.sessions(target);
            rows.iter().all(|row| row["ended"].is_object()).then(|| rows.last().cloned()).flatten()
        })
    }

    /// Everything in a finished recording, decrypted with carol's key.
    pub(crate) fn events(&self, session: &str) -> Vec<Value> {
        let reading_key = self.reading_key();
        let text = self.hand("carol").ok(&[
            "export",
            session,
            "--format",
            "jsonl",
            "--input",
            "--identity",
            &reading_key,
        ]);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The path of carol's reading key.
    pub(crate) fn reading_key(&self) -> String {
        self.dir.join("home/carol/reading.key").to_string_lossy().into_owned()
    }

    /// The recording's file.
    pub(crate) fn recording(&self, session: &str) -> PathBuf {
        self.state.join("recordings").join(format!("{session}.pstn"))
    }

    /// The bastion's process id.
    pub(crate) fn serve_id(&self) -> u32 {
        self.serve.lock().unwrap().as_ref().expect("the bastion is running").id()
    }

    /// What the bastion wrote to its log.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.join("serve.log")).unwrap_or_default()).into_owned()
    }

    /// Changes the configuration file.
    pub(crate) fn configure(&self, change: impl FnOnce(&mut toml::Table)) {
        let path = self.state.join("postern.toml");
        let mut table: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        change(&mut table);
        fs::write(&path, toml::to_string(&table).unwrap()).unwrap();
    }

    /// Starts the bastion and waits until it answers on both of its doors.
    pub(crate) fn serve(&self) {
        let is_serving = self.serve_by(self.machine.command(&["serve"]));
        assert!(is_serving, "`postern serve` ended: {}", self.log());
    }

    /// Starts the bastion by a command of one's own; whether it answers on both of its doors, or ended before.
    pub(crate) fn serve_by(&self, command: Command) -> bool {
        let mut process = Process::start(command, &self.dir.join("serve.log"));
        let is_serving = wait::until(wait::LONG, "the bastion listens or ends", || {
            if process.exited().is_some() {
                return Some(false);
            }
            let open = |port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
            (open(self.ssh_port) && open(self.api_port)).then_some(true)
        });
        *self.serve.lock().unwrap() = is_serving.then_some(process);
        is_serving
    }

    /// Starts it again: tokens live in memory only, so everybody signs in again.
    pub(crate) fn serve_again(&self) {
        self.serve();
        for (name, _) in PEOPLE {
            self.sign_in(&self.hand(name));
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        self.serve.lock().unwrap().take().expect("the bastion is running").kill();
    }

    /// Stops it as a service manager does, and expects a clean end.
    pub(crate) fn stop(&self) {
        self.signal("TERM");
        assert_eq!(self.serve_ends(), 0);
    }

    /// Stops it and starts it again.
    pub(crate) fn restart(&self) {
        self.stop();
        self.serve_again();
    }

    /// The key that checks the ledger's heads, NAME+HASH+KEY.
    pub(crate) fn ledger_key(&self) -> String {
        let verified = self.machine.ok(&["ledger", "verify", "--json"]);
        let verified: Value = serde_json::from_str(&verified).unwrap();
        verified["key"].as_str().expect("`ledger verify` names the key").to_owned()
    }

    /// Sends the bastion a signal.
    pub(crate) fn signal(&self, name: &str) {
        self.serve.lock().unwrap().as_ref().expect("the bastion is running").signal(name);
    }

    /// Waits for the bastion to end by itself, as after `TERM`; gives its exit code (-1 for a signal).
    pub(crate) fn serve_ends(&self) -> i32 {
        let mut process = self.serve.lock().unwrap().take().expect("the bastion is running");
        process.end(wait::LONG).code().unwrap_or(-1)
    }

    fn initialise(&self) {
        let carol = self.hand("carol");
        let said = carol.ok(&["keygen", "--output", &self.reading_key(), "--json"]);
        let said: Value = serde_json::from_str(&said).unwrap();
        let recipient = said["recipient"].as_str().expect("`keygen` prints the age recipient");
        let dave = self.hand("dave");
        sshd::keygen(&dave.key(), "ed25519");
        let (state, key) = (self.state.to_string_lossy(), dave.home.join("key.pub"));
        let key = key.to_string_lossy();
        self.hand("machine").ok(&[
            "init",
            &state,
            "--admin",
            "dave",
            "--admin-key",
            &key,
            "--reviewer",
            recipient,
        ]);
        assert!(self.state.join("postern.toml").exists(), "`init` writes postern.toml");
    }

    fn ports(&self, table: &mut toml::Table) {
        for (section, port) in
            [("ssh", self.ssh_port), ("api", self.api_port), ("metrics", self.metrics_port)]
        {
            self::section(table, section).insert("listen".into(), format!("127.0.0.1:{port}").into());
        }
    }

    fn enrol(&self) {
        for (name, roles) in PEOPLE {
            let hand = self.hand(name);
            if name != "dave" {
                sshd::keygen(&hand.key(), "ed25519");
                let public = hand.home.join("key.pub");
                let public = public.to_string_lossy();
                let mut args = vec!["people", "add", name, "--key", &public];
                for role in roles.split(',') {
                    args.extend(["--role", role]);
                }
                self.machine.ok(&args);
            }
            self.sign_in(&hand);
        }
    }

    /// Signs somebody in to the API with the key in their home directory, pinning its certificate.
    pub(crate) fn sign_in(&self, hand: &Hand) {
        let status: Value = serde_json::from_str(&self.machine.ok(&["status", "--json"])).unwrap();
        let fingerprint =
            status["api"]["fingerprint"].as_str().expect("`status` shows the API's fingerprint");
        hand.ok(&["login", &format!("https://127.0.0.1:{}", self.api_port), "--fingerprint", fingerprint]);
    }

    /// What an SSH client has to know: the gate's host key, and each person's configuration.
    fn write_client_files(&self) {
        let scanned = Command::new("ssh-keyscan")
            .args(["-p", &self.ssh_port.to_string(), "127.0.0.1"])
            .output()
            .unwrap();
        assert!(!scanned.stdout.is_empty(), "the bastion shows a host key to ssh-keyscan");
        fs::write(self.dir.join("known_hosts"), scanned.stdout).unwrap();
        for (name, _) in PEOPLE {
            self.client(name).write_config();
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            eprintln!("-- the bastion's log, its end --\n{}", tail.join("\n"));
            eprintln!("-- sshd's log --\n{}", self.sshd.log());
        }
    }
}

/// A public key in a printed line, without what stands before it.
fn key_in(line: &str) -> Option<&str> {
    let key = line.get(line.find("ssh-ed25519 AAAA")?..)?;
    Some(key.trim().trim_matches(['\'', '"', '`']))
}
