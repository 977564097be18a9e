//! The ports in use, the sockets that have them, and the choice of ephemeral ports.

use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::net::IpAddr;

use smallvec::SmallVec;

use crate::demux::{BoundAddr, FourTuple};
use crate::error::{Error, Result};
use crate::hash::{HashMap, Keyed, hash_map};
use crate::rng::Rng;
use crate::steering::Share;

/// The binding of a socket in the port table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding<Id> {
    pub(crate) id: Id,
    pub(crate) addr: BoundAddr,
    /// The scope id of the interface that the socket is bound to; 0 for none.
    pub(crate) device: u16,
    pub(crate) reuse: Reuse,
    /// The user of the socket: SO_REUSEPORT is for the sockets of one user.
    pub(crate) uid: u32,
    /// Whether it is a TCP listener: then SO_REUSEADDR does not allow another socket beside it.
    pub(crate) listening: bool,
}

impl<Id> Binding<Id> {
    /// Whether both may have the same address and port. As in Linux, where a user cannot take a
    /// share of the packets of another, SO_REUSEPORT counts only within one user.
    fn allows(&self, other: &Self, may_share_addr: bool) -> bool {
        if self.uid == other.uid {
            return self.reuse.allows(other.reuse, may_share_addr);
        }
        may_share_addr && self.reuse.has_addr() && other.reuse.has_addr()
    }

    /// Whether one packet could match both.
    fn overlaps(&self, other: &Self) -> bool {
        self.addr.overlaps(other.addr) && devices_overlap(self.device, other.device)
    }
}

/// The port that a socket is to be bound to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WantedPort {
    /// The port; 0 for one that is drawn.
    pub(crate) port: u16,
    /// The lowest and the highest port that may be drawn, see [`PortTable::narrowed`].
    pub(crate) range: (u16, u16),
}

/// Whether a packet could come in through both devices; 0 stands for any.
fn devices_overlap(a: u16, b: u16) -> bool {
    a == 0 || b == 0 || a == b
}

/// SO_REUSEADDR and SO_REUSEPORT of a socket. One byte, because each connection and TIME-WAIT
/// record has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    No,
    Addr,
    Port,
    Both,
}

impl Reuse {
    const ALL: [Reuse; 4] = [Reuse::No, Reuse::Addr, Reuse::Port, Reuse::Both];

    pub(crate) fn new(reuse_addr: bool, reuse_port: bool) -> Reuse {
        match (reuse_addr, reuse_port) {
            (false, false) => Reuse::No,
            (true, false) => Reuse::Addr,
            (false, true) => Reuse::Port,
            (true, true) => Reuse::Both,
        }
    }

    /// SO_REUSEADDR.
    fn has_addr(self) -> bool {
        matches!(self, Reuse::Addr | Reuse::Both)
    }

    /// SO_REUSEPORT.
    pub(crate) fn has_port(self) -> bool {
        matches!(self, Reuse::Port | Reuse::Both)
    }

    /// Linux's rule: both have SO_REUSEPORT, or both have SO_REUSEADDR and `may_share_addr` is set.
    fn allows(self, other: Reuse, may_share_addr: bool) -> bool {
        self.has_port() && other.has_port() || may_share_addr && self.has_addr() && other.has_addr()
    }
}

/// The local end of connections without its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct LocalAddr {
    addr: IpAddr,
    /// The scope of their four-tuples: an interface that they are bound to.
    device: u16,
}

impl LocalAddr {
    fn of(tuple: &FourTuple) -> Self {
        LocalAddr { addr: tuple.local.addr, device: tuple.scope }
    }
}

/// Counts connections by local port, local address and [`Reuse`]. There is an entry for every
/// connection to the same server, because each has its own port. So entries are small: an address
/// is stored as a number.
#[derive(Debug)]
struct Occupied {
    /// The number of connections, by [`Occupied::key`].
    counts: HashMap<u32, u32>,
    /// The local addresses of connections, each with its number and its count of connections.
    numbers: HashMap<LocalAddr, (u16, usize)>,
    /// How many of them have a device. If there are none, one look-up finds an address.
    with_device: usize,
    /// Numbers that were used before and are free.
    free: Vec<u16>,
    /// The address that was counted last. The next one is usually the same and then needs no
    /// look-up.
    latest: Option<Latest>,
}

