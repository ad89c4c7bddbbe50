//! The server's life: bind, accept, run each connection, end them all when dropped.
//!
//! russh runs a connection in a task of its own that outlives what started it, so every connection here keeps a second
//! handle on its socket and shuts that down when it is dropped. What processes do is in `session.rs`.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::MethodKind;
use russh::keys::{PrivateKey, PublicKey};
use russh::server::Config;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::session::Connection;
use crate::model::Clock;
use crate::playback::escape_text;

/// Connections at one time.
const MOST_CONNECTIONS: usize = 256;
/// Lines of the log that are kept.
const MOST_LINES: usize = 1000;
/// How long a client may take to log in.
const LOGIN_TIME: Duration = Duration::from_secs(30);

/// What a target needs.
#[derive(Debug)]
pub struct Settings {
    /// Its host key.
    pub host_key: PrivateKey,
    /// The CA whose user certificates it trusts.
    pub user_ca: PublicKey,
    /// The port; 0 lets the system choose.
    pub port: u16,
    /// The shell; none means `$SHELL`, or `/bin/sh`.
    pub shell: Option<PathBuf>,
    /// The directory shells start in.
    pub directory: PathBuf,
    /// Judges the windows of certificates.
    pub clock: Clock,
}

/// Why a target could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken or not ours to take.
    #[error("the demo's target cannot listen on 127.0.0.1:{port}: {source}")]
    Listen {
        /// The port.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A running target. Dropping it ends its connections and what runs in them.
#[derive(Debug)]
pub struct Target {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Owns the accepting task, which owns the connections.
    _tasks: JoinSet<()>,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    log: Mutex<VecDeque<String>>,
}

impl Target {
    /// Binds to the loopback address and serves until dropped.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let port = settings.port;
        let failed = |source| StartError::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let config = Arc::new(config(settings.host_key.clone()));
        let shared = Arc::new(Shared { settings, log: Mutex::new(VecDeque::new()) });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, config, Arc::clone(&shared)));
        Ok(Self { address, shared, _tasks: tasks })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its host key.
    #[must_use]
    pub fn host_key(&self) -> PublicKey {
        self.shared.settings.host_key.public_key().clone()
    }

    /// Its log so far: a line for each login and each refusal, as an sshd writes them.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Shared {
    pub(super) fn note(&self, line: &str) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() >= MOST_LINES {
            log.pop_front();
        }
        log.push_back(escape_text(line).into_owned());
    }
}

fn config(host_key: PrivateKey) -> Config {
    Config {
        methods: [MethodKind::PublicKey].as_slice().into(),
        keys: vec![host_key],
        auth_rejection_time: Duration::from_millis(100),
        auth_rejection_time_initial: Some(Duration::ZERO),
        inactivity_timeout: None,
        nodelay: true,
        ..Config::default()
    }
}

async fn accept(listener: TcpListener, config: Arc<Config>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((socket, peer)) if connections.len() < MOST_CONNECTIONS => {
                connections.spawn(serve(socket, peer, Arc::clone(&config), Arc::clone(&shared)));
            }
            Ok((_, peer)) => shared.note(&format!("refused connection from {peer}: too many connections")),
            // Out of file descriptors, most likely: let some be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(socket: TcpStream, peer: SocketAddr, config: Arc<Config>, shared: Arc<Shared>) {
    let Ok(cut) = Cut::new(&socket) else { return };
    if let Err(error) = socket.set_nodelay(true) {
        shared.note(&format!("connection from {peer}: {error}"));
    }
    let (connection, mut logged_in) = Connection::new(peer, Arc::clone(&shared));
    let opening = russh::server::run_stream(config, socket, connection);
    let running = match tokio::time::timeout(LOGIN_TIME, opening).await {
        Ok(Ok(running)) => running,
        Ok(Err(error)) => return shared.note(&format!("connection from {peer} failed: {error}")),
        Err(_) => return shared.note(&format!("connection from {peer} took too long to log in")),
    };
    let in_time = async {
        if tokio::time::timeout(LOGIN_TIME, logged_in.wait_for(|done| *done)).await.is_err() {
            cut.now();
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = running => {
            if let Err(error) = ended {
                shared.note(&format!("connection from {peer} ended: {error}"));
            }
        }
        () = in_time => {}
    }
}

/// A second handle on a socket that shuts it down when dropped.
struct Cut(std::net::TcpStream);

impl Cut {
    fn new(socket: &TcpStream) -> std::io::Result<Self> {
        Ok(Self(std::net::TcpStream::from(socket.as_fd().try_clone_to_owned()?)))
    }

    fn now(&self) {
        // An error means that it is shut already.
        drop(self.0.shutdown(std::net::Shutdown::Both));
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.now();
    }
}
