//! The machine loses power at any moment: what was never synced is gone, or half there, or there without what was
//! written before it.
//!
//! A real run is written down (`trace`): every write, sync and name of the bastion's. From that, disks are made as a
//! power loss at some moment could have left them: each sector of what was not synced is as old or as new as chance has
//! it, and names come and go until their directory is synced. On each such disk the bastion is started, and whatever had
//! been acknowledged by that moment must be there: what reached a target, what the ledger was told, who had ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::campaign;
use crate::keeper::Process;
use crate::operating::walk;
use crate::postern::{end_reason, id, noise};
use crate::review::bytes;
use crate::ssh::ALL;
use crate::trace::{self, Call, What};
use crate::wait;
use crate::world::World;

/// What a device writes as a whole.
const SECTOR: u64 = 512;

/// Something the outside world knew, and since when (microseconds of the wall clock).
#[derive(Debug)]
enum Known {
    /// A target has so many bytes.
    Reached { target: String, tap: PathBuf, bytes: usize },
    /// The ledger has a person.
    Person(String),
    /// The ledger has a session's end.
    Ended { session: String, reason: String },
}

#[test]
fn a_power_loss_at_any_moment_takes_nothing_that_was_acknowledged() {
    let world = World::fresh();
    let targets = [world.target(), world.target(), world.target()];
    targets.iter().for_each(|target| drop(world.grant("alice", target, ALL)));
    // Segments exist from here on, and everybody has signed in.
    assert_eq!(world.client("alice").ok(&targets[0], "echo up"), "up\n");
    world.ended(&targets[0]);
    let log = world.dir.join("trace.log");
    let mut strace = Process::start(trace::command(world.serve_id(), &log), &world.dir.join("strace.log"));
    wait::until(wait::LONG, "strace holds the bastion", || {
        fs::read_to_string(world.dir.join("strace.log"))
            .unwrap_or_default()
            .contains("attached")
            .then_some(())
    });
    let base = world.dir.join("base");
    campaign::copy(&world.state, &base);
    // And what people remember of the ledger: each loss is another history from here on.
    let (homes, homes_before) = (world.dir.join("home"), world.dir.join("home-before"));
    campaign::copy(&homes, &homes_before);
    let known = traffic(&world, &targets);
    world.kill();
    strace.end(wait::LONG);
    let calls = trace::read(&fs::read_to_string(&log).unwrap());
    let ours = |path: &Path| path.starts_with(&world.state);
    let streams = calls.iter().any(|call| matches!(&call.what, What::Stream(path) if ours(path)));
    assert!(!streams, "a file is written without saying where");
    let losses = campaign::rounds(8, 300);
    let (mut slowest, mut in_doubt) = (Duration::ZERO, 0);
    for loss in 0..losses {
        let mut chance = Chance(loss as u64 + 1);
        // Just when something became known, or a little later, with more under way.
        let moment = known[usize::try_from(chance.below(known.len() as u64)).unwrap()].0;
        let moment = moment + chance.below(2) * chance.below(50_000);
        fs::remove_dir_all(&homes).unwrap();
        campaign::copy(&homes_before, &homes);
        in_doubt += lose_power(&world, &base, &calls, moment, &mut chance);
        slowest = slowest.max(campaign::start_again(&world));
        let told = known.iter().filter(|(since, _)| *since <= moment).map(|(_, known)| known);
        compare(&world, told, &format!("loss {loss} at {moment}"));
        world.kill();
    }
    let (total, writes) = (known.len(), calls.len());
    println!(
        "{losses} power losses among {writes} calls and {total} facts; {in_doubt} calls were in doubt; \
         the slowest start took {slowest:?}"
    );
    fs::remove_dir_all(&homes).unwrap();
    campaign::copy(&homes_before, &homes);
    world.serve();
    campaign::is_well(&world, &targets[0]);
}

