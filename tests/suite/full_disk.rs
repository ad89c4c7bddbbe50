//! A disk that fills up under fifty live sessions, on a small file system of its own.
//!
//! Below the first floor nobody begins and everybody goes on; below the second all end, soon and with that reason; with
//! room again all is well by itself, and nothing that was forwarded is missing. What the recorder does about it inside
//! is tested beside the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::campaign;
use crate::client::run;
use crate::keeper;
use crate::many::{Many, time};
use crate::postern::{end_reason, field};
use crate::review::bytes;
use crate::ssh::ALL;
use crate::wait;
use crate::world::{World, section};

/// Sessions that are live when the disk fills up.
const SESSIONS: usize = 50;
/// Below this nobody begins, below a quarter of it all end.
const FLOOR: u64 = 32 << 20;
/// How soon after that every session has its end, and on a machine that is busy.
const SOON: f64 = 2.0;
const AT_LAST: f64 = 5.0;

#[test]
fn a_disk_that_fills_up_ends_fifty_sessions_and_loses_nothing() {
    let small = SmallDisk::mount();
    let world = World::with(|table| {
        let recording = section(table, "recording");
        recording
            .insert("directory".into(), small.path.join("recordings").to_string_lossy().into_owned().into());
        recording.insert("journal".into(), small.path.join("journal").to_string_lossy().into_owned().into());
        recording.insert("min_free_bytes".into(), i64::try_from(FLOOR).unwrap().into());
    });
    let (target, other) = (world.target(), world.target());
    world.grant("alice", &target, ALL);
    world.grant("erin", &other, ALL);
    for round in 0..campaign::rounds(1, 10) {
        let mut many = Many::start(&world);
        let mut known: BTreeSet<_> = sessions(&world).iter().map(Value::to_string).collect();
        many.open("alice", &target, SESSIONS);
        let tap = world.dir.join(format!("tap-{round}"));
        let mut typing = world.client("erin").open(&other, &[&format!("tee {}", tap.display())]);
        typing.say("before\n").unwrap();
        typing.hear("before");

        small.leave(FLOOR * 2 / 3);
        let refused = || (world.client("erin").exec(&other, "true").code != 0).then_some(());
        wait::until(wait::SHORT, "nobody begins any more", refused);
        typing.say("still\n").unwrap();
        typing.hear("still");
        assert_eq!(many.live(&target), SESSIONS, "with room for those who are there, they go on");

        let filled = wait::wall();
        small.leave(4096);
        // Whatever is said now, no byte comes back that is not recorded.
        drop(typing.say("after\n"));
        typing.end(wait::LONG);
        wait::until(wait::LONG, "all sessions end", || (many.live(&target) == 0).then_some(()));
        let mut rows = wait::until(wait::LONG, "all ends are in the ledger", || {
            Some(sessions(&world)).filter(|rows| rows.iter().all(|row| row["ended"].is_object()))
        });
        rows.retain(|row| known.insert(row.to_string()) && end_reason(row) != "client_left");
        let mut took: Vec<f64> = rows.iter().map(|row| seconds(filled, cut(row))).collect();
        took.sort_by(f64::total_cmp);
        println!("{} sessions ended within {:?}", took.len(), took.last());
        assert!(rows.len() > SESSIONS && rows.iter().all(|row| end_reason(row) == "disk_full"), "{rows:?}");
        assert!(took[took.len() / 2] < SOON && took[took.len() - 1] < AT_LAST, "{took:?}");

        small.empty();
        wait::until(wait::LONG, "the bastion takes sessions again", || {
            (world.client("erin").exec(&other, "true").code == 0).then_some(())
        });
        world.ended(&other);
        // What found no room gets its file soon after there is some.
        let open = small.path.join("recordings/open");
        let all_named = || (fs::read_dir(&open).unwrap().count() == 0).then_some(());
        wait::until(wait::LONG, "all recordings have their names", all_named);
        let row = rows.iter().find(|row| row.to_string().contains(&other)).expect("who typed");
        let events = world.events(&crate::postern::id(&row.to_string(), "ses_").unwrap());
        assert!(bytes(&events, "input").starts_with(&fs::read(&tap).unwrap()));
        assert!(bytes(&events, "output").starts_with(&typing.heard));
    }
    campaign::is_well(&world, &target);
    drop(world);
}

fn sessions(world: &World) -> Vec<Value> {
    world.machine.list(&["sessions"])
}

fn cut(row: &Value) -> jiff::Timestamp {
    time(field(&row["ended"], "cut").unwrap_or(&Value::Null))
}

fn seconds(from: jiff::Timestamp, to: jiff::Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// A file system of half a gigabyte. Unmounted when dropped.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount() -> Self {
        let path = keeper::directory();
        let mounted = run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=512m", "tmpfs"]).arg(&path));
        assert_eq!(mounted.code, 0, "this test mounts a small disk and needs root: {mounted:?}");
        Self { path }
    }

    /// Fills it up until only so much is free.
    fn leave(&self, bytes: u64) {
        let more = free(&self.path).saturating_sub(bytes);
        let name = format!("ballast-{bytes}");
        fs::write(self.path.join(name), vec![1_u8; usize::try_from(more).unwrap()]).ok();
    }

    /// Takes away what filled it up.
    fn empty(&self) {
        for entry in fs::read_dir(&self.path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::remove_file(path).unwrap();
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the last files may still be closing.
        run(Command::new("umount").arg("-l").arg(&self.path));
    }
}

fn free(path: &Path) -> u64 {
    let said = run(Command::new("df").args(["--output=avail", "-B1"]).arg(path));
    said.out.lines().last().unwrap().trim().parse().unwrap()
}
