//! The configuration file, section by section.
//!
//! `postern init` writes a commented `postern.toml`; every key has a default, an unknown key is an error. Relative
//! paths are relative to the bastion's directory. What may change while the node runs is read again on SIGHUP.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;

use super::retention::Retention;

/// Everything `postern.toml` says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The node.
    pub node: Node,
    /// The SSH listener.
    pub ssh: Ssh,
    /// The API listener.
    pub api: Api,
    /// The metrics and health listener.
    pub metrics: Metrics,
    /// Recordings.
    pub recording: Recording,
    /// The ledger.
    pub ledger: Ledger,
    /// How long things may take, and how many there may be.
    pub limits: Limits,
    /// Ways in beside enrolled keys.
    pub authn: Authn,
    /// Policy.
    pub policy: Policy,
}

/// The node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// Its name, in logs and in the ledger's origin.
    pub name: String,
}

/// The SSH listener.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ssh {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The host name people type, for `postern ssh-config`.
    pub public_name: Option<String>,
}

/// The API listener.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// Where it listens, over TLS.
    pub listen: SocketAddr,
    /// The names its certificate is for.
    pub server_names: Vec<String>,
}

/// The metrics and health listener, plain HTTP: keep it on loopback or a management network.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Where it listens.
    pub listen: SocketAddr,
}

/// Recordings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recording {
    /// Where finished recordings are kept.
    pub directory: PathBuf,
    /// Where the journal is kept; a volume of its own makes typing steadier beside uploads.
    pub journal: PathBuf,
    /// New sessions are refused below this much free space, in bytes. Unset: a tenth of the volume, at most 1 GiB.
    pub min_free_bytes: Option<u64>,
    /// Where finished recordings are moved to; unset: they stay.
    pub store: Option<RecordingStore>,
    /// How long they are kept.
    pub retention: Retention,
}

/// Where finished recordings are moved to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordingStore {
    /// `s3://BUCKET/PREFIX` or `file:///DIRECTORY`.
    pub url: String,
    /// The store's own address, where it is not Amazon's.
    pub endpoint: Option<String>,
    /// The region requests are signed for.
    pub region: String,
    /// A file with the credentials as `AWS_…=` lines; unset: the service manager's `postern-store`, or the environment.
    pub credentials: Option<PathBuf>,
    /// How long a recording stays here too after it was moved.
    #[serde(deserialize_with = "duration")]
    pub keep_local: Duration,
    /// How the store is to lock each object against deletion; the bucket must have object lock.
    pub lock: Option<Lock>,
    /// For how many days.
    pub lock_days: u32,
}

/// How an object is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lock {
    /// Nobody can end it early.
    Compliance,
    /// Who has a special right at the store can.
    Governance,
}

/// The ledger.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ledger {
    /// Who signs its heads elsewhere.
    pub witnesses: Vec<Witness>,
    /// No session begins unless enough witnesses have signed within this time; `0s`: sessions begin without.
    #[serde(deserialize_with = "duration")]
    pub cosigned_within: Duration,
    /// How many witnesses are enough.
    pub cosigned_by: usize,
}

/// A witness of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// What `/add-checkpoint` is appended to.
    pub url: String,
    /// Its key, as `postern witness init` prints it.
    pub key: String,
}

/// How long things may take, and how many there may be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// A session without a byte ends after this; `0s`: never.
    #[serde(deserialize_with = "duration")]
    pub idle: Duration,
    /// The longest session; `0s`: as long as its grant.
    #[serde(deserialize_with = "duration")]
    pub longest: Duration,
    /// How long somebody without a grant may wait in the terminal.
    #[serde(deserialize_with = "duration")]
    pub dialogue: Duration,
    /// Sessions end when the node has not heard of changes for this long.
    #[serde(deserialize_with = "duration")]
    pub lease: Duration,
    /// How long live sessions may go on after a stop was asked for.
    #[serde(deserialize_with = "duration")]
    pub drain: Duration,
    /// Connections that have not logged in, in all.
    pub before_login: usize,
    /// Connections that have not logged in, from one source.
    pub before_login_per_source: usize,
    /// Connections of any kind at once.
    pub connections: usize,
}

/// Ways in beside enrolled keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Authn {
    /// User CAs whose certificates prove somebody, by name.
    pub user_cas: BTreeMap<String, UserCa>,
}

