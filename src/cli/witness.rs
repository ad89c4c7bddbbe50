//! `postern witness`: a small separate role that vouches for other people's ledgers, on a machine of its own.
//!
//! It needs no bastion. What it does is in `crate::witness` and, over HTTP, `crate::serve`; here is its face.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::args::Invocation;
use super::exit::{CliError, Outcome};
use super::out;
use crate::ledger::VerifierKey;
use crate::serve::{WitnessListen, serve_witness};
use crate::telemetry;
use crate::witness::Witness;

/// What a witness can be told.
#[derive(Debug, Subcommand)]
pub(crate) enum WitnessCommand {
    /// Make a witness's directory, with a new key.
    Init(InitArgs),
    /// Vouch for a ledger from now on.
    Trust(TrustArgs),
    /// Forget a ledger, so that a history put back on purpose can be trusted; what was signed is kept as evidence.
    Forget(ForgetArgs),
    /// Sign the heads of trusted ledgers that continue what was signed before.
    Serve(ServeArgs),
    /// Show the witness's key, and what it signed last of each ledger.
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The directory to make.
    directory: PathBuf,
    /// The witness's name, such as witness.example/w1; it can never change.
    #[arg(long)]
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// The witness's directory.
    directory: PathBuf,
    /// The ledger's key, as 'postern ledger verify' names it: NAME+HASH+KEY.
    #[arg(value_name = "KEY")]
    ledger: VerifierKey,
}

#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// The witness's directory.
    directory: PathBuf,
    /// The ledger's name: what its key begins with.
    #[arg(value_name = "NAME")]
    ledger: String,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The witness's directory.
    directory: PathBuf,
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7380")]
    listen: SocketAddr,
    /// The TLS certificate chain, PEM; without it, plain HTTP, for behind a proxy.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The witness's directory.
    directory: PathBuf,
}

/// Does what a witness is told.
pub(crate) async fn run(command: WitnessCommand, run: &Invocation) -> Outcome {
    match command {
        WitnessCommand::Init(args) => {
            let key = Witness::init(&args.directory, &args.name).map_err(CliError::failed)?;
            if run.json {
                out::json(&json!({ "key": key.to_string() }));
                return Ok(ExitCode::SUCCESS);
            }
            out::fields(&[("witness", key.name().to_owned()), ("key", key.to_string())]);
            out::note(
                "next: 'postern witness trust DIRECTORY KEY' with a bastion's ledger key, then 'serve'",
            );
        }
        WitnessCommand::Trust(args) => {
            Witness::trust(&args.directory, &args.ledger).map_err(CliError::failed)?;
            out::note(&format!("vouches for {} from now on", out::safe(args.ledger.name())));
        }
        WitnessCommand::Forget(args) => {
            if !Witness::forget(&args.directory, &args.ledger, &run.clock).map_err(CliError::failed)? {
                let words = format!("no ledger of the name {:?} is known here", args.ledger);
                return Err(CliError::failed(words).hint("'postern witness show' lists them"));
            }
            out::note("forgotten, and kept under evidence/; 'postern witness trust' takes it up anew");
        }
        WitnessCommand::Serve(args) => return serve(args, run).await,
        WitnessCommand::Show(args) => return show(&args, run),
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(args: ServeArgs, run: &Invocation) -> Outcome {
    telemetry::start_logs().map_err(CliError::failed)?;
    let scheme = if args.tls_cert.is_some() { "https" } else { "http" };
    let listen = WitnessListen { address: args.listen, tls: args.tls_cert.zip(args.tls_key) };
    let ready = |address| out::note(&format!("the witness listens on {scheme}://{address}"));
    let serving = serve_witness(&args.directory, listen, run.clock.clone(), ready);
    Box::pin(serving).await.map_err(CliError::failed)?;
    Ok(ExitCode::SUCCESS)
}

fn show(args: &ShowArgs, run: &Invocation) -> Outcome {
    let (key, known) = Witness::look(&args.directory).map_err(CliError::failed)?;
    if run.json {
        let ledger = |known: &crate::witness::Known| {
            let head =
                known.head.as_ref().map(|head| json!({ "size": head.size, "root": head.root.to_string() }));
            json!({ "name": known.key.name(), "key": known.key.to_string(), "head": head })
        };
        out::json(
            &json!({ "key": key.to_string(), "ledgers": known.iter().map(ledger).collect::<Vec<_>>() }),
        );
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![("key", key.to_string())];
    for known in &known {
        let head = known.head.as_ref().map_or_else(
            || "nothing signed yet".to_owned(),
            |head| format!("{} entries signed, root {}", head.size, head.root),
        );
        rows.push(("ledger", format!("{}: {head}", known.key.name())));
    }
    out::fields(&rows);
    Ok(ExitCode::SUCCESS)
}
