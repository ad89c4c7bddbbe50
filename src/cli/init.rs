//! `postern init`: makes a bastion's directory, with its keys, its configuration, its ledger and its first admin.
//!
//! Whole or not at all: what was made is taken away again when a later step fails, and a directory that holds anything
//! is never touched. What goes into `keys/` is in `credential/keystore.rs`.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::args::Invocation;
use super::client::Client;
use super::exit::{CliError, Outcome, io_error};
use super::out;
use super::people::public_key;
use crate::config::Config;
use crate::credential::{Keystore, SealingKey, sealing};
use crate::model::PersonName;
use crate::recording::parse_recipients;

/// The commented configuration file.
const CONFIGURATION: &str = include_str!("postern.toml");
/// The role of the first person.
const ADMIN: &str = "admin";

/// Make a bastion: directory, keys, configuration, ledger, first admin.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The directory to make; it must be empty if it exists.
    directory: Option<PathBuf>,
    /// The node's name, in logs and in the ledger's origin.
    #[arg(long, default_value = "postern")]
    name: String,
    /// A name or address people reach the API by; may be given several times.
    #[arg(long = "server-name", value_name = "NAME", default_value = "localhost")]
    server_names: Vec<String>,
    /// Enrol the first admin.
    #[arg(long, value_name = "NAME", requires = "admin_key")]
    admin: Option<PersonName>,
    /// The first admin's SSH public key: a file, or the key itself.
    #[arg(long, value_name = "FILE", requires = "admin")]
    admin_key: Option<String>,
    /// An age recipient that can read recordings (see `postern keygen`); may be given several times.
    #[arg(long = "reviewer", value_name = "AGE1…")]
    reviewers: Vec<String>,
    /// The file of the key that seals the others: read if it exists, else made. Keep it away from the directory.
    #[arg(long, value_name = "FILE", env = sealing::KEY_FILE_VARIABLE)]
    key_file: Option<PathBuf>,
}

/// Makes a bastion.
pub(crate) async fn run(args: InitArgs, run: &Invocation) -> Outcome {
    let directory = match &args.directory {
        Some(directory) => directory.clone(),
        None => run.directory()?.clone(),
    };
    let admin_key = args.admin_key.as_deref().map(public_key).transpose()?;
    parse_recipients(&args.reviewers).map_err(CliError::usage)?;
    let configuration = configuration(&args.name, &args.server_names)?;
    let existed = prepare(&directory)?;
    let made = Box::pin(fill(&directory, &args, admin_key.as_deref(), &configuration, run)).await;
    if made.is_err() {
        undo(&directory, existed);
    }
    let keys = made?;
    announce(&directory, &args, &keys, run)?;
    Ok(ExitCode::SUCCESS)
}

async fn fill(
    directory: &Path,
    args: &InitArgs,
    admin_key: Option<&str>,
    configuration: &str,
    run: &Invocation,
) -> Result<Keystore, CliError> {
    let path = SealingKey::path(directory, args.key_file.as_deref());
    let sealing = if path.exists() {
        SealingKey::read(&path).map_err(CliError::failed)?
    } else {
        let key = SealingKey::random().map_err(CliError::failed)?;
        key.write(&path).map_err(CliError::failed)?;
        key
    };
    let keys =
        Keystore::create(directory, &sealing, &args.server_names, &run.clock).map_err(CliError::failed)?;
    write_private(&directory.join(Config::FILE), configuration)?;
    // Later starts look in the directory, so a key that is kept elsewhere is pointed to from there.
    let expected = directory.join(sealing::DEFAULT_FILE);
    if path != expected {
        let target = std::path::absolute(&path).map_err(io_error("find", &path))?;
        std::os::unix::fs::symlink(target, &expected).map_err(io_error("write", &expected))?;
    }
    let client = Client::begin(directory).await?;
    if let (Some(name), Some(key)) = (&args.admin, admin_key) {
        client.post("/people", &json!({ "name": name, "roles": [ADMIN], "public_keys": [key] })).await?;
    }
    if !args.reviewers.is_empty() {
        let recipients = json!({ "recipients": args.reviewers });
        client.call(axum::http::Method::PUT, "/reviewers", Some(&recipients)).await?;
    }
    Ok(keys)
}

fn announce(directory: &Path, args: &InitArgs, keys: &Keystore, run: &Invocation) -> Result<(), CliError> {
    let fingerprint = keys.api_tls().fingerprint();
    let host_key = keys.ssh_host_key().public_key().to_openssh().map_err(CliError::failed)?;
    let shown = directory.display();
    if run.json {
        out::json(&json!({ "directory": directory, "fingerprint": fingerprint, "host_key": host_key }));
        return Ok(());
    }
    out::line(&format!("Made a bastion in {}.\n", out::safe(&shown.to_string())));
    out::fields(&[
        ("API certificate", fingerprint),
        ("SSH host key", host_key),
        ("sealing key", SealingKey::path(directory, args.key_file.as_deref()).display().to_string()),
    ]);
    let mut steps = Vec::new();
    if args.admin.is_none() {
        steps.push(format!("postern --dir {shown} people add NAME --role {ADMIN} --key FILE.pub"));
    }
    if args.reviewers.is_empty() {
        steps
            .push(format!("postern keygen, as the reviewer; then postern --dir {shown} reviewers set AGE1…"));
    }
    steps.push(format!("postern --dir {shown} doctor"));
    steps.push(format!("postern --dir {shown} serve"));
    out::line(&format!("\nNext:\n  {}", steps.join("\n  ")));
    Ok(())
}

