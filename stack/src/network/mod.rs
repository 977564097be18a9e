//! The network layer: interfaces, neighbours, routes, IP in and out, ICMP.
//!
//! It takes frames and returns [`Delivery`]s for the transports; it takes transport packets and
//! returns [`Transmit`]s for the device.
//!
//! [`Network`] holds the parts of `link`, `iface`, `ip` and `icmp` and passes packets between them;
//! those modules contain the rules. Read `types` first, then this file (configuration and timers),
//! `input` (the way of a frame in), `path` (where packets go), `output` (the way of a packet out),
//! `interception`, `icmp`, `resolution` (ARP, NDP), `slaac` (routers), `multicast` (groups, IGMP,
//! MLD), `forwarding` and `links` (what changes while packets are on their way).

mod addresses;
mod admission;
mod drops;
mod forwarding;
mod icmp;
mod input;
mod interception;
mod links;
mod multicast;
mod output;
mod path;
mod queue;
mod resolution;
mod slaac;
#[cfg(test)]
mod tests;
mod types;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use bytes::{Buf as _, Bytes};

pub(crate) use types::{Datagram, Delivery, IcmpOutcome, LinkFacts, Reception};

pub use crate::iface::address::{AddressLifetime, AddressState};
pub use crate::iface::cidr::{Cidr, ParseCidrError};
pub use crate::iface::config::{InterfaceConfig, InterfaceInfo};
pub use crate::iface::event::NetworkEvent;
pub use crate::iface::forwarding::Forwarding;
pub use crate::iface::interception::{InterceptedNetwork, Interception, ProxyAnswers};
pub use crate::iface::link_state::LinkState;
pub use crate::iface::routes::Route;
pub use crate::iface::slaac_config::{InterfaceIdentifiers, SlaacConfig, TemporaryAddresses};
pub use crate::iface::zone::Zone;
pub use crate::interface_id::InterfaceId;
pub use crate::link::mac::{MacAddr, ParseMacAddrError};
pub use crate::link::medium::Medium;
pub use crate::link::neighbor::{NeighborInfo, NeighborState};
pub use crate::link::packet_type::PacketType;
pub use crate::link::router_advertisement::RouterPreference;
pub use crate::slaac::info::{AdvertisedRoute, AutoAddressInfo, SlaacInfo};

pub(crate) use crate::icmp::network_error::{NetworkError, NetworkErrorKind};
pub(crate) use crate::ip::Cast;
pub(crate) use crate::ip::output::{IpMeta, MtuDiscovery};

use crate::Ctx;
use crate::config::Config;
use crate::drop_reason::DropReason;
use crate::error::{Error, Result};
use crate::frame::{Frame, Transmit};
use crate::icmp::quote::Quote;
use crate::iface::event::NetworkEvents;
use crate::iface::interface::{IPV6_MIN_MTU, Interface, is_valid_name};
use crate::iface::routes::RouteTable;
use crate::ip::flow_label::FlowLabels;
use crate::ip::output::Identifications;
use crate::ip::pmtu::PathMtus;
use crate::ip::reassembly::Reassembler;
use crate::link::ethernet;
use crate::multicast::InterfaceGroups;
use crate::rate_limit::{PeerLimit, SharedBudget};
use crate::rng::Rng;
use crate::slaac::Slaac;
use crate::stats::Stats;
use crate::steering::Share;
use crate::subject::Subject;
use crate::time::Instant;
use crate::trace::Trace;
use queue::{ForwardQueue, LoopbackQueue, TransmitQueue};

