//! The sockets that datagrams to groups are delivered to.

use core::net::IpAddr;

use smallvec::SmallVec;

use super::record::Socket;
use crate::demux::BoundAddr;
use crate::error::{Error, Result};
use crate::hash::{HashMap, hash_map};
use crate::id::SocketId;
use crate::rng::Rng;

/// What a socket listens to on its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum TakerKey {
    /// This group, because it is bound to it, or is a member and IP_MULTICAST_ALL is off.
    Group(IpAddr),
    /// Every IPv4 group of this host: it is bound to no address, with IP_MULTICAST_ALL.
    EveryV4,
    /// The same for IPv6.
    EveryV6,
}

/// A socket's keys.
pub(super) type Keys = SmallVec<[(TakerKey, u16); 4]>;

/// The sockets that datagrams to groups may be for, by group and port. So a datagram costs as much
/// as there are sockets that take it (or filter its source), however many others share the port.
///
/// Whoever changes the binding, the peer, the memberships or IP_MULTICAST_ALL of a socket calls
/// [`Takers::update`] with its keys before and after.
#[derive(Debug)]
pub(super) struct Takers {
    sockets: HashMap<(TakerKey, u16), SmallVec<[SocketId; 2]>>,
    /// The most sockets under one key.
    max: usize,
}

impl Takers {
    pub(super) fn new(max: usize, rng: &Rng) -> Self {
        Takers { sockets: hash_map(&mut rng.stream(2)), max }
    }

    /// The sockets for a datagram to this group and port, before their filters.
    pub(super) fn of(&self, group: IpAddr, port: u16) -> impl Iterator<Item = SocketId> + '_ {
        let every = if group.is_ipv4() { TakerKey::EveryV4 } else { TakerKey::EveryV6 };
        let keys = [TakerKey::Group(group), every];
        keys.into_iter().filter_map(move |key| self.sockets.get(&(key, port))).flatten().copied()
    }

    /// Moves a socket from its old keys to its new ones. ENOBUFS, and no change, if there are too
    /// many sockets under one of the new ones.
    pub(super) fn update(&mut self, id: SocketId, old: &Keys, new: &Keys) -> Result<()> {
        let is_full = |key| self.sockets.get(key).is_some_and(|ids| ids.len() >= self.max);
        if new.iter().any(|key| !old.contains(key) && is_full(key)) {
            return Err(Error::NoBufferSpace);
        }
        for key in old.iter().filter(|key| !new.contains(key)) {
            if let Some(ids) = self.sockets.get_mut(key) {
                ids.retain(|&mut other| other != id);
                if ids.is_empty() {
                    self.sockets.remove(key);
                }
            }
        }
        for &key in new.iter().filter(|key| !old.contains(key)) {
            self.sockets.entry(key).or_default().push(id);
        }
        Ok(())
    }
}

/// The keys of a socket in its present state.
pub(super) fn keys(socket: &Socket) -> Keys {
    let (Some(bound), Some(datagrams)) = (socket.bound(), socket.protocol.datagrams()) else {
        return Keys::new();
    };
    if bound.port == 0 {
        return Keys::new();
    }
    let families: &[bool] = match bound.addr {
        BoundAddr::One(addr) if addr.is_multicast() => {
            return Keys::from_iter([(TakerKey::Group(addr), bound.port)]);
        }
        // A connected socket is bound to one of our addresses from then on.
        BoundAddr::One(_) => return Keys::new(),
        _ if datagrams.connected.is_some() => return Keys::new(),
        BoundAddr::AnyV4 => &[true],
        BoundAddr::AnyV6 => &[false],
        BoundAddr::AnyDual => &[true, false],
    };
    let mut keys = Keys::new();
    for &is_v4 in families {
        let every = if is_v4 { TakerKey::EveryV4 } else { TakerKey::EveryV6 };
        if socket.takes_all(is_v4) {
            keys.push((every, bound.port));
        } else if let Some(groups) = &datagrams.groups {
            let groups = groups.groups().filter(|group| group.is_ipv4() == is_v4);
            keys.extend(groups.map(|group| (TakerKey::Group(group), bound.port)));
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}
