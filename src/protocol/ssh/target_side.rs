//! The SSH client that logs in to the target with the session's certificate.
//!
//! The target is as untrusted as the client: it must prove the pinned host key or a host certificate of the pinned CA,
//! and every channel it tries to open towards us is refused (the library's own default is to accept).

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use russh::client::{self, AuthResult, Msg, Session};
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Channel, ChannelId};
use tokio::net::TcpStream;

use super::offer;
use super::unasked::Unasked;
use crate::model::{Clock, Endpoint, HostTrust, Login, Target};
use crate::net::{Hold, QuickStream, Traffic, WatchedStream};
use crate::session::adapter::{ConnectError, SshCredential, Tap, Way};

/// How long the whole opening may take once the target has been dialled.
const DEADLINE: Duration = Duration::from_secs(15);
/// Host certificate types that are asked for when the target is trusted by its CA.
const HOST_CERTIFICATES: &[Algorithm] = &[Algorithm::Ed25519];

/// A login on the target, good for one channel.
pub(super) struct TargetConnection {
    handle: client::Handle<TargetSide>,
    traffic: Traffic,
    unasked: Unasked,
    /// The session's hold on the socket; a probe has no session.
    _hold: Option<Hold>,
}

impl TargetConnection {
    /// Dials the target, checks that it is itself, and logs in.
    pub(super) async fn open(way: &Way) -> Result<Self, ConnectError> {
        let target = way.target()?;
        let (socket, hold) = way.dial(&target).await?;
        let credential = way.credential(&socket)?;
        Self::log_in(&target, way.login(), socket, Some(hold), credential).await
    }

    /// Checks that the target is itself and logs in, within [`DEADLINE`].
    async fn log_in(
        target: &Target,
        login: &Login,
        socket: TcpStream,
        hold: Option<Hold>,
        credential: SshCredential,
    ) -> Result<Self, ConnectError> {
        let stream = QuickStream::new(socket).map_err(|error| ConnectError::Wire(error.to_string()))?;
        let traffic = Traffic::default();
        let stream = WatchedStream::new(stream, traffic.clone());
        let (complaint, unasked) = (Complaint::default(), Unasked::default());
        let side = TargetSide {
            judge: Judge::Pinned(Box::new(target.clone())),
            complaint: complaint.clone(),
            unasked: unasked.clone(),
        };
        let certificates = match target.trust {
            HostTrust::Authority(_) => HOST_CERTIFICATES,
            HostTrust::Keys(_) | HostTrust::TlsAuthority(_) | HostTrust::TlsKeys(_) | HostTrust::Unpinned => {
                &[]
            }
        };
        let config = Arc::new(offer::to_targets(certificates));
        let failed = |error: russh::Error| match complaint.take() {
            Some(words) => ConnectError::HostKey(words),
            None => ConnectError::Wire(error.to_string()),
        };
        let opening = async {
            let mut handle = client::connect_stream(config, stream, side).await.map_err(&failed)?;
            let SshCredential { key, certificate } = credential;
            match handle.authenticate_openssh_cert(login.as_str(), key, certificate).await {
                Ok(AuthResult::Success) => Ok(Self { handle, traffic, unasked, _hold: hold }),
                // The library says "no" for a connection that broke, too.
                Ok(AuthResult::Failure { .. }) if handle.is_closed() => {
                    Err(ConnectError::Wire("the connection broke at the login".to_owned()))
                }
                Ok(AuthResult::Failure { .. }) => Err(ConnectError::Refused),
                Err(error) => Err(failed(error)),
            }
        };
        tokio::time::timeout(DEADLINE, opening)
            .await
            .map_err(|_| ConnectError::Wire(format!("no answer within {} s", DEADLINE.as_secs())))?
    }

    /// What the target asks for of its own is told on this channel from now on.
    pub(super) fn report_to(&self, tap: &Tap, channel: u32) {
        self.unasked.report_to(tap, channel);
    }

    /// The channel is over: what the target asked for too often to be told each time is told now.
    pub(super) fn report_rest(&self) {
        self.unasked.finish();
    }

    /// Whether the target has not hung up.
    pub(super) fn is_open(&self) -> bool {
        !self.handle.is_closed()
    }

    /// What goes to and comes from the target.
    pub(super) const fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Hands the library something to send, and says nothing when the connection is gone.
    pub(super) async fn take(&self, channel: ChannelId, piece: Bytes) {
        self.handle.data(channel, piece).await.ok();
    }

    /// Opens a session channel.
    pub(super) async fn session(&self) -> Result<Channel<Msg>, russh::Error> {
        self.handle.channel_open_session().await
    }

    /// Opens a forward through the target.
    pub(super) async fn forward(&self, host: &str, port: u16) -> Result<Channel<Msg>, russh::Error> {
        self.handle.channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0).await
    }
}

/// Logs in to a target with a credential that can run nothing, and leaves: whether sessions would get in.
///
/// # Errors
/// Where it stopped.
pub async fn probe(
    target: &Target,
    login: &Login,
    credential: impl FnOnce(Option<IpAddr>) -> Result<SshCredential, ConnectError> + Send,
) -> Result<(), ConnectError> {
    let socket = crate::net::dial(&target.endpoint).await?;
    let credential = credential(socket.local_addr().ok().map(|address| address.ip()))?;
    TargetConnection::log_in(target, login, socket, None, credential).await.map(drop)
}

