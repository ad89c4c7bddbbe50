//! `postern targets`: registering what can be reached, deciding how it proves itself, and trying whether it works.
//!
//! There is no trust on first use. `add` without a key registers a target nobody can use until `trust` has pinned one;
//! `trust` shows what the server shows, and a person (or `--fingerprint`) says whether that is right.

use std::collections::BTreeMap;
use std::process::ExitCode;

use axum::http::Method;
use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};

use super::args::Invocation;
use super::client::{segment, shaped};
use super::exit::{CliError, Outcome};
use super::grants::show_ended;
use super::out;
use super::status;
use super::target_trust::{TrustGiven, confirm, look, shown_trust};
use crate::credential::postgres;
use crate::model::{Administration, HostTrust, Login, Protocol, Target, TargetName};

#[derive(Debug, Subcommand)]
pub(crate) enum TargetsCommand {
    Add(Box<AddArgs>),
    /// The targets you may see.
    List,
    Sql(SqlArgs),
    Trust(TrustArgs),
    Test(TestArgs),
    Remove(RemoveArgs),
}

/// Register a target, and print what to put on it.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Its name in LOGIN@TARGET.
    name: TargetName,
    /// Where its server listens, as the bastion reaches it.
    #[arg(value_name = "HOST[:PORT]")]
    address: String,
    /// What it speaks.
    #[arg(long, value_enum, default_value_t = Speaks::Ssh)]
    protocol: Speaks,
    /// A login that may be asked for; may be given several times; none: any.
    #[arg(long = "login", value_name = "LOGIN", value_delimiter = ',')]
    logins: Vec<Login>,
    /// Such as prod or staging; approval rules speak of it.
    #[arg(long, default_value = "")]
    environment: String,
    #[command(flatten)]
    trust: TrustGiven,
    /// Look at the host keys the server shows now, and ask whether to pin them. A server that cannot be reached, or
    /// shows another key, is not registered.
    #[arg(long, conflicts_with_all = ["host_keys", "host_ca", "tls_ca", "tls_keys"])]
    scan: bool,
    /// With --scan: pin what the server shows if it has this fingerprint, without asking; may be given several times.
    #[arg(long = "fingerprint", value_name = "SHA256:…", requires = "scan")]
    fingerprints: Vec<String>,
    /// It holds customers' data: stricter rules.
    #[arg(long)]
    application_data: bool,
    /// How much harm a leak would do.
    #[arg(long, value_enum, default_value_t = HowSensitive::Normal)]
    sensitivity: HowSensitive,
    /// The tenant whose data it holds.
    #[arg(long)]
    tenant: Option<String>,
    /// A label for policy, as NAME=VALUE; may be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Of a database: print what to run on its server, and nothing else; 'postern targets sql' prints it again.
    #[arg(long)]
    print_sql: bool,
    /// Of a database: the role that administers sessions' roles there [default: postern_admin].
    #[arg(long, value_name = "ROLE")]
    admin_role: Option<Login>,
    /// Of a database: the database that role logs in to [default: postgres].
    #[arg(long, value_name = "DATABASE")]
    admin_database: Option<String>,
}

/// What a target may speak.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Speaks {
    Postgres,
    Ssh,
}

impl From<Speaks> for Protocol {
    fn from(speaks: Speaks) -> Self {
        match speaks {
            Speaks::Postgres => Self::Postgres,
            Speaks::Ssh => Self::Ssh,
        }
    }
}

/// Print what a superuser has to run on a database's server once, and the lines for its files.
#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// Which target.
    name: TargetName,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum HowSensitive {
    Normal,
    High,
}

/// Pin the keys a target proves itself with, or the CA that certifies them.
#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// Which target.
    name: TargetName,
    #[command(flatten)]
    given: TrustGiven,
    /// Pin what the server shows only if it has this fingerprint; may be given several times.
    #[arg(long = "fingerprint", value_name = "SHA256:…")]
    fingerprints: Vec<String>,
    /// Pin what the server shows without asking.
    #[arg(long)]
    yes: bool,
}

/// Log in to a target the way a session would, and say what went well.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// As whom, where.
    #[arg(value_name = "LOGIN@TARGET", value_parser = address)]
    address: (Login, TargetName),
}

/// Remove a target: everything on it ends now.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Which target.
    name: TargetName,
    /// Why; kept for ever.
    #[arg(long)]
    reason: String,
}

#[derive(Deserialize)]
struct Tested {
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    name: String,
    ok: bool,
    detail: String,
}

/// Runs one of them.
pub(crate) async fn run(command: TargetsCommand, run: &Invocation) -> Outcome {
    match command {
        TargetsCommand::Add(args) => add(*args, run).await,
        TargetsCommand::List => list(run).await,
        TargetsCommand::Sql(args) => sql(&args.name, run).await,
        TargetsCommand::Trust(args) => trust(&args, run).await,
        TargetsCommand::Test(args) => test(&args, run).await,
        TargetsCommand::Remove(args) => {
            let path = format!("/targets/{}", segment(args.name.as_str()));
            let body = json!({ "reason": args.reason });
            show_ended(run, &run.connect().await?.call(Method::DELETE, &path, Some(&body)).await?)
        }
    }
}

