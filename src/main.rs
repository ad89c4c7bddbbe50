//! The binary: parses arguments, runs the command, turns the outcome into an exit code. All of it is in the library.
//!
//! Kept this small so that everything a test may want to reach is in the library. Start reading at `lib.rs`.

fn main() -> std::process::ExitCode {
    postern::cli::run()
}
