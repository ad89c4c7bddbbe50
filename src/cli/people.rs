//! `postern people`: enrolling, linking keys, roles, disabling. A name or the beginning of an id says who.
//!
//! What somebody may do is policy's; here are only the facts it goes by. Every change is a ledger entry.

use std::path::Path;
use std::process::ExitCode;

use axum::http::Method;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::args::Invocation;
use super::client::{segment, shaped};
use super::exit::{CliError, Outcome, io_error};
use super::grants::show_ended;
use super::out;
use crate::model::{Identity, PersonName, PrincipalKind, Role};

#[derive(Debug, Subcommand)]
pub(crate) enum PeopleCommand {
    Add(AddArgs),
    /// Everybody who is enrolled.
    List,
    Link(LinkArgs),
    Unlink(UnlinkArgs),
    Roles(RolesArgs),
    Disable(DisableArgs),
    /// Let a disabled person act again.
    Enable(WhoArgs),
}

/// Enrol a person, or a workload with an owner.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// What they are called; unique.
    name: PersonName,
    /// A role (operator, approver, reviewer, admin, or one of your policy's); may be given several times.
    #[arg(long = "role", value_name = "ROLE", value_delimiter = ',')]
    roles: Vec<Role>,
    /// Their SSH public key: a file, or the key itself; may be given several times.
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<String>,
    /// What a user CA calls them, as NAME=KEY-ID; may be given several times.
    #[arg(long = "certificate", value_name = "CA=KEY-ID")]
    certificates: Vec<String>,
    /// Enrol a workload (a service, pipeline or agent) of this person's.
    #[arg(long, value_name = "PERSON")]
    owner: Option<String>,
}

/// Link another key or certificate name to somebody.
#[derive(Debug, Args)]
pub(crate) struct LinkArgs {
    /// Who.
    person: String,
    #[command(flatten)]
    identity: OneIdentity,
}