/// Typing, long lines, a transfer past the journal, short sessions that end, people who are enrolled; and who knew of
/// what since when.
fn traffic(world: &World, targets: &[String]) -> Vec<(u64, Known)> {
    let known = Arc::new(Mutex::new(Vec::new()));
    let tell = |fact| known.lock().unwrap().push((now(), fact));
    let is_over = Arc::new(AtomicBool::new(false));
    let mut lives = Vec::new();
    let mut threads = Vec::new();
    for (target, (length, pause, most)) in
        targets.iter().zip([(8, 3, 400), (3_000, 15, 100), (400_000, 60, 14)])
    {
        let tap = world.dir.join(format!("tap-{target}"));
        fs::write(&tap, "").unwrap();
        let mut pipes = world.client("alice").open(target, &[&format!("echo up; cat > {}", tap.display())]);
        pipes.hear("up");
        let mut input = pipes.take_input();
        let stop = Arc::clone(&is_over);
        threads.push(std::thread::spawn(move || {
            for line in 0..most {
                if stop.load(Ordering::Relaxed) || input.write_all(&noise(line, length)).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(pause));
            }
            // Stays open: only the power loss ends it.
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }));
        let (stop, keep, target) = (Arc::clone(&is_over), Arc::clone(&known), target.clone());
        threads.push(std::thread::spawn(move || {
            let mut before = 0;
            while !stop.load(Ordering::Relaxed) {
                let bytes = usize::try_from(fs::metadata(&tap).unwrap().len()).unwrap();
                if bytes > before {
                    let fact = Known::Reached { target: target.clone(), tap: tap.clone(), bytes };
                    keep.lock().unwrap().push((now(), fact));
                    before = bytes;
                }
                std::thread::sleep(Duration::from_micros(300));
            }
        }));
        lives.push(pipes);
    }
    let mut seen = BTreeSet::new();
    for number in 0..4 {
        let name = format!("p{number}");
        let fresh = world.dir.join(format!("key-{number}"));
        crate::sshd::keygen(&fresh, "ed25519");
        let public = fresh.with_extension("pub");
        world.machine.ok(&["people", "add", &name, "--key", &public.to_string_lossy(), "--role", "operator"]);
        tell(Known::Person(name));
        world.client("alice").ok(&targets[0], "echo short");
        for row in world.machine.list(&["sessions"]).iter().filter(|row| row["ended"].is_object()) {
            let session = id(&row.to_string(), "ses_").unwrap();
            if seen.insert(session.clone()) {
                tell(Known::Ended { session, reason: end_reason(row).to_owned() });
            }
        }
    }
    is_over.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop(lives);
    let mut known = std::mem::take(&mut *known.lock().unwrap());
    known.sort_by_key(|(since, _)| *since);
    known
}

/// Whether what was known is still so.
fn compare<'a>(world: &World, known: impl Iterator<Item = &'a Known>, when: &str) {
    let rows = world.machine.list(&["sessions"]);
    let people = world.machine.ok(&["people", "list", "--json"]);
    let mut reached: BTreeMap<&str, (&Path, usize)> = BTreeMap::new();
    for fact in known {
        match fact {
            Known::Person(name) => assert!(people.contains(&format!("\"{name}\"")), "{when}: {name} is gone"),
            Known::Ended { session, reason } => {
                let row = rows.iter().find(|row| row.to_string().contains(session.as_str()));
                let row = row.unwrap_or_else(|| panic!("{when}: {session} is gone"));
                assert_eq!(end_reason(row), reason, "{when}: {row}");
            }
            Known::Reached { target, tap, bytes } => {
                let most = reached.entry(target).or_insert((tap, 0));
                most.1 = most.1.max(*bytes);
            }
        }
    }
    world.sign_in(&world.hand("carol"));
    for (target, (tap, count)) in reached {
        let there = fs::read(tap).unwrap();
        let new = campaign::new_sessions(world, target, &mut BTreeSet::new());
        let inputs: Vec<Vec<u8>> = new
            .iter()
            .filter(|(_, row)| end_reason(row) == "crashed")
            .map(|(session, _)| bytes(&world.events(session), "input"))
            .collect();
        let is_recorded = inputs.iter().any(|input| input.starts_with(&there[..count]));
        let lengths: Vec<usize> = inputs.iter().map(Vec::len).collect();
        assert!(is_recorded, "{when}: {target} had {count} bytes, and recorded are {lengths:?}");
    }
    world.hand("carol").ok(&["verify", "--all", "--identity", &world.reading_key()]);
    world.machine.ok(&["ledger", "verify"]);
}

/// Puts in the bastion's place what a power loss at `moment` may have left; gives how many calls were in doubt.
fn lose_power(world: &World, base: &Path, calls: &[Call], moment: u64, chance: &mut Chance) -> usize {
    fs::remove_dir_all(&world.state).unwrap();
    campaign::copy(base, &world.state);
    let mut disk = Disk { root: &world.state, base, now: BTreeMap::new(), left: BTreeMap::new(), made: 0 };
    let calls: Vec<&Call> = calls.iter().filter(|call| call.began <= moment).collect();
    let mut stopped = BTreeSet::new();
    let mut in_doubt = 0;
    // Some power losses take nearly everything that was not synced, others little.
    let odds = [10, 50, 90][usize::try_from(chance.below(3)).unwrap()];
    let mut writes = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let later = &calls[index..];
        let names = call.what.names().filter(|names| names[0].starts_with(disk.root));
        let written = call.what.written().filter(|path| path.starts_with(disk.root));
        let is_sure = match (names, written) {
            (Some(names), _) => {
                let is_known = |name: &&Path| is_synced(later, call, name.parent().unwrap(), moment);
                let is_sure = names.iter().all(is_known);
                disk.name(&call.what, is_sure || chance.below(100) < odds);
                is_sure
            }
            (None, Some(path)) => {
                let is_sure = is_synced(later, call, path, moment);
                writes.push((disk.file(path), &call.what, is_sure));
                is_sure
            }
            (None, None) => continue,
        };
        in_doubt += usize::from(!is_sure);
    }
    let places = disk.place();
    for (file, what, is_sure) in writes {
        let Some(path) = places.get(&file) else { continue };
        let open = fs::File::options().write(true).open(path).unwrap();
        let mut may = |sector: u64| {
            let place = (file.clone(), sector);
            let is_left = is_sure || (!stopped.contains(&place) && chance.below(100) < odds);
            if !is_left {
                stopped.insert(place);
            }
            is_left
        };
        apply(&open, what, &mut may);
    }
    in_doubt
}