/// An address whose connections are counted here instead of in [`Occupied::numbers`].
#[derive(Clone, Copy, Debug)]
struct Latest {
    addr: LocalAddr,
    number: u16,
    connections: usize,
}

/// The key has room for this many addresses, beside the port and the two bits of [`Reuse`]. All
/// further addresses share the last number and count as one.
const MAX_ADDR_NUMBER: u16 = (1 << 14) - 1;

impl Occupied {
    fn key(port: u16, number: u16, reuse: Reuse) -> u32 {
        u32::from(port) << 16 | u32::from(number) << 2 | reuse as u32
    }

    fn add(&mut self, port: u16, addr: LocalAddr, reuse: Reuse) {
        if !self.recall(addr) {
            let unused = u16::try_from(self.numbers.len()).unwrap_or(u16::MAX).min(MAX_ADDR_NUMBER);
            let number = self.free.pop().unwrap_or(unused);
            self.numbers.insert(addr, (number, 0));
            self.with_device += usize::from(addr.device != 0);
            self.latest = Some(Latest { addr, number, connections: 0 });
        }
        let Some(latest) = &mut self.latest else { return };
        latest.connections += 1;
        *self.counts.entry(Occupied::key(port, latest.number, reuse)).or_default() += 1;
    }

    fn remove(&mut self, port: u16, addr: LocalAddr, reuse: Reuse) {
        if !self.recall(addr) {
            return;
        }
        let Some(latest) = &mut self.latest else { return };
        let key = Occupied::key(port, latest.number, reuse);
        latest.connections -= 1;
        if latest.connections == 0 {
            if latest.number < MAX_ADDR_NUMBER {
                self.free.push(latest.number);
            }
            self.numbers.remove(&addr);
            self.with_device -= usize::from(addr.device != 0);
            self.latest = None;
        }
        if let Some(count) = self.counts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&key);
            }
        }
    }

    /// Makes this address the latest one. Returns `false` if it has no number.
    fn recall(&mut self, addr: LocalAddr) -> bool {
        if self.latest.is_some_and(|latest| latest.addr == addr) {
            return true;
        }
        if let Some(Latest { addr, number, connections }) = self.latest.take() {
            self.numbers.insert(addr, (number, connections));
        }
        self.latest =
            self.numbers.get(&addr).map(|&(number, connections)| Latest { addr, number, connections });
        self.latest.is_some()
    }

    /// Whether a connection on this port conflicts with a socket.
    fn conflicts<Id>(&self, port: u16, new: &Binding<Id>) -> bool {
        let is_refused = |number: u16| {
            let others = Reuse::ALL.into_iter().filter(|other| !other.allows(new.reuse, true));
            others.into_iter().any(|other| self.counts.contains_key(&Occupied::key(port, number, other)))
        };
        match new.addr {
            BoundAddr::One(addr) if self.with_device == 0 => {
                let known = self.numbers.get(&LocalAddr { addr, device: 0 });
                known.is_some_and(|&(number, _)| is_refused(number))
            }
            addr => {
                let overlaps = |local: &LocalAddr| {
                    addr.overlaps(BoundAddr::One(local.addr)) && devices_overlap(local.device, new.device)
                };
                let mut locals = self.numbers.iter().filter(|&(local, _)| overlaps(local));
                locals.any(|(_, &(number, _))| is_refused(number))
            }
        }
    }
}