/// A user CA.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserCa {
    /// Its public key, in OpenSSH's `TYPE BASE64` form.
    pub public_key: String,
    /// Principals a certificate must carry one of.
    #[serde(default)]
    pub principals: BTreeSet<String>,
    /// Serial numbers that are not accepted any more.
    #[serde(default)]
    pub revoked_serials: BTreeSet<u64>,
    /// Key ids that are not accepted any more.
    #[serde(default)]
    pub revoked_key_ids: BTreeSet<String>,
    /// Whether the CA itself is not accepted any more.
    #[serde(default)]
    pub revoked: bool,
}

/// Policy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// A directory of policies; unset: the defaults that are compiled in.
    pub directory: Option<PathBuf>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}. Is this a bastion's directory? postern init makes one")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file does not say something sensible.
    #[error("{path}: {words}")]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        words: String,
    },
}

impl Config {
    /// The file's name inside a bastion's directory.
    pub const FILE: &'static str = "postern.toml";

    /// Reads and checks the configuration of the bastion in `directory`.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(directory: &Path) -> Result<Self, ConfigError> {
        let path = directory.join(Self::FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        let mut config = Self::parse(&text).map_err(|words| ConfigError::Wrong { path, words })?;
        for path in [&mut config.recording.directory, &mut config.recording.journal] {
            *path = directory.join(&*path);
        }
        if let Some(store) = &mut config.recording.store {
            store.credentials = store.credentials.take().map(|path| directory.join(path));
        }
        config.policy.directory = config.policy.directory.map(|path| directory.join(path));
        Ok(config)
    }

    /// Parses and checks a configuration; paths stay as they are written.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check()?;
        Ok(config)
    }

    /// The sections in which `later` says something else that only a restart puts in force.
    #[must_use]
    pub fn waits_for_restart(&self, later: &Self) -> Vec<&'static str> {
        let counts = |limits: &Limits| {
            (limits.drain, limits.before_login, limits.before_login_per_source, limits.connections)
        };
        [
            ("[node]", self.node != later.node),
            ("[ssh]", self.ssh != later.ssh),
            ("[api]", self.api != later.api),
            ("[metrics]", self.metrics != later.metrics),
            ("[recording]", self.recording != later.recording),
            ("[ledger]", self.ledger != later.ledger),
            ("[limits] drain, before_login…, connections", counts(&self.limits) != counts(&later.limits)),
        ]
        .into_iter()
        .filter_map(|(section, differs)| differs.then_some(section))
        .collect()
    }

    fn check(&self) -> Result<(), String> {
        let name = &self.node.name;
        let is_name = (1..=63).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
        if !is_name {
            return Err(format!("[node] name {name:?}: use 1 to 63 letters, digits, dots and hyphens"));
        }
        let limits = &self.limits;
        if limits.lease < Duration::from_secs(1) {
            return Err(
                "[limits] lease: at least 1s, or every pause of the machine ends every session".to_owned()
            );
        }
        if limits.before_login == 0 || limits.before_login_per_source == 0 || limits.connections == 0 {
            return Err("[limits]: a count of 0 would let nobody in".to_owned());
        }
        if let Some(store) = &self.recording.store {
            if store.url.is_empty() {
                return Err("[recording.store] url: write s3://BUCKET/PREFIX or file:///DIRECTORY".to_owned());
            }
            if store.lock.is_some() != (store.lock_days > 0) {
                return Err("[recording.store]: lock and lock_days go together".to_owned());
            }
        }
        self.recording.retention.check()?;
        let addresses = [self.ssh.listen, self.api.listen, self.metrics.listen];
        let chosen: Vec<_> = addresses.iter().filter(|address| address.port() != 0).collect();
        if chosen.iter().collect::<BTreeSet<_>>().len() != chosen.len() {
            return Err("[ssh], [api] and [metrics] listen: each needs an address of its own".to_owned());
        }
        Ok(())
    }
}

impl Default for Node {
    fn default() -> Self {
        Self { name: "postern".to_owned() }
    }
}

impl Default for Ssh {
    fn default() -> Self {
        Self { listen: any(2222), public_name: None }
    }
}

impl Default for Api {
    fn default() -> Self {
        Self { listen: any(8443), server_names: vec!["localhost".to_owned()] }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9464)) }
    }
}

impl Default for Recording {
    fn default() -> Self {
        Self {
            directory: "recordings".into(),
            journal: "journal".into(),
            min_free_bytes: None,
            store: None,
            retention: Retention::default(),
        }
    }
}