/// Does to a file what was done to it, as far as it `may`, sector by sector.
fn apply(file: &fs::File, what: &What, mut may: impl FnMut(u64) -> bool) {
    if let What::Write(_, offset, data) = what {
        let (mut at, end) = (*offset, offset + data.len() as u64);
        while at < end {
            let until = end.min((at / SECTOR + 1) * SECTOR);
            let [from, to] = [at - offset, until - offset].map(|place| usize::try_from(place).unwrap());
            if may(at / SECTOR) {
                file.write_all_at(&data[from..to], at).unwrap();
            }
            at = until;
        }
    } else if let What::Length(_, length) = what
        && may(u64::MAX)
    {
        file.set_len(*length).unwrap();
    } else if let What::Reserve(_, length) = what
        && may(u64::MAX)
    {
        file.set_len(file.metadata().unwrap().len().max(*length)).unwrap();
    }
}

/// Whether a sync of `path`, begun after `call` had ended, was over by `moment`.
fn is_synced(later: &[&Call], call: &Call, path: &Path, moment: u64) -> bool {
    later.iter().any(|sync| {
        let covers = sync.what == What::SyncAll || matches!(&sync.what, What::Sync(other) if other == path);
        covers && sync.began >= call.ended && sync.ended <= moment
    })
}

/// The names there were, by the file they led to, as processes saw them and as the power loss left them.
struct Disk<'a> {
    root: &'a Path,
    base: &'a Path,
    now: BTreeMap<PathBuf, Option<String>>,
    left: BTreeMap<PathBuf, Option<String>>,
    made: usize,
}

impl Disk<'_> {
    /// The file behind a path now; one that was there from the beginning is called by its first path.
    fn file(&self, path: &Path) -> String {
        let first = || path.strip_prefix(self.root).unwrap().to_string_lossy().into_owned();
        self.now.get(path).cloned().unwrap_or_else(|| Some(first())).unwrap_or_default()
    }

    fn name(&mut self, what: &What, is_left: bool) {
        match what {
            What::Make(path) => {
                let was_there = || self.base.join(path.strip_prefix(self.root).unwrap()).exists();
                if !self.now.get(path).map_or_else(was_there, Option::is_some) {
                    self.made += 1;
                    let file = format!("made {}", self.made);
                    self.set(path, Some(&file), is_left);
                }
            }
            What::Remove(path) => self.set(path, None, is_left),
            What::Rename(from, to) => {
                let file = self.file(from);
                self.set(from, None, is_left);
                self.set(to, Some(&file), is_left);
            }
            What::Length(..)
            | What::Reserve(..)
            | What::Stream(_)
            | What::Sync(_)
            | What::SyncAll
            | What::Write(..) => {}
        }
    }

    fn set(&mut self, path: &Path, file: Option<&str>, is_left: bool) {
        self.now.insert(path.to_owned(), file.map(str::to_owned));
        if is_left {
            self.left.insert(path.to_owned(), file.map(str::to_owned));
        }
    }

    /// Makes the names that are left, with the files' first contents; gives where each file is.
    fn place(&self) -> BTreeMap<String, PathBuf> {
        let mut places = BTreeMap::new();
        for path in walk(self.base) {
            let inside = path.strip_prefix(self.base).unwrap();
            let here = self.root.join(inside);
            if !self.left.contains_key(&here) {
                places.insert(inside.to_string_lossy().into_owned(), here);
            }
        }
        for path in self.left.iter().filter(|(_, file)| file.is_none()).map(|(path, _)| path) {
            fs::remove_file(path).ok();
        }
        for (path, file) in self.left.iter().filter_map(|(path, file)| Some((path, file.as_ref()?))) {
            let first = self.base.join(file);
            if first.is_file() {
                fs::copy(first, path).unwrap();
            } else {
                fs::write(path, "").unwrap();
            }
            places.insert(file.clone(), path.clone());
        }
        places
    }
}

/// Chance that can be had again.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}

fn now() -> u64 {
    u64::try_from(wait::wall().as_microsecond()).unwrap()
}