/// Take a key or certificate name away from somebody; sessions they opened with it end.
#[derive(Debug, Args)]
pub(crate) struct UnlinkArgs {
    /// Who.
    person: String,
    #[command(flatten)]
    identity: OneIdentity,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct OneIdentity {
    /// An SSH public key: a file, or the key itself (to unlink also its SHA256:… fingerprint).
    #[arg(long, value_name = "FILE")]
    key: Option<String>,
    /// What a user CA calls them, as NAME=KEY-ID.
    #[arg(long, value_name = "CA=KEY-ID")]
    certificate: Option<String>,
}

/// Replace somebody's roles.
#[derive(Debug, Args)]
pub(crate) struct RolesArgs {
    /// Who.
    person: String,
    /// Their roles from now on; none takes all away.
    roles: Vec<Role>,
}

/// Disable somebody: their requests, grants, logins and sessions end now.
#[derive(Debug, Args)]
pub(crate) struct DisableArgs {
    /// Who.
    person: String,
    /// Why; kept for ever.
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct WhoArgs {
    /// Who.
    person: String,
}

#[derive(Deserialize)]
struct PersonView {
    person: String,
    name: String,
    kind: PrincipalKind,
    roles: Vec<String>,
    identities: Vec<IdentityView>,
    disabled: Option<String>,
}

#[derive(Deserialize)]
struct IdentityView {
    identity: Identity,
}

/// Runs one of them.
pub(crate) async fn run(command: PeopleCommand, run: &Invocation) -> Outcome {
    // What is wrong with the arguments is said before the bastion is asked.
    match command {
        PeopleCommand::Add(args) => add(args, run).await,
        PeopleCommand::List => list(run).await,
        PeopleCommand::Link(LinkArgs { person, identity }) => {
            let body = match (&identity.key, &identity.certificate) {
                (Some(key), _) => json!({ "public_key": public_key(key)? }),
                (None, certificate) => json!({ "identity": named(certificate.as_deref())? }),
            };
            change(run, Method::POST, &person, "identities", &body).await
        }
        PeopleCommand::Unlink(UnlinkArgs { person, identity }) => {
            let identity = match &identity.key {
                Some(key) => Identity::ssh_key(&fingerprint(key)?),
                None => named(identity.certificate.as_deref())?,
            };
            change(run, Method::DELETE, &person, "identities", &json!({ "identity": identity })).await
        }
        PeopleCommand::Roles(RolesArgs { person, roles }) => {
            change(run, Method::PUT, &person, "roles", &json!({ "roles": roles })).await
        }
        PeopleCommand::Disable(DisableArgs { person, reason }) => {
            let path = format!("/people/{}/disable", segment(&person));
            show_ended(run, &run.connect().await?.post(&path, &json!({ "reason": reason })).await?)
        }
        PeopleCommand::Enable(WhoArgs { person }) => {
            change(run, Method::POST, &person, "enable", &json!({})).await
        }
    }
}

async fn add(args: AddArgs, run: &Invocation) -> Outcome {
    let keys = args.keys.iter().map(|key| public_key(key)).collect::<Result<Vec<_>, _>>()?;
    let names = args.certificates.iter().map(|text| named(Some(text))).collect::<Result<Vec<_>, _>>()?;
    let kind = if args.owner.is_some() { PrincipalKind::Workload } else { PrincipalKind::Person };
    let body = json!({
        "name": args.name,
        "kind": kind,
        "owner": args.owner,
        "roles": args.roles,
        "public_keys": keys,
        "identities": names,
    });
    show(run, &run.connect().await?.post("/people", &body).await?)
}

async fn list(run: &Invocation) -> Outcome {
    let items = run.connect().await?.items("/people").await?;
    if run.json {
        out::items(&items);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table =
        out::Table::new(&["name", "kind", "roles", "identities", "id", "state"], "Nobody is enrolled.")
            .cut_first(&["identities", "roles", "state"]);
    let mut people = items.into_iter().map(shaped::<PersonView>).collect::<Result<Vec<_>, _>>()?;
    people.sort_by(|one, other| one.name.cmp(&other.name));
    for person in people {
        let identities: Vec<String> = person.identities.iter().map(|i| i.identity.subject.clone()).collect();
        table.row([
            person.name,
            kind(person.kind).to_owned(),
            person.roles.join(", "),
            identities.join(", "),
            person.person,
            person.disabled.map_or_else(|| "active".to_owned(), |why| format!("disabled: {why}")),
        ]);
    }
    table.print();
    Ok(ExitCode::SUCCESS)
}

async fn change(run: &Invocation, method: Method, person: &str, what: &str, body: &Value) -> Outcome {
    let path = format!("/people/{}/{what}", segment(person));
    show(run, &run.connect().await?.call(method, &path, Some(body)).await?)
}

fn show(run: &Invocation, value: &Value) -> Outcome {
    if run.json {
        out::json(value);
        return Ok(ExitCode::SUCCESS);
    }
    let person: PersonView = shaped(value.clone())?;
    let identities: Vec<String> = person.identities.iter().map(|i| i.identity.to_string()).collect();
    out::fields(&[
        ("name", person.name),
        ("id", person.person),
        ("kind", kind(person.kind).to_owned()),
        ("roles", person.roles.join(", ")),
        ("identities", identities.join(", ")),
        ("state", person.disabled.map_or_else(|| "active".to_owned(), |why| format!("disabled: {why}"))),
    ]);
    Ok(ExitCode::SUCCESS)
}

/// An SSH public key from a file, or from the argument itself.
pub(crate) fn public_key(given: &str) -> Result<String, CliError> {
    let text = if given.contains(' ') {
        given.to_owned()
    } else {
        let path = Path::new(given);
        std::fs::read_to_string(path).map_err(io_error("read", path))?
    };
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let key = line.filter(|line| russh::keys::PublicKey::from_openssh(line).is_ok()).ok_or_else(|| {
        let is_private = text.starts_with("-----BEGIN");
        let error = CliError::usage(format!("{} holds no SSH public key", shortened(given)));
        if is_private { error.hint("that is a private key; its public half ends in .pub") } else { error }
    })?;
    Ok(key.to_owned())
}

fn fingerprint(given: &str) -> Result<String, CliError> {
    if given.starts_with("SHA256:") {
        return Ok(given.to_owned());
    }
    let key = russh::keys::PublicKey::from_openssh(&public_key(given)?).map_err(CliError::usage)?;
    Ok(key.fingerprint(russh::keys::HashAlg::Sha256).to_string())
}

/// The identity that `CA=KEY-ID` is.
fn named(given: Option<&str>) -> Result<Identity, CliError> {
    let (ca, subject) = given
        .and_then(|text| text.split_once('='))
        .filter(|(ca, subject)| !ca.is_empty() && !subject.is_empty())
        .ok_or_else(|| {
            CliError::usage(
                "--certificate is CA=KEY-ID: the CA's name in postern.toml, and the key id it writes",
            )
        })?;
    Ok(Identity { issuer: format!("ssh-ca:{ca}"), subject: subject.to_owned() })
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

const fn kind(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::Person => "person",
        PrincipalKind::Workload => "workload",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_keys_come_from_files_or_as_they_are_and_private_ones_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
        let path = place.path().join("k.pub");
        std::fs::write(&path, format!("# comment\n{line} me\n")).unwrap();
        assert_eq!(public_key(path.to_str().unwrap()).unwrap(), format!("{line} me"));
        assert_eq!(public_key(line).unwrap(), line);
        std::fs::write(&path, "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
        assert!(public_key(path.to_str().unwrap()).unwrap_err().next_step().unwrap().contains(".pub"));
        assert!(fingerprint(line).unwrap().starts_with("SHA256:"));
        assert_eq!(named(Some("corp=alice=1")).unwrap().issuer, "ssh-ca:corp");
        assert!(named(Some("corp")).is_err() && named(Some("=x")).is_err());
    }
}
