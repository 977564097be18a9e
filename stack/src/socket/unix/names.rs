//! The names of Unix-domain sockets.

use alloc::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::rng::Rng;
use crate::socket::address::UnixAddr;
use crate::socket::kind::SocketKind;

/// The names and their sockets.
#[derive(Debug)]
pub(super) struct Names {
    /// A path stays when its socket is gone, until it is unlinked.
    sockets: BTreeMap<NameKey, Option<SocketId>>,
    limit: usize,
    /// The names of closed sockets whose messages wait to be received.
    departed: BTreeMap<SocketId, Departed>,
}

#[derive(Debug)]
struct Departed {
    name: UnixAddr,
    /// What its messages cost.
    outgoing_cost: usize,
}

/// A path is the name of one socket of any kind. As on Linux, where the kind is a part of the hash,
/// sockets of different kinds may have the same abstract name.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct NameKey(UnixAddr, u8);

impl NameKey {
    fn new(name: &UnixAddr, kind: SocketKind) -> Self {
        let kind = match kind {
            _ if name.as_path().is_some() => 0,
            SocketKind::Stream => 1,
            SocketKind::Datagram => 2,
            _ => 3,
        };
        NameKey(name.clone(), kind)
    }
}

/// An autobound name has this many hexadecimal digits' worth of values, as on Linux.
const AUTOBIND_NAMES: u32 = 1 << 20;

impl Names {
    pub(super) fn new(limit: usize) -> Self {
        Names { sockets: BTreeMap::new(), limit, departed: BTreeMap::new() }
    }

    /// Whether this path exists.
    pub(super) fn is_taken(&self, path: &UnixAddr) -> bool {
        self.sockets.contains_key(&NameKey(path.clone(), 0))
    }

    /// EADDRINUSE, or ENOBUFS at the limit.
    pub(super) fn bind(&mut self, name: &UnixAddr, kind: SocketKind, id: SocketId) -> Result<()> {
        let key = NameKey::new(name, kind);
        if self.sockets.contains_key(&key) {
            return Err(Error::AddressInUse);
        }
        if self.sockets.len() >= self.limit {
            return Err(Error::NoBufferSpace);
        }
        self.sockets.insert(key, Some(id));
        Ok(())
    }

    /// Chooses an abstract name of five hexadecimal digits. ENOBUFS if none is free.
    pub(super) fn autobind(&mut self, rng: &mut Rng, kind: SocketKind, id: SocketId) -> Result<UnixAddr> {
        let first = rng.next_u32() % AUTOBIND_NAMES;
        for step in 0..AUTOBIND_NAMES {
            let number = (first + step) % AUTOBIND_NAMES;
            let name = UnixAddr::abstract_name(alloc::format!("{number:05x}"))?;
            match self.bind(&name, kind, id) {
                Ok(()) => return Ok(name),
                Err(Error::AddressInUse) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::NoBufferSpace)
    }

    /// The socket with this name. ENOENT for a path that does not exist, ECONNREFUSED for an
    /// abstract name that does not exist and for a path whose socket is gone.
    pub(super) fn find(&self, name: &UnixAddr, kind: SocketKind) -> Result<SocketId> {
        match self.sockets.get(&NameKey::new(name, kind)) {
            Some(Some(id)) => Ok(*id),
            None if name.as_path().is_some() => Err(Error::NotFound),
            _ => Err(Error::ConnectionRefused),
        }
    }

    /// The socket that had this name is gone.
    pub(super) fn release(&mut self, name: &UnixAddr, kind: SocketKind, id: SocketId) {
        let key = NameKey::new(name, kind);
        match self.sockets.get_mut(&key) {
            Some(socket) if *socket != Some(id) => {}
            Some(socket) if name.as_path().is_some() => *socket = None,
            _ => {
                self.sockets.remove(&key);
            }
        }
    }

    /// Keeps the name of a closed socket for the receivers of its messages.
    pub(super) fn depart(&mut self, id: SocketId, name: UnixAddr, outgoing_cost: usize) {
        if outgoing_cost > 0 && !name.is_unnamed() {
            self.departed.insert(id, Departed { name, outgoing_cost });
        }
    }

    /// The name of a closed socket.
    pub(super) fn of_departed(&self, id: SocketId) -> UnixAddr {
        self.departed.get(&id).map_or(UnixAddr::UNNAMED, |departed| departed.name.clone())
    }

    /// A message of a closed socket has left its queue.
    pub(super) fn credit_departed(&mut self, id: SocketId, cost: usize) {
        if let Some(departed) = self.departed.get_mut(&id) {
            departed.outgoing_cost -= cost;
            if departed.outgoing_cost == 0 {
                self.departed.remove(&id);
            }
        }
    }

    /// Removes a path. ENOENT.
    pub(super) fn unlink(&mut self, path: &UnixAddr) -> Result<()> {
        let key = NameKey(path.clone(), 0);
        self.sockets.remove(&key).map(|_| ()).ok_or(Error::NotFound)
    }
}
