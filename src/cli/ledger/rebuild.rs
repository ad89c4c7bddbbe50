//! `postern ledger rebuild`: every table made again from the entries, after the entries themselves were checked.
//!
//! Done on the bastion's own machine while it is stopped: the store lets one process in at a time.

use std::process::ExitCode;

use serde_json::json;

use super::super::args::Invocation;
use super::super::exit::{CliError, Outcome};
use super::super::out;
use crate::config::Config;
use crate::credential::{Keystore, SealingKey};
use crate::store::Store;

/// The ledger, inside a bastion's directory.
const LEDGER: &str = "ledger";

/// Rebuilds the tables.
pub(super) fn run(run: &Invocation) -> Outcome {
    let directory = run.directory()?;
    let config = Config::load(directory).map_err(CliError::failed)?;
    let sealing = SealingKey::find(directory, None).map_err(CliError::failed)?;
    let keys = Keystore::open(directory, &sealing).map_err(CliError::failed)?;
    let checked = Store::rebuild(&directory.join(LEDGER), keys.signer().as_ref(), &config.node.name)
        .map_err(CliError::failed)?;
    if run.json {
        out::json(&json!({ "ok": true, "size": checked.size, "root": checked.root.to_string() }));
    } else {
        out::line(&format!(
            "rebuilt from {} entries, all of which hold; root {}",
            checked.size, checked.root
        ));
    }
    Ok(ExitCode::SUCCESS)
}
