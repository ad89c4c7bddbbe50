//! A keystroke's way to the target and back, with its input synced before it is forwarded.
//!
//! Beside it, in the same seconds and on the same disk, a probe does nothing but such a sync: what the gate adds is given
//! in those. With `--typists`, that many other sessions type five keys a second meanwhile (`fleet`); with `--uploads`,
//! that many send noise as fast as it is taken.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::bed::{Bed, quantile};
use crate::fleet::Fleet;
use crate::options::Options;
use crate::wait;

/// Keystrokes measured each way.
const KEYS: usize = 500;

/// Measures direct, gate and the probe in the same seconds.
pub(crate) fn measure(bed: &Bed, options: &Options) {
    let typists = (options.typists > 0).then(|| {
        let mut fleet = Fleet::open(bed, &bed.target, options.typists, "cat");
        fleet.type_away();
        fleet
    });
    let is_over = Arc::new(AtomicBool::new(false));
    let uploads: Vec<_> =
        (0..options.uploads).map(|_| upload(bed.gate(&["cat > /dev/null"]), Arc::clone(&is_over))).collect();
    let probe = probe(bed, Arc::clone(&is_over));
    let mut direct = Typist::start(bed.direct(&["-tt", "stty raw -echo; echo ready; exec cat"]));
    let mut gate = Typist::start(bed.gate(&["-tt", "stty raw -echo; echo ready; exec cat"]));
    let (mut direct_ms, mut gate_ms) = (Vec::new(), Vec::new());
    for _ in 0..KEYS {
        direct_ms.push(direct.key());
        gate_ms.push(gate.key());
        std::thread::sleep(Duration::from_millis(3));
    }
    is_over.store(true, Ordering::Relaxed);
    let mut sync_ms = probe.join().unwrap();
    let sent: f64 = uploads.into_iter().map(|upload| upload.join().unwrap()).sum();
    println!(
        "{} typists and {} uploads ({sent:.0} MB/s) in the background",
        options.typists, options.uploads
    );
    println!("{:<4} {:>10} {:>10} {:>10} {:>18}", "", "direct ms", "gate ms", "sync ms", "added, in syncs");
    for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
        let (direct, gate, sync) =
            (quantile(&mut direct_ms, part), quantile(&mut gate_ms, part), quantile(&mut sync_ms, part));
        println!("{name:<4} {direct:>10.2} {gate:>10.2} {sync:>10.2} {:>18.1}", (gate - direct) / sync);
    }
    drop(typists);
}

/// Somebody typing into `cat` on a raw terminal.
struct Typist {
    child: std::process::Child,
}

impl Typist {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut greeting = Vec::new();
        while !greeting.ends_with(b"ready\n") && !greeting.ends_with(b"ready\r\n") {
            let mut byte = [0];
            child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
            greeting.push(byte[0]);
        }
        Self { child }
    }

    /// Milliseconds from writing a key to reading it back.
    fn key(&mut self) -> f64 {
        let began = wait::now();
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(b"k").unwrap();
        stdin.flush().unwrap();
        let mut byte = [0];
        self.child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"k");
        began.elapsed().as_secs_f64() * 1e3
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends noise through a command until it is over; megabytes a second.
fn upload(mut command: Command, is_over: Arc<AtomicBool>) -> std::thread::JoinHandle<f64> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    std::thread::spawn(move || {
        let noise = crate::postern::noise(1, 4 << 20);
        let began = wait::now();
        let mut sent = 0;
        while !is_over.load(Ordering::Relaxed) {
            child.stdin.as_mut().unwrap().write_all(&noise).unwrap();
            sent += noise.len();
        }
        let took = began.elapsed().as_secs_f64();
        child.kill().unwrap();
        child.wait().unwrap();
        sent as f64 / 1e6 / took
    })
}

/// Writes and syncs small records to a preallocated file on the bastion's own disk; milliseconds each.
fn probe(bed: &Bed, is_over: Arc<AtomicBool>) -> std::thread::JoinHandle<Vec<f64>> {
    let path = bed.world.dir.join("probe");
    std::fs::write(&path, vec![0; 4 << 20]).unwrap();
    std::thread::spawn(move || {
        let file = File::options().write(true).open(path).unwrap();
        file.sync_all().unwrap();
        let mut samples = Vec::new();
        let mut at = 0;
        while !is_over.load(Ordering::Relaxed) {
            let began = wait::now();
            file.write_all_at(&[7; 200], at % (4 << 20)).unwrap();
            file.sync_data().unwrap();
            samples.push(began.elapsed().as_secs_f64() * 1e3);
            at += 4096;
            std::thread::sleep(Duration::from_millis(5));
        }
        samples
    })
}
