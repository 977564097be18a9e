//! Demultiplexing: finds the socket for the addresses and ports of a packet. Each step is one hash
//! look-up, never a scan.

use alloc::boxed::Box;
use core::hash::{BuildHasher, Hash, Hasher};
use core::mem;
use core::net::{IpAddr, SocketAddr, SocketAddrV6};

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::hash::{HashMap, Keyed, hash_map};
use crate::rng::Rng;

/// An address and a port as they are on the wire: never an IPv4-mapped IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    pub(crate) addr: IpAddr,
    pub(crate) port: u16,
}

impl Endpoint {
    pub(crate) fn new(addr: IpAddr, port: u16) -> Self {
        Endpoint { addr, port }
    }
}

/// A connection: the pair of socket addresses. `scope` (an interface's scope id) distinguishes
/// links, because the same link-local addresses may exist on several. It is also set for a socket
/// that is bound to a device, and otherwise 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FourTuple {
    pub(crate) local: Endpoint,
    pub(crate) remote: Endpoint,
    pub(crate) scope: u16,
}

impl FourTuple {
    /// The remote address as a program sees it, with its scope id.
    pub(crate) fn remote_addr(&self) -> SocketAddr {
        with_scope(self.remote, self.scope)
    }

    /// The local address as a program sees it, with its scope id.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        with_scope(self.local, self.scope)
    }
}

/// A socket address with a scope id if it is link-local.
pub(crate) fn with_scope(endpoint: Endpoint, scope: u16) -> SocketAddr {
    match endpoint.addr {
        IpAddr::V6(v6) if v6.is_unicast_link_local() || v6.is_multicast() => {
            SocketAddrV6::new(v6, endpoint.port, 0, u32::from(scope)).into()
        }
        addr => SocketAddr::new(addr, endpoint.port),
    }
}

impl FourTuple {
    /// Its hash under this key. This is called for every segment.
    pub(crate) fn hash_with(&self, key: &Keyed) -> u64 {
        match (self.local.addr, self.remote.addr) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                let addrs = u64::from(local.to_bits()) << 32 | u64::from(remote.to_bits());
                key.hash_words([addrs, self.other_bits()])
            }
            (local, remote) => {
                let [[a, b], [c, d]] = [local, remote].map(words_of);
                key.hash_words([a, b, c, d, self.other_bits()])
            }
        }
    }

    /// Everything but the addresses.
    fn other_bits(&self) -> u64 {
        let [local, remote, scope] = [self.local.port, self.remote.port, self.scope].map(u64::from);
        local << 32 | remote << 16 | scope
    }
}

fn words_of(addr: IpAddr) -> [u64; 2] {
    let bits = match addr {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    [(bits >> 64) as u64, bits as u64]
}

/// Feeds whole words to the hasher: two for an IPv4 connection.
impl Hash for FourTuple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match (self.local.addr, self.remote.addr) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                state.write_u64(u64::from(local.to_bits()) << 32 | u64::from(remote.to_bits()));
            }
            (local, remote) => {
                [local, remote].map(words_of).as_flattened().iter().for_each(|&word| state.write_u64(word))
            }
        }
        state.write_u64(self.other_bits());
    }
}

/// The address that a socket is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BoundAddr {
    /// One address.
    One(IpAddr),
    /// 0.0.0.0.
    AnyV4,
    /// `::` with IPV6_V6ONLY.
    AnyV6,
    /// `::` without IPV6_V6ONLY: both families.
    AnyDual,
}

impl BoundAddr {
    /// Whether one packet could match both.
    pub(crate) fn overlaps(self, other: BoundAddr) -> bool {
        use BoundAddr::{AnyDual, AnyV4, AnyV6, One};
        match (self, other) {
            (One(a), One(b)) => a == b,
            (AnyDual, _) | (_, AnyDual) => true,
            (AnyV4, One(a)) | (One(a), AnyV4) => a.is_ipv4(),
            (AnyV6, One(a)) | (One(a), AnyV6) => a.is_ipv6(),
            (AnyV4, AnyV4) | (AnyV6, AnyV6) => true,
            (AnyV4, AnyV6) | (AnyV6, AnyV4) => false,
        }
    }

