//! `postern doctor`: looks at everything a bastion needs, and says what to do about what is wrong.
//!
//! Each check is one line: ok, warn or fail. Nothing is changed. Most need no running node; when one answers, it is
//! asked too. A check that cannot be made is a fail, never an ok.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::args::Invocation;
use super::client::Client;
use super::exit::Outcome;
use super::{out, status, words};
use crate::config::Config;
use crate::credential::keystore::node_key;
use crate::credential::{Keystore, SealingKey};
use crate::model::{Clock, Signer as _};
use crate::serve;

/// Below this, sessions are about to be refused.
const LITTLE_ROOM: u64 = 1 << 30;
/// When this program was written; a clock before it is wrong. 2026-01-01.
const WRITTEN: i64 = 1_767_225_600;

/// Check a bastion: files, keys, configuration, ledger, disk, clock, reviewers.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The bastion's directory.
    directory: Option<std::path::PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Check {
    level: Level,
    what: &'static str,
    detail: String,
}

#[derive(Default)]
struct Report(Vec<Check>);

impl Report {
    fn add(&mut self, level: Level, what: &'static str, detail: impl Into<String>) {
        self.0.push(Check { level, what, detail: detail.into() });
    }

    fn is_fine(&self) -> bool {
        self.0.iter().all(|check| check.level != Level::Fail)
    }
}

