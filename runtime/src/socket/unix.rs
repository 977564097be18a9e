//! The calls of Unix-domain sockets.

use std::io;
use std::path::Path;

use portolan::{Credentials, Descriptor, Domain, SocketKind, UnixAddr, UnixMessage, UnixSend};

use crate::engine::direction::Direction;
use crate::engine::locks::to_io_error;
use crate::handle::Handle;
use crate::plan::refused;
use crate::socket::calls::Calls;
use crate::socket::{Socket, register};
use crate::sync::atomic::Ordering;

/// The stack that all Unix-domain sockets are on, because only sockets of one stack find each
/// other.
const UNIX_STACK: u16 = 0;

/// What a call has received, and the sockets that were passed on.
pub(crate) struct ReceivedRights {
    pub(crate) len: usize,
    pub(crate) message_len: usize,
    pub(crate) from: UnixAddr,
    pub(crate) sockets: Vec<(Socket, SocketShape)>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) is_control_truncated: bool,
}

/// What kind of socket a descriptor is.
pub(crate) struct SocketShape {
    pub(crate) domain: Domain,
    pub(crate) kind: SocketKind,
    pub(crate) is_listening: bool,
}

impl Socket {
    /// Makes a Unix-domain socket of the handle's owner.
    pub(crate) fn new_unix(handle: &Handle, kind: SocketKind) -> io::Result<Socket> {
        Socket::new(handle, UNIX_STACK, Domain::Unix, kind, &[])
    }

    /// Makes two that are connected with each other.
    pub(crate) fn unix_pair(handle: &Handle, kind: SocketKind) -> io::Result<[Socket; 2]> {
        let owner = handle.owner_on(UNIX_STACK);
        let pair = handle.stacks.at(UNIX_STACK).call(|core, _, _| {
            let [first, second] = core.owner(owner)?.socket_pair(Domain::Unix, kind)?;
            Ok([(first, register(core, first)?), (second, register(core, second)?)])
        })?;
        let pair = pair.map_err(to_io_error)?;
        Ok(pair.map(|(d, id)| Socket::of(handle.stacks.clone(), UNIX_STACK, d, id)))
    }

    pub(crate) fn bind_unix(&self, name: &UnixAddr) -> io::Result<()> {
        self.call(|stack, _, d| stack.bind(d, name.clone())).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("{name} is in use by another socket of this stack, or was not unlinked; see Handle::unlink"),
            ),
            _ => error,
        })
    }

    pub(crate) fn local_unix(&self) -> io::Result<UnixAddr> {
        let name = self.call(|stack, _, d| stack.local_name(d))?;
        Ok(name.unix().cloned().unwrap_or(UnixAddr::UNNAMED))
    }

    /// SO_PEERCRED.
    pub(crate) fn peer_credentials(&self) -> io::Result<Credentials> {
        Ok(self.call(|stack, _, d| stack.peer_credentials(d))?.unwrap_or_default())
    }

    pub(crate) fn peer_unix(&self) -> io::Result<UnixAddr> {
        let name = self.call(|stack, _, d| stack.peer_name(d))?;
        Ok(name.unix().cloned().unwrap_or(UnixAddr::UNNAMED))
    }
}

