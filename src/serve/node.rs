//! A running node: its parts put together in the order they depend on each other, and taken apart in reverse.
//!
//! Starting: configuration, keys, ledger (which checks itself), policy, journal (which finishes what a crash left),
//! sweep, listeners. Stopping: no new connections, sessions may go on until the drain is over, then they are cut and
//! closed like any other, and only then the journal and the ledger go.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use metrics_exporter_prometheus::PrometheusHandle;
use russh::keys::PrivateKey;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::check::{authorities, check};
use super::front::NodeFront;
use super::keeping::{self, Keeper};
use super::listeners;
use super::live::NodeLive;
use super::witnesses;
use crate::access::Command;
use crate::api;
use crate::authn::Authenticator;
use crate::config::{Config, ConfigError};
use crate::credential::keystore::KEYS;
use crate::credential::postgres::{Administrations, Administrator};
use crate::credential::{
    DatabaseCa, Keystore, KeystoreError, MintError, SealingKey, SshCertificateAuthority,
};
use crate::ledger::entry::Actor;
use crate::model::{Clock, EndReason, PolicyChanges, Signer};
use crate::net::{Listener, ListenerLimits};
use crate::policy::{Engine, PolicyError, ReloadError, Reloaded};
use crate::protocol::ssh::{Carried, Carriers};
use crate::recording::{Journal, JournalError, JournalSettings};
use crate::session::{Gate, LastWords, Limits, Registry, patrol, pin, sweep};
use crate::store::{Store, StoreError, SubmitError};
use crate::telemetry;

/// The ledger and the control socket, inside a bastion's directory.
pub(super) const LEDGER: &str = "ledger";
const CONTROL: &str = "control.sock";
/// Carried connections on their way to a lifecycle.
const CARRIED: usize = 128;
/// Sessions that were cut may take this long to close…
const CLOSING_ROUND: Duration = Duration::from_secs(1);
/// …this many times.
const CLOSING_ROUNDS: usize = 10;
/// How often the fence looks at the change feed.
const FENCE: Duration = Duration::from_millis(500);

/// Where a node listens.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// SSH, for sessions.
    pub ssh: SocketAddr,
    /// The API, over TLS.
    pub api: SocketAddr,
    /// Metrics and health.
    pub metrics: SocketAddr,
    /// The control socket.
    pub control: PathBuf,
}