/// Looks at everything; exit code 1 when something has to be done.
pub(crate) async fn run(args: &DoctorArgs, run: &Invocation) -> Outcome {
    let directory = match &args.directory {
        Some(directory) => directory,
        None => run.directory()?,
    };
    let mut report = Report::default();
    look_at_directory(directory, &mut report);
    look_at_clock(&run.clock, &mut report);
    look_at_keys(directory, &mut report);
    match Config::load(directory) {
        Err(error) => report.add(Level::Fail, "configuration", error.to_string()),
        Ok(config) => {
            match serve::check(&config) {
                Err(error) => report.add(Level::Fail, "configuration", error.to_string()),
                Ok(()) => report.add(Level::Ok, "configuration", format!("node {}", config.node.name)),
            }
            look_at_room("recordings", &config.recording.directory, &mut report);
            look_at_room("journal", &config.recording.journal, &mut report);
            look_at_node(directory, run, &mut report).await;
        }
    }
    show(&report, run);
    Ok(if report.is_fine() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn look_at_directory(directory: &Path, report: &mut Report) {
    const WHAT: &str = "directory";
    match std::fs::metadata(directory) {
        Err(error) => report.add(Level::Fail, WHAT, format!("{}: {error}", directory.display())),
        Ok(facts) if facts.mode() & 0o077 != 0 => {
            let fix = format!("others may look into it: chmod 700 {}", directory.display());
            report.add(Level::Fail, WHAT, fix);
        }
        Ok(_) => report.add(Level::Ok, WHAT, format!("{}, for its owner alone", directory.display())),
    }
}

fn look_at_clock(clock: &Clock, report: &mut Report) {
    let now = clock.now();
    if now.as_second() < WRITTEN {
        let words = format!(
            "it says {now}, which is before this program was written: windows and certificates go wrong"
        );
        report.add(Level::Fail, "clock", words);
    } else {
        report.add(Level::Ok, "clock", now.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
    }
}

fn look_at_keys(directory: &Path, report: &mut Report) {
    let path = SealingKey::path(directory, None);
    let sealing = match SealingKey::read(&path) {
        Ok(sealing) => sealing,
        Err(error) => return report.add(Level::Fail, "sealing key", error.to_string()),
    };
    if is_beside_the_keys(directory, &path) {
        let words = format!(
            "{} lies beside the keys it seals, so a copy of the directory is a copy of the keys: keep it elsewhere \
             (LoadCredential=postern-key:/path, or POSTERN_KEY_FILE=/path)",
            path.display()
        );
        report.add(Level::Warn, "sealing key", words);
    } else {
        report.add(Level::Ok, "sealing key", path.display().to_string());
    }
    match Keystore::open(directory, &sealing) {
        Ok(keys) => {
            match node_key(directory) {
                Ok(public) if public == keys.signer().public_key() => {
                    report.add(
                        Level::Ok,
                        "keys",
                        format!("open; API certificate {}", keys.api_tls().fingerprint()),
                    );
                }
                Ok(_) => report.add(
                    Level::Fail,
                    "keys",
                    "keys/node.pub is not the public half of the node's key: somebody changed it; restore it from your backup",
                ),
                Err(error) => report.add(Level::Fail, "keys", error.to_string()),
            }
        }
        Err(error) => report.add(Level::Fail, "keys", error.to_string()),
    }
}

/// Whether a copy of the directory would have the sealing key in it. A link to elsewhere is elsewhere.
fn is_beside_the_keys(directory: &Path, path: &Path) -> bool {
    match (directory.canonicalize(), path.canonicalize()) {
        (Ok(directory), Ok(path)) => path.starts_with(directory),
        (Err(_), _) | (_, Err(_)) => true,
    }
}

fn look_at_room(what: &'static str, directory: &Path, report: &mut Report) {
    // Before the first start it is not there; what matters then is where it will be.
    let place = directory.ancestors().find(|place| place.exists()).unwrap_or(directory);
    if let Err(error) = rustix::fs::access(place, rustix::fs::Access::WRITE_OK) {
        return report.add(Level::Fail, what, format!("{} cannot be written: {error}", place.display()));
    }
    match rustix::fs::statvfs(place) {
        Err(error) => report.add(Level::Fail, what, format!("{}: {error}", place.display())),
        Ok(facts) => {
            let free = facts.f_bavail.saturating_mul(facts.f_frsize);
            let words = format!("{}, {} free", directory.display(), words::bytes(free));
            if free < LITTLE_ROOM {
                report.add(Level::Warn, what, format!("{words}: sessions are refused when it gets full"));
            } else {
                report.add(Level::Ok, what, words);
            }
        }
    }
}

/// The ledger, and what the node says. Opening it checks every entry.
async fn look_at_node(directory: &Path, run: &Invocation, report: &mut Report) {
    if !directory.join("ledger").is_dir() {
        return report.add(
            Level::Fail,
            "ledger",
            "there is none: restore it from your backup, or run 'postern init' in a new directory",
        );
    }
    let client = match Client::local(directory).await {
        Ok(client) => client,
        Err(error) => return report.add(Level::Fail, "ledger", error.to_string()),
    };
    let (status, _) = match status::fetch(&client).await {
        Ok(status) => status,
        Err(error) => return report.add(Level::Fail, "node", error.to_string()),
    };
    let when = if status.ssh.listen.is_some() { "when the node started" } else { "now" };
    let words = format!("{} entries, checked against the signed checkpoint {when}", status.ledger.size);
    report.add(Level::Ok, "ledger", words);
    match &status.ssh.listen {
        None => report.add(Level::Warn, "node", "not running: 'postern serve' starts it"),
        Some(_) if !status.recording.admits => {
            report.add(Level::Fail, "node", "it refuses new sessions: too little room to record them");
        }
        Some(listen) => {
            let since = words::relative(status.started, run.clock.now());
            report.add(
                Level::Ok,
                "node",
                format!("serves ssh on {listen}, {} live sessions, started {since}", status.sessions_live),
            );
        }
    }
    if !status.witnesses.is_empty() {
        let level = match status.witnesses.iter().map(|w| (w.is_alarm, w.trouble.is_some())).max() {
            Some((true, _)) => Level::Fail,
            Some((false, true)) => Level::Warn,
            Some((false, false)) | None => Level::Ok,
        };
        report.add(level, "witnesses", status::witnesses(&status.witnesses, run.clock.now()));
    }
    if let Some(store) = &status.store {
        let level = match (store.needs_somebody, &store.trouble) {
            (true, _) => Level::Fail,
            (false, Some(_)) => Level::Warn,
            (false, None) => Level::Ok,
        };
        report.add(level, "store", status::keeping(store));
    }
    match status.reviewers.len() {
        0 => report.add(Level::Fail, "reviewers", "none, so nothing can be recorded and no session starts: 'postern keygen', then 'postern reviewers set'"),
        1 => report.add(Level::Warn, "reviewers", "one: if that identity is lost, every recording is; add a second, kept offline"),
        count => report.add(Level::Ok, "reviewers", format!("{count} can read new recordings")),
    }
}

fn show(report: &Report, run: &Invocation) {
    if run.json {
        out::json(&json!({ "ok": report.is_fine(), "checks": report.0 }));
        return;
    }
    for check in &report.0 {
        let level = match check.level {
            Level::Ok => "ok  ",
            Level::Warn => "warn",
            Level::Fail => "fail",
        };
        out::line(&format!("{level}  {:<13}  {}", check.what, out::safe(&check.detail)));
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::model::Timestamp;

    fn level(report: &Report, what: &str) -> Option<Level> {
        report.0.iter().find(|check| check.what == what).map(|check| check.level)
    }

    #[test]
    fn open_directories_missing_keys_and_wrong_clocks_are_found() {
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(place.path(), Permissions::from_mode(0o700)).unwrap();
        let mut report = Report::default();
        look_at_directory(place.path(), &mut report);
        look_at_keys(place.path(), &mut report);
        look_at_clock(&Clock::manual(Timestamp::UNIX_EPOCH), &mut report);
        assert_eq!(level(&report, "directory"), Some(Level::Ok));
        assert_eq!(level(&report, "sealing key"), Some(Level::Fail));
        assert_eq!(level(&report, "clock"), Some(Level::Fail));
        std::fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
        let mut report = Report::default();
        look_at_directory(place.path(), &mut report);
        assert!(!report.is_fine());
    }

    #[test]
    fn a_sealing_key_beside_the_keys_is_a_warning_and_elsewhere_is_fine() {
        let place = tempfile::tempdir().unwrap();
        let (directory, apart) = (place.path().join("bastion"), place.path().join("apart.key"));
        std::fs::create_dir(&directory).unwrap();
        let key = SealingKey::random().unwrap();
        key.write(&apart).unwrap();
        Keystore::create(&directory, &key, &["localhost".into()], &Clock::system()).unwrap();
        key.write(&directory.join("sealing.key")).unwrap();
        let mut report = Report::default();
        look_at_keys(&directory, &mut report);
        assert_eq!(
            (level(&report, "sealing key"), level(&report, "keys")),
            (Some(Level::Warn), Some(Level::Ok))
        );
        std::fs::remove_file(directory.join("sealing.key")).unwrap();
        std::os::unix::fs::symlink(&apart, directory.join("sealing.key")).unwrap();
        let mut report = Report::default();
        look_at_keys(&directory, &mut report);
        assert_eq!(level(&report, "sealing key"), Some(Level::Ok));
    }
}