/// The state of the network layer.
#[derive(Debug)]
pub(crate) struct Network {
    /// Sorted by id.
    interfaces: Vec<Interface>,
    /// The id of the next interface.
    next_interface: InterfaceId,
    routes: RouteTable,
    identifications: Identifications,
    flow_labels: FlowLabels,
    reassembler: Reassembler,
    path_mtus: PathMtus,
    /// The rate limits of ICMP errors: for each peer, and for all together.
    icmp_shares: PeerLimit,
    icmp_budget: SharedBudget,
    /// The rate limit of answers to ARP requests and neighbour solicitations, for each neighbour.
    answer_shares: PeerLimit,
    /// The value of the ICMP timestamp clock at time 0.
    timestamp_offset: u32,
    /// Frames of the network layer itself that wait for the device.
    transmits: TransmitQueue,
    /// Forwarded frames that wait for the device.
    forwards: ForwardQueue,
    /// Whether any interface was ever in another zone than zone 0. Most hosts have none, so that
    /// they need not look for the zone of each packet's interface.
    has_zones: bool,
    /// Packets from this host to itself.
    loopback: LoopbackQueue,
    /// A number that changes when the MTU of a link does.
    mtu_changes: u16,
    /// Changes of links, addresses and routes.
    events: NetworkEvents,
    /// Errors that the network layer found.
    errors: VecDeque<NetworkError>,
    /// Set by [`Network::end_turn`] until the loopback is polled.
    is_turn_over: bool,
    /// This stack's part, if several stacks serve the same interfaces.
    share: Option<Share>,
    /// The groups that sockets have joined on the loopback.
    loopback_groups: InterfaceGroups,
    /// What interfaces that configure themselves have learned.
    slaac: Vec<(InterfaceId, Slaac)>,
    /// Random delays of IGMP and MLD.
    group_rng: Rng,
    /// Records every frame, if a program asked for that.
    pub(crate) trace: Option<Box<Trace>>,
}

impl Network {
    pub(crate) fn new(config: &Config, share: Option<Share>, rng: &mut Rng) -> Self {
        let ip = &config.ip;
        Network {
            interfaces: Vec::new(),
            next_interface: InterfaceId(0),
            routes: RouteTable::default(),
            identifications: Identifications::new(rng),
            flow_labels: FlowLabels::new(rng),
            reassembler: Reassembler::new(ip, config.packet_queue_limit_bytes(), rng),
            path_mtus: PathMtus::new(ip, rng),
            icmp_shares: PeerLimit::new(rng),
            icmp_budget: SharedBudget::new(ip.icmp_errors_per_second, ip.icmp_error_burst, Instant::ZERO),
            answer_shares: PeerLimit::new(rng),
            timestamp_offset: rng.next_u32(),
            transmits: TransmitQueue::new(ip.max_queued_frames, config.packet_queue_limit_bytes()),
            has_zones: false,
            forwards: ForwardQueue::new(ip.max_queued_frames, config.packet_queue_limit_bytes()),
            loopback: LoopbackQueue::new(ip.max_queued_frames, config.packet_queue_limit_bytes()),
            mtu_changes: 0,
            events: NetworkEvents::default(),
            errors: VecDeque::new(),
            is_turn_over: false,
            share,
            loopback_groups: InterfaceGroups::new(&config.multicast, false),
            slaac: Vec::new(),
            group_rng: rng.stream(1),
            trace: None,
        }
    }

    /// This stack's part, if several stacks serve the same interfaces.
    pub(crate) fn share(&self) -> Option<&Share> {
        self.share.as_ref()
    }

    /// Whether this stack does the work that only one of several stacks does.
    fn is_first_share(&self) -> bool {
        self.share.as_ref().is_none_or(Share::is_first)
    }