/// Why a node cannot start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}. Is another bastion running? [ssh], [api] and [metrics] listen set it"
    )]
    Bind {
        /// Which address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A user CA in the configuration cannot be used.
    #[error("[authn.user_cas]: {0}")]
    Authority(String),
    /// Input or output failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The store for recordings cannot be used as it is configured.
    #[error("[recording.store] url: {0}")]
    Keeping(String),
    /// The keys cannot be opened.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The policies cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The ledger cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger did not take an entry.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// Logs or metrics cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] telemetry::TelemetryError),
    /// A witness's files cannot be used.
    #[error(transparent)]
    Witness(#[from] crate::witness::WitnessError),
    /// The ledger's witnesses cannot be used as they are configured.
    #[error(transparent)]
    Witnesses(#[from] witnesses::WitnessesError),
    /// The API's certificate cannot be used.
    #[error("the API's TLS certificate cannot be used: {0}")]
    Tls(String),
}

/// A node that runs.
pub struct Node {
    directory: PathBuf,
    /// As it was at the start: what a reload cannot change is still so.
    config: Config,
    gate: Arc<Gate>,
    keeper: Arc<Keeper>,
    addresses: Addresses,
    /// No new sessions.
    stop_sessions: watch::Sender<bool>,
    /// No API and no metrics: when no session is left, for until then they may have to be revoked.
    stop_services: watch::Sender<bool>,
    sessions: JoinSet<()>,
    services: JoinSet<()>,
}

/// The parts that every command needs, with or without listeners.
struct Parts {
    config: Config,
    keys: Keystore,
    gate: Arc<Gate>,
    keeper: Arc<Keeper>,
}

impl Node {
    /// Starts the bastion in `directory`.
    ///
    /// # Errors
    /// See [`ServeError`]; nothing is left behind.
    pub async fn start(directory: &Path) -> Result<Self, ServeError> {
        raise_descriptors();
        let parts = open(directory).await?;
        let Parts { config, keys, gate, keeper } = &parts;
        let prometheus = prometheus()?;
        let asking = witnesses::asking(&config.ledger, &directory.join(LEDGER))?;
        let limits = ListenerLimits {
            before_login: config.limits.before_login,
            before_login_per_source: config.limits.before_login_per_source,
        };
        let ssh = bind(config.ssh.listen, limits).await?;
        let https = bind(config.api.listen, listeners::API_LIMITS).await?;
        let metrics = bind(config.metrics.listen, listeners::API_LIMITS).await?;
        let control_path = directory.join(CONTROL);
        let control = listeners::bind_control(&control_path)?;
        let addresses = Addresses {
            ssh: ssh.address()?,
            api: https.address()?,
            metrics: metrics.address()?,
            control: control_path,
        };
        let (stop_sessions, no_sessions) = watch::channel(false);
        let (stop_services, no_services) = watch::channel(false);
        let (carry, carried) = mpsc::channel(CARRIED);
        let front = front(keys, gate, carry);
        let mut sessions = JoinSet::new();
        let connections = config.limits.connections;
        sessions.spawn(listeners::ssh(
            Arc::clone(gate),
            Arc::new(front),
            ssh,
            carried,
            connections,
            no_sessions,
        ));
        let router = api::router(context(directory, &parts, Some(&addresses))?);
        let tls = TlsAcceptor::from(Arc::new(tls(keys)?));
        let mut services = JoinSet::new();
        services.spawn(listeners::https(https, tls, router.clone(), no_services.clone()));
        services.spawn(listeners::control(control, router, no_services.clone()));
        let well = Arc::clone(gate);
        let is_well = Arc::new(move || {
            well.store.changes().age() < well.limits().lease
                && well.journal.room().suffices()
                && well.journal.failure().is_none()
                && well.witnesses.refusal().is_none()
        });
        services.spawn(listeners::metrics(metrics, prometheus, is_well, no_services));
        services.spawn(fence(Arc::clone(gate)));
        services.spawn(pin(Arc::clone(gate)));
        services.spawn(witnesses::attend(Arc::clone(gate), asking));
        services.spawn(patrol(Arc::clone(gate)));
        services.spawn(keeping::attend(Arc::clone(keeper)));
        Ok(Self {
            directory: directory.to_owned(),
            config: parts.config,
            gate: parts.gate,
            keeper: parts.keeper,
            addresses,
            stop_sessions,
            stop_services,
            sessions,
            services,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// How many sessions are alive.
    #[must_use]
    pub fn live(&self) -> usize {
        self.gate.registry.count()
    }

    /// Reads the configuration and the policies again and puts in force what can change while the node runs: policies,
    /// user CAs and what is revoked of them, session limits. Every live session is asked about again. Gives what waits
    /// for a restart; the ledger notes a configuration only when all of it is in force.
    ///
    /// # Errors
    /// When the policies or the configuration cannot be used; then nothing was replaced. When the ledger cannot note
    /// the configuration; then it was replaced.
    pub async fn reload(&self) -> Result<Vec<&'static str>, ServeError> {
        let config = Config::load(&self.directory)?;
        check(&config)?;
        let authorities = authorities(&config)?;
        let gate = &self.gate;
        reload_policy(gate, config.policy.directory.clone()).await?;
        gate.authenticator.replace_authorities(authorities);
        *gate.limits.write().unwrap_or_else(PoisonError::into_inner) = limits(&config);
        // Also when neither policy nor file is new to the ledger, and when that cannot be written: a certificate may have
        // been taken back.
        gate.registry.ask_all(gate);
        self.keeper.again();
        let waiting = self.config.waits_for_restart(&config);
        if waiting.is_empty() {
            note_configuration(&self.directory, &gate.store).await?;
        }
        Ok(waiting)
    }

    /// Stops: no new connections, time for live sessions, in which they can still be revoked, then they are ended and
    /// closed.
    pub async fn stop(mut self) {
        self.stop_sessions.send_replace(true);
        self.gate.registry.close();
        if !self.gate.registry.drained(self.config.limits.drain).await {
            for _ in 0..CLOSING_ROUNDS {
                // Again, for one that was on its way in.
                self.gate.registry.end_all(EndReason::Drained);
                if self.gate.registry.drained(CLOSING_ROUND).await {
                    break;
                }
            }
        }
        self.stop_services.send_replace(true);
        self.sessions.shutdown().await;
        self.services.shutdown().await;
    }
}

/// The API over a bastion's directory that nobody serves, for commands on its own machine that change something. What
/// a crash left is finished first, as at a start.
///
/// # Errors
/// See [`ServeError`]; in particular when the directory is in use.
pub async fn open_offline(directory: &Path) -> Result<axum::Router, ServeError> {
    let parts = open(directory).await?;
    let router = api::router(context(directory, &parts, None)?);
    Ok(router.layer(axum::Extension(api::Peer(None))))
}

async fn open(directory: &Path) -> Result<Parts, ServeError> {
    let config = Config::load(directory)?;
    check(&config)?;
    let (sealing, clock) = (SealingKey::find(directory, None)?, Clock::system());
    Keystore::complete(directory, &sealing, &clock)?;
    let keys = Keystore::open(directory, &sealing)?;
    let signer: Arc<dyn Signer> = keys.signer();
    let public_key = signer.public_key();
    let store = Store::open(&directory.join(LEDGER), Arc::clone(&signer), &config.node.name, clock.clone())?;
    let policy = Engine::load(config.policy.directory.as_deref())?;
    store
        .submit(Actor::Node, Command::LoadPolicy { hash: policy.hash(), rules: PolicyChanges::default() })
        .await?;
    note_configuration(directory, &store).await?;
    let (journal, recordings) = (config.recording.journal.clone(), config.recording.directory.clone());
    let mut settings = JournalSettings::new(journal, recordings, signer, clock.clone());
    if let Some(bytes) = config.recording.min_free_bytes {
        settings.limits.floor_bytes = bytes;
        settings.limits.hard_floor_bytes = settings.limits.hard_floor_bytes.min(bytes / 4);
    }
    let (journal, recovered) = Journal::open(settings)?;
    let swept = sweep(&store, journal.recordings(), &recovered, &clock).await?;
    if swept > 0 {
        tracing::warn!(sessions = swept, "ended sessions that the last run left");
    }
    let authenticator = Authenticator::new(Arc::new(store.clone()), authorities(&config)?, clock.clone());
    let keeper = Keeper::open(config.recording.clone(), store.clone(), clock.clone());
    let administrator =
        Administrator::new(database_ca(directory, &keys)?.clone(), &public_key, clock.clone());
    let gate = Gate {
        store,
        policy,
        authenticator,
        journal,
        user_authority: SshCertificateAuthority::new(Arc::clone(keys.user_ca())),
        databases: Administrations::new(administrator),
        last_words: LastWords::start(&clock)?,
        witnesses: witnesses::standing(&config.ledger, &clock)?,
        registry: Registry::default(),
        clock,
        limits: RwLock::new(limits(&config)),
    };
    Ok(Parts { config, keys, gate: Arc::new(gate), keeper })
}

/// The CA that databases know this bastion by; it was made before the keys were opened.
fn database_ca<'a>(directory: &Path, keys: &'a Keystore) -> Result<&'a DatabaseCa, ServeError> {
    let missing = || KeystoreError::Damaged { path: directory.join(KEYS) };
    Ok(keys.database_ca().ok_or_else(missing)?)
}

async fn reload_policy(gate: &Arc<Gate>, directory: Option<PathBuf>) -> Result<(), ServeError> {
    let gate = Arc::clone(gate);
    let reload = tokio::task::spawn_blocking(move || {
        gate.policy.reload_from(directory, |loaded| {
            let command = Command::LoadPolicy { hash: loaded.hash.clone(), rules: loaded.rules.clone() };
            gate.store.submit_blocking(Actor::Node, command).map(|_| ())
        })
    });
    match reload.await.map_err(io::Error::other)? {
        Ok(Reloaded { rules, .. }) if rules.is_empty() => Ok(()),
        Ok(Reloaded { rules: PolicyChanges { added, altered, removed }, .. }) => {
            tracing::warn!(?removed, ?altered, ?added, "the policies changed");
            Ok(())
        }
        Err(ReloadError::Unnoted(error)) => Err(error.into()),
        Err(ReloadError::Unusable(error)) => Err(error.into()),
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        idle: config.limits.idle,
        longest: config.limits.longest,
        dialogue: config.limits.dialogue,
        lease: config.limits.lease,
    }
}

fn front(keys: &Keystore, gate: &Gate, carry: mpsc::Sender<Box<Carried>>) -> NodeFront {
    NodeFront {
        host_key: Arc::clone(keys.ssh_host_key()),
        host_authority: SshCertificateAuthority::new(Arc::clone(keys.host_ca())),
        store: gate.store.clone(),
        clock: gate.clock.clone(),
        carriers: Carriers::default(),
        carried: carry,
        certificates: Mutex::new(HashMap::new()),
    }
}

/// What the API can reach.
fn context(
    directory: &Path,
    Parts { config, keys, gate, keeper }: &Parts,
    addresses: Option<&Addresses>,
) -> Result<api::Context, ServeError> {
    let wrong = |error: MintError| ServeError::Tls(error.to_string());
    let line =
        |key: &Arc<PrivateKey>| SshCertificateAuthority::new(Arc::clone(key)).public_line().map_err(wrong);
    let node = api::NodeFacts {
        name: config.node.name.clone(),
        fingerprint: keys.api_tls().fingerprint(),
        ssh_listen: addresses.map(|addresses| addresses.ssh.to_string()),
        ssh_public_name: config.ssh.public_name.clone(),
        host_key: line(keys.ssh_host_key())?,
        host_ca: line(keys.host_ca())?,
        user_ca: line(keys.user_ca())?,
        database_ca: database_ca(directory, keys)?.pem(),
        node_key: HEXLOWER.encode(&keys.signer().public_key()),
    };
    let live: Arc<dyn api::Live> = Arc::new(NodeLive { gate: Arc::clone(gate), keeper: Arc::clone(keeper) });
    Ok(api::Context {
        store: gate.store.clone(),
        policy: gate.policy.clone(),
        authenticator: gate.authenticator.clone(),
        live,
        cosigned: directory.join(LEDGER).join(witnesses::COSIGNED),
        recordings: config.recording.directory.clone(),
        clock: gate.clock.clone(),
        node,
    })
}

/// The API's side of TLS: 1.3 and 1.2, no client certificates.
fn tls(keys: &Keystore) -> Result<rustls::ServerConfig, ServeError> {
    let tls = keys.api_tls();
    let mut config = listeners::tls(tls.chain.clone(), tls.key.clone_key())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

async fn note_configuration(directory: &Path, store: &Store) -> Result<(), ServeError> {
    let bytes = std::fs::read(directory.join(Config::FILE))?;
    let hash = HEXLOWER.encode(digest::digest(&digest::SHA256, &bytes).as_ref());
    store.submit(Actor::Node, Command::LoadConfiguration { hash }).await?;
    Ok(())
}

pub(super) async fn bind(address: SocketAddr, limits: ListenerLimits) -> Result<Listener, ServeError> {
    Listener::bind(address, limits)
        .await
        .map_err(|source| ServeError::Bind { address: address.to_string(), source })
}

/// Metrics are one per process; a second node in one process shares them.
fn prometheus() -> Result<PrometheusHandle, ServeError> {
    static HANDLE: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let handle = telemetry::start_metrics()?;
    Ok(HANDLE.get_or_init(|| handle).clone())
}

/// As many descriptors as the process may have: a session takes several, and running out would end others.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// A node that can no longer hear revocations ends its own sessions.
async fn fence(gate: Arc<Gate>) {
    loop {
        tokio::time::sleep(FENCE).await;
        let age = gate.store.changes().age();
        metrics::gauge!("postern_change_feed_age_seconds").set(age.as_secs_f64());
        metrics::gauge!("postern_room_free_bytes").set(gate.journal.room().free as f64);
        if age > gate.limits().lease {
            let ended = gate.registry.end_all(EndReason::FeedStale);
            if ended > 0 {
                tracing::error!(ended, age_s = age.as_secs(), "the change feed is stale: sessions ended");
            }
        }
    }
}
