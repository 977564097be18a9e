//! The calls of programs on Unix-domain sockets.

use alloc::vec::Vec;

use bytes::Bytes;

use super::UnixSockets;
use super::state::{UnixSocket, UnixStage};
use super::transfer::UnixReceived;
use crate::error::{Error, Result};
use crate::event::Wakeup;
use crate::frame::Transmit;
use crate::id::{OwnerId, SocketId};
use crate::message_flags::{ReceivedFlags, RecvFlags, SendFlags};
use crate::socket::address::{SockAddr, UnixAddr};
use crate::socket::common::{Env, TransmitOutcome};
use crate::socket::credentials::Credentials;
use crate::socket::kind::{Domain, Shutdown, SocketKind};
use crate::socket::message::{self, SendMeta};
use crate::socket::options::SocketOption;
use crate::socket::protocol::{ProtocolCalls, SendData};
use crate::socket::record::{Protocol, Socket};
use crate::socket::table::Descriptor;

/// What [`Stack::send_unix`](crate::Stack::send_unix) sends beside data.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct UnixSend<'a> {
    /// The destination of a datagram; `None` for the connected peer.
    pub to: Option<UnixAddr>,
    /// Descriptors of the caller to pass on (SCM_RIGHTS), at most 253. Each of them stays open
    /// here, too.
    pub rights: &'a [Descriptor],
}

impl<'a> UnixSend<'a> {
    /// Sends to this name.
    pub fn to(name: UnixAddr) -> Self {
        UnixSend { to: Some(name), ..UnixSend::default() }
    }

    /// Passes these descriptors on.
    pub fn rights(mut self, rights: &'a [Descriptor]) -> Self {
        self.rights = rights;
        self
    }
}

/// What [`Stack::recv_unix`](crate::Stack::recv_unix) has received beside data.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnixMessage {
    /// The bytes that were copied into the buffer.
    pub len: usize,
    /// The length of the whole message, which is longer if the buffer was too short (MSG_TRUNC).
    pub message_len: usize,
    /// The name of the sender.
    pub from: UnixAddr,
    /// New descriptors of the caller for the sockets that were passed on (SCM_RIGHTS).
    pub rights: Vec<Descriptor>,
    /// The credentials of the sender when it sent (SCM_CREDENTIALS), if the socket has SO_PASSCRED.
    pub credentials: Option<Credentials>,
    /// Descriptors were passed on that there was no room for (MSG_CTRUNC). They are closed.
    pub is_control_truncated: bool,
}

impl ProtocolCalls for UnixSockets {
    fn new_socket(&self, domain: Domain, kind: SocketKind) -> Result<Socket> {
        if !matches!(kind, SocketKind::Stream | SocketKind::Datagram | SocketKind::SeqPacket) {
            return Err(Error::ProtocolNotSupported);
        }
        let state = Protocol::Unix(UnixSocket::new(kind, self.max_datagrams).into());
        Ok(Socket::new(domain, kind, self.default_options.clone(), state))
    }

    fn bind(&mut self, env: &mut Env<'_>, id: SocketId, addr: &SockAddr) -> Result<()> {
        self.bind_name(env, id, addr.to_unix()?)
    }

    fn listen(&mut self, env: &mut Env<'_>, id: SocketId, backlog: usize) -> Result<()> {
        self.start_listening(env, id, backlog)
    }

    fn accept(&mut self, env: &mut Env<'_>, caller: OwnerId, id: SocketId) -> Result<SocketId> {
        let has_room = env.common.owners.check_room(caller);
        let unix = env.common.record_mut(id)?.unix_mut()?;
        if !unix.is_connection_based() {
            return Err(Error::NotSupported);
        }
        if !matches!(unix.stage, UnixStage::Listening { .. }) {
            return Err(Error::InvalidArgument);
        }
        if unix.pending.is_empty() {
            return Err(Error::WouldBlock);
        }
        has_room?;
        let accepted = unix.pending.pop_front().ok_or(Error::WouldBlock)?;
        self.rights.on_accepted(env.common, accepted);
        self.wake_stalled(env, id);
        env.common.settle(id, Wakeup::NONE);
        Ok(accepted)
    }

    fn connect(&mut self, env: &mut Env<'_>, id: SocketId, addr: &SockAddr) -> Result<()> {
        let name = addr.to_unix()?;
        if env.common.record(id)?.unix()?.is_connection_based() {
            self.connect_to_listener(env, id, name)
        } else {
            self.set_peer(env, id, name)
        }
    }