    pub(crate) fn add_interface(
        &mut self,
        ctx: &mut Ctx<'_>,
        config: InterfaceConfig,
    ) -> Result<InterfaceId> {
        let id = self.free_interface_id()?;
        let name = self.name_for(id.0, config.name.as_deref())?;
        if config.slaac.is_some() {
            self.check_slaac(config.medium, config.mtu)?;
        }
        let mut interface = Interface::new(id, name, &config, ctx.config, ctx.rng)?;
        // Where there are no neighbours nobody sends to the groups of our addresses, and of several
        // stacks the first reports for all.
        let has_neighbors = interface.mac().is_some();
        interface.with_groups(|groups| groups.is_reporting_own = has_neighbors && self.is_first_share());
        interface.set_forwarding(ctx.now, config.forwarding);
        // RFC 4862 §5.3: the link-local address comes before any other.
        let link_local = interface.mac().filter(|_| config.mtu >= IPV6_MIN_MTU);
        let link_local = link_local.map(|mac| Cidr::new(IpAddr::V6(mac.link_local()), 64));
        let wanted = config.addresses.iter().copied();
        for cidr in link_local.into_iter().chain(wanted.filter(|&cidr| Some(cidr) != link_local)) {
            interface.add_address(ctx.now, cidr, &ctx.config.neighbor)?;
        }
        let cidrs: Vec<Cidr> = interface.addresses().iter().map(|address| address.cidr).collect();
        let at = self.interfaces.partition_point(|other| other.id < id);
        if config.zone.is_apart() {
            self.has_zones = true;
            self.routes.set_apart(id);
            self.path_mtus.set_apart(id);
        }
        self.interfaces.insert(at, interface);
        self.next_interface = InterfaceId(id.0 + 1);
        self.events.push(NetworkEvent::InterfaceAdded { iface: id });
        for cidr in cidrs {
            self.add_connected(cidr, id);
        }
        self.run_interface_timers(ctx, id);
        self.collect_events(ctx.now, id);
        if let Some(slaac) = config.slaac {
            self.start_slaac(ctx, id, slaac);
        }
        Ok(id)
    }

    /// The id of a new interface: the next one, so that an id that a program still holds does not
    /// name another interface; or if all were used, the lowest that is free. EINVAL without any.
    fn free_interface_id(&self) -> Result<InterfaceId> {
        let mut ids =
            (self.next_interface.0..InterfaceId::LOOPBACK.0).chain(0..self.next_interface.0).map(InterfaceId);
        ids.find(|&id| self.interface(id).is_none()).ok_or(Error::InvalidArgument)
    }

    /// The name of a new interface: the one that is wanted, or the first of `if0`, `if1` and so on,
    /// from its own number on, that is free. EINVAL, EEXIST.
    fn name_for(&self, index: u16, wanted: Option<&str>) -> Result<String> {
        let is_taken = |name: &str| self.interface_by_name(name).is_some();
        match wanted {
            Some(name) if !is_valid_name(name) => Err(Error::InvalidArgument),
            Some(name) if is_taken(name) => Err(Error::AlreadyExists),
            Some(name) => Ok(name.into()),
            None => {
                let mut names = (u32::from(index)..).map(|number| format!("if{number}"));
                names.find(|name| !is_taken(name)).ok_or(Error::AlreadyExists)
            }
        }
    }

    /// The interface with this name.
    pub(crate) fn interface_by_name(&self, name: &str) -> Option<InterfaceId> {
        if name == InterfaceId::LOOPBACK_NAME {
            return Some(InterfaceId::LOOPBACK);
        }
        self.interfaces.iter().find(|interface| interface.name == name).map(|interface| interface.id)
    }

    /// The name of an interface.
    pub(crate) fn interface_name(&self, iface: InterfaceId) -> Option<&str> {
        if iface == InterfaceId::LOOPBACK {
            return Some(InterfaceId::LOOPBACK_NAME);
        }
        self.interface(iface).map(|interface| &*interface.name)
    }

    pub(crate) fn interfaces(&self) -> Vec<InterfaceInfo> {
        self.interfaces.iter().map(Interface::info).collect()
    }

    /// An interface, as packet sockets see it. The loopback looks as on Linux: like an Ethernet
    /// (ARPHRD_LOOPBACK).
    pub(crate) fn link(&self, iface: InterfaceId) -> Option<LinkFacts> {
        if iface == InterfaceId::LOOPBACK {
            let mac = Some(MacAddr([0; 6]));
            return Some(LinkFacts {
                header_len: ethernet::HEADER_LEN,
                mac,
                hardware_type: 772,
                mtu: 65_536,
            });
        }
        let &Interface { medium, mtu, .. } = self.interface(iface)?;
        let header_len = if medium.mac().is_some() { ethernet::HEADER_LEN } else { 0 };
        Some(LinkFacts { header_len, mac: medium.mac(), hardware_type: medium.hardware_type(), mtu })
    }

