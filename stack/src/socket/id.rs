//! The names of records.

use core::fmt;

use super::slab::Key;

/// A socket, whoever holds it: a name that no other socket of the stack ever has, before or after.
///
/// Several descriptors may lead to one socket, and a descriptor's number is used again; this is what an
/// [`Event`](crate::Event) names, so that whoever waits can be found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(Key);

/// A handshake of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HandshakeId(Key);

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Key> for SocketId {
    fn from(key: Key) -> Self {
        SocketId(key)
    }
}

impl From<SocketId> for Key {
    fn from(id: SocketId) -> Self {
        id.0
    }
}

impl From<Key> for HandshakeId {
    fn from(key: Key) -> Self {
        HandshakeId(key)
    }
}

impl From<HandshakeId> for Key {
    fn from(id: HandshakeId) -> Self {
        id.0
    }
}
