//! Many sessions through the gate, held open by this one process.
//!
//! One connection and one channel each, over russh's client, because a thousand OpenSSH processes would measure
//! themselves. What the sessions do is said by the part that opens them; nothing is measured here.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use postern::model::{Clock, Timestamp};

use russh::Channel;
use russh::client::{Config, Handle, Handler, Msg};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::bed::Bed;
use crate::world::World;

/// Sessions, and the runtime they live on.
pub(crate) struct Fleet {
    runtime: Runtime,
    sessions: Vec<Session>,
}

/// One of them.
pub(crate) struct Session {
    handle: Handle<Pinned>,
    channel: Channel<Msg>,
    /// The client's end of its connection, as the bastion lists it.
    address: String,
}

/// Trusts the gate it was started for: the bench made it.
struct Pinned;

impl Handler for Pinned {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

impl Fleet {
    /// Opens `count` sessions running `command`, a few at a time.
    pub(crate) fn open(bed: &Bed, target: &str, count: usize, command: &'static str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let key = Arc::new(load_secret_key(bed.world.hand("alice").key(), None).unwrap());
        let config = Arc::new(Config { inactivity_timeout: None, nodelay: true, ..Config::default() });
        let (port, user) = (bed.world.ssh_port, World::address(target));
        let sessions = runtime.block_on(async {
            let mut sessions = Vec::with_capacity(count);
            let mut opening = JoinSet::new();
            while sessions.len() < count {
                while opening.len() < 16 && sessions.len() + opening.len() < count {
                    let (config, key, user) = (Arc::clone(&config), Arc::clone(&key), user.clone());
                    opening.spawn(async move {
                        let socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                        socket.set_nodelay(true).unwrap();
                        let address = socket.local_addr().unwrap().to_string();
                        let mut handle = russh::client::connect_stream(config, socket, Pinned).await.unwrap();
                        let key = PrivateKeyWithHashAlg::new(key, None);
                        assert!(handle.authenticate_publickey(user, key).await.unwrap().success());
                        let channel = handle.channel_open_session().await.unwrap();
                        channel.exec(true, command).await.unwrap();
                        Session { handle, channel, address }
                    });
                }
                sessions.push(opening.join_next().await.unwrap().unwrap());
            }
            sessions
        });
        Self { runtime, sessions }
    }

    /// Every session types five keys a second from now on, until the fleet is gone.
    pub(crate) fn type_away(&mut self) {
        for (index, mut session) in self.sessions.drain(..).enumerate() {
            let offset = Duration::from_micros(index as u64 * 997 % 200_000);
            // The runtime owns it and ends it with the fleet.
            self.runtime.spawn(async move {
                tokio::time::sleep(offset).await;
                let mut tick = tokio::time::interval(Duration::from_millis(200));
                loop {
                    tokio::select! {
                        _ = tick.tick() => if session.channel.data_bytes(&b"k"[..]).await.is_err() { break },
                        heard = session.channel.wait() => if heard.is_none() { break },
                    }
                }
                drop(session.handle);
            });
        }
    }

    /// Reads from all but every tenth session, which is left unread; gives the addresses of those that are read. The
    /// receiver gets each one's when the client has seen its last byte, with the wall clock's time.
    pub(crate) fn listen(&mut self) -> (Vec<String>, Receiver<(String, Timestamp)>) {
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut read = Vec::new();
        for (index, mut session) in std::mem::take(&mut self.sessions).into_iter().enumerate() {
            if index % 10 == 0 {
                self.sessions.push(session);
                continue;
            }
            read.push(session.address.clone());
            let sender = sender.clone();
            self.runtime.spawn(async move {
                while session.channel.wait().await.is_some() {}
                sender.send((session.address, Clock::system().now())).ok();
                drop(session.handle);
            });
        }
        (read, receiver)
    }
}
