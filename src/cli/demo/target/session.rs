//! What a logged-in client may do: russh's callbacks, and one task for each channel.
//!
//! Callbacks only answer and hand on: russh waits for them inside the connection's one loop, so none of them waits for
//! anything outside. A channel's task owns its process and both its directions; client input is queued without
//! waiting, and the window shrinks while the queue is long, because a loop that waits for a slow program could not
//! take in the window that the program's own output needs.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use russh::keys::{Certificate, HashAlg};
use russh::server::{Auth, Handler, Msg, Session};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::login::{self, Extensions};
use super::process;
use super::relay::{self, Endpoints, Inflow};
use super::server::Shared;

/// Channels at one time on one connection.
const MOST_CHANNELS: usize = 32;

/// One client's connection.
pub(super) struct Connection {
    peer: SocketAddr,
    shared: Arc<Shared>,
    extensions: Option<Extensions>,
    logged_in: watch::Sender<bool>,
    /// The channels' tasks; dropped with the connection, they end their processes.
    channels: JoinSet<()>,
    /// Bytes of input that programs have not taken yet.
    inflow: Inflow,
}

impl Connection {
    /// A connection before its login, and a way to see that login.
    pub(super) fn new(peer: SocketAddr, shared: Arc<Shared>) -> (Self, watch::Receiver<bool>) {
        let (logged_in, seen) = watch::channel(false);
        let inflow = Inflow::default();
        (Self { peer, shared, extensions: None, logged_in, channels: JoinSet::new(), inflow }, seen)
    }

    fn has_room(&mut self) -> bool {
        while self.channels.try_join_next().is_some() {}
        self.channels.len() < MOST_CHANNELS
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, Self::Error> {
        let settings = &self.shared.settings;
        let judged = login::judge(certificate, user, self.peer.ip(), &settings.user_ca, settings.clock.now());
        let (peer, id, serial) = (self.peer, certificate.key_id(), certificate.serial());
        match judged {
            Ok(extensions) => {
                let authority = settings.user_ca.fingerprint(HashAlg::Sha256);
                self.shared.note(&format!(
                    "Accepted certificate ID \"{id}\" (serial {serial}) signed by {authority} for {user} from {peer}"
                ));
                self.extensions = Some(extensions);
                Ok(Auth::Accept)
            }
            Err(why) => {
                self.shared.note(&format!("Refused certificate ID \"{id}\" for {user} from {peer}: {why}"));
                Ok(Auth::reject())
            }
        }
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Result<(), Self::Error> {
        self.logged_in.send_replace(true);
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: russh::server::ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if !self.has_room() {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        reply.accept().await;
        let (shared, inflow) = (Arc::clone(&self.shared), self.inflow.share());
        self.channels.spawn(process::run(channel, session.handle(), self.peer, shared, inflow));
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: russh::server::ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let is_allowed = self.extensions.is_some_and(|extensions| extensions.forwarding);
        let Some(address) = loopback(host, port).filter(|_| is_allowed && self.has_room()) else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        let inflow = self.inflow.share();
        self.channels.spawn(async move {
            let Ok(socket) = TcpStream::connect(address).await else {
                return reply.reject(ChannelOpenFailure::ConnectFailed).await;
            };
            reply.accept().await;
            let (from, to) = socket.into_split();
            relay::with_socket(channel, Endpoints::of_socket(from, to), inflow).await;
        });
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.extensions.is_some_and(|extensions| extensions.terminal) {
            session.channel_success(channel)
        } else {
            session.channel_failure(channel)
        }
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if process::is_accepted_variable(name) {
            session.channel_success(channel)
        } else {
            session.channel_failure(channel)
        }
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if process::subsystem(name).is_some() {
            session.channel_success(channel)
        } else {
            session.channel_failure(channel)
        }
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn agent_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<bool, Self::Error> {
        session.channel_failure(channel)?;
        Ok(false)
    }

    fn adjust_window(&mut self, _: ChannelId, _: u32) -> u32 {
        // Never 0 or 1: russh takes the one for "unchanged" and never grants again after the other.
        match self.inflow.waiting() >> 20 {
            0 => 2 << 20,
            1..4 => 256 << 10,
            4..8 => 32 << 10,
            8..16 => 1 << 10,
            _ => 2,
        }
    }
}

/// An address on this machine, from what a client asked to be forwarded to.
fn loopback(host: &str, port: u32) -> Option<SocketAddr> {
    let port = u16::try_from(port).ok()?;
    let host = if host == "localhost" { "127.0.0.1" } else { host };
    let address: IpAddr = host.parse().ok()?;
    address.is_loopback().then_some(SocketAddr::new(address, port))
}
