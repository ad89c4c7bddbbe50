//! `postern keys`: the bastion's own keys, on the bastion's machine: show them, replace them, seal them anew.
//!
//! Works on the directory, beside a bastion that serves; what changed is in force from its next start. How a
//! replacement is done without locking anybody out is in `credential/rotation.rs` and in `docs/operations.md`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::args::Invocation;
use super::exit::{CliError, Outcome, io_error};
use super::out;
use crate::config::Config;
use crate::credential::rotation::{self, Halves, Rotated};
use crate::credential::{Keystore, SealingKey, sealing};

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// The keys that others trust, as the bastion's next start takes them, and what is prepared to follow.
    List,
    Prepare(PrepareArgs),
    Rotate(RotateArgs),
    Reseal(ResealArgs),
}

/// Make a key's successor, and say where it has to be known before it takes over. Nothing changes yet.
///
/// `postern keys rotate` then puts it in force.
#[derive(Debug, Args)]
pub(crate) struct PrepareArgs {
    /// Which key.
    #[arg(value_name = "KEY")]
    key: Rotated,
}

/// Put a prepared key in its predecessor's place, from the bastion's next start on. The predecessor is gone.
#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// Which key.
    #[arg(value_name = "KEY")]
    key: Rotated,
}

/// Seal every key under another sealing key.
#[derive(Debug, Args)]
pub(crate) struct ResealArgs {
    /// The file of the new sealing key: read if it exists, else made.
    #[arg(long, value_name = "FILE")]
    with: PathBuf,
}

/// Runs one of them.
pub(crate) fn run(command: &KeysCommand, run: &Invocation) -> Outcome {
    let directory = run.directory()?;
    match command {
        KeysCommand::List => list(directory, run)?,
        KeysCommand::Prepare(PrepareArgs { key }) => prepare(directory, *key, run)?,
        KeysCommand::Rotate(RotateArgs { key }) => rotate(directory, *key, run)?,
        KeysCommand::Reseal(ResealArgs { with }) => reseal(directory, with, run)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(directory: &Path, run: &Invocation) -> Result<(), CliError> {
    let known = |key| Ok((key, rotation::halves(directory, key).map_err(CliError::failed)?));
    let keys = Rotated::ALL
        .into_iter()
        .filter(|key| rotation::exists(directory, *key))
        .map(known)
        .collect::<Result<Vec<(Rotated, Halves)>, CliError>>()?;
    if run.json {
        let shown = |(key, halves): &(Rotated, Halves)| json!({ "key": key.name(), "now": halves.now, "next": halves.next });
        out::json(&keys.iter().map(shown).collect());
        return Ok(());
    }
    for (key, Halves { now, next }) in keys {
        out::fields(&[(key.name(), now)]);
        if let Some(next) = next {
            out::fields(&[("  prepared", next)]);
        }
    }
    Ok(())
}

fn prepare(directory: &Path, key: Rotated, run: &Invocation) -> Result<(), CliError> {
    let sealing = SealingKey::find(directory, None).map_err(CliError::failed)?;
    Keystore::complete(directory, &sealing, &run.clock).map_err(CliError::failed)?;
    let config = Config::load(directory).map_err(CliError::failed)?;
    let made = rotation::prepare(directory, &sealing, key, &config.api.server_names, &run.clock);
    let Halves { now, next } = made.map_err(CliError::failed)?;
    let next = next.unwrap_or_default();
    if run.json {
        out::json(&json!({ "key": key.name(), "now": now, "next": next }));
        return Ok(());
    }
    out::line(&format!("Prepared, not in force:\n\n  {next}\n"));
    out::line(match key {
        Rotated::ApiTls => "Tell people the new fingerprint: they sign in again, with --fingerprint.",
        Rotated::DatabaseCa => {
            "Add its certificate, keys/database-ca.next.pem, to the file that ssl_ca_file names on every PostgreSQL \
             target, beside the present one, and reload: SELECT pg_reload_conf()"
        }
        Rotated::HostCa => {
            "Have operators add it to their known_hosts, beside the present one:\n  @cert-authority * KEY"
        }
        Rotated::SshHostKey => {
            "Tell operators: their clients will say that the bastion's host key has changed."
        }
        Rotated::UserCa => {
            "Add it to the file that TrustedUserCAKeys names on every target, beside the present one."
        }
    });
    out::line(&format!("Then: postern keys rotate {}, and restart the bastion.", key.name()));
    Ok(())
}

fn rotate(directory: &Path, key: Rotated, run: &Invocation) -> Result<(), CliError> {
    let sealing = SealingKey::find(directory, None).map_err(CliError::failed)?;
    let old = rotation::rotate(directory, &sealing, key).map_err(CliError::failed)?;
    let now = rotation::halves(directory, key).map_err(CliError::failed)?.now;
    if run.json {
        out::json(&json!({ "key": key.name(), "now": now, "old": old }));
        return Ok(());
    }
    out::line(&format!("{} is in force from the bastion's next start. Restart it.", key.name()));
    match key {
        Rotated::DatabaseCa | Rotated::HostCa | Rotated::UserCa => {
            out::line(&format!("Where it was trusted, take the old one away when that is done:\n\n  {old}"));
        }
        Rotated::ApiTls | Rotated::SshHostKey => {}
    }
    Ok(())
}

fn reseal(directory: &Path, with: &Path, run: &Invocation) -> Result<(), CliError> {
    let from = SealingKey::find(directory, None).map_err(CliError::failed)?;
    let to = if with.exists() {
        SealingKey::read(with).map_err(CliError::failed)?
    } else {
        let key = SealingKey::random().map_err(CliError::failed)?;
        key.write(with).map_err(CliError::failed)?;
        key
    };
    let sealed = rotation::reseal(directory, &from, &to).map_err(CliError::failed)?;
    let link = directory.join(sealing::DEFAULT_FILE);
    // A link to a key kept elsewhere follows; a key in the directory itself is left for its owner to destroy.
    let follows = link.is_symlink();
    if follows {
        let target = std::path::absolute(with).map_err(io_error("find", with))?;
        let beside = directory.join("sealing.key.new");
        std::fs::remove_file(&beside).ok();
        std::os::unix::fs::symlink(target, &beside).map_err(io_error("write", &beside))?;
        std::fs::rename(&beside, &link).map_err(io_error("replace", &link))?;
    }
    if run.json {
        out::json(&json!({ "sealed": sealed, "with": with }));
        return Ok(());
    }
    out::line(&format!("{sealed} keys are sealed under {} now.", with.display()));
    if !follows {
        out::line(
            "Name it where the bastion is started (POSTERN_KEY_FILE or LoadCredential=postern-key:) before its next \
             start, and destroy the old one: it still opens your backups.",
        );
    }
    Ok(())
}