    /// The keys to look up for a packet to `dst`, the most specific first.
    fn candidates(dst: IpAddr) -> [BoundAddr; 3] {
        let any = if dst.is_ipv4() { BoundAddr::AnyV4 } else { BoundAddr::AnyV6 };
        [BoundAddr::One(dst), any, BoundAddr::AnyDual]
    }

    /// Like [`candidates`](BoundAddr::candidates), with the devices: sockets that are bound to
    /// this one come first (Linux's `compute_score`).
    fn candidates_on(dst: IpAddr, device: u16) -> [(BoundAddr, u16); 6] {
        let [one, any, dual] = BoundAddr::candidates(dst);
        [(one, device), (one, 0), (any, device), (dual, device), (any, 0), (dual, 0)]
    }
}

/// What a socket is bound to: the key of [`BoundTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BoundKey {
    pub(crate) addr: BoundAddr,
    pub(crate) port: u16,
    /// The scope id of the interface that it is bound to; 0 for none.
    pub(crate) device: u16,
}

/// Sockets that share a bound address and port (SO_REUSEPORT, or SO_REUSEADDR with UDP), in the
/// order of binding.
#[derive(Clone, Debug)]
struct Group<Id, S> {
    members: SmallVec<[Member<Id>; 2]>,
    /// How many of them have SO_REUSEPORT.
    sharing: usize,
    /// How one of those is chosen; `None` for a hash.
    selector: Option<Box<S>>,
}

#[derive(Clone, Copy, Debug)]
struct Member<Id> {
    id: Id,
    reuse_port: bool,
}

impl<Id: Copy, S> Group<Id, S> {
    /// Picks a member. Measured on Linux 6.18: the newest member gets everything, unless it has
    /// SO_REUSEPORT; then flows are spread over the members that have it.
    fn pick(&self, flow: impl FnOnce() -> u64, select: impl FnOnce(&S, u64) -> Option<usize>) -> Option<Id> {
        let newest = self.members.last()?;
        if !newest.reuse_port || self.sharing == 1 {
            return Some(newest.id);
        }
        let hash = flow();
        let selected = self.selector.as_deref().and_then(|selector| select(selector, hash));
        let nth = match selected {
            Some(index) if index < self.sharing => index,
            _ => (hash % self.sharing as u64) as usize,
        };
        if self.sharing == self.members.len() {
            return self.members.get(nth).map(|member| member.id);
        }
        let mut sharing = self.members.iter().filter(|member| member.reuse_port);
        sharing.nth(nth).map(|member| member.id)
    }
}

/// Sockets by bound address, port and device. `S` is what chooses among sockets that share them.
#[derive(Debug)]
pub(crate) struct BoundTable<Id, S> {
    groups: HashMap<BoundKey, Group<Id, S>>,
    /// The number of groups bound to one address. If it is zero, one look-up is saved.
    ones: usize,
    flow_key: Keyed,
}

