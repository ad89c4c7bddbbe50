//! D-34 and D-35 with many sessions at once: what is taken away is taken from all of them, and from nobody else.
//!
//! One process of `tests/clients/many.py` holds every client's end, so that two cores bear it. What each single way to
//! revoke does is in `adversarial`; how a deadline is met by a thousand openings within a tenth of a second is
//! tested beside the permit.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::client::Pipes;
use crate::clients::program;
use crate::postern::{end_reason, id};
use crate::ssh::ALL;
use crate::wait;
use crate::world::World;

/// Sessions in each of the five groups.
const GROUP: usize = 40;

/// The clients' ends.
pub(crate) struct Many<'a> {
    world: &'a World,
    pipes: Pipes,
}

impl<'a> Many<'a> {
    pub(crate) fn start(world: &'a World) -> Self {
        let mut command = Command::new(program("python3"));
        world.client("alice").environment(&mut command);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/many.py"));
        command.args(["--port", &world.ssh_port.to_string(), "--user", "many", "--key", "each its own"]);
        command.arg("--known-hosts").arg(world.dir.join("known_hosts"));
        Self { world, pipes: Pipes::start(command) }
    }

    fn say(&mut self, words: &[&str]) {
        self.pipes.say(&format!("{}\n", words.join(" "))).unwrap();
    }

    /// Waits for an answer that begins so; gives the rest of its line.
    fn answer(&mut self, beginning: &str) -> String {
        let whole = wait::until(wait::HUNG, beginning, || {
            self.pipes.gather();
            let heard = String::from_utf8_lossy(&self.pipes.heard).into_owned();
            let line =
                heard.split_inclusive('\n').find(|line| line.starts_with(beginning) && line.ends_with('\n'));
            assert!(self.pipes.child.try_wait().unwrap().is_none(), "{heard}");
            line.map(str::to_owned)
        });
        self.pipes.heard.clear();
        whole.strip_prefix(beginning).unwrap_or_default().trim().to_owned()
    }

    /// Opens as many sessions, of which every other one streams.
    pub(crate) fn open(&mut self, who: &str, target: &str, count: usize) {
        let (user, key) = (World::address(target), self.world.hand(who).key());
        self.say(&["open", &user, &key.to_string_lossy(), &count.to_string()]);
        assert_eq!(self.answer(&format!("opened {user} ")), count.to_string(), "{}", self.world.log());
    }

    /// How many of them are live at their clients.
    pub(crate) fn live(&mut self, target: &str) -> usize {
        let user = World::address(target);
        self.say(&["live", &user]);
        self.answer(&format!("live {user} ")).parse().unwrap()
    }

    /// Soon this many of the sessions on a target are live at their clients.
    fn are_left(&mut self, target: &str, left: usize) {
        wait::until(wait::SHORT, &format!("{left} are left on {target}"), || {
            (self.live(target) == left).then_some(())
        });
    }
}

/// D-35: two hundred live sessions, every other one streaming, taken away in every way there is.
#[test]
fn whatever_is_revoked_ends_at_once_for_everybody_it_covers() {
    let world = World::fresh();
    let dave = world.hand("dave");
    let mut many = Many::start(&world);
    let ways = ["session", "grant", "target", "person", "all"];
    let targets = ways.map(|_| world.target());
    let who = |way: &str| if way == "person" { "erin" } else { "alice" };
    let mut grants = Vec::new();
    for (way, target) in ways.iter().zip(&targets) {
        grants.push(world.grant(who(way), target, ALL));
        many.open(who(way), target, GROUP);
    }
    let rows = world.sessions(&targets[0]);
    assert_eq!(rows.len(), GROUP);
    let one = id(&rows[0].to_string(), "ses_").unwrap();
    let revokes: [&[&str]; 5] = [
        &["terminate", &one],
        &["revoke", &grants[1]],
        &["revoke", "--target", &targets[2]],
        &["revoke", "--person", "erin"],
        &["revoke", "--all"],
    ];
    let reasons =
        ["session_terminated", "grant_revoked", "target_revoked", "person_revoked", "everything_revoked"];
    for (nth, revoke) in revokes.into_iter().enumerate() {
        let (way, target) = (ways[nth], &targets[nth]);
        dave.ok(&[revoke, &["--reason", "enough"]].concat());
        if way != "session" {
            let again = world.client(who(way)).exec(target, "echo in");
            assert_ne!(again.code, 0, "{way}: the door is shut from the same instant: {again:?}");
        }
        let left = if way == "session" { GROUP - 1 } else { 0 };
        many.are_left(target, left);
        let ended: Vec<Value> =
            world.sessions(target).into_iter().filter(|row| row["ended"].is_object()).collect();
        let covered = GROUP - left;
        let with_reason = ended.iter().filter(|row| end_reason(row) == reasons[nth]).count();
        assert_eq!((ended.len(), with_reason), (covered, covered), "{way}: {}", summary(&ended));
        // Nobody else noticed.
        let later = if way == "all" { 5 } else { nth + 1 };
        for other in &targets[later..] {
            assert_eq!(many.live(other), GROUP, "{way}: a bystander's session on {other} ended");
        }
    }
    many.are_left(&targets[0], 0);
    world.hand("carol").ok(&["verify", "--all"]);
}

/// D-34 from outside: openings all through the last second of a grant and beyond it.
#[test]
fn openings_around_a_deadline_end_with_it() {
    let world = World::fresh();
    let target = world.target();
    let mut many = Many::start(&world);
    let (user, key) = (World::address(&target), world.hand("alice").key());
    world.grant_for("alice", &target, ALL, "3s");
    many.say(&["race", &user, &key.to_string_lossy(), "60", "5"]);
    let got_in: usize = many.answer(&format!("raced {user} ")).parse().unwrap();
    assert!(
        got_in > 0 && got_in < 60,
        "{got_in} of 60 got in: none outlived, and the deadline fell among them"
    );
    world.ended(&target);
    let grant = &world.hand("bob").list(&["grants", "--all"])[0];
    let ends = time(&grant["grant"]["ends"]);
    for row in world.sessions(&target) {
        assert_eq!(end_reason(&row), "grant_expired", "{row}");
        assert!(time(&row["started"]) < ends, "it started after the deadline {ends}: {row}");
    }
    assert_ne!(world.client("alice").exec(&target, "true").code, 0);
}

/// A time in a row.
pub(crate) fn time(value: &Value) -> jiff::Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no time: {value}"))
}

fn summary(rows: &[Value]) -> String {
    rows.iter().fold(String::new(), |mut text, row| {
        write!(text, "{} ", end_reason(row)).unwrap();
        text
    })
}