impl Default for RecordingStore {
    fn default() -> Self {
        Self {
            url: String::new(),
            endpoint: None,
            region: "us-east-1".to_owned(),
            credentials: None,
            keep_local: Duration::from_secs(7 * 24 * 3600),
            lock: None,
            lock_days: 0,
        }
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self { witnesses: Vec::new(), cosigned_within: Duration::ZERO, cosigned_by: 1 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(15 * 60),
            longest: Duration::ZERO,
            dialogue: Duration::from_secs(10 * 60),
            lease: Duration::from_secs(10),
            drain: Duration::from_secs(30),
            before_login: 1024,
            before_login_per_source: 256,
            connections: 20_000,
        }
    }
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

/// A duration as people write it: `90s`, `15m`, `8h`.
fn duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    use serde::de::Error;
    let text = String::deserialize(from)?;
    let parsed: SignedDuration = text
        .parse()
        .map_err(|_| D::Error::custom(format!("{text:?} is no duration: write 90s, 15m or 8h")))?;
    Duration::try_from(parsed).map_err(|_| D::Error::custom(format!("{text:?} is negative")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_defaults_and_mistakes_are_named() {
        assert_eq!(Config::parse("").unwrap(), Config::default());
        let config = Config::parse("[limits]\nidle = '0s'\nlease = '5s'").unwrap();
        assert_eq!((config.limits.idle, config.limits.lease), (Duration::ZERO, Duration::from_secs(5)));
        for (text, names) in [
            ("[limits]\nidel = '1s'", "idel"),
            ("[limits]\nidle = 'soon'", "soon"),
            ("[limits]\nlease = '0s'", "lease"),
            ("[node]\nname = 'a b'", "name"),
            ("[ssh]\nlisten = '127.0.0.1:9464'", "listen"),
            ("[recording.store]\nregion = 'x'", "url"),
            ("[recording.store]\nurl = 's3://abc'\nlock = 'compliance'", "lock_days"),
        ] {
            assert!(Config::parse(text).unwrap_err().contains(names), "{text}");
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::{Config, Duration};

        /// A line that could stand in a configuration, or almost.
        fn line() -> impl Strategy<Value = String> {
            let section =
                "node|ssh|api|metrics|recording|ledger|limits|authn|policy|authn.user_cas.corp|other";
            let key = "name|listen|public_name|server_names|directory|journal|min_free_bytes|idle|longest|lease|\
                       drain|dialogue|connections|before_login|cosigned_within|cosigned_by|witnesses|public_key|principals|revoked|other";
            let value = prop_oneof![
                Just("'127.0.0.1:2222'".to_owned()),
                Just("true".to_owned()),
                Just("{}".to_owned()),
                any::<i64>().prop_map(|number| number.to_string()),
                any::<f64>().prop_map(|number| number.to_string()),
                "[0-9]{1,20}(ms|s|m|h|d|w|y| )".prop_map(|span| format!("'{span}'")),
                "-?P[0-9YMDTHS.]{0,12}".prop_map(|span| format!("'{span}'")),
                "[ -&(-~]{0,20}".prop_map(|text| format!("'{text}'")),
                "[ -~]{0,12}",
            ];
            prop_oneof![
                1 => section.prop_map(|name| format!("[{name}]")),
                4 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
            ]
        }

        proptest! {
            /// No text breaks the reader, and what it takes can be run with.
            #[test]
            fn any_text_is_a_sound_configuration_or_an_error(
                lines in prop::collection::vec(line(), 0..12), junk in ".{0,80}",
            ) {
                prop_assert!(Config::parse(&junk).is_ok() || Config::parse(&junk).is_err_and(|e| !e.is_empty()));
                match Config::parse(&lines.join("\n")) {
                    Ok(config) => prop_assert!(!config.limits.lease.is_zero() && !config.node.name.is_empty()),
                    Err(words) => prop_assert!(!words.is_empty()),
                }
            }

            #[test]
            fn what_is_written_is_what_is_read(
                idle in 0_u32.., lease in 1_u32..60, connections in 1_usize..100_000, name in "[a-z]{1,20}",
            ) {
                let text = format!(
                    "[node]\nname = '{name}'\n[limits]\nidle = '{idle}s'\nlease = '{lease}s'\nconnections = {connections}\n"
                );
                let config = Config::parse(&text).map_err(TestCaseError::fail)?;
                prop_assert_eq!(config.node.name, name);
                prop_assert_eq!(config.limits.idle, Duration::from_secs(idle.into()));
                prop_assert_eq!(config.limits.lease, Duration::from_secs(lease.into()));
                prop_assert_eq!(config.limits.connections, connections);
            }
        }
    }
}
