//! From typing `ssh … true` to its end, through the gate and directly, in turns.
//!
//! Turns, so that whatever else the machine does falls on both. The same key exchange and cipher on both (`bed`).
//! Nothing is kept open between rounds: each is a whole connection.

use std::process::{Command, Stdio};

use crate::bed::{Bed, quantile};
use crate::options::Options;
use crate::wait;

/// Measures it.
pub(crate) fn measure(bed: &Bed, options: &Options) {
    let (mut direct, mut gate) = (Vec::new(), Vec::new());
    for round in 0..=options.rounds {
        let one = [milliseconds(bed.direct(&["true"])), milliseconds(bed.gate(&["true"]))];
        // The first round warms caches on both sides.
        if round > 0 {
            direct.push(one[0]);
            gate.push(one[1]);
        }
    }
    println!("{:<4} {:>10} {:>10} {:>7}", "", "direct ms", "gate ms", "ratio");
    for (name, part) in [("p50", 0.5), ("p90", 0.9)] {
        let (direct, gate) = (quantile(&mut direct, part), quantile(&mut gate, part));
        println!("{name:<4} {direct:>10.1} {gate:>10.1} {:>7.2}", gate / direct);
    }
}

fn milliseconds(mut command: Command) -> f64 {
    let began = wait::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}");
    began.elapsed().as_secs_f64() * 1e3
}
