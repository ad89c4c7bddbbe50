//! `postern completions` and `postern man`: made from the one definition of the command line.
//!
//! Nothing about a command is written down twice: help, completions and manual pages all come from `args.rs`. Nothing here
//! reaches a bastion.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::args::Cli;
use super::exit::{Outcome, io_error};

/// Print completions for a shell: bash, zsh, fish, elvish or powershell.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell.
    shell: Shell,
}

/// Print the manual page, or write one for each command.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write every page into this directory.
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
}

/// Prints completions.
pub(crate) fn run(args: &CompletionsArgs) -> Outcome {
    clap_complete::generate(args.shell, &mut Cli::command(), "postern", &mut io::stdout().lock());
    Ok(ExitCode::SUCCESS)
}

/// Prints or writes manual pages.
pub(crate) fn man(args: &ManArgs) -> Outcome {
    match &args.output {
        Some(directory) => {
            clap_mangen::generate_to(Cli::command(), directory).map_err(io_error("write in", directory))?;
        }
        None => {
            let page = clap_mangen::Man::new(Cli::command());
            page.render(&mut io::stdout().lock())
                .map_err(io_error("write to", "standard output".as_ref()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
