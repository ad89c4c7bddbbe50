//! `postern ssh-config`: what to put into `~/.ssh/config` and `known_hosts`, so that plain `ssh` works.
//!
//! It only prints; it never edits anybody's files. Names go through the same strict shape as everywhere, so nothing printed
//! can carry an option of its own.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::args::Invocation;
use super::exit::{CliError, Outcome};
use super::{out, status};
use crate::model::Target;

/// SSH's port on a bastion when nobody says another.
const PORT: u16 = 2222;

/// Print the client configuration for reaching targets through the bastion.
#[derive(Debug, Args)]
pub(crate) struct SshConfigArgs {
    /// The bastion's host name as you reach it; unset: what it says of itself.
    #[arg(long, value_name = "HOST[:PORT]")]
    bastion: Option<String>,
    /// What to call the bastion in ~/.ssh/config.
    #[arg(long, default_value = "bastion")]
    alias: String,
}

/// Prints the snippet.
pub(crate) async fn run(args: &SshConfigArgs, run: &Invocation) -> Outcome {
    let client = run.connect().await?;
    let (status, _) = status::fetch(&client).await?;
    let targets: Vec<Target> =
        client.items("/targets").await?.into_iter().map(super::client::shaped).collect::<Result<_, _>>()?;
    let (host, port) = whereabouts(args, &status, run)?;
    let host_key = bare(&status.ssh.host_key);
    let host_ca = bare(&status.ssh.host_ca);
    if run.json {
        out::json(&json!({ "host": host, "port": port, "host_key": host_key, "host_ca": host_ca }));
        return Ok(ExitCode::SUCCESS);
    }
    let known = if port == 22 { host.clone() } else { format!("[{host}]:{port}") };
    let names: Vec<String> = targets.iter().map(|target| target.name.to_string()).collect();
    let (alias, names) = (out::safe(&args.alias), names.join(" "));
    let names = if names.is_empty() { "web-1".to_owned() } else { names };
    out::line(&format!(
        "# Into ~/.ssh/config. Then: ssh deploy@web-1@{alias}, or, with the second block, ssh deploy@web-1.\n\
         Host {alias}\n  HostName {host}\n  Port {port}\n\n\
         # Targets behind the bastion, for tools that know nothing of it. Sessions are recorded either way.\n\
         Host {names}\n  ProxyJump {alias}\n\n\
         # Into ~/.ssh/known_hosts: the bastion's key, and the CA that vouches for targets behind it.\n\
         {known} {host_key}\n@cert-authority {ca_names} {host_ca}",
        host = out::safe(&host),
        known = out::safe(&known),
        ca_names = names.replace(' ', ","),
        host_key = out::safe(&host_key),
        host_ca = out::safe(&host_ca),
    ));
    Ok(ExitCode::SUCCESS)
}

/// The bastion's host and port, from what is given, what it says, and how its API is reached.
fn whereabouts(
    args: &SshConfigArgs,
    status: &status::Status,
    run: &Invocation,
) -> Result<(String, u16), CliError> {
    let listens = status.ssh.listen.as_deref().and_then(|listen| listen.rsplit_once(':'));
    let port = listens.and_then(|(_, port)| port.parse().ok()).unwrap_or(PORT);
    if let Some(given) = args.bastion.as_ref().or(status.ssh.public_name.as_ref()) {
        return Ok(match given.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') => {
                (host.to_owned(), port.parse().map_err(|_| CliError::usage(format!("{port:?} is no port")))?)
            }
            _ => (given.clone(), port),
        });
    }
    let profile = super::profile::Profile::load(&run.place.profile)?;
    let api = profile.filter(|_| run.place.directory.is_none()).map(|profile| profile.server);
    let host =
        api.as_deref().and_then(|server| server.strip_prefix("https://")).and_then(|s| s.rsplit_once(':'));
    let host = host.map(|(host, _)| host.to_owned()).ok_or_else(|| {
        CliError::usage("under which name is the bastion reached?")
            .hint("give --bastion HOST, or set [ssh] public_name in postern.toml")
    })?;
    Ok((host, port))
}

/// A key without its comment.
fn bare(line: &str) -> String {
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}
