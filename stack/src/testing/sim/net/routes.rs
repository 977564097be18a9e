//! Routes through the network.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::{Attachment, Kind, SimNet};
use crate::network::{Cidr, InterfaceId, Route};

impl SimNet {
    /// Finds the shortest path to every address, from every node.
    pub(super) fn find_routes(&mut self) {
        if !core::mem::take(&mut self.routes_are_stale) {
            return;
        }
        let mut destinations = Vec::new();
        for node in &self.nodes {
            if let Kind::Host(host) = &node.kind {
                destinations.extend(host.attachments.iter().copied());
            }
        }
        for Attachment { v4, v6, into, .. } in destinations {
            // Searches backwards from the last link.
            let mut next_wire: Vec<Option<usize>> = alloc::vec![None; self.nodes.len()];
            next_wire[self.wires[into].from] = Some(into);
            let mut reached = VecDeque::from([self.wires[into].from]);
            while let Some(node) = reached.pop_front() {
                if matches!(self.nodes[node].kind, Kind::Host(_)) {
                    continue;
                }
                for (index, wire) in self.wires.iter().enumerate() {
                    if wire.to == node && next_wire[wire.from].is_none() && wire.from != self.wires[into].to {
                        next_wire[wire.from] = Some(index);
                        reached.push_back(wire.from);
                    }
                }
            }
            for (node, wire) in next_wire.into_iter().enumerate() {
                if let Some(wire) = wire {
                    self.add_routes(node, wire, [v4.into(), v6.into()]);
                }
            }
        }
    }

    fn add_routes(&mut self, node: usize, wire: usize, addrs: [IpAddr; 2]) {
        for addr in addrs {
            self.nodes[node].routes.insert(addr, wire);
            let Kind::Host(host) = &mut self.nodes[node].kind else { continue };
            if host.attachments.len() < 2 {
                // A host with one interface needs no routes.
                continue;
            }
            let place = host.attachments.iter().position(|attachment| attachment.out == wire);
            let iface = InterfaceId::from_index(place.unwrap_or_default() as u16);
            let prefix_len = if addr.is_ipv4() { 32 } else { 128 };
            let destination = Cidr { addr, prefix_len };
            // The route may exist, or be refused by an interface without IPv6.
            let _ = host.stack.add_route(Route::new(destination, iface));
        }
    }
}
