//! Reviewers whose keys are on hardware: the bastion seals to them without any plugin, and only where a reviewer reads is
//! theirs run.
//!
//! The key is `tests/clients/age_plugin_testkey.py`, an age plugin written from the specifications alone. What it opens is
//! checked against age for TypeScript first.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::run;
use crate::clients::{installed, program};
use crate::postern::Said;
use crate::review::recorded;
use crate::terminal::Terminal;
use crate::wait;
use crate::world::World;

const SCRIPT: &str = "tests/clients/age_plugin_testkey.py";

/// A key, and the plugin that uses it.
struct Key {
    /// The identity's file.
    identity: PathBuf,
    /// `age1tag1…`, `age1yubikey1…`, `age1se1…`.
    recipients: Vec<String>,
    /// The directory with the plugin in it.
    plugins: PathBuf,
    /// A line for every touch.
    log: PathBuf,
}

impl Key {
    fn make(world: &World, name: &str) -> Self {
        let plugins = world.dir.join(format!("plugins-{name}"));
        fs::create_dir_all(&plugins).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(SCRIPT);
        std::os::unix::fs::symlink(script, plugins.join("age-plugin-testkey")).unwrap();
        let identity = world.dir.join(format!("{name}.identity"));
        let log = world.dir.join(format!("{name}.log"));
        let mut key = Self { identity, recipients: Vec::new(), plugins, log };
        let made = run(key.plugin().arg("make").arg(&key.identity));
        key.recipients = made.out.lines().map(str::to_owned).collect();
        key
    }

    /// The plugin, run by hand.
    fn plugin(&self) -> Command {
        let mut command = Command::new(program("python3"));
        command.arg(self.plugins.join("age-plugin-testkey"));
        command
    }

    /// A command of carol's that has the plugin at hand.
    fn command(&self, world: &World, args: &[&str]) -> Command {
        let mut command = world.hand("carol").command(args);
        // The plugin takes its interpreter from PATH too.
        let (path, clients) = (std::env::var("PATH").unwrap_or_default(), installed("bin"));
        command.env("PATH", format!("{}:{}:{path}", self.plugins.display(), clients.display()));
        command.env("TESTKEY_LOG", &self.log).arg("--identity").arg(&self.identity);
        command
    }

    fn read(&self, world: &World, args: &[&str]) -> Said {
        run(&mut self.command(world, args))
    }

    /// How often it was touched since this was asked last.
    fn touches(&self) -> usize {
        let count = fs::read_to_string(&self.log).unwrap_or_default().lines().count();
        fs::remove_file(&self.log).ok();
        count
    }
}

#[test]
fn the_key_of_these_tests_opens_what_another_implementation_seals() {
    let world = World::shared();
    let key = Key::make(world, "checked");
    let wrapped = run(Command::new("node").arg(installed("age/wrap.mjs")).arg(&key.recipients[0])).out;
    let opened = run(key.plugin().arg("unwrap").arg(&key.identity).arg(wrapped.trim()));
    assert_eq!(opened.out.trim(), "07".repeat(16), "{opened:?}");
}

#[test]
fn a_key_on_hardware_opens_what_is_recorded_for_it_with_one_touch() {
    let world = World::fresh();
    let (one, two, other) = (Key::make(&world, "one"), Key::make(&world, "two"), Key::make(&world, "other"));
    let classic = world.machine.ok(&["reviewers", "list", "--json"]);
    let classic: serde_json::Value = serde_json::from_str(&classic).unwrap();
    let classic = classic["recipients"][0].as_str().unwrap();
    let set = ["reviewers", "set", classic, &one.recipients[0], &two.recipients[1]];
    world.machine.ok(&set);
    let session = recorded(&world, "echo kept by hardware");
    for key in [&one, &two] {
        for args in [
            &["play", &session, "--print"][..],
            &["export", &session, "--format", "text"],
            &["search", "kept by hardware", &session],
        ] {
            let said = key.read(&world, args);
            assert!(said.code == 0 && said.out.contains("kept by hardware"), "{args:?}: {said:?}");
            assert!(said.err.contains("touch the test key"), "{args:?}: {said:?}");
            assert_eq!(key.touches(), 1, "{args:?}");
        }
        let verified = key.read(&world, &["verify", &session]);
        assert!(verified.out.contains("events opened"), "{verified:?}");
        assert_eq!(key.touches(), 1, "verify");
    }
    // Played with keys, a recording is read more than once; the key is asked once.
    let mut terminal = Terminal::start(&one.command(&world, &["play", &session]));
    terminal.see("kept by hardware");
    terminal.keys("q");
    assert_eq!(terminal.end(wait::LONG), Some(0));
    assert_eq!(one.touches(), 1, "played in a terminal");
    // A person with an ordinary key reads the same recording.
    let ordinary = world.reading_key();
    world.hand("carol").ok(&["play", &session, "--print", "--identity", &ordinary]);
    // Somebody else's key is not touched, and what is missing is named.
    let said = other.read(&world, &["play", &session, "--print"]);
    assert!(said.code != 0 && said.err.contains("not among its reviewers"), "{said:?}");
    assert_eq!(other.touches(), 0);
    let identity = one.identity.to_string_lossy();
    let said = world.hand("carol").run(&["play", &session, "--print", "--identity", &identity]);
    assert!(said.code != 0 && said.err.contains("age-plugin-testkey"), "{said:?}");
}

#[test]
fn a_key_on_hardware_asks_for_its_pin_on_the_terminal() {
    let world = World::fresh();
    let key = Key::make(&world, "pin");
    world.machine.ok(&["reviewers", "set", &key.recipients[0]]);
    let session = recorded(&world, "echo behind a PIN");
    for (pin, is_right) in [("1234", true), ("0000", false)] {
        let mut command = key.command(&world, &["play", &session, "--print"]);
        command.env("TESTKEY_PIN", "1234");
        let mut terminal = Terminal::start(&command);
        terminal.see("PIN of the test key");
        terminal.keys(&format!("{pin}\n"));
        terminal.see(if is_right { "behind a PIN" } else { "wrong PIN" });
        assert_eq!(terminal.end(wait::LONG) == Some(0), is_right);
    }
    // Nobody to ask is an answer too.
    let mut command = key.command(&world, &["play", &session, "--print"]);
    let said = run(command.env("TESTKEY_PIN", "1234"));
    assert!(said.code != 0 && said.err.contains("could not be used"), "{said:?}");
}

#[test]
fn recipients_that_need_a_plugin_to_seal_are_refused() {
    let world = World::shared();
    let key = Key::make(world, "refused");
    let broken = key.recipients[0].replace("age1tag", "age1tpm");
    let said = world.machine.run(&["reviewers", "set", &broken]);
    assert!(said.code != 0 && said.err.contains("a bastion runs none"), "{said:?}");
}
