//! The fuse of a session: a second handle on each of its sockets, through which it is cut.
//!
//! Asking a protocol library to disconnect waits for whatever it is doing, and a library that waits for a peer that
//! has stopped reading waits for ever. The kernel does not: `connect(AF_UNSPEC)` drops a TCP connection at once, throws
//! away what is still in its send buffer and sends a reset (Linux `tcp_disconnect`). A carrier's socket is shared with
//! other sessions: it is reset when a right ends, and spared when its own session merely comes to its end.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::net::Shutdown;

/// A handle on every socket of one session. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Fuse {
    held: Arc<Mutex<Sockets>>,
}

#[derive(Debug, Default)]
struct Sockets {
    is_blown: bool,
    next: u64,
    held: BTreeMap<u64, Socket>,
}

/// One socket, by what may be done to it.
enum Socket {
    /// Shared with other sessions; leaving only this session's part of it is possible.
    Carrier { socket: Arc<OwnedFd>, leave: Box<dyn Fn() + Send + Sync> },
    /// The client's own connection.
    Client(OwnedFd),
    /// A connection to the target.
    Target(OwnedFd),
}

/// How much of a session is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Everything, a carrier's socket too.
    Everything,
    /// Everything of this session's; a carrier goes on for the others.
    ThisSession,
    /// The target's side: the client may still be told why.
    Targets,
}

/// What a cut found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Severed {
    /// Connections to the target that are dead now.
    pub targets: usize,
    /// Sockets the kernel would not cut.
    pub failed: usize,
}

/// The fuse has blown: the session is over and takes no more sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is over")]
pub struct Blown;

impl Fuse {
    /// Holds the client's connection from now on. A socket that comes too late is cut at once.
    ///
    /// # Errors
    /// [`Blown`] when the fuse has blown already, or when the process has no descriptor left to hold it with.
    pub fn hold_client(&self, socket: impl AsFd) -> Result<(), Blown> {
        self.hold(socket, Socket::Client).map(|_| ())
    }

    /// Holds a connection to the target for as long as the returned value lives, and resets it then: a session may make
    /// many, one after the other. As [`Self::hold_client`].
    ///
    /// # Errors
    /// As [`Self::hold_client`].
    pub fn hold_target(&self, socket: impl AsFd) -> Result<Hold, Blown> {
        let id = self.hold(socket, Socket::Target)?;
        Ok(Hold { fuse: self.clone(), id })
    }

    /// Holds a socket that other sessions use too; `leave` gives up this session's part of it and must not block.
    ///
    /// # Errors
    /// [`Blown`] when the fuse has blown already; the part was given up.
    pub fn hold_carrier(
        &self,
        socket: Arc<OwnedFd>,
        leave: impl Fn() + Send + Sync + 'static,
    ) -> Result<(), Blown> {
        let mut sockets = self.lock();
        if sockets.is_blown {
            drop(sockets);
            leave();
            return Err(Blown);
        }
        sockets.add(Socket::Carrier { socket, leave: Box::new(leave) });
        Ok(())
    }

    fn hold(&self, socket: impl AsFd, held: impl FnOnce(OwnedFd) -> Socket) -> Result<u64, Blown> {
        let Ok(handle) = socket.as_fd().try_clone_to_owned() else {
            reset(socket.as_fd());
            return Err(Blown);
        };
        let mut sockets = self.lock();
        if sockets.is_blown {
            drop(sockets);
            reset(&handle);
            return Err(Blown);
        }
        Ok(sockets.add(held(handle)))
    }

    /// Cuts, now: no byte is read or written on what is cut after this returns, and no socket is taken any more. What
    /// one cut left can be cut by the next.
    pub fn blow(&self, cut: Cut) -> Severed {
        let now = {
            let mut sockets = self.lock();
            sockets.is_blown = true;
            let (now, left): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut sockets.held)
                .into_iter()
                .partition(|(_, held)| cut != Cut::Targets || matches!(held, Socket::Target(_)));
            sockets.held = left;
            now
        };
        let mut severed = Severed::default();
        for held in now.values() {
            let is_dead = match held {
                Socket::Carrier { socket, .. } if cut == Cut::Everything => reset(&**socket),
                Socket::Carrier { leave, .. } => {
                    leave();
                    true
                }
                Socket::Client(socket) | Socket::Target(socket) => reset(socket),
            };
            severed.targets += usize::from(is_dead && matches!(held, Socket::Target(_)));
            severed.failed += usize::from(!is_dead);
        }
        severed
    }

    /// Whether it has blown.
    #[must_use]
    pub fn is_blown(&self) -> bool {
        self.lock().is_blown
    }

    fn lock(&self) -> MutexGuard<'_, Sockets> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sockets {
    fn add(&mut self, held: Socket) -> u64 {
        self.next += 1;
        self.held.insert(self.next, held);
        self.next
    }
}