impl Calls<'_> {
    /// Connects. Waits while the backlog of the listener is full.
    pub(crate) fn connect_unix(&self, name: &UnixAddr) -> io::Result<()> {
        self.call_waiting(Direction::Write, |core, now| {
            core.owner_of(self.descriptor)?.connect(now, self.descriptor, name.clone())
        })
    }

    pub(crate) fn accept_unix(&self) -> io::Result<(Socket, UnixAddr)> {
        let (socket, peer) = self.accept_named()?;
        Ok((socket, peer.unix().cloned().unwrap_or(UnixAddr::UNNAMED)))
    }

    /// Receives a message, and the name of its sender. A socket that may wait returns nothing when
    /// reading was shut down and no message is queued, as on Linux.
    pub(crate) fn recv_unix(&self, buf: &mut [u8]) -> io::Result<(usize, UnixAddr)> {
        let d = self.descriptor;
        self.call_waiting(Direction::Read, |core, now| {
            let mut owner = core.owner_of(d)?;
            match owner.recv_unix(now, d, buf, 0) {
                Ok(UnixMessage { len, from, .. }) => Ok((len, from)),
                Err(portolan::Error::WouldBlock) if self.may_wait() && owner.readiness(d)?.peer_closed => {
                    Ok((0, UnixAddr::UNNAMED))
                }
                Err(error) => Err(error),
            }
        })
    }

    /// Sends data, and passes these sockets on with it.
    pub(crate) fn send_with_rights(
        &self,
        data: &[u8],
        to: Option<&UnixAddr>,
        sockets: &[&Socket],
    ) -> io::Result<usize> {
        for socket in sockets {
            if socket.stack_of(&self.stacks) != Some(self.stack) {
                return Err(refused(
                    "only a socket on the stack of the Unix-domain sockets can be passed on",
                ));
            }
            if socket.owner() != self.owner() {
                return Err(refused("only a socket of the sender's owner can be passed on"));
            }
        }
        let rights: Vec<Descriptor> = sockets.iter().map(|socket| socket.descriptor).collect();
        let mut message = UnixSend::default().rights(&rights);
        message.to = to.cloned();
        let sent = self.call_waiting(Direction::Write, |core, now| {
            core.owner_of(self.descriptor)?.send_unix(now, self.descriptor, data, &message)
        })?;
        sockets.iter().for_each(|socket| socket.is_shared.store(true, Ordering::Relaxed));
        Ok(sent)
    }

    /// Receives data, and at most `max` sockets.
    pub(crate) fn recv_with_rights(&self, buf: &mut [u8], max: usize) -> io::Result<ReceivedRights> {
        let d = self.descriptor;
        let received = self.call_waiting(Direction::Read, |core, now| {
            let mut owner = core.owner_of(d)?;
            let message = match owner.recv_unix(now, d, buf, max) {
                // As `recv_unix`.
                Err(portolan::Error::WouldBlock) if self.may_wait() && owner.readiness(d)?.peer_closed => {
                    return Ok(None);
                }
                received => received?,
            };
            let mut sockets = Vec::with_capacity(message.rights.len());
            for &right in &message.rights {
                let owner = core.owner_of(right)?;
                let shape = SocketShape {
                    domain: owner.domain(right)?,
                    kind: owner.kind(right)?,
                    is_listening: owner.is_listening(right)?,
                };
                sockets.push((right, register(core, right)?, shape));
            }
            Ok(Some((message, sockets)))
        })?;
        let Some((message, sockets)) = received else { return Ok(ReceivedRights::nothing()) };
        let own = |(d, id, shape)| {
            let socket = Socket::of(self.stacks.clone(), self.stack, d, id);
            socket.is_shared.store(true, Ordering::Relaxed);
            (socket, shape)
        };
        let UnixMessage { len, message_len, from, credentials, is_control_truncated, .. } = message;
        let sockets = sockets.into_iter().map(own).collect();
        Ok(ReceivedRights { len, message_len, from, sockets, credentials, is_control_truncated })
    }

    pub(crate) fn send_to_unix(&self, data: &[u8], name: &UnixAddr) -> io::Result<usize> {
        self.call_waiting(Direction::Write, |core, now| {
            core.owner_of(self.descriptor)?.send_to(now, self.descriptor, data, name.clone())
        })
    }
}

impl ReceivedRights {
    fn nothing() -> Self {
        ReceivedRights {
            len: 0,
            message_len: 0,
            from: UnixAddr::UNNAMED,
            sockets: Vec::new(),
            credentials: None,
            is_control_truncated: false,
        }
    }
}

/// The name of a path. `InvalidInput` if it is empty, too long or has a NUL.
pub(crate) fn path_name(path: impl AsRef<Path>) -> io::Result<UnixAddr> {
    // On Unix these are the bytes of the path.
    Ok(UnixAddr::path(path.as_ref().as_os_str().as_encoded_bytes())?)
}

impl Handle {
    /// Removes a path of a Unix-domain socket, so that another socket can be bound to it. A socket
    /// that is bound to it continues, but nobody finds it any more. Paths are the stack's, and have
    /// nothing to do with files of the host.
    pub fn unlink(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path_name(path)?;
        self.stacks.at(UNIX_STACK).call(|core, _, _| core.stack.unlink(&path))?.map_err(to_io_error)
    }
}