    /// The packet that [`Network::poll_loopback`] receives next, if it is to receive one.
    #[cold]
    pub(crate) fn next_looped(&self) -> Option<Bytes> {
        if self.errors.is_empty() { self.loopback.front().cloned() } else { None }
    }

    /// Puts a frame of a packet socket onto the loopback, which carries IP only.
    pub(crate) fn loop_frame(&mut self, ctx: &mut Ctx<'_>, mut frame: Bytes) {
        ctx.subject = Subject::Frame(InterfaceId::LOOPBACK);
        frame.advance(ethernet::HEADER_LEN.min(frame.len()));
        let Some(quote) = Quote::parse(&frame) else {
            return ctx.count_drop(DropReason::UnknownEtherType);
        };
        let iface = self.looped_through(quote.src, quote.dst);
        match self.loopback.push(iface, frame) {
            Ok(()) => ctx.stats.ip.loopback_packets += 1,
            Err((_, reason)) => ctx.count_drop(reason),
        }
    }

    /// The neighbours of an interface, sorted by address.
    pub(crate) fn neighbors(&self, now: Instant, iface: InterfaceId) -> Vec<NeighborInfo> {
        let mut infos = self.interface(iface).map(|i| i.neighbors.infos(now)).unwrap_or_default();
        infos.sort_unstable_by_key(|info| info.addr);
        infos
    }

    pub(crate) fn add_route(&mut self, route: Route) -> Result<()> {
        let interface = self.interface(route.iface).ok_or(Error::InvalidArgument)?;
        if !route.destination.is_valid() {
            return Err(Error::InvalidArgument);
        }
        if let Some(gateway) = route.gateway {
            let is_host = !gateway.is_unspecified() && !gateway.is_multicast() && !gateway.is_loopback();
            if gateway.is_ipv4() != route.destination.addr.is_ipv4()
                || !is_host
                || interface.address_state(gateway).is_some()
            {
                return Err(Error::InvalidArgument);
            }
            // A gateway must be a neighbour. On a link without link addresses there is only one
            // neighbour, so any gateway will do.
            let on_link = |other: &Route| {
                other.iface == route.iface && other.gateway.is_none() && other.destination.contains(gateway)
            };
            let has_neighbors = matches!(interface.medium, Medium::Ethernet(_));
            if has_neighbors && !self.routes.routes().iter().any(on_link) {
                return Err(Error::NetworkUnreachable);
            }
        }
        self.events.push(NetworkEvent::RouteAdded(self.routes.add(route)?));
        Ok(())
    }

    pub(crate) fn remove_route(&mut self, destination: Cidr, iface: InterfaceId) -> Result<()> {
        for route in self.routes.remove(destination, iface)? {
            self.events.push(NetworkEvent::RouteRemoved(route));
        }
        Ok(())
    }

    pub(crate) fn routes(&self) -> &[Route] {
        self.routes.routes()
    }

