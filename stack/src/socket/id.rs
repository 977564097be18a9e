//! The names of records.

use core::fmt;

use super::slab::Key;

/// A socket, whoever holds it: a name that no other socket of the stack ever has, before or after.
///
/// Several descriptors may lead to one socket, and a descriptor's number is used again; this is what an
/// [`Event`](crate::Event) names, so that whoever waits can be found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(Key);

impl SocketId {
    /// A small number, to keep something about each socket in a list: no two sockets that exist at a time have the same.
    pub fn index(self) -> usize {
        self.0.into_numbers().0 as usize
    }
}

/// Who has a table of descriptors, as a process has. No two owners that a stack ever has have the same name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(Key);

impl OwnerId {
    /// The owner that a stack begins with. The calls of [`Stack`](crate::Stack) are its own.
    pub const FIRST: OwnerId = OwnerId(Key::FIRST);
}

/// A handshake of a listener.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HandshakeId(Key);

/// What each of them is for the slab that it is a key of.
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

keys!(SocketId, OwnerId, HandshakeId);