/// The configuration with this node's own values in it.
fn configuration(name: &str, server_names: &[String]) -> Result<String, CliError> {
    let names = toml::Value::from(server_names.to_vec());
    let text = CONFIGURATION
        .replace("name = \"postern\"\n", &format!("name = {}\n", toml::Value::from(name)))
        .replace("server_names = [\"localhost\"]", &format!("server_names = {names}"));
    Config::parse(&text).map_err(CliError::usage)?;
    Ok(text)
}

/// Makes the directory, or takes an empty one; answers whether it was there.
fn prepare(directory: &Path) -> Result<bool, CliError> {
    let refuse = || {
        CliError::failed(format!("{} is not empty, and is left as it is", directory.display()))
            .hint("give another directory; 'postern doctor --dir' tells what is in this one")
    };
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(io_error("make", parent))?;
    }
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let mut entries = std::fs::read_dir(directory).map_err(io_error("read", directory))?;
            if entries.next().is_some() {
                return Err(refuse());
            }
            std::fs::set_permissions(directory, Permissions::from_mode(0o700))
                .map_err(io_error("protect", directory))?;
            Ok(true)
        }
        Err(error) => Err(io_error("make", directory)(error)),
    }
}

/// Takes away what a failed init made in a directory that was empty before.
fn undo(directory: &Path, existed: bool) {
    if std::fs::remove_dir_all(directory).is_ok() && existed {
        DirBuilder::new().mode(0o700).create(directory).ok();
    }
}

fn write_private(path: &Path, text: &str) -> Result<(), CliError> {
    let mut options = OpenOptions::new();
    let mut file =
        options.write(true).create_new(true).mode(0o600).open(path).map_err(io_error("write", path))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io_error("write", path))
}

#[cfg(test)]
mod tests {
    use super::super::client::Place;
    use super::*;
    use crate::model::Clock;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti dave";

    fn arguments(directory: &Path) -> InitArgs {
        InitArgs {
            directory: Some(directory.to_owned()),
            name: "test-1".into(),
            server_names: vec!["localhost".into(), "127.0.0.1".into()],
            admin: Some("dave".parse().unwrap()),
            admin_key: Some(KEY.into()),
            reviewers: vec![crate::recording::ReviewerIdentity::generate().recipients()[0].to_string()],
            key_file: None,
        }
    }

    fn invocation() -> Invocation {
        let place = Place { directory: None, server: None, profile: "/nonexistent".into() };
        Invocation { place, json: true, clock: Clock::system() }
    }

    #[test]
    fn the_commented_file_is_the_defaults() {
        assert_eq!(Config::parse(CONFIGURATION).unwrap(), Config::default());
        let uncommented: Vec<&str> = CONFIGURATION
            .lines()
            .map(|line| {
                line.strip_prefix("# ").filter(|l| l.contains(" = ") || l.starts_with('[')).unwrap_or(line)
            })
            .map(|line| if line.starts_with("public_key") { "public_key = 'ssh-ed25519 AAAA'" } else { line })
            .collect();
        let config = Config::parse(&uncommented.join("\n")).unwrap();
        assert!(config.authn.user_cas.contains_key("corp") && config.policy.directory.is_some());
        assert!(config.recording.min_free_bytes.is_some() && config.ssh.public_name.is_some());
        let mine = configuration("node \"x", &["a".into()]);
        assert!(mine.is_err(), "a bad name is refused before anything is made");
        assert_eq!(
            Config::parse(&configuration("n1", &["a".into()]).unwrap()).unwrap().api.server_names,
            ["a"]
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn init_makes_a_private_directory_once_and_enrols_the_admin() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("bastion");
        run(arguments(&directory), &invocation()).await.unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(mode(&directory.join("keys")), 0o700);
        for file in ["postern.toml", "sealing.key", "keys/user-ca.sealed"] {
            assert_eq!(mode(&directory.join(file)), 0o600, "{file}");
        }
        let again = run(arguments(&directory), &invocation()).await.unwrap_err();
        assert!(again.to_string().contains("not empty"));
        let client = Client::local(&directory).await.unwrap();
        let people = client.items("/people").await.unwrap();
        assert_eq!(people.len(), 1);
        assert_eq!(people[0]["name"], "dave");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_sealing_key_can_live_elsewhere() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("bastion");
        let mut apart = arguments(&directory);
        apart.key_file = Some(place.path().join("the.key"));
        run(apart, &invocation()).await.unwrap();
        assert!(directory.join("sealing.key").is_symlink());
        assert!(SealingKey::find(&directory, None).is_ok());
        std::fs::remove_file(place.path().join("the.key")).unwrap();
        SealingKey::random().unwrap().write(&place.path().join("the.key")).unwrap();
        let client = Client::local(&directory).await.unwrap();
        assert_eq!(client.items("/people").await.unwrap().len(), 1, "reading needs no sealed key");
        let error = client.post("/people/dave/enable", &json!({})).await.err().unwrap();
        assert!(error.to_string().contains("another bastion's"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_failed_init_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("bastion");
        let mut wrong = arguments(&directory);
        wrong.admin_key = Some("ssh-ed25519 AAAA".into());
        assert!(run(wrong, &invocation()).await.is_err());
        assert!(!directory.exists());
    }
}