/// The ports of one transport protocol.
#[derive(Debug)]
pub(crate) struct PortTable<Id> {
    bindings: HashMap<u16, SmallVec<[Binding<Id>; 1]>>,
    /// Connections that were accepted, were opened from an ephemeral port, or are in TIME-WAIT.
    connections: Occupied,
    range: (u16, u16),
    offset_key: Keyed,
    /// RFC 6056 §3.3.4 (double-hash port selection): one counter for each group of destinations, so
    /// that what one peer sees tells it little about what another sees.
    counters: [u32; 64],
    /// The ports that belong to this stack, if there are several stacks.
    share: Option<Share>,
    /// UDP lets sockets share an address if all have SO_REUSEADDR; TCP does so only if none of them
    /// listens.
    is_udp: bool,
}

impl<Id: Copy + PartialEq> PortTable<Id> {
    pub(crate) fn new(range: (u16, u16), is_udp: bool, rng: &mut Rng) -> Self {
        let (low, high) = (range.0.min(range.1).max(1), range.0.max(range.1).max(1));
        let mut counters = [0; 64];
        counters.fill_with(|| rng.next_u32());
        let bindings = hash_map(rng);
        let connections = Occupied {
            counts: HashMap::with_hasher(bindings.hasher().clone()),
            numbers: HashMap::with_hasher(bindings.hasher().clone()),
            with_device: 0,
            free: Vec::new(),
            latest: None,
        };
        PortTable {
            bindings,
            connections,
            range: (low, high),
            offset_key: Keyed::new(rng),
            counters,
            share: None,
            is_udp,
        }
    }

    /// Sets which ports belong to this stack, if several stacks divide them.
    pub(crate) fn with_share(mut self, share: Option<Share>) -> Self {
        self.share = share;
        self
    }

    /// Whether this port may be drawn.
    fn is_ours(&self, port: u16) -> bool {
        self.share.as_ref().is_none_or(|share| share.has_port(port) && !share.is_spread(port))
    }

    /// Whether this port may be bound: one that all stacks have with SO_REUSEPORT only.
    fn may_have(&self, port: u16, reuse: Reuse) -> bool {
        match &self.share {
            Some(share) if share.is_spread(port) => reuse.has_port(),
            Some(share) => share.has_port(port),
            None => true,
        }
    }

    /// Whether `new` conflicts with the existing bindings, by Linux's rules.
    fn conflicts(&self, port: u16, new: &Binding<Id>) -> bool {
        if self.connections.conflicts(port, new) {
            return true;
        }
        self.bindings.get(&port).into_iter().flatten().any(|old| {
            let may_share_addr = self.is_udp || !(old.listening || new.listening);
            old.id != new.id && old.overlaps(new) && !old.allows(new, may_share_addr)
        })
    }

    /// Takes a port; 0 draws one from the ephemeral range. EADDRINUSE; EADDRNOTAVAIL for a port
    /// that belongs to another stack.
    pub(crate) fn bind(&mut self, rng: &mut Rng, wanted: WantedPort, new: Binding<Id>) -> Result<u16> {
        let port = match wanted.port {
            0 => self
                .draw(wanted.range, rng.next_u32(), |table, port| {
                    table.is_ours(port) && !table.conflicts(port, &new)
                })
                .0
                .ok_or(Error::AddressInUse)?,
            port if !self.may_have(port, new.reuse) => return Err(Error::AddressNotAvailable),
            port if self.conflicts(port, &new) => return Err(Error::AddressInUse),
            port => port,
        };
        self.bindings.entry(port).or_default().push(new);
        Ok(port)
    }

    /// Turns a binding into a listener's. EADDRINUSE if that conflicts with another.
    pub(crate) fn listen(&mut self, port: u16, id: Id) -> Result<()> {
        let Some(bindings) = self.bindings.get(&port) else { return Err(Error::InvalidArgument) };
        let Some(mine) = bindings.iter().find(|binding| binding.id == id) else {
            return Err(Error::InvalidArgument);
        };
        let mine = Binding { listening: true, ..*mine };
        let conflict = bindings
            .iter()
            .any(|old| old.id != id && old.listening && old.overlaps(&mine) && !old.allows(&mine, false));
        if conflict {
            return Err(Error::AddressInUse);
        }
        self.change(port, id, |binding| binding.listening = true);
        Ok(())
    }

