//! What the SSH library calls, one method for each thing a client can send.
//!
//! Every method runs inside the library's one loop for the connection and must not wait once the login is over: work
//! goes to tasks that [`ClientSide`] owns, bytes go to queues that never block. Requests are answered here and then,
//! because the library keeps one "wants a reply" flag for each channel. Nothing is decided here that is not a line.

use bytes::Bytes;
use russh::keys::Certificate;
use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty, Sig};

use super::channel::Kind;
use super::client_side::{ClientSide, Hangup, Mode};
use super::inbound::{Request, Signal};
use crate::model::{Capability, EndReason};
use crate::wire::ssh::environment::is_terminal_name;

impl Handler for ClientSide {
    type Error = Hangup;

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Hangup> {
        // Only says whether a signature is worth making; it proves nothing and is remembered nowhere. A certificate is
        // offered through here too, and only its key is shown.
        let is_worth_it = self.desk.knows_key(offer.public_key) || self.desk.takes_certificates();
        Ok(if is_worth_it { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Hangup> {
        match self.desk.by_ssh_key(key.public_key) {
            Ok(who) => Ok(self.knock(user, who).await),
            Err(_) => Ok(Auth::reject()),
        }
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, Hangup> {
        match self.desk.by_ssh_certificate(certificate, Some(self.client.address.ip())) {
            Ok(who) => Ok(self.knock(user, who).await),
            Err(_) => Ok(Auth::reject()),
        }
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Hangup> {
        let answer = response.map(|mut answers| {
            let bytes = answers.next().unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let outcome = self.doorbell.turn(user, answer).await;
        Ok(self.enter(outcome))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Hangup> {
        match self.mode {
            Mode::Session(_) => self.open(channel, Kind::Session, reply, session.handle()).await,
            Mode::Carrier(_) | Mode::Login => {
                let words = "this name only carries jumps: connect to LOGIN@TARGET@BASTION, or use ssh -J";
                reply.reject(ChannelOpenFailure::Other { code: 1, reason: words.to_owned() }).await;
                Ok(())
            }
        }
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        originator: &str,
        originator_port: u32,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Hangup> {
        match (&self.mode, u16::try_from(port)) {
            (Mode::Carrier(_), Ok(_)) => self.carry(channel, host, reply).await,
            (Mode::Session(_), Ok(port)) => {
                let origin = format!("{originator}:{originator_port}");
                self.open(
                    channel,
                    Kind::Forward { host: host.to_owned(), port, origin },
                    reply,
                    session.handle(),
                )
                .await
            }
            (Mode::Carrier(_) | Mode::Session(_) | Mode::Login, _) => {
                self.turn_away("direct-tcpip", reply).await
            }
        }
    }

    async fn channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Hangup> {
        self.turn_away("x11", reply).await
    }

    async fn channel_open_forwarded_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host: &str,
        _port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Hangup> {
        self.turn_away("forwarded-tcpip", reply).await
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Hangup> {
        self.turn_away("direct-streamlocal@openssh.com", reply).await
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _session: &mut Session) -> Result<(), Hangup> {
        if let (Mode::Carrier(_), Some(entry)) = (&self.mode, self.channels.get(&channel)) {
            entry.inbound.push(data);
            return if self.pressure.is_past_limit() { Err(self.flooded()) } else { Ok(()) };
        }
        let is_past_limit = self.pressure.is_past_limit();
        let (tap, entry) = self.entry(channel)?;
        if is_past_limit {
            tap.end(EndReason::ClientFlooded);
            return Err(Hangup::Flooded);
        }
        // Before anything runs nobody takes bytes, as with OpenSSH; a target that kept them for what is started next would
        // get them unfollowed.
        if entry.is_started() {
            entry.inbound.push(data);
        }
        Ok(())
    }

    fn adjust_window(&mut self, _channel: ChannelId, _current: u32) -> u32 {
        self.pressure.window()
    }

    async fn channel_eof(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Hangup> {
        if let Some(entry) = self.channels.get(&channel) {
            entry.inbound.eof();
        }
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Hangup> {
        if let Some(entry) = self.channels.remove(&channel) {
            entry.inbound.close();
        }
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        _width: u32,
        _height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Hangup> {
        let term = if is_terminal_name(term) { term } else { "dumb" }.to_owned();
        let request = Request::Terminal { term, columns, rows, modes: modes.to_vec() };
        self.pass(channel, request, session)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Hangup> {
        let (_, entry) = self.entry(channel)?;
        match entry.environment.accept(name, value) {
            Ok(()) => {
                let request = Request::Environment { name: name.to_owned(), value: value.to_owned() };
                self.pass(channel, request, session)
            }
            Err(refusal) => {
                let shown: String = name.chars().take(64).collect();
                let what = format!("environment variable {shown:?}");
                self.refuse(channel, &what, &refusal.to_string(), session)
            }
        }
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Hangup> {
        self.start(channel, Capability::Shell, Request::Shell, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Hangup> {
        let command = Bytes::copy_from_slice(command);
        self.start(channel, Capability::Exec, Request::Exec { command }, session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Hangup> {
        if name == "sftp" {
            return self.start(channel, Capability::Sftp, Request::Sftp, session);
        }
        let shown: String = name.chars().take(64).collect();
        self.refuse(channel, &format!("subsystem {shown:?}"), "only sftp is offered", session)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        columns: u32,
        rows: u32,
        _width: u32,
        _height: u32,
        _session: &mut Session,
    ) -> Result<(), Hangup> {
        let (_, entry) = self.entry(channel)?;
        // Too many resizes waiting: one more is not worth keeping.
        entry.inbound.request(Request::Resize { columns, rows });
        Ok(())
    }

    async fn signal(
        &mut self,
        channel: ChannelId,
        signal: Sig,
        _session: &mut Session,
    ) -> Result<(), Hangup> {
        let (_, entry) = self.entry(channel)?;
        entry.inbound.request(Request::Signal(Signal::new(&signal)));
        Ok(())
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single_connection: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Hangup> {
        self.refuse(channel, "x11 forwarding", "not offered through this gate", session)
    }

    async fn agent_request(&mut self, channel: ChannelId, _session: &mut Session) -> Result<bool, Hangup> {
        let (tap, entry) = self.entry(channel)?;
        tap.refused(entry.number, "agent forwarding", "not offered through this gate");
        entry.count_refusal(tap)?;
        Ok(false)
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        _session: &mut Session,
    ) -> Result<bool, Hangup> {
        if let Mode::Session(tap) = &self.mode {
            let shown: String = address.chars().take(255).collect();
            tap.refused(0, &format!("remote forward {shown:?}:{port}"), "not offered through this gate");
            self.count_refusal()?;
        }
        Ok(false)
    }

    async fn streamlocal_forward(
        &mut self,
        _socket_path: &str,
        _session: &mut Session,
    ) -> Result<bool, Hangup> {
        if let Mode::Session(tap) = &self.mode {
            tap.refused(0, "remote socket forward", "not offered through this gate");
            self.count_refusal()?;
        }
        Ok(false)
    }
}
