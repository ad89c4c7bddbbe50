//! Bulk in one direction, and the same bytes there and back, which is what makes naive relays hang.
//!
//! The bytes are noise, so that compression helps nobody. Processor time is the bastion's own, not sshd's or the
//! client's. A transfer that takes minutes counts as hung and stops the run.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::bed::Bed;
use crate::options::Options;
use crate::wait;

/// Longest time for one transfer before it counts as hung.
const HUNG: Duration = Duration::from_secs(180);

/// Out and in, interleaved with direct, and the bastion's processor time for them.
pub(crate) fn measure(bed: &Bed, options: &Options) {
    let file = bed.noise(options.bytes);
    let read = format!("cat {}", file.display());
    let rounds = options.rounds.clamp(1, 3);
    println!("{:<4} {:>12} {:>12} {:>7} {:>12}", "", "direct MB/s", "gate MB/s", "ratio", "CPU s/GB");
    for (name, is_out) in [("out", true), ("in", false)] {
        let (mut direct, mut gate, mut cpu) = (0.0, 0.0, 0.0);
        for _ in 0..rounds {
            let command = if is_out { read.as_str() } else { "cat > /dev/null" };
            let input = (!is_out).then_some(&file);
            direct += seconds(bed.direct(&[command]), input.map(|path| File::open(path).unwrap()));
            let before = bed.cpu_seconds();
            gate += seconds(bed.gate(&[command]), input.map(|path| File::open(path).unwrap()));
            cpu += bed.cpu_seconds() - before;
        }
        let megabytes = options.bytes as f64 / 1e6 * rounds as f64;
        println!(
            "{name:<4} {:>12.0} {:>12.0} {:>7.2} {:>12.2}",
            megabytes / direct,
            megabytes / gate,
            direct / gate,
            cpu / (megabytes / 1e3)
        );
    }
}

/// `cat` at the target, everything sent comes back; counts what did not come to an end.
pub(crate) fn measure_hangs(bed: &Bed, options: &Options) {
    let file = bed.noise(options.bytes.min(400 << 20));
    let before = bed.memory().0;
    let mut slowest: f64 = 0.0;
    for round in 0..options.rounds {
        slowest = slowest.max(seconds(bed.gate(&["cat"]), Some(File::open(&file).unwrap())));
        eprintln!("round {} of {}", round + 1, options.rounds);
    }
    let grown = (bed.memory().1.saturating_sub(before)) as f64 / 1e6;
    println!(
        "{} rounds, no hang, slowest {slowest:.1} s, memory grew by at most {grown:.0} MB",
        options.rounds
    );
}

/// Runs a command to its end; how long it took.
fn seconds(mut command: Command, input: Option<File>) -> f64 {
    let began = wait::now();
    command.stdin(input.map_or_else(Stdio::null, Stdio::from)).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > HUNG {
            child.kill().unwrap();
            panic!("hung: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(status.success(), "{command:?}: {status}");
    began.elapsed().as_secs_f64()
}