    /// The next frame of the network layer itself (ARP and NDP, ICMP, fragments, packets whose
    /// neighbour was found), or else a forwarded one.
    #[inline]
    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop().or_else(|| self.forwards.pop())
    }

    /// Counts a frame that leaves, and adds it to the trace.
    #[inline(always)]
    pub(crate) fn on_sent(&mut self, now: Instant, stats: &mut Stats, transmit: &Transmit) {
        stats.link.frames_out += 1;
        stats.link.bytes_out += transmit.len() as u64;
        if let Some(trace) = &mut self.trace {
            trace.on_sent(now, transmit, stats);
        }
    }

    /// Whether [`Network::poll_transmit`] has a frame.
    #[inline]
    pub(crate) fn has_transmits(&self) -> bool {
        !self.transmits.is_empty() || !self.forwards.is_empty()
    }

    /// Whether that frame goes before those of sockets.
    #[inline]
    pub(crate) fn has_turn(&self) -> bool {
        !self.transmits.is_empty() || self.forwards.has_turn()
    }

    /// Notes that a frame of a socket was sent.
    #[inline]
    pub(crate) fn on_socket_sent(&mut self) {
        self.forwards.take_turn();
    }

    /// Whether [`Network::poll_loopback`] has something to return.
    pub(crate) fn has_loopback(&self) -> bool {
        self.is_turn_over || !self.errors.is_empty() || !self.loopback.is_empty()
    }

    /// Notes that sockets have more to send than one call of the stack may handle. The loopback's
    /// deadline is then due at once, even if nothing waits on it.
    pub(crate) fn end_turn(&mut self) {
        self.is_turn_over = true;
    }

    /// Tells the trace that a frame came in.
    #[inline]
    pub(crate) fn trace_begin(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, frame: &Frame) {
        if let Some(trace) = &mut self.trace {
            trace.begin(ctx.now, iface, frame, ctx.stats);
        }
    }

    /// Tells the trace that the received frame was handled. `is_joining`: its segment waits to be
    /// joined with the next.
    #[inline]
    pub(crate) fn trace_end(&mut self, ctx: &mut Ctx<'_>, is_joining: bool) {
        if let Some(trace) = &mut self.trace {
            trace.end(ctx.stats, is_joining);
        }
    }

    /// Queues a complete frame for [`Network::poll_transmit`]; drops and counts it when the queue
    /// is full or the link is down.
    pub(crate) fn queue(&mut self, ctx: &mut Ctx<'_>, transmit: Transmit) {
        if self.is_link_down(transmit.iface()) {
            return self.drop_frame(ctx, &transmit, DropReason::LinkDown);
        }
        if let Err((frame, reason)) = self.transmits.push(transmit) {
            self.drop_frame(ctx, &frame, reason);
        }
    }

    pub(crate) fn handle_timeout(&mut self, ctx: &mut Ctx<'_>) {
        for index in 0..self.interfaces.len() {
            if let Some(id) = self.interfaces.get(index).map(|interface| interface.id) {
                self.run_interface_timers(ctx, id);
            }
        }
        self.run_slaac_timers(ctx);
        for expired in self.reassembler.handle_timeout(ctx.now, ctx.stats) {
            self.on_reassembly_timeout(ctx, &expired);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let interfaces = self.interfaces.iter().filter_map(Interface::poll_timeout);
        let slaac = self.slaac.iter().filter_map(|(_, slaac)| slaac.poll_timeout());
        interfaces.chain(slaac).chain(self.reassembler.poll_timeout()).min()
    }

    /// The bytes held by queues, reassembly and resolution.
    pub(crate) fn memory_bytes(&self) -> usize {
        let neighbors: usize = self.interfaces.iter().map(|i| i.neighbors.memory_bytes()).sum();
        let tables = neighbors + self.reassembler.memory_bytes() + self.path_mtus.memory_bytes();
        let errors: usize = self.errors.iter().map(|error| size_of_val(error) + error.transport.len()).sum();
        let trace = self.trace.as_ref().map_or(0, |trace| trace.memory_bytes());
        tables
            + errors
            + trace
            + self.transmits.memory_bytes()
            + self.forwards.memory_bytes()
            + self.loopback.memory_bytes()
    }

    #[inline]
    fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        match self.interfaces.get(id.index()) {
            Some(interface) if interface.id == id => Some(interface),
            _ => self.interfaces.get(moved_place(&self.interfaces, id)?),
        }
    }

    #[inline]
    fn interface_mut(&mut self, id: InterfaceId) -> Option<&mut Interface> {
        let place = place_of(&self.interfaces, id)?;
        self.interfaces.get_mut(place)
    }
}

/// The place of an interface in the list. Until one is removed, that is its number.
#[inline]
fn place_of(interfaces: &[Interface], id: InterfaceId) -> Option<usize> {
    match interfaces.get(id.index()) {
        Some(interface) if interface.id == id => Some(id.index()),
        _ => moved_place(interfaces, id),
    }
}

/// The place of an interface after others were removed.
#[cold]
#[inline(never)]
fn moved_place(interfaces: &[Interface], id: InterfaceId) -> Option<usize> {
    interfaces.binary_search_by_key(&id, |interface| interface.id).ok()
}