    /// Updates the binding of a socket whose options changed.
    pub(crate) fn change(&mut self, port: u16, id: Id, how: impl FnOnce(&mut Binding<Id>)) {
        if let Some(bindings) = self.bindings.get_mut(&port)
            && let Some(binding) = bindings.iter_mut().find(|binding| binding.id == id)
        {
            how(binding);
        }
    }

    pub(crate) fn unbind(&mut self, port: u16, id: Id) {
        if let Some(bindings) = self.bindings.get_mut(&port) {
            bindings.retain(|binding| binding.id != id);
            if bindings.is_empty() {
                self.bindings.remove(&port);
            }
        }
    }

    /// Counts a connection that has no binding.
    pub(crate) fn add_connection(&mut self, tuple: &FourTuple, reuse: Reuse) {
        self.connections.add(tuple.local.port, LocalAddr::of(tuple), reuse);
    }

    /// Removes a connection that was counted with the same arguments.
    pub(crate) fn remove_connection(&mut self, tuple: &FourTuple, reuse: Reuse) {
        self.connections.remove(tuple.local.port, LocalAddr::of(tuple), reuse);
    }

    /// Draws an ephemeral port for a connection from `local` to `remote` (RFC 6056 §3.3.4).
    /// `is_free` tells whether the four-tuple with a port is unused; ports with bound sockets are
    /// skipped. EADDRNOTAVAIL if all are taken.
    pub(crate) fn ephemeral(
        &mut self,
        range: (u16, u16),
        local: IpAddr,
        remote: (IpAddr, u16),
        is_free: impl Fn(u16) -> bool,
    ) -> Result<u16> {
        let hash = self.offset_key.hash_one((local, remote));
        let counter = (hash >> 32) as usize % self.counters.len();
        let start = (hash as u32).wrapping_add(self.counters[counter]);
        let (found, tried) =
            self.draw(range, start, |table, port| !table.bindings.contains_key(&port) && is_free(port));
        // The counter also passes the ports that were taken. Otherwise the next call would try them
        // again, and a client with thousands of connections to one server would try thousands of
        // ports for each.
        self.counters[counter] = self.counters[counter].wrapping_add(tried);
        found.ok_or(Error::AddressNotAvailable)
    }

    /// The ephemeral ports inside of this range (IP_LOCAL_PORT_RANGE). As on Linux a limit that is
    /// not one of the ephemeral ports, for example 0, does not count.
    fn narrowed(&self, (low, high): (u16, u16)) -> (u16, u16) {
        let own = self.range;
        let low = if (own.0..=own.1).contains(&low) { low } else { own.0 };
        (low, if (low..=own.1).contains(&high) { high } else { own.1 })
    }

