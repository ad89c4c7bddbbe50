//! The `postern` command as people use it: each person with a home directory, a key and a signed-in client.
//!
//! Everything the suite knows about the command line's words is here and in `world`. Ids are found in text by their
//! shape, so that wording may change freely.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::client::run;

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_postern");

/// Somebody who types `postern` commands.
#[derive(Debug, Clone)]
pub(crate) struct Hand {
    /// What the bastion calls them.
    pub(crate) name: String,
    /// Their home directory, with `key` and `key.pub` in it.
    pub(crate) home: PathBuf,
    /// Arguments before all others: how this person reaches the bastion.
    before: Vec<String>,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Hand {
    pub(crate) fn new(name: &str, home: &Path, before: &[&str]) -> Self {
        std::fs::create_dir_all(home).unwrap();
        Self { name: name.into(), home: home.into(), before: before.iter().map(|&arg| arg.into()).collect() }
    }

    /// Their private key.
    pub(crate) fn key(&self) -> PathBuf {
        self.home.join("key")
    }

    /// A `postern` command of theirs, with nothing inherited that could lend it another identity.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.env_clear().env("HOME", &self.home).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("POSTERN_SSH_KEY", self.key());
        command.env("LC_ALL", "C.UTF-8").env("RUST_BACKTRACE", "0").current_dir(&self.home);
        command.args(&self.before).args(args).stdin(Stdio::null());
        command
    }

    /// The same, run by another command that takes the program and its arguments behind its own.
    pub(crate) fn command_under(&self, by: &Command, args: &[&str]) -> Command {
        let inner = self.command(args);
        let mut command = Command::new(by.get_program());
        command.args(by.get_args()).arg(inner.get_program()).args(inner.get_args());
        command.env_clear().current_dir(&self.home).stdin(Stdio::null());
        for (name, value) in inner.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        let said = run(&mut self.command(args));
        assert!(
            !said.err.contains("panicked at"),
            "`postern {}` as {} panicked: {}",
            args.join(" "),
            self.name,
            said.err
        );
        said
    }

    /// Runs what must work; gives its standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(
            said.code,
            0,
            "`postern {}` as {} failed.\nout: {}\nerr: {}",
            args.join(" "),
            self.name,
            said.out,
            said.err
        );
        said.out
    }

    /// Runs what must be refused (exit code 1, not a crash and not a usage error); gives its standard error.
    pub(crate) fn refused(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(
            said.code,
            1,
            "`postern {}` as {} should have been refused.\nout: {}\nerr: {}",
            args.join(" "),
            self.name,
            said.out,
            said.err
        );
        assert!(!said.err.trim().is_empty(), "a refusal must say why: postern {}", args.join(" "));
        said.err
    }

    /// A list, as JSON: an array, or the one array inside an object.
    pub(crate) fn list(&self, args: &[&str]) -> Vec<Value> {
        let mut all = args.to_vec();
        all.push("--json");
        let text = self.ok(&all);
        match serde_json::from_str(&text) {
            Ok(Value::Array(rows)) => rows,
            Ok(Value::Object(object)) => {
                object.into_iter().find_map(|(_, value)| value.as_array().cloned()).unwrap_or_default()
            }
            _ => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        }
    }
}

/// The first id with this prefix (`req_`, `grn_`, `ses_`, `per_`) in a text.
pub(crate) fn id(text: &str, prefix: &str) -> Option<String> {
    let (at, _) = text.match_indices(prefix).next()?;
    let body: String = text
        .get(at + prefix.len()..)?
        .chars()
        .take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        .collect();
    (body.len() == 16).then(|| format!("{prefix}{body}"))
}

/// The field of this name in a JSON value, however deep; the outermost when there are several.
pub(crate) fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    object.get(name).or_else(|| object.values().find_map(|inner| field(inner, name)))
}

/// Why a session ended, from its row in a list.
pub(crate) fn end_reason(row: &Value) -> &str {
    field(&row["ended"], "reason").and_then(Value::as_str).unwrap_or_default()
}

/// The SHA-256 of some bytes, in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

/// Bytes that do not compress and never repeat, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
