//! What a session costs that does nothing: resident memory and processor time of the bastion.
//!
//! Taken as the difference between before and after, so what the bastion needs anyway does not count. `fleet` holds the
//! sessions open.

use std::time::Duration;

use crate::bed::Bed;
use crate::fleet::Fleet;
use crate::options::Options;

/// Measures memory a session and processor time in a minute's part of doing nothing.
pub(crate) fn measure(bed: &Bed, options: &Options) {
    let before = bed.memory().0;
    let fleet = Fleet::open(bed, &bed.target, options.sessions, "cat");
    std::thread::sleep(Duration::from_secs(2));
    let after = bed.memory().0;
    let cpu = bed.cpu_seconds();
    std::thread::sleep(Duration::from_secs(10));
    let used = bed.cpu_seconds() - cpu;
    let each = (after.saturating_sub(before)) as f64 / options.sessions as f64 / 1024.0;
    println!(
        "{} sessions: {:.1} MB before, {:.1} MB with them, {each:.1} KiB each, {:.1} % of a core",
        options.sessions,
        before as f64 / 1e6,
        after as f64 / 1e6,
        used * 10.0
    );
    drop(fleet);
}