/// The host key an endpoint shows, in OpenSSH's `TYPE BASE64` form, for a person to compare before it is pinned.
///
/// # Errors
/// When the endpoint cannot be reached or does not speak SSH.
pub async fn scan_host_keys(endpoint: &Endpoint) -> Result<Vec<String>, ConnectError> {
    let socket = crate::net::dial(endpoint).await?;
    let stream = QuickStream::new(socket).map_err(|error| ConnectError::Wire(error.to_string()))?;
    let seen = Complaint::default();
    let side = TargetSide { judge: Judge::Scan, complaint: seen.clone(), unasked: Unasked::default() };
    let opening = client::connect_stream(Arc::new(offer::to_targets(&[])), stream, side);
    let outcome = tokio::time::timeout(DEADLINE, opening).await;
    match (seen.take(), outcome) {
        (Some(key), _) => Ok(vec![key]),
        (None, Ok(Err(error))) => Err(ConnectError::Wire(error.to_string())),
        (None, _) => Err(ConnectError::Wire("it showed no host key".to_owned())),
    }
}

/// Why the host key was refused, carried out of the library's callback.
#[derive(Clone, Default)]
struct Complaint(Arc<Mutex<Option<String>>>);

impl Complaint {
    fn set(&self, words: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

enum Judge {
    Pinned(Box<Target>),
    Scan,
}

struct TargetSide {
    judge: Judge,
    complaint: Complaint,
    unasked: Unasked,
}

impl TargetSide {
    fn judge(&self, shown: &PublicKeyOrCertificate) -> Result<(), String> {
        let target = match (&self.judge, shown) {
            (Judge::Pinned(target), _) => target,
            (Judge::Scan, PublicKeyOrCertificate::PublicKey { key, .. }) => {
                return Err(openssh(key));
            }
            (Judge::Scan, PublicKeyOrCertificate::Certificate(_)) => return Err(String::new()),
        };
        match (&target.trust, shown) {
            (HostTrust::Keys(pinned), PublicKeyOrCertificate::PublicKey { key, .. }) => {
                let is_pinned = pinned
                    .iter()
                    .filter_map(|line| PublicKey::from_openssh(line).ok())
                    .any(|pinned| pinned.key_data() == key.key_data());
                if is_pinned { Ok(()) } else { Err(changed(target, key)) }
            }
            (HostTrust::Authority(authority), PublicKeyOrCertificate::Certificate(certificate)) => {
                check_certificate(target, authority, certificate)
            }
            (HostTrust::Authority(_), PublicKeyOrCertificate::PublicKey { .. }) => Err(format!(
                "{} shows a bare host key, but is trusted by its host CA: give it a host certificate",
                target.name
            )),
            (HostTrust::Keys(_), PublicKeyOrCertificate::Certificate(_)) => {
                Err(format!("{} shows a host certificate, but its key is pinned", target.name))
            }
            (HostTrust::TlsAuthority(_) | HostTrust::TlsKeys(_), _) => {
                Err(format!("{} proves itself with TLS: it is no SSH server", target.name))
            }
            (HostTrust::Unpinned, _) => {
                Err(format!("no host key is pinned for {0}: run postern targets trust {0}", target.name))
            }
        }
    }
}

fn check_certificate(target: &Target, authority: &str, certificate: &Certificate) -> Result<(), String> {
    let name = &target.name;
    let authority =
        PublicKey::from_openssh(authority).map_err(|_| format!("the host CA of {name} cannot be read"))?;
    let now = u64::try_from(Clock::system().now().as_second()).unwrap_or(0);
    certificate
        .validate_at(now, [&authority.fingerprint(HashAlg::Sha256)])
        .map_err(|error| format!("the host certificate of {name} is not valid: {error}"))?;
    if certificate.cert_type() != russh::keys::ssh_key::certificate::CertType::Host {
        return Err(format!("{name} shows a user certificate as its host certificate"));
    }
    // None is defined for host certificates, and an option that is not known must not be passed over
    // (PROTOCOL.certkeys).
    if let Some((option, _)) = certificate.critical_options().iter().next() {
        let option: String = option.chars().take(80).collect();
        return Err(format!(
            "the host certificate of {name} has a critical option, {option:?}, that is not known"
        ));
    }
    let names = certificate.valid_principals();
    if names.iter().any(|n| *n == target.endpoint.host || n == name.as_str()) {
        Ok(())
    } else {
        Err(format!("the host certificate of {name} is for {}", names.join(", ")))
    }
}

fn changed(target: &Target, key: &PublicKey) -> String {
    format!(
        "the host key of {0} is not the pinned one: it shows {1}. If it was replaced on purpose, run postern targets \
         trust {0}",
        target.name,
        key.fingerprint(HashAlg::Sha256)
    )
}

fn openssh(key: &PublicKey) -> String {
    let line = key.to_openssh().unwrap_or_default();
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

impl client::Handler for TargetSide {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        match self.judge(shown) {
            Ok(()) => Ok(true),
            Err(words) => {
                self.complaint.set(words);
                Ok(false)
            }
        }
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _connected_address: &str,
        _connected_port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: client::ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        drop(reply);
        self.unasked.refuse("forwarded-tcpip")
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        reply: client::ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        drop(reply);
        self.unasked.refuse("forwarded-streamlocal")
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _channel: Channel<Msg>,
        reply: client::ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        drop(reply);
        self.unasked.refuse("auth-agent")
    }

    async fn should_accept_unknown_server_channel(&mut self, _id: ChannelId, channel_type: &str) -> bool {
        // Too many of these end with the next that has a name.
        let name: String = channel_type.chars().take(64).collect();
        self.unasked.refuse(&name).ok();
        false
    }

    async fn server_channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: client::ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        drop(reply);
        self.unasked.refuse("session")
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host_to_connect: &str,
        _port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: client::ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        drop(reply);
        self.unasked.refuse("direct-tcpip")
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        reply: client::ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        drop(reply);
        self.unasked.refuse("direct-streamlocal")
    }

    async fn server_channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator_address: &str,
        _originator_port: u32,
        reply: client::ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        drop(reply);
        self.unasked.refuse("x11")
    }
}
