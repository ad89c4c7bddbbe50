//! From a revocation to the end of every session under it: streaming ones, half of which nobody reads any more.
//!
//! Two views of the same moment: the bastion's receipts (decided to cut, on its own clock), and when the clients saw the
//! end. The second holds the command line's own time too. `fleet` holds the sessions.

use serde_json::Value;

use crate::bed::{Bed, quantile};
use crate::fleet::Fleet;
use crate::options::Options;
use crate::postern::field;
use crate::wait;

/// Measures it twice: by the bastion's own receipts, and by when the clients saw their end.
pub(crate) fn measure(bed: &Bed, options: &Options) {
    let target = bed.world.target();
    let grant = bed.world.grant("alice", &target, "exec");
    let fleet = Fleet::open(bed, &target, options.sessions, "while :; do echo streaming; sleep 0.2; done");
    let mut ends = fleet.ends(|| {
        let began = wait::now();
        bed.world.hand("dave").ok(&["revoke", &grant, "--reason", "the benchmark is over"]);
        println!("`postern revoke` answered after {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
    });
    println!(
        "clients saw their end after the command began: p50 {:.1} ms, p99 {:.1} ms, last {:.1} ms",
        quantile(&mut ends, 0.5) * 1e3,
        quantile(&mut ends, 0.99) * 1e3,
        quantile(&mut ends, 1.0) * 1e3
    );
    let rows: Vec<Value> = wait::until(wait::LONG, "all receipts are there", || {
        let rows = bed.world.sessions(&target);
        rows.iter().all(|row| row["ended"].is_object()).then_some(rows)
    });
    let mut cuts: Vec<f64> = rows
        .iter()
        .filter_map(|row| field(&row["ended"], "decided_to_cut_us").and_then(Value::as_f64))
        .collect();
    println!(
        "{} receipts, decided to cut: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
        cuts.len(),
        quantile(&mut cuts, 0.5) / 1e3,
        quantile(&mut cuts, 0.99) / 1e3,
        quantile(&mut cuts, 1.0) / 1e3
    );
}
