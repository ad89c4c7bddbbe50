//! SSH through the gate beside SSH straight to the same server, in one run: ratios, not absolute figures.
//!
//! `cargo bench --bench ssh -- PART… [--size MIB] [--rounds N] [--sessions N] [--typists N] [--uploads N]`; without a part, all
//! but the long ones. Each part prints a table; the machine is named first. `bed` makes the world (it is the suite's),
//! `fleet` holds many sessions open from one process. Figures belong in `docs/benchmarks.md`, with their command.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark stops at the first thing that is not as it should be, and prints its figures"
)]
#![expect(dead_code, reason = "the suite's world has more in it than the benchmarks use")]

mod bed;
#[path = "../../tests/suite/client.rs"]
mod client;
mod cut;
mod echo;
mod fleet;
mod idle;
#[path = "../../tests/suite/keeper.rs"]
mod keeper;
mod many;
mod options;
#[path = "../../tests/suite/postern.rs"]
mod postern;
#[path = "../../tests/suite/sshd.rs"]
mod sshd;
mod start;
mod throughput;
#[path = "../../tests/suite/wait.rs"]
mod wait;
#[path = "../../tests/suite/world.rs"]
mod world;

use options::Options;

fn main() {
    let options = Options::parse(std::env::args().skip(1));
    println!("{}", bed::machine());
    if options.parts.iter().any(|part| part == "many") {
        many::take_descriptors();
    }
    let bed = bed::Bed::make();
    for part in &options.parts {
        println!("\n## {part}");
        match part.as_str() {
            "cut" => cut::measure(&bed, &options),
            "echo" => echo::measure(&bed, &options),
            "hang" => throughput::measure_hangs(&bed, &options),
            "idle" => idle::measure(&bed, &options),
            "many" => many::measure(&bed, &options),
            "start" => start::measure(&bed, &options),
            "throughput" => throughput::measure(&bed, &options),
            other => panic!("no part {other}: there are cut, echo, hang, idle, many, start, throughput"),
        }
    }
}
