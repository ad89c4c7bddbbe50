//! `postern ledger verify` and `postern ledger export`: the audit, and the audit with a copy written on the way.
//!
//! Read next: `audit.rs`.

use std::path::PathBuf;
use std::process::ExitCode;

use data_encoding::HEXLOWER;
use serde_json::json;

use super::super::args::Invocation;
use super::super::exit::{CliError, Outcome, io_error};
use super::super::{out, words};
use super::audit::{Audited, audit};
use super::copy::Copy;
use super::witnessed::{self, Signed};
use crate::ledger::{VerifierKey, WitnessKey};

/// What to check with.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// The ledger's key, as NAME+HASH+KEY. [default: the one remembered, else the one the ledger names]
    #[arg(long, value_name = "KEY")]
    key: Option<VerifierKey>,
    /// A witness's key: it must have signed a head that the ledger continues. May be given several times.
    #[arg(long, value_name = "KEY")]
    witness: Vec<WitnessKey>,
}

/// Where to write the copy.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// The directory, made if need be.
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    /// The ledger's key, as NAME+HASH+KEY. [default: the one remembered, else the one the ledger names]
    #[arg(long, value_name = "KEY")]
    key: Option<VerifierKey>,
}

/// Verifies the ledger.
pub(super) async fn run(args: VerifyArgs, run: &Invocation) -> Outcome {
    let client = run.connect().await?;
    let audited = audit(&client, args.key, run, |_| {}).await?;
    let now = (&audited.checkpoint, audited.note.as_str());
    let signed = witnessed::check(&client, &audited.key, &args.witness, now).await?;
    say(&audited, &signed, run);
    Ok(ExitCode::SUCCESS)
}

/// Writes a copy of the ledger.
pub(super) async fn export(args: ExportArgs, run: &Invocation) -> Outcome {
    let failed = || io_error("write in", &args.directory);
    let client = run.connect().await?;
    let mut copy = Copy::begin(&args.directory).map_err(failed())?;
    let audited = audit(&client, args.key, run, |step| copy.take(step)).await.map_err(|error| {
        CliError::failed(error).hint("what was copied so far has no checkpoint and proves nothing")
    })?;
    copy.finish(&audited.note).map_err(failed())?;
    say(&audited, &[], run);
    Ok(ExitCode::SUCCESS)
}

fn say(audited: &Audited, signed: &[Signed], run: &Invocation) {
    let Audited { checkpoint, note, key, before } = audited;
    if run.json {
        out::json(&json!({
            "ok": true, "origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.to_string(),
            "key": key.to_string(), "checkpoint": note, "seen_before": before,
            "witnesses": signed,
        }));
        return;
    }
    let seen = match before {
        None if run.place.directory.is_some() => {
            "never from here; its key and this head are remembered for the next time".to_owned()
        }
        None => "never: its key is trusted from now on; compare it with the bastion's operators".to_owned(),
        Some(before) if *before == checkpoint.size => "with the same entries".to_owned(),
        Some(before) => format!("with {before} entries, which are all still there"),
    };
    let mut rows = vec![
        ("ledger", checkpoint.origin.clone()),
        ("entries", format!("{}, every one hashed and in its place", checkpoint.size)),
        ("root", checkpoint.root.to_string()),
        ("signed by", key.to_string()),
        ("key in hex", HEXLOWER.encode(key.public_key())),
        ("last seen", seen),
    ];
    for Signed { witness, size, at } in signed {
        let when = words::relative(*at, run.clock.now());
        rows.push(("witnessed", format!("{witness} signed its first {size} entries {when}")));
    }
    out::fields(&rows);
}