    /// EINVAL for a socket of another kind than datagrams.
    fn disconnect(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<()> {
        if env.common.record(id)?.unix()?.is_connection_based() {
            return Err(Error::InvalidArgument);
        }
        self.dissolve(env, id)
    }

    fn send(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        data: SendData<'_>,
        meta: &SendMeta,
        flags: SendFlags,
    ) -> Result<usize> {
        if meta.peer.is_some() {
            return Err(Error::InvalidArgument);
        }
        self.send_message(env, id, &data, None, &[], flags.contains(SendFlags::OOB))
    }

    fn send_to(&mut self, env: &mut Env<'_>, id: SocketId, data: &[u8], to: &SockAddr) -> Result<usize> {
        self.send_message(env, id, &SendData::Slice(data), Some(to.to_unix()?), &[], false)
    }

    /// As on Linux, descriptors that were passed on are closed.
    fn receive(&mut self, env: &mut Env<'_>, id: SocketId, buf: &mut [u8]) -> Result<usize> {
        let received = self.receive_into(env, id, &mut [buf])?;
        self.rights.drop(received.passed);
        Ok(received.len)
    }

    fn receive_bytes(&mut self, env: &mut Env<'_>, id: SocketId, max: usize) -> Result<Bytes> {
        self.receive_slice(env, id, max)
    }

    /// As on Linux, MSG_ERRQUEUE has no effect, nor has MSG_TRUNC on a stream. The metadata is
    /// `None`: `recv_unix` returns the name of the sender.
    fn receive_with(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        bufs: &mut [&mut [u8]],
        flags: RecvFlags,
    ) -> Result<message::Received> {
        if flags.contains(RecvFlags::OOB) {
            return self.receive_urgent(env, id, bufs, flags.contains(RecvFlags::PEEK));
        }
        let (copied, len) = if flags.contains(RecvFlags::PEEK) {
            let offset = env.common.peek_offset(id);
            let socket = env.common.record_mut(id)?;
            let is_inline = socket.options.oob_inline;
            let peeked = socket.unix_mut()?.peek_into(bufs, offset, is_inline);
            env.common.note_readiness(id, Wakeup::NONE);
            let (copied, len) = peeked?;
            env.common.on_peeked(id, copied);
            (copied, len)
        } else {
            let received = self.receive_into(env, id, bufs)?;
            self.rights.drop(received.passed);
            (received.len, received.message_len)
        };
        let is_whole = flags.contains(RecvFlags::TRUNCATE);
        let flags = if copied < len { ReceivedFlags::TRUNCATED } else { ReceivedFlags::NONE };
        let len = if is_whole { len } else { copied };
        Ok(message::Received { len, flags, ..message::Received::default() })
    }

    fn transmit(&mut self, _: &mut Env<'_>, _: SocketId, _: &mut Option<Transmit>) -> TransmitOutcome {
        TransmitOutcome::Nothing
    }

    fn shutdown(&mut self, env: &mut Env<'_>, id: SocketId, how: Shutdown) -> Result<()> {
        self.shut_down(env, id, how)
    }

    fn close(&mut self, env: &mut Env<'_>, id: SocketId) {
        self.end(env, id, true);
    }

    fn set_option(&mut self, env: &mut Env<'_>, id: SocketId, option: SocketOption) -> Result<()> {
        match option {
            SocketOption::PassCredentials(on) => {
                env.common.record_mut(id)?.unix_mut()?.passes_credentials = on;
                Ok(())
            }
            // The other options of SOL_SOCKET. Of these SO_SNDBUF has an effect.
            SocketOption::ReuseAddr(_)
            | SocketOption::ReusePort(false)
            | SocketOption::Broadcast(_)
            | SocketOption::SendBuffer(_)
            | SocketOption::ReceiveBuffer(_)
            | SocketOption::KeepAlive(_)
            | SocketOption::OobInline(_)
            | SocketOption::Priority(_)
            | SocketOption::Mark(_)
            | SocketOption::Linger(_)
            | SocketOption::ReceiveLowWater(_)
            | SocketOption::PeekOffset(_)
            | SocketOption::ReceiveTimeout(_)
            | SocketOption::SendTimeout(_)
            | SocketOption::LockFilter(_)
            | SocketOption::BindToDevice(_)
            | SocketOption::DontRoute(_)
            | SocketOption::NoCheck(_)
            | SocketOption::LockReceiveBuffer(_)
            | SocketOption::LockSendBuffer(_)
            | SocketOption::AskFor(..)
            | SocketOption::MaxPacingRate(_) => env.common.set_option(&env.ctx, id, option),
            _ => Err(Error::NotSupported),
        }
    }
}

impl UnixSockets {
    pub(crate) fn unlink(&mut self, path: &UnixAddr) -> Result<()> {
        self.names.unlink(path)
    }

    /// Connects two new sockets.
    pub(in crate::socket) fn pair(&mut self, env: &mut Env<'_>, ids: [SocketId; 2]) -> Result<()> {
        self.connect_pair(env, ids)
    }

    pub(crate) fn send_with_rights(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        data: SendData<'_>,
        message: &UnixSend<'_>,
    ) -> Result<usize> {
        let caller = env.common.caller;
        let sockets = message.rights.iter().map(|d| env.common.owners.socket(caller, *d));
        let sockets = sockets.collect::<Result<Vec<SocketId>>>()?;
        self.send_message(env, id, &data, message.to.as_ref(), &sockets, false)
    }

    pub(crate) fn receive_with_rights(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        buf: &mut [u8],
        max_rights: usize,
    ) -> Result<UnixMessage> {
        let UnixReceived { len, message_len, from, passed } = self.receive_into(env, id, &mut [buf])?;
        let passes_credentials = env.common.record(id)?.unix()?.passes_credentials;
        let (from, credentials) = from.unwrap_or((UnixAddr::UNNAMED, Credentials::default()));
        let mut rights = Vec::new();
        let mut left = passed.into_iter();
        while rights.len() < max_rights
            && let Some(&socket) = left.as_slice().first()
            && let Ok(descriptor) = env.common.owners.open(env.common.caller, socket)
        {
            left.next();
            rights.push(descriptor);
        }
        let is_control_truncated = !left.as_slice().is_empty();
        self.rights.drop(left);
        let credentials = passes_credentials.then_some(credentials);
        Ok(UnixMessage { len, message_len, from, rights, credentials, is_control_truncated })
    }
}
