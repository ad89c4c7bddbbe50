//! `postern serve`: starts the logs, runs the bastion until it is told to stop, and says where it listens.
//!
//! Everything it does is in `crate::serve`; here is only its face on the command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::args::Invocation;
use super::exit::{CliError, Outcome};
use super::out;
use crate::telemetry;

/// Run the bastion. SIGTERM drains, SIGHUP reads policies and configuration again.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The bastion's directory.
    directory: Option<PathBuf>,
}

/// Serves until stopped.
pub(crate) async fn run(args: ServeArgs, run: &Invocation) -> Outcome {
    let directory = match args.directory {
        Some(directory) => directory,
        None => run.directory()?.clone(),
    };
    telemetry::start_logs().map_err(CliError::failed)?;
    let served = crate::serve::run(&directory, |addresses| {
        out::note(&format!(
            "postern serves {}\n  ssh      {}\n  api      https://{}\n  metrics  http://{}",
            out::safe(&directory.display().to_string()),
            addresses.ssh,
            addresses.api,
            addresses.metrics
        ));
    });
    Box::pin(served).await.map_err(|error| {
        CliError::failed(error).hint("'postern doctor --dir DIRECTORY' looks at everything it needs")
    })?;
    Ok(ExitCode::SUCCESS)
}