async fn add(args: AddArgs, run: &Invocation) -> Outcome {
    let protocol = Protocol::from(args.protocol);
    let (host, port) = endpoint(&args.address, protocol.port())?;
    let mut trust = args.trust.read()?;
    let administration = administration(&args, protocol)?;
    let labels: BTreeMap<String, String> = args.labels.into_iter().collect();
    let client = run.connect().await?;
    if args.scan {
        // Before anything is registered: what fails here leaves nothing behind.
        let shown = look(&client, &host, port, protocol).await?;
        let confirmed = confirm(&args.name, protocol, shown, &args.fingerprints, false)?;
        trust = Some(shown_trust(protocol, confirmed));
    }
    let body = json!({
        "name": args.name,
        "protocol": protocol,
        "administration": administration,
        "endpoint": { "host": host, "port": port },
        "trust": trust,
        "plane": if args.application_data { "application_data" } else { "platform" },
        "environment": args.environment,
        "sensitivity": match args.sensitivity { HowSensitive::Normal => "normal", HowSensitive::High => "high" },
        "tenant": args.tenant,
        "logins": args.logins,
        "labels": labels,
    });
    let added = client.post("/targets", &body).await?;
    if run.json {
        out::json(&added);
        return Ok(ExitCode::SUCCESS);
    }
    if protocol == Protocol::Postgres {
        let target: Target = shaped(added.get("target").cloned().unwrap_or_default())?;
        let ca = added.get("database_ca").and_then(Value::as_str).unwrap_or_default();
        if args.print_sql {
            out::line(&postgres::setup(&target, ca).map_err(CliError::failed)?);
        } else {
            explain_database(&args.name, trust.is_some());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let user_ca = added.get("user_ca").and_then(Value::as_str).unwrap_or_default();
    explain(&args.name, trust.is_some(), user_ca);
    Ok(ExitCode::SUCCESS)
}

/// As whom a database is administered, as given; that of another target is nothing one gives.
fn administration(args: &AddArgs, protocol: Protocol) -> Result<Administration, CliError> {
    let by_default = Administration::default();
    if protocol != Protocol::Postgres
        && (args.print_sql || args.admin_role.is_some() || args.admin_database.is_some())
    {
        return Err(CliError::usage(
            "--print-sql, --admin-role and --admin-database are for --protocol postgres",
        ));
    }
    Ok(Administration {
        role: args.admin_role.clone().unwrap_or(by_default.role),
        database: args.admin_database.clone().unwrap_or(by_default.database),
    })
}

async fn sql(name: &TargetName, run: &Invocation) -> Outcome {
    let client = run.connect().await?;
    let (status, _) = status::fetch(&client).await?;
    let targets: Result<Vec<Target>, CliError> =
        client.items("/targets").await?.into_iter().map(shaped).collect();
    let found = targets?.into_iter().find(|target| target.name == *name);
    let target = found.ok_or_else(|| {
        CliError::failed(format!("there is no target {name}")).hint("'postern targets list' shows them")
    })?;
    if target.protocol != Protocol::Postgres {
        return Err(CliError::failed(format!("{name} is no database: it speaks {}", target.protocol)));
    }
    let text = postgres::setup(&target, &status.database_ca).map_err(CliError::failed)?;
    if run.json {
        out::json(&json!({ "sql": text }));
    } else {
        out::line(&text);
    }
    Ok(ExitCode::SUCCESS)
}

fn explain_database(name: &TargetName, is_trusted: bool) {
    out::line(&format!(
        "Registered {name}. What has to be on its server once, as SQL for a superuser and lines for two files:\n\n  \
         postern targets sql {name}"
    ));
    if is_trusted {
        out::line(&format!("\nThen: postern targets test LOGIN@{name}"));
    } else {
        out::line(&format!(
            "\nIts key is not pinned, so nobody can connect yet. Compare and pin it:\n\n  \
             postern targets trust {name}\n\nor give its CA: --tls-ca FILE"
        ));
    }
}

/// What to put on the target, and how.
fn explain(name: &TargetName, is_trusted: bool, user_ca: &str) {
    out::line(&format!(
        "Registered {name}. On {name} itself, as root:\n\n\
         1. put this line, the bastion's user CA, into /etc/ssh/postern_user_ca.pub\n\n{}\n\n\
         2. put this line into /etc/ssh/sshd_config.d/50-postern.conf (or sshd_config), and reload sshd\n\n\
         TrustedUserCAKeys /etc/ssh/postern_user_ca.pub\n\n\
         Nobody needs a key in authorized_keys there any more; allow SSH from the bastion only.",
        out::safe(user_ca)
    ));
    if is_trusted {
        out::line(&format!("\nThen: postern targets test LOGIN@{name}"));
    } else {
        out::line(&format!(
            "\nIts host key is not pinned, so nobody can connect yet. Compare and pin it:\n\n  \
             postern targets trust {name}\n\nor give it: --host-key /etc/ssh/ssh_host_ed25519_key.pub from {name}."
        ));
    }
}

async fn list(run: &Invocation) -> Outcome {
    let items = run.connect().await?.items("/targets").await?;
    if run.json {
        out::items(&items);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = out::Table::new(
        &["name", "protocol", "address", "environment", "logins", "host key"],
        "No targets. 'postern targets add' makes one.",
    )
    .cut_first(&["logins", "environment"]);
    for item in items {
        let target: Target = shaped(item)?;
        let logins: Vec<&str> = target.logins.iter().map(Login::as_str).collect();
        let trust = match &target.trust {
            HostTrust::Unpinned => "not pinned: unusable".to_owned(),
            HostTrust::Keys(keys) | HostTrust::TlsKeys(keys) => format!("{} pinned", keys.len()),
            HostTrust::Authority(_) => "host CA".to_owned(),
            HostTrust::TlsAuthority(_) => "TLS CA".to_owned(),
        };
        let logins = if logins.is_empty() { "any".to_owned() } else { logins.join(", ") };
        table.row([
            target.name.to_string(),
            target.protocol.to_string(),
            target.endpoint.to_string(),
            target.environment,
            logins,
            trust,
        ]);
    }
    table.print();
    Ok(ExitCode::SUCCESS)
}

async fn trust(args: &TrustArgs, run: &Invocation) -> Outcome {
    let given = args.given.read()?;
    let client = run.connect().await?;
    let wanted = match given {
        Some(wanted) => wanted,
        None => {
            let targets: Result<Vec<Target>, CliError> =
                client.items("/targets").await?.into_iter().map(shaped).collect();
            let known = targets?.into_iter().find(|target| target.name == args.name);
            let protocol = known.map_or(Protocol::Ssh, |target| target.protocol);
            let path = format!("/targets/{}/host-keys", segment(args.name.as_str()));
            let shown = client.get_as(&path).await?;
            let confirmed = confirm(&args.name, protocol, shown, &args.fingerprints, args.yes)?;
            shown_trust(protocol, confirmed)
        }
    };
    let path = format!("/targets/{}/trust", segment(args.name.as_str()));
    let value = client.post(&path, &json!({ "trust": wanted })).await?;
    if run.json {
        out::json(&value);
    } else {
        out::line(&format!("Pinned. Then: postern targets test LOGIN@{}", args.name));
    }
    Ok(ExitCode::SUCCESS)
}

async fn test(args: &TestArgs, run: &Invocation) -> Outcome {
    let (login, target) = &args.address;
    let path = format!("/targets/{}/test", segment(target.as_str()));
    let value = run.connect().await?.post(&path, &json!({ "login": login })).await?;
    let tested: Tested = shaped(value.clone())?;
    let is_fine = !tested.steps.is_empty() && tested.steps.iter().all(|step| step.ok);
    if run.json {
        out::json(&value);
    } else {
        let mut table = out::Table::new(&["step", "", "detail"], "Nothing was tried.");
        for step in &tested.steps {
            table.row([step.name.as_str(), if step.ok { "ok" } else { "fail" }, step.detail.as_str()]);
        }
        table.print();
    }
    Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `HOST`, `HOST:PORT`, `[ADDRESS]:PORT` or a bare IPv6 address.
fn endpoint(given: &str, usual: u16) -> Result<(String, u16), CliError> {
    let wrong = || CliError::usage(format!("{given:?} is no address: give HOST or HOST:PORT"));
    let (host, port) = match given.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(wrong)?)),
        None if given.matches(':').count() > 1 => (given, None),
        None => match given.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (given, None),
        },
    };
    let port = port.map_or(Ok(usual), str::parse).map_err(|_| wrong())?;
    if host.is_empty() || port == 0 { Err(wrong()) } else { Ok((host.to_owned(), port)) }
}

/// `LOGIN@TARGET`, for clap.
pub(crate) fn address(text: &str) -> Result<(Login, TargetName), String> {
    let (login, target) = text
        .split_once('@')
        .or_else(|| text.split_once('+'))
        .ok_or_else(|| format!("{text:?}: give LOGIN@TARGET, such as deploy@web-1"))?;
    Ok((login.parse().map_err(|e| format!("{e}"))?, target.parse().map_err(|e| format!("{e}"))?))
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?}: give NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_as_typed() {
        for (text, host, port) in [
            ("web-1", "web-1", 22),
            ("web-1:2200", "web-1", 2200),
            ("[::1]:2200", "::1", 2200),
            ("[::1]", "::1", 22),
            ("fe80::1", "fe80::1", 22),
        ] {
            assert_eq!(endpoint(text, 22).unwrap(), (host.to_owned(), port), "{text}");
        }
        for bad in ["", ":22", "web:0", "web:x", "[::1]x"] {
            assert!(endpoint(bad, 22).is_err(), "{bad}");
        }
        assert_eq!(address("deploy@web-1"), address("deploy+web-1"));
        assert!(address("web-1").is_err() && address("a@b@c").is_err() && address("*@web").is_err());
    }
}
