//! The ids of sockets, owners, pollers, handshakes and pending connections.

use core::fmt;

use crate::slab::Key;

/// The id of a socket. No other socket of the stack ever has the same id.
///
/// Several descriptors may refer to one socket, and descriptor numbers are reused, so an
/// [`Event`](crate::Event) names a socket by its id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(Key);

impl SocketId {
    /// The least id, for the beginning of a range.
    pub(crate) const FIRST: SocketId = SocketId(Key::FIRST);

    /// A small number, for an index into a list of sockets. No two sockets that exist at the same
    /// time have the same number.
    pub fn index(self) -> usize {
        self.0.into_numbers().0 as usize
    }

    /// The socket as a number, which is never 0 (SO_COOKIE).
    pub fn cookie(self) -> u64 {
        let (index, generation) = self.0.into_numbers();
        u64::from(generation) << 32 | (u64::from(index) + 1)
    }
}

/// The id of an owner of a descriptor table, which corresponds to a process. A stack never uses an
/// id twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(Key);

impl OwnerId {
    /// The first owner, which every stack has. The calls of [`Stack`](crate::Stack) act for it.
    pub const FIRST: OwnerId = OwnerId(Key::FIRST);
}

/// The id of a poller. It means nothing to another owner, and a stack never uses an id twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PollerId(Key);

/// The id of a descriptor's registration with a poller.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct RegistrationId(Key);

/// The id of a handshake of a listener.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HandshakeId(Key);

/// The id of an intercepted connection that waits for a decision
/// ([`PendingConnection`](crate::PendingConnection)). A stack never uses an id twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PendingId(Key);

impl PendingId {
    /// The least id, for the beginning of a range.
    pub(crate) const FIRST: PendingId = PendingId(Key::FIRST);
}

/// Implements what the slab needs of each type of key.
macro_rules! keys {
    ($($id:ident),*) => {$(
        impl From<Key> for $id {
            fn from(key: Key) -> Self {
                $id(key)
            }
        }

        impl From<$id> for Key {
            fn from(id: $id) -> Self {
                id.0
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

keys!(SocketId, OwnerId, PollerId, RegistrationId, HandshakeId, PendingId);