impl<Id: Copy + PartialEq, S: Clone> BoundTable<Id, S> {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        BoundTable { groups: hash_map(rng), ones: 0, flow_key: Keyed::new(rng) }
    }

    /// Adds a socket. The selector of the first one counts.
    pub(crate) fn insert(&mut self, key: BoundKey, id: Id, reuse_port: bool, selector: Option<&S>) {
        let group = self.groups.entry(key).or_insert_with(|| {
            self.ones += usize::from(matches!(key.addr, BoundAddr::One(_)));
            let selector = selector.filter(|_| reuse_port).cloned().map(Box::new);
            Group { members: SmallVec::new(), sharing: 0, selector }
        });
        group.members.push(Member { id, reuse_port });
        group.sharing += usize::from(reuse_port);
    }

    /// The number of sockets that share this address, port and device.
    pub(crate) fn count(&self, key: BoundKey) -> usize {
        self.groups.get(&key).map_or(0, |group| group.members.len())
    }

    pub(crate) fn remove(&mut self, key: BoundKey, id: Id) {
        if let Some(group) = self.groups.get_mut(&key) {
            let Group { members, sharing, .. } = group;
            let Some(at) = members.iter().position(|member| member.id == id) else { return };
            if *sharing == members.len() {
                // As on Linux the last one moves into the gap, so that selectors find it there.
                members.swap_remove(at);
                *sharing -= 1;
            } else {
                *sharing -= usize::from(members.remove(at).reuse_port);
            }
            if group.members.is_empty() {
                self.groups.remove(&key);
                self.ones -= usize::from(matches!(key.addr, BoundAddr::One(_)));
            }
        }
    }

    /// The socket for a packet of this flow. In a group with SO_REUSEPORT a flow always goes to the
    /// same socket, unless `select`, which gets the selector of the group and the hash of the flow,
    /// returns the index of another. Sockets that are bound to a device are found if it is the
    /// scope of the flow.
    #[inline]
    pub(crate) fn find_for(
        &self,
        flow: &FourTuple,
        select: impl FnOnce(&S, u64) -> Option<usize>,
    ) -> Option<Id> {
        if flow.scope != 0 {
            let (_, group) = self.candidates_on(flow.local.addr, flow.local.port, flow.scope).next()?;
            return group.pick(|| self.flow_key.hash_one(flow), select);
        }
        let group = self.candidates(flow.local.addr, flow.local.port).next()?;
        group.pick(|| self.flow_key.hash_one(flow), select)
    }

    /// Sets how a socket of a socket's group is chosen, and returns how that was done before.
    /// EINVAL unless the socket was entered with SO_REUSEPORT.
    pub(crate) fn set_selector(&mut self, key: BoundKey, id: Id, selector: Option<S>) -> Result<Option<S>> {
        let group = self.groups.get_mut(&key).ok_or(Error::InvalidArgument)?;
        if !group.members.iter().any(|member| member.id == id && member.reuse_port) {
            return Err(Error::InvalidArgument);
        }
        Ok(mem::replace(&mut group.selector, selector.map(Box::new)).map(|selector| *selector))
    }

    /// The device that the sockets for a packet of this flow are bound to, 0 for none; `None` if
    /// there are no sockets.
    pub(crate) fn device_for(&self, flow: &FourTuple) -> Option<u16> {
        Some(self.candidates_on(flow.local.addr, flow.local.port, flow.scope).next()?.0)
    }

    /// All sockets for a broadcast packet to `dst` that came in through this device.
    pub(crate) fn all(&self, dst: IpAddr, port: u16, device: u16) -> impl Iterator<Item = Id> + '_ {
        let groups = self.candidates_on(dst, port, device);
        groups.flat_map(|(_, group)| group.members.iter().map(|member| member.id))
    }

    /// The groups without a device that a packet to `dst` could be for, the most specific first.
    fn candidates(&self, dst: IpAddr, port: u16) -> impl Iterator<Item = &Group<Id, S>> {
        let skipped = usize::from(self.ones == 0);
        let addrs = BoundAddr::candidates(dst).into_iter().skip(skipped);
        addrs.filter_map(move |addr| self.groups.get(&BoundKey { addr, port, device: 0 }))
    }

    /// The groups that a packet to `dst` through this device could be for, and the devices that
    /// they are bound to.
    fn candidates_on(
        &self,
        dst: IpAddr,
        port: u16,
        device: u16,
    ) -> impl Iterator<Item = (u16, &Group<Id, S>)> {
        let keys = BoundAddr::candidates_on(dst, device).into_iter();
        // Without a device each key would come twice.
        let keys = keys.enumerate().filter(move |(at, _)| device != 0 || !matches!(at, 0 | 2 | 3));
        keys.filter_map(move |(_, (addr, device))| {
            Some((device, self.groups.get(&BoundKey { addr, port, device })?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A selector is an index here.
    type Table = BoundTable<u32, usize>;

    impl Table {
        fn find(&self, flow: &FourTuple) -> Option<u32> {
            self.find_for(flow, |&index, _| Some(index))
        }
    }

    fn tuple(local: &str, remote: &str) -> FourTuple {
        let (local, remote): (SocketAddr, SocketAddr) = (local.parse().unwrap(), remote.parse().unwrap());
        FourTuple {
            local: Endpoint::new(local.ip(), local.port()),
            remote: Endpoint::new(remote.ip(), remote.port()),
            scope: 0,
        }
    }

    fn key(addr: BoundAddr, port: u16) -> BoundKey {
        BoundKey { addr, port, device: 0 }
    }

    fn table() -> Table {
        BoundTable::new(&mut Rng::new([1; 32]))
    }

    #[test]
    fn the_most_specific_binding_wins() {
        let mut t = table();
        t.insert(key(BoundAddr::AnyDual, 80), 1, false, None);
        t.insert(key(BoundAddr::AnyV4, 80), 2, false, None);
        t.insert(key(BoundAddr::One("10.0.0.2".parse().unwrap()), 80), 3, false, None);
        assert_eq!(t.find(&tuple("10.0.0.2:80", "10.0.0.1:5")), Some(3));
        assert_eq!(t.find(&tuple("10.0.0.9:80", "10.0.0.1:5")), Some(2));
        assert_eq!(t.find(&tuple("[fd00::2]:80", "[fd00::1]:5")), Some(1));
        t.remove(key(BoundAddr::AnyV4, 80), 2);
        assert_eq!(t.find(&tuple("10.0.0.9:80", "10.0.0.1:5")), Some(1));
        t.remove(key(BoundAddr::One("10.0.0.2".parse().unwrap()), 80), 3);
        assert_eq!(t.find(&tuple("10.0.0.2:80", "10.0.0.1:5")), Some(1));
        t.insert(key(BoundAddr::One("10.0.0.2".parse().unwrap()), 80), 4, false, None);
        assert_eq!(t.find(&tuple("10.0.0.2:80", "10.0.0.1:5")), Some(4));
        assert_eq!(t.find(&tuple("10.0.0.9:81", "10.0.0.1:5")), None);
    }

    /// Measured on Linux 6.18.
    #[test]
    fn a_device_counts_more_than_a_family_and_less_than_an_address() {
        let mut t = table();
        let on = |scope: u16| FourTuple { scope, ..tuple("10.0.0.2:80", "10.0.0.1:5") };
        t.insert(key(BoundAddr::AnyV4, 80), 1, false, None);
        t.insert(BoundKey { device: 7, ..key(BoundAddr::AnyDual, 80) }, 2, false, None);
        assert_eq!((t.find(&on(7)), t.find(&on(8)), t.find(&on(0))), (Some(2), Some(1), Some(1)));
        assert_eq!((t.device_for(&on(7)), t.device_for(&on(8))), (Some(7), Some(0)));
        t.insert(BoundKey { device: 7, ..key(BoundAddr::AnyV4, 80) }, 3, false, None);
        assert_eq!(t.find(&on(7)), Some(3));
        t.insert(key(BoundAddr::One("10.0.0.2".parse().unwrap()), 80), 4, false, None);
        assert_eq!((t.find(&on(7)), t.find(&on(0))), (Some(4), Some(4)));
        let all = |device| std::vec::Vec::from_iter(t.all("10.0.0.2".parse().unwrap(), 80, device));
        assert_eq!((all(7), all(8), all(0)), ([4, 3, 2, 1].into(), [4, 1].into(), [4, 1].into()));
    }

    #[test]
    fn flows_are_spread_over_a_reuse_port_group_and_stick() {
        let mut t = table();
        for id in 0..4 {
            t.insert(key(BoundAddr::AnyV4, 53), id, true, None);
        }
        let mut seen = [0; 4];
        for port in 1..=400 {
            let flow = tuple("10.0.0.2:53", &std::format!("10.0.0.1:{port}"));
            let id = t.find(&flow).unwrap();
            assert_eq!(t.find(&flow), Some(id));
            seen[id as usize] += 1;
        }
        assert!(seen.iter().all(|&count| count > 50), "{seen:?}");
    }

    /// Measured on Linux 6.18, with programs that return a constant.
    #[test]
    fn a_selector_names_members_by_index_and_otherwise_the_hash_decides() {
        let mut t = table();
        let here = key(BoundAddr::AnyV4, 53);
        let flow = |port: u32| tuple("10.0.0.2:53", &std::format!("10.0.0.1:{port}"));
        let picked = |t: &Table| {
            let ids = (1..=100).filter_map(|port| t.find(&flow(port)));
            std::vec::Vec::from_iter(ids.collect::<std::collections::BTreeSet<u32>>())
        };
        for id in 0..4 {
            t.insert(here, id, true, None);
        }
        assert_eq!(picked(&t), [0, 1, 2, 3], "there is no selector");
        assert_eq!(t.set_selector(here, 9, None), Err(Error::InvalidArgument));
        assert_eq!(t.set_selector(here, 1, Some(4)), Ok(None));
        assert_eq!(picked(&t), [0, 1, 2, 3], "beyond the last one");
        assert_eq!(t.set_selector(here, 1, Some(1)), Ok(Some(4)));
        assert_eq!(picked(&t), [1]);
        // The last one moves into the gap; and the selector stays while there is a member.
        t.remove(here, 1);
        assert_eq!(picked(&t), [3]);
        assert_eq!(t.set_selector(here, 0, None), Ok(Some(1)));
        assert_eq!(picked(&t), [0, 2, 3]);
        // A member that does not share gets everything, whatever the selector says.
        assert_eq!(t.set_selector(here, 0, Some(0)), Ok(None));
        t.insert(here, 7, false, None);
        assert_eq!(picked(&t), [7]);
    }

    /// Measured on Linux 6.18; `true` is a member with SO_REUSEPORT beside SO_REUSEADDR.
    #[test]
    fn the_newest_member_decides_whether_flows_are_spread() {
        let cases: [(&[bool], &[u32]); 6] = [
            (&[true, false, true], &[0, 2]),
            (&[false, true, true], &[1, 2]),
            (&[true, true, false], &[2]),
            (&[false, false, true], &[2]),
            (&[false, false, false], &[2]),
            (&[true, false, false], &[2]),
        ];
        for (members, expected) in cases {
            let mut t = table();
            let used = |t: &Table| {
                let flow = |port: u32| tuple("10.0.0.2:53", &std::format!("10.0.0.1:{port}"));
                let ids: std::collections::BTreeSet<u32> =
                    (1..=100).filter_map(|port| t.find(&flow(port))).collect();
                std::vec::Vec::from_iter(ids)
            };
            for (id, &reuse_port) in (0..).zip(members) {
                t.insert(key(BoundAddr::AnyV4, 53), id, reuse_port, None);
            }
            assert_eq!(used(&t), expected, "{members:?}");
            if members == [true, true, false] {
                t.remove(key(BoundAddr::AnyV4, 53), 2);
                assert_eq!(used(&t), [0, 1], "when the one without it has left");
            }
        }
    }

    #[test]
    fn overlap_is_symmetric_and_follows_the_families() {
        let one4 = BoundAddr::One("10.0.0.2".parse().unwrap());
        let one6 = BoundAddr::One("fd00::2".parse().unwrap());
        let cases = [
            (one4, one4, true),
            (one4, one6, false),
            (one4, BoundAddr::AnyV4, true),
            (one4, BoundAddr::AnyV6, false),
            (one6, BoundAddr::AnyV6, true),
            (one4, BoundAddr::AnyDual, true),
            (BoundAddr::AnyV4, BoundAddr::AnyV6, false),
            (BoundAddr::AnyV4, BoundAddr::AnyDual, true),
        ];
        for (a, b, expected) in cases {
            assert_eq!(a.overlaps(b), expected, "{a:?} {b:?}");
            assert_eq!(b.overlaps(a), expected, "{b:?} {a:?}");
        }
    }
}
