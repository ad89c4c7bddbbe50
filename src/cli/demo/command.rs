//! `postern demo` as it is typed: build the world, then print what to paste, or walk the story and report.
//!
//! What is built is in `world.rs`, what is walked in `story.rs`.

use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::super::args::Invocation;
use super::super::exit::{CliError, Outcome};
use super::world::World;

/// Try Postern: a bastion, a target and four people in a temporary directory.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Walk the whole story without asking anything, and fail when a step does not do what it should.
    #[arg(long)]
    check: bool,
    /// Use the built-in target even where sshd is installed.
    #[arg(long)]
    builtin_target: bool,
}

/// Why the demo cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DemoError(String);

impl DemoError {
    pub(super) fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

impl From<DemoError> for CliError {
    fn from(error: DemoError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<std::io::Error> for DemoError {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Waits for Ctrl-C, or for the end of the terminal: the target must not outlive a window that was closed.
async fn told_to_stop() -> Result<(), DemoError> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = hangup.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Runs the demo until it is told to stop, or once with `--check`.
///
/// # Errors
/// See [`DemoError`].
pub(in crate::cli) async fn run(args: &DemoArgs, run: &Invocation) -> Outcome {
    let world = World::build(args.builtin_target).await?;
    if args.check {
        let report = super::story::walk(&world).await;
        world.stop().await;
        super::super::out::line(&if run.json { report.to_json() } else { report.to_text() });
        return Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    super::super::out::line(&world.guide()?);
    told_to_stop().await?;
    world.stop().await;
    Ok(ExitCode::SUCCESS)
}