    /// The first acceptable port of the range, from `start` on with wrap-around, and how many were
    /// tried.
    fn draw(&self, range: (u16, u16), start: u32, accept: impl Fn(&Self, u16) -> bool) -> (Option<u16>, u32) {
        let (low, high) = self.narrowed(range);
        let count = u32::from(high - low) + 1;
        let first = start % count;
        for tried in 0..count {
            let port = low + ((first + tried) % count) as u16;
            if accept(self, port) {
                return (Some(port), tried + 1);
            }
        }
        (None, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demux::Endpoint;
    use crate::steering::Steering;

    fn binding(id: u32, addr: BoundAddr) -> Binding<u32> {
        Binding { id, addr, device: 0, reuse: Reuse::No, uid: 0, listening: false }
    }

    const ANY: (u16, u16) = (0, 0);

    fn port(port: u16) -> WantedPort {
        WantedPort { port, range: ANY }
    }

    /// A connection from this address and port.
    fn from(addr: IpAddr, port: u16) -> FourTuple {
        FourTuple { local: Endpoint::new(addr, port), remote: Endpoint::new(addr, 9), scope: 0 }
    }

    fn table(range: (u16, u16), is_udp: bool) -> (PortTable<u32>, Rng) {
        let mut rng = Rng::new([7; 32]);
        (PortTable::new(range, is_udp, &mut rng), rng)
    }

    /// As the kernel does, measured on 6.18.
    #[test]
    fn a_port_is_reused_within_one_user() {
        let mut rng = Rng::new([1; 32]);
        for is_udp in [false, true] {
            let of = |id, uid, reuse| Binding { uid, reuse, ..binding(id, BoundAddr::AnyV4) };
            let mut t = PortTable::new((40000, 50000), is_udp, &mut rng);
            assert_eq!(t.bind(&mut rng, port(80), of(1, 1000, Reuse::Both)), Ok(80));
            assert_eq!(t.bind(&mut rng, port(80), of(2, 1000, Reuse::Port)), Ok(80));
            for uid in [0, 1001] {
                assert_eq!(t.bind(&mut rng, port(80), of(3, uid, Reuse::Port)), Err(Error::AddressInUse));
                assert_eq!(t.bind(&mut rng, port(80), of(3, uid, Reuse::Both)), Err(Error::AddressInUse));
            }
            t.unbind(80, 2);
            // SO_REUSEADDR does not look at the user, but is not for two listeners.
            assert_eq!(t.bind(&mut rng, port(80), of(3, 1001, Reuse::Both)), Ok(80));
            assert_eq!(t.listen(80, 1), Ok(()));
            assert_eq!(t.listen(80, 3), Err(Error::AddressInUse));
        }
    }

    #[test]
    fn a_port_is_taken_once_unless_addresses_differ_or_options_allow() {
        let (mut t, mut rng) = table((1000, 1010), false);
        let one: BoundAddr = BoundAddr::One("10.0.0.2".parse().unwrap());
        t.bind(&mut rng, port(80), binding(1, one)).unwrap();
        assert_eq!(t.bind(&mut rng, port(80), binding(2, BoundAddr::AnyV4)), Err(Error::AddressInUse));
        assert_eq!(t.bind(&mut rng, port(80), binding(2, BoundAddr::AnyV6)), Ok(80));
        t.unbind(80, 1);
        assert_eq!(t.bind(&mut rng, port(80), binding(3, one)), Ok(80));

        let reusing = |id| Binding { reuse: Reuse::Addr, ..binding(id, BoundAddr::AnyV4) };
        t.bind(&mut rng, port(81), reusing(4)).unwrap();
        t.bind(&mut rng, port(81), reusing(5)).unwrap();
        t.listen(81, 4).unwrap();
        assert_eq!(t.listen(81, 5), Err(Error::AddressInUse));
        assert_eq!(t.bind(&mut rng, port(81), reusing(6)), Err(Error::AddressInUse));
    }

    /// Measured on Linux 6.18.
    #[test]
    fn sockets_on_different_devices_do_not_conflict() {
        let on = |id, device| Binding { device, ..binding(id, BoundAddr::AnyV4) };
        let (mut t, mut rng) = table((1000, 1010), false);
        assert_eq!(t.bind(&mut rng, port(80), on(1, 1)), Ok(80));
        assert_eq!(t.bind(&mut rng, port(80), on(2, 2)), Ok(80));
        assert_eq!(t.bind(&mut rng, port(80), on(3, 2)), Err(Error::AddressInUse));
        assert_eq!(t.bind(&mut rng, port(80), on(3, 0)), Err(Error::AddressInUse));
        assert_eq!((t.listen(80, 1), t.listen(80, 2)), (Ok(()), Ok(())));
        // The same with connections.
        let accepted = FourTuple { scope: 1, ..from("10.0.0.2".parse().unwrap(), 81) };
        t.add_connection(&accepted, Reuse::No);
        for addr in [BoundAddr::AnyV4, BoundAddr::One(accepted.local.addr)] {
            let bind = |t: &mut PortTable<u32>, rng: &mut Rng, device| {
                let bound = t.bind(rng, port(81), Binding { addr, ..on(4, device) });
                t.unbind(81, 4);
                bound.is_ok()
            };
            let can_bind = [0, 1, 2].map(|device| bind(&mut t, &mut rng, device));
            assert_eq!(can_bind, [false, false, true], "{addr:?}");
        }
        t.remove_connection(&accepted, Reuse::No);
        assert_eq!(t.connections.with_device, 0);
        assert_eq!(t.bind(&mut rng, port(81), on(4, 1)), Ok(81));
    }

    #[test]
    fn stacks_that_divide_the_ports_never_draw_the_same() {
        let steering = Steering::new(3, [1; 16]);
        let mut taken = std::collections::BTreeSet::new();
        for index in 0..3 {
            let (t, mut rng) = table((1000, 1010), true);
            let mut t = t.with_share(Some(Share::new(steering.clone(), index)));
            while let Ok(port) = t.bind(&mut rng, port(0), binding(taken.len() as u32, BoundAddr::AnyV4)) {
                assert_eq!(port % 3, index);
                assert!(taken.insert(port));
            }
            let of_another = 2000 + (index + 1) % 3 + (3 - 2000 % 3);
            assert_eq!(
                t.bind(&mut rng, port(of_another), binding(99, BoundAddr::AnyV4)),
                Err(Error::AddressNotAvailable)
            );
        }
        assert_eq!(taken.len(), 11);
    }

    #[test]
    fn connections_of_an_earlier_listener_give_way_to_reuse_addr_only() {
        let (mut t, mut rng) = table((1000, 1010), false);
        let local = from("10.0.0.2".parse().unwrap(), 80);
        t.add_connection(&local, Reuse::Addr);
        let plain = binding(1, BoundAddr::AnyV4);
        assert_eq!(t.bind(&mut rng, port(80), plain), Err(Error::AddressInUse));
        assert_eq!(t.bind(&mut rng, port(80), Binding { reuse: Reuse::Addr, ..plain }), Ok(80));
        t.unbind(80, 1);
        t.remove_connection(&local, Reuse::Addr);
        assert!(t.bindings.is_empty() && t.connections.counts.is_empty() && t.connections.numbers.is_empty());
    }

    /// Measured on Linux 6.18, for connections that were accepted, were opened from an ephemeral or
    /// a bound port, or are in TIME-WAIT.
    #[test]
    fn a_connection_is_in_the_way_on_its_own_address_unless_both_share() {
        let at = |addr: &str| BoundAddr::One(addr.parse().unwrap());
        let share = |old: Reuse, new: Reuse| match (old, new) {
            (Reuse::No, _) | (_, Reuse::No) => false,
            (Reuse::Both, _) | (_, Reuse::Both) => true,
            (old, new) => old == new,
        };
        for old in Reuse::ALL {
            for new in Reuse::ALL {
                let (mut t, mut rng) = table((1000, 1010), false);
                t.add_connection(&from("10.0.0.2".parse().unwrap(), 80), old);
                t.add_connection(&from("fd00::2".parse().unwrap(), 81), old);
                for (addr, overlaps) in [
                    (at("10.0.0.2"), true),
                    (at("10.0.0.9"), false),
                    (BoundAddr::AnyV4, true),
                    (BoundAddr::AnyV6, false),
                    (BoundAddr::AnyDual, true),
                ] {
                    let bound = t.bind(&mut rng, port(80), Binding { reuse: new, ..binding(1, addr) });
                    assert_eq!(bound.is_ok(), !overlaps || share(old, new), "{old:?} {new:?} {addr:?}");
                    t.unbind(80, 1);
                }
            }
        }
    }

    #[test]
    fn local_addresses_get_numbers_while_connections_have_them() {
        let (mut t, mut rng) = table((1000, 1010), false);
        let local = |number: u32| from(core::net::Ipv4Addr::from_bits(number).into(), 80);
        let addr_count = u32::from(MAX_ADDR_NUMBER) + 10;
        for _ in 0..2 {
            (0..addr_count).for_each(|number| t.add_connection(&local(number), Reuse::No));
            for number in [0, addr_count - 1] {
                let addr = BoundAddr::One(local(number).local.addr);
                assert_eq!(t.bind(&mut rng, port(80), binding(1, addr)), Err(Error::AddressInUse));
                assert_eq!(t.bind(&mut rng, port(80), binding(1, BoundAddr::AnyV6)), Ok(80));
                t.unbind(80, 1);
            }
            (0..addr_count).for_each(|number| t.remove_connection(&local(number), Reuse::No));
            assert!(t.connections.counts.is_empty() && t.connections.numbers.is_empty());
        }
    }

    /// IP_LOCAL_PORT_RANGE, measured on Linux 6.18.
    #[test]
    fn the_range_of_a_socket_is_inside_the_range_of_all() {
        let (t, _) = table((1000, 1010), false);
        for (wanted, expected) in [
            ((0, 0), (1000, 1010)),
            ((1003, 1005), (1003, 1005)),
            ((1003, 0), (1003, 1010)),
            ((0, 1005), (1000, 1005)),
            ((5, 1005), (1000, 1005)),
            ((1003, 9999), (1003, 1010)),
            ((7, 8), (1000, 1010)),
        ] {
            assert_eq!(t.narrowed(wanted), expected, "{wanted:?}");
        }
        let (mut t, mut rng) = table((1000, 1010), true);
        let mut draw =
            |id| t.bind(&mut rng, WantedPort { port: 0, range: (1003, 1004) }, binding(id, BoundAddr::AnyV4));
        let mut ports = [draw(1).unwrap(), draw(2).unwrap()];
        ports.sort_unstable();
        assert_eq!((ports, draw(3)), ([1003, 1004], Err(Error::AddressInUse)));
        let (local, remote) = ("10.0.0.2".parse().unwrap(), ("10.0.0.1".parse().unwrap(), 80));
        assert_eq!(t.ephemeral((1007, 1007), local, remote, |_| true), Ok(1007));
    }

    #[test]
    fn ephemeral_ports_use_the_whole_range_and_then_fail() {
        let (mut t, mut rng) = table((1000, 1010), false);
        t.bind(&mut rng, port(1005), binding(1, BoundAddr::AnyV4)).unwrap();
        let (local, remote) = ("10.0.0.2".parse().unwrap(), ("10.0.0.1".parse().unwrap(), 80));
        let mut given = std::collections::BTreeSet::new();
        for _ in 0..10 {
            let port = t.ephemeral(ANY, local, remote, |port| !given.contains(&port)).unwrap();
            assert!(given.insert(port) && port != 1005);
        }
        assert_eq!(
            t.ephemeral(ANY, local, remote, |port| !given.contains(&port)),
            Err(Error::AddressNotAvailable)
        );
    }

    /// RFC 6056 §3.3.4 counts every try. Half of the range is taken, in one piece; a port of the
    /// other half takes few tries, wherever the start is.
    #[test]
    fn ports_that_are_taken_are_walked_past_once() {
        for seed in 0..20 {
            let mut rng = Rng::new([seed; 32]);
            let mut t: PortTable<u32> = PortTable::new((32768, 60999), false, &mut rng);
            let (local, remote) = ("10.0.0.2".parse().unwrap(), ("10.0.0.1".parse().unwrap(), 80));
            let mut taken: std::collections::HashSet<u16> = (40000..54000).collect();
            let tries = core::cell::Cell::new(0);
            for _ in 0..10_000 {
                let is_free = |port| {
                    tries.set(tries.get() + 1);
                    !taken.contains(&port)
                };
                let port = t.ephemeral(ANY, local, remote, is_free).unwrap();
                assert!(taken.insert(port));
            }
            assert!(tries.get() < 40_000, "{} tries for 10,000 ports", tries.get());
        }
    }

    #[test]
    fn successive_ephemeral_ports_to_one_destination_differ() {
        let (mut t, _) = table((32768, 60999), false);
        let (local, remote) = ("10.0.0.2".parse().unwrap(), ("10.0.0.1".parse().unwrap(), 80));
        let first = t.ephemeral(ANY, local, remote, |_| true).unwrap();
        let second = t.ephemeral(ANY, local, remote, |_| true).unwrap();
        assert_ne!(first, second);
    }
}