/// A connection to the target that is held. Dropping it resets the connection and lets go of it: what the target has not
/// taken by then must not reach it later, when the session may be over.
#[must_use = "dropping it resets the connection"]
#[derive(Debug)]
pub struct Hold {
    fuse: Fuse,
    id: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let held = self.fuse.lock().held.remove(&self.id);
        if let Some(Socket::Target(socket)) = held {
            // Not left to the library, whose loop may wait for a peer: what is not held must be dead.
            reset(socket);
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Carrier { .. } => "Carrier",
            Self::Client(_) => "Client",
            Self::Target(_) => "Target",
        })
    }
}

/// Drops a TCP connection with a reset; anything else is shut down in both directions. Says whether it is dead now.
pub(super) fn reset(socket: impl AsFd) -> bool {
    use rustix::io::Errno;
    if rustix::net::connect_unspec(&socket).is_ok() {
        return true;
    }
    match rustix::net::shutdown(socket, Shutdown::Both) {
        Ok(()) => true,
        // Already disconnected by the peer, which is as cut as it gets.
        Err(error) => error == Errno::NOTCONN,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        (near, far)
    }

    #[tokio::test]
    async fn a_peer_that_never_reads_is_cut_and_gets_nothing_more() {
        let (near, mut far) = pair().await;
        let fuse = Fuse::default();
        fuse.hold_client(&near).unwrap();
        let (mut near_read, mut near_write) = near.into_split();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let block = vec![7_u8; 1 << 20];
            let mut sent = 0_usize;
            while let Ok(n) = near_write.write(&block).await {
                sent += n;
            }
            sent
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(tasks.try_join_next().is_none(), "the writer waits for a peer that does not read");
        assert_eq!(fuse.blow(Cut::Everything), Severed::default());
        let sent =
            tokio::time::timeout(Duration::from_secs(5), tasks.join_next()).await.unwrap().unwrap().unwrap();
        let mut buffer = [0_u8; 16];
        let near_end =
            tokio::time::timeout(Duration::from_secs(5), near_read.read(&mut buffer)).await.unwrap();
        assert!(matches!(near_end, Err(_) | Ok(0)));
        let mut received = Vec::new();
        let far_end =
            tokio::time::timeout(Duration::from_secs(5), far.read_to_end(&mut received)).await.unwrap();
        assert!(far_end.is_err(), "the far end sees a reset, not a clean end");
        assert!(received.len() < sent, "what was still in the send buffer was thrown away");
    }

    #[tokio::test]
    async fn a_socket_that_comes_too_late_is_cut_at_once() {
        let (near, mut far) = pair().await;
        let fuse = Fuse::default();
        fuse.blow(Cut::Everything);
        assert_eq!(fuse.hold_client(&near), Err(Blown));
        let mut buffer = [0_u8; 1];
        let end = tokio::time::timeout(Duration::from_secs(5), far.read(&mut buffer)).await.unwrap();
        assert!(matches!(end, Err(_) | Ok(0)));
    }

    #[tokio::test]
    async fn a_carrier_is_left_alone_unless_everything_is_cut_and_the_client_may_be_told() {
        for cut in [Cut::ThisSession, Cut::Everything] {
            let (carrier, mut its_client) = pair().await;
            let (target, mut its_server) = pair().await;
            let left = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let fuse = Fuse::default();
            let leave = {
                let left = Arc::clone(&left);
                move || left.store(true, std::sync::atomic::Ordering::SeqCst)
            };
            fuse.hold_carrier(Arc::new(carrier.as_fd().try_clone_to_owned().unwrap()), leave).unwrap();
            let hold = fuse.hold_target(&target).unwrap();
            let (other, mut its_other) = pair().await;
            drop(fuse.hold_target(&other).unwrap());
            assert!(its_other.read(&mut [0_u8; 1]).await.is_err(), "what is let go is reset");
            assert_eq!(fuse.blow(Cut::Targets), Severed { targets: 1, failed: 0 });
            assert!(!left.load(std::sync::atomic::Ordering::SeqCst));
            let mut buffer = [0_u8; 1];
            assert!(its_server.read(&mut buffer).await.is_err());
            fuse.blow(cut);
            let is_spared = cut == Cut::ThisSession;
            assert_eq!(left.load(std::sync::atomic::Ordering::SeqCst), is_spared);
            let (_, mut write) = tokio::io::split(carrier);
            assert_eq!(write.write_all(b"x").await.is_ok(), is_spared);
            assert_eq!(its_client.read(&mut buffer).await.is_ok(), is_spared);
            drop(hold);
        }
    }
}
