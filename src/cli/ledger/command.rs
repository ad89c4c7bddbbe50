//! `postern ledger`'s subcommands, and which file each is in.
//!
//! Nothing is fetched or judged here. Next: `audit.rs`.

use clap::Subcommand;

use super::super::args::Invocation;
use super::super::exit::Outcome;
use super::{prove, rebuild, tail, verify};

/// What to do with the ledger.
#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Show the newest entries.
    Tail(tail::TailArgs),
    /// Recompute the whole ledger against its signed checkpoint and against what was last seen here.
    Verify(verify::VerifyArgs),
    /// Prove that an entry, or the end of a session, is in the ledger.
    Prove(prove::ProveArgs),
    /// Write a verified copy: entries as JSON lines, C2SP tlog-tiles, and the signed checkpoint.
    Export(verify::ExportArgs),
    /// Make the ledger's tables again from its entries; the bastion must be stopped (needs --dir).
    Rebuild,
}

/// Runs one of them.
pub(crate) async fn run(command: LedgerCommand, run: &Invocation) -> Outcome {
    match command {
        LedgerCommand::Tail(args) => tail::run(args, run).await,
        LedgerCommand::Verify(args) => verify::run(args, run).await,
        LedgerCommand::Prove(args) => prove::run(args, run).await,
        LedgerCommand::Export(args) => verify::export(args, run).await,
        LedgerCommand::Rebuild => rebuild::run(run),
    }
}
