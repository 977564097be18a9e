//! The table of connected UDP sockets.

use smallvec::SmallVec;

use crate::demux::{Endpoint, FourTuple};
use crate::hash::{HashMap, hash_map};
use crate::id::SocketId;
use crate::rng::Rng;

/// Connected sockets, which receive only from their peers, by their addresses. Sockets that share a
/// port may be connected to one peer; as on Linux the newest of them receives.
#[derive(Debug)]
pub(super) struct Connected {
    newest: HashMap<FourTuple, SocketId>,
    /// The sockets that a newer one hides, oldest first.
    hidden: HashMap<FourTuple, SmallVec<[SocketId; 2]>>,
    /// How many are connected to port 0, and receive from every port of their peer.
    to_any_port: usize,
}

impl Connected {
    pub(super) fn new(rng: &mut Rng) -> Connected {
        Connected { newest: hash_map(rng), hidden: hash_map(rng), to_any_port: 0 }
    }

    pub(super) fn insert(&mut self, flow: FourTuple, id: SocketId) {
        self.to_any_port += usize::from(flow.remote.port == 0);
        if let Some(older) = self.newest.insert(flow, id) {
            self.hidden.entry(flow).or_default().push(older);
        }
    }

    pub(super) fn remove(&mut self, flow: &FourTuple, id: SocketId) {
        self.to_any_port -= usize::from(flow.remote.port == 0);
        if let Some(hidden) = self.hidden.get_mut(flow) {
            if self.newest.get(flow) == Some(&id) {
                let next = hidden.pop();
                self.newest.extend(next.map(|next| (*flow, next)));
            } else {
                hidden.retain(|&mut other| other != id);
            }
            if hidden.is_empty() {
                self.hidden.remove(flow);
            }
        } else {
            self.newest.remove(flow);
        }
    }

    /// The socket for a datagram of this flow.
    #[inline]
    pub(super) fn find(&self, flow: &FourTuple) -> Option<SocketId> {
        let found = self.newest.get(flow).copied();
        if found.is_some() || self.to_any_port == 0 { found } else { self.find_any_port(flow) }
    }

    #[cold]
    fn find_any_port(&self, flow: &FourTuple) -> Option<SocketId> {
        let remote = Endpoint { port: 0, ..flow.remote };
        self.newest.get(&FourTuple { remote, ..*flow }).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(remote_port: u16) -> FourTuple {
        let [local, remote] = ["10.0.0.1", "10.0.0.2"].map(|addr| addr.parse().unwrap());
        FourTuple { local: Endpoint::new(local, 7), remote: Endpoint::new(remote, remote_port), scope: 0 }
    }

    fn ids(count: usize) -> std::vec::Vec<SocketId> {
        let mut slab = crate::slab::Slab::new();
        (0..count).map(|_| slab.insert(())).collect()
    }

    #[test]
    fn the_newest_of_several_sockets_with_the_same_addresses_receives() {
        let (mut table, ids) = (Connected::new(&mut Rng::new([1; 32])), ids(3));
        for &id in &ids {
            table.insert(flow(9), id);
        }
        assert_eq!(table.find(&flow(9)), Some(ids[2]));
        table.remove(&flow(9), ids[1]);
        assert_eq!(table.find(&flow(9)), Some(ids[2]));
        table.remove(&flow(9), ids[2]);
        assert_eq!(table.find(&flow(9)), Some(ids[0]));
        table.remove(&flow(9), ids[0]);
        assert_eq!(table.find(&flow(9)), None);
        assert!(table.newest.is_empty() && table.hidden.is_empty());
    }

    #[test]
    fn a_socket_that_is_connected_to_port_0_receives_from_every_port() {
        let (mut table, ids) = (Connected::new(&mut Rng::new([1; 32])), ids(2));
        table.insert(flow(0), ids[0]);
        assert_eq!(table.find(&flow(9)), Some(ids[0]));
        table.insert(flow(9), ids[1]);
        assert_eq!(table.find(&flow(9)), Some(ids[1]), "a port that is named is the better match");
        assert_eq!(table.find(&flow(10)), Some(ids[0]));
        table.remove(&flow(0), ids[0]);
        assert_eq!(table.find(&flow(10)), None);
        assert_eq!(table.to_any_port, 0);
    }
}
