//! What to measure and how much of it, from the command line.
//!
//! Every part is bounded by these numbers; the defaults end in a few minutes on two cores. `main` says what parts there
//! are.

/// The command line, read.
#[derive(Debug)]
pub(crate) struct Options {
    /// The parts to run, in order.
    pub(crate) parts: Vec<String>,
    /// Bytes for a transfer.
    pub(crate) bytes: u64,
    /// Repetitions.
    pub(crate) rounds: usize,
    /// Sessions held open at once.
    pub(crate) sessions: usize,
    /// Sessions that type five keys a second behind the measured one.
    pub(crate) typists: usize,
    /// Sessions that upload at full speed beside them.
    pub(crate) uploads: usize,
}

impl Options {
    /// Reads the arguments; what cargo adds of its own is passed over.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Self {
        let mut options =
            Self { parts: Vec::new(), bytes: 1 << 30, rounds: 20, sessions: 200, typists: 0, uploads: 0 };
        let mut arguments = arguments.filter(|argument| argument != "--bench");
        while let Some(argument) = arguments.next() {
            let mut number = || -> u64 {
                let text = arguments.next().unwrap_or_default();
                text.parse().unwrap_or_else(|_| panic!("{argument} wants a number, not {text:?}"))
            };
            match argument.as_str() {
                "--size" => options.bytes = number() << 20,
                "--rounds" => options.rounds = number() as usize,
                "--sessions" => options.sessions = number() as usize,
                "--typists" => options.typists = number() as usize,
                "--uploads" => options.uploads = number() as usize,
                part if !part.starts_with('-') => options.parts.push(part.to_owned()),
                other => {
                    panic!("no option {other}: there are --size, --rounds, --sessions, --typists, --uploads")
                }
            }
        }
        if options.parts.is_empty() {
            options.parts = ["start", "throughput", "echo", "idle", "cut"].map(str::to_owned).to_vec();
        }
        options
    }
}
