//! The calls on Unix-domain sockets.

use super::{Caller as _, Owner};
use crate::error::{Error, Result};
use crate::socket::{Credentials, Descriptor, Domain, SendData, SocketKind, UnixAddr, UnixMessage, UnixSend};
use crate::stack::Stack;
use crate::time::Instant;

/// The names of Unix-domain sockets, which all owners share.
impl Stack {
    /// Removes a path, so that another socket can be bound to it. A socket that is bound to the
    /// path continues, but nobody finds it any more. [`Error::NotFound`].
    pub fn unlink(&mut self, path: &UnixAddr) -> Result<()> {
        self.sockets.kinds.unix.unlink(path)
    }
}

macro_rules! calls {
    ($($calls:tt)*) => {
        /// Unix-domain sockets ([`Domain::Unix`]), for communication between the owners of one
        /// stack. The other calls are the same as for other sockets.
        impl Stack {
            $($calls)*
        }

        /// The calls on Unix-domain sockets of [`Stack`], for this owner.
        impl Owner<'_> {
            $($calls)*
        }
    };
}

calls! {
    /// Creates two sockets that are connected with each other (`socketpair`). `NotSupported` for
    /// another domain than [`Domain::Unix`].
    pub fn socket_pair(&mut self, domain: Domain, kind: SocketKind) -> Result<[Descriptor; 2]> {
        if domain != Domain::Unix {
            return Err(Error::NotSupported);
        }
        let (stack, caller) = self.caller_mut();
        stack.sockets.common.caller = caller;
        let (mut env, kinds) = stack.parts();
        kinds.open_pair(&mut env, caller, domain, kind)
    }

    /// Sends data, and with it descriptors (`sendmsg` with SCM_RIGHTS): the receiver gets
    /// descriptors of its own for the same sockets. Until then the sockets stay open, whoever
    /// closes them. On a stream the descriptors go with the first byte, and nothing is sent without
    /// data.
    ///
    /// `InvalidArgument` for more than 253 descriptors, `BadDescriptor` for one that is not open,
    /// `TooManyReferences` if too many of the caller's descriptors wait to be received
    /// ([`UnixConfig::max_in_flight`](crate::UnixConfig::max_in_flight)).
    pub fn send_unix(
        &mut self,
        now: Instant,
        d: Descriptor,
        data: &[u8],
        message: &UnixSend<'_>,
    ) -> Result<usize> {
        let (stack, caller) = self.caller_mut();
        stack.core.advance(now);
        let id = stack.sockets.common.socket(caller, d)?.0;
        stack.sockets.common.caller = caller;
        let (mut env, kinds) = stack.parts();
        env.common.record(id)?.unix()?;
        kinds.unix.send_with_rights(&mut env, id, SendData::Slice(data), message)
    }

    /// Receives data into `buf`, and with it the name of the sender and descriptors (`recvmsg`).
    /// The descriptors have the lowest free numbers. What exceeds `max_rights`, or does not fit
    /// into the caller's table, is closed.
    ///
    /// On a stream a call takes what is queued, as [`recv`](Stack::recv) does, but what was sent
    /// after a message with descriptors waits for the next call. With
    /// [`SocketOption::PassCredentials`](crate::SocketOption::PassCredentials) a call does not take
    /// the data of two senders.
    pub fn recv_unix(
        &mut self,
        now: Instant,
        d: Descriptor,
        buf: &mut [u8],
        max_rights: usize,
    ) -> Result<UnixMessage> {
        let (stack, caller) = self.caller_mut();
        stack.core.advance(now);
        let id = stack.sockets.common.socket(caller, d)?.0;
        stack.sockets.common.caller = caller;
        let (mut env, kinds) = stack.parts();
        env.common.record(id)?.unix()?;
        kinds.unix.receive_with_rights(&mut env, id, buf, max_rights)
    }

    /// The credentials of the peer when it called `connect` or `listen`, or made the pair
    /// (SO_PEERCRED); of a listener, those of the owner who called `listen`. `None` if the socket
    /// was never connected.
    pub fn peer_credentials(&self, d: Descriptor) -> Result<Option<Credentials>> {
        let (stack, caller) = self.caller();
        stack.sockets.common.socket(caller, d)?.1.peer_credentials()
    }
}
