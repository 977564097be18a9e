//! [`Stack`]: the driving loop.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::Ctx;
use crate::config::Config;
use crate::error::Result;
use crate::event::{Deadline, DeadlineKind, Event};
use crate::frame::{Frame, Transmit};
use crate::link::packet_type::PacketType;
use crate::memory::Budget;
use crate::network::{
    AddressLifetime, Cidr, Forwarding, InterfaceConfig, InterfaceId, InterfaceInfo, NeighborInfo, Network,
    NetworkEvent, Route, SlaacConfig, SlaacInfo,
};
use crate::rng::Rng;
use crate::socket::{Env, Kinds, Sockets, TransmitOutcome};
use crate::stats::Stats;
use crate::steering::Share;
use crate::subject::Subject;
use crate::tcp::FreeList;
use crate::time::Instant;
use crate::trace::Traced;

/// A TCP/IP stack: frames in, frames out, sockets behind descriptors.
///
/// # The contract
///
/// The driver of a stack
///
/// 1. hands in the frames that wait in the device ([`handle_frame`](Stack::handle_frame)), then the
///    time ([`handle_timeout`](Stack::handle_timeout)), and makes the calls of programs
///    ([`send`](Stack::send) and so on);
/// 2. drains [`poll_transmit`](Stack::poll_transmit) into the device, as long as the device has
///    room, and [`handle_loopback`](Stack::handle_loopback), until neither has more;
/// 3. drains [`poll_event`](Stack::poll_event), and [`poll_ready_poller`](Stack::poll_ready_poller)
///    if there are pollers, and wakes the threads that wait;
/// 4. waits for a frame, a call, or [`poll_timeout`](Stack::poll_timeout), whichever is first.
///
/// **Frames before timers**: after a pause (the thread was preempted for 10 ms) both wait, and the
/// acknowledgements that stop the timers may be among the frames. If the timers ran first, the
/// stack would retransmit data that has long arrived. But read no more than some hundred frames
/// before each call of `handle_timeout`, or a flood keeps the timers from running at all.
///
/// ```
/// # let (config, seed, now) = (portolan::Config::default(), [7; 32], portolan::Instant::ZERO);
/// # let mut stack = portolan::Stack::new(config, seed, now);
/// # let mut send = |_: portolan::Transmit| ();
/// loop {
///     while let Some(frame) = stack.poll_transmit(now) {
///         send(frame);
///     }
///     if !stack.handle_loopback(now) {
///         break;
///     }
/// }
/// ```
///
/// A call does bounded work, whatever is due at once. Three exceptions: calls that copy or list
/// descriptors cost what they copy or list; a table that is full is doubled in one call (17 ms with
/// 917,000 connections); and `connect` tries each ephemeral port before it finds that none is free
/// (1.2 ms).
///
/// Time comes in as an argument and never goes back (given an earlier time, the stack keeps the
/// later one). Randomness comes from the seed. So the same inputs give the same outputs.
#[derive(Debug)]
pub struct Stack {
    pub(crate) core: Core,
    pub(crate) network: Network,
    pub(crate) sockets: Sockets,
}

/// The state that all parts of the stack use: configuration, counters, randomness, time.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    stats: Stats,
    rng: Rng,
    free_list: FreeList,
    now: Instant,
}

impl Core {
    /// Time never goes back.
    pub(crate) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    fn ctx(&mut self, memory: Budget) -> Ctx<'_> {
        Ctx {
            now: self.now,
            received_at: self.now,
            config: &self.config,
            stats: &mut self.stats,
            rng: &mut self.rng,
            memory,
            free_list: &mut self.free_list,
            subject: Subject::Stack,
        }
    }
}

impl Stack {
    /// A stack with no interface but its loopback. The seed keys hashes, sequence numbers and
    /// ports: draw it from the operating system's randomness, or fix it to replay a run.
    pub fn new(config: Config, seed: [u8; 32], now: Instant) -> Self {
        Stack::make(config, None, seed, now)
    }

    /// One of several stacks that serve the queues of the same interfaces, with the same addresses
    /// (see [`steering`](crate::steering)). Give each the same configuration,
    /// [divided](Config::divided_by) by their number, and another seed.
    ///
    /// ```
    /// use portolan::steering::{Share, Steering};
    /// use portolan::{Config, Instant, Stack};
    ///
    /// let key = [7; 16]; // your randomness
    /// let steering = Steering::new(2, key);
    /// let config = Config::default().divided_by(steering.stacks());
    /// let [first, second] = [0, 1].map(|index| {
    ///     let share = Share::new(steering.clone(), index);
    ///     let seed = [index as u8; 32]; // your randomness
    ///     Stack::with_share(config.clone(), share, seed, Instant::ZERO)
    /// });
    /// ```
    pub fn with_share(config: Config, share: Share, seed: [u8; 32], now: Instant) -> Self {
        Stack::make(config, Some(share), seed, now)
    }

    fn make(config: Config, share: Option<Share>, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = Rng::new(seed);
        let network = Network::new(&config, share.clone(), &mut rng);
        let sockets = Sockets::new(&config, share.as_ref(), &mut rng);
        let core = Core { config, stats: Stats::new(), rng, free_list: FreeList::default(), now };
        Stack { core, network, sockets }
    }

    pub(crate) fn parts(&mut self) -> (Env<'_>, &mut Kinds) {
        let Sockets { common, kinds } = &mut self.sockets;
        let ctx = self.core.ctx(common.budget());
        (Env { ctx, network: &mut self.network, common }, kinds)
    }

    /// Adds an interface; its addresses are probed first (duplicate address detection).
    /// `AlreadyExists` if another interface has the name; `InvalidArgument` for a name, an MTU or
    /// an address that no interface may have.
    pub fn add_interface(&mut self, now: Instant, config: InterfaceConfig) -> Result<InterfaceId> {
        self.core.advance(now);
        self.network.add_interface(&mut self.core.ctx(Budget::UNLIMITED), config)
    }

    /// Adds an address to an interface, after duplicate address detection.
    pub fn add_address(&mut self, now: Instant, iface: InterfaceId, cidr: Cidr) -> Result<()> {
        self.core.advance(now);
        self.network.add_address(&mut self.core.ctx(Budget::UNLIMITED), iface, cidr)
    }

    /// Removes an address from an interface. Connections that use it remain until they time out.
    pub fn remove_address(&mut self, iface: InterfaceId, addr: IpAddr) -> Result<()> {
        self.network.remove_address(self.core.now, iface, addr)
    }

    /// Sets how long an address is used from now on, in place of what was set before. At the end of
    /// its preferred lifetime it becomes [`Deprecated`](crate::AddressState::Deprecated), at the
    /// end of its valid lifetime it is removed. `AddressNotAvailable` if the interface does not
    /// have the address.
    pub fn set_address_lifetime(
        &mut self,
        now: Instant,
        iface: InterfaceId,
        addr: IpAddr,
        lifetime: AddressLifetime,
    ) -> Result<()> {
        self.core.advance(now);
        self.network.set_address_lifetime(&mut self.core.ctx(Budget::UNLIMITED), iface, addr, lifetime)
    }

    /// Has an Ethernet interface configure itself from router advertisements, anew if it does so
    /// already; `None` ends that, and takes away what it has learned. `InvalidArgument` if there is
    /// no such interface, it is not Ethernet, or its MTU is below 1,280; `NotSupported` if the
    /// stack is one of [several](Stack::with_share).
    pub fn set_slaac(&mut self, now: Instant, iface: InterfaceId, config: Option<SlaacConfig>) -> Result<()> {
        self.core.advance(now);
        self.network.set_slaac(&mut self.core.ctx(Budget::UNLIMITED), iface, config)
    }

    /// What an interface has learned from router advertisements; `None` unless it
    /// [configures itself](Stack::set_slaac).
    pub fn slaac(&self, iface: InterfaceId) -> Option<SlaacInfo> {
        self.network.slaac_info(iface)
    }

    /// Returns the next change of addresses and routes, oldest first. A program that does not care
    /// need not call this: 256 events are kept at most.
    pub fn poll_network_event(&mut self) -> Option<NetworkEvent> {
        self.network.poll_network_event()
    }

    /// Switches forwarding on or off for the packets that come in through an interface.
    /// `InvalidArgument` if there is no such interface.
    pub fn set_forwarding(&mut self, now: Instant, iface: InterfaceId, forwarding: Forwarding) -> Result<()> {
        self.core.advance(now);
        self.network.set_forwarding(&mut self.core.ctx(Budget::UNLIMITED), iface, forwarding)
    }

    /// The interface with this name (`if_nametoindex`). The loopback is `lo`.
    ///
    /// ```
    /// # use portolan::{Config, Instant, InterfaceConfig, InterfaceId, Medium, Stack};
    /// let mut stack = Stack::new(Config::default(), [7; 32], Instant::ZERO);
    /// let uplink = stack.add_interface(Instant::ZERO, InterfaceConfig::new(Medium::Ip).name("uplink"))?;
    /// let other = stack.add_interface(Instant::ZERO, InterfaceConfig::new(Medium::Ip))?;
    /// assert_eq!(stack.interface_by_name("uplink"), Some(uplink));
    /// assert_eq!(stack.interface_name(other), Some("if1"));
    /// assert_eq!(stack.interface_by_name("lo"), Some(InterfaceId::LOOPBACK));
    /// # Ok::<(), portolan::Error>(())
    /// ```
    pub fn interface_by_name(&self, name: &str) -> Option<InterfaceId> {
        self.network.interface_by_name(name)
    }

    /// The name of an interface (`if_indextoname`).
    pub fn interface_name(&self, iface: InterfaceId) -> Option<&str> {
        self.network.interface_name(iface)
    }

    /// The interfaces as they are now, with the state of their addresses.
    pub fn interfaces(&self) -> Vec<InterfaceInfo> {
        self.network.interfaces()
    }

    /// The neighbours of an interface, by address: what ARP and NDP found.
    pub fn neighbors(&self, iface: InterfaceId) -> Vec<NeighborInfo> {
        self.network.neighbors(self.core.now, iface)
    }

    /// Adds a route. The stack adds the routes to the networks of its own addresses itself.
    pub fn add_route(&mut self, route: Route) -> Result<()> {
        self.network.add_route(route)
    }

    /// Removes a route.
    pub fn remove_route(&mut self, destination: Cidr, iface: InterfaceId) -> Result<()> {
        self.network.remove_route(destination, iface)
    }

    /// The routes, most specific first.
    pub fn routes(&self) -> &[Route] {
        self.network.routes()
    }

    /// Handles one frame from a device.
    pub fn handle_frame(&mut self, now: Instant, iface: InterfaceId, frame: Frame) {
        self.core.advance(now);
        let (mut env, kinds) = self.parts();
        env.ctx.stats.link.frames_in += 1;
        env.ctx.stats.link.bytes_in += frame.bytes.len() as u64;
        if kinds.packet.has_taps() {
            kinds.packet.on_received(&mut env, iface, &frame);
        }
        env.network.trace_begin(&mut env.ctx, iface, &frame);
        let received = env.network.handle_frame(&mut env.ctx, iface, frame);
        kinds.handle_reception(&mut env, received);
        env.network.trace_end(&mut env.ctx, false);
    }

    /// Handles frames that were read together, as [`handle_frame`](Stack::handle_frame) does for
    /// each. Consecutive segments of one connection are joined first, as a device with GRO does.
    pub fn handle_frames(&mut self, now: Instant, frames: impl IntoIterator<Item = (InterfaceId, Frame)>) {
        self.core.advance(now);
        let (mut env, kinds) = self.parts();
        // Moves each frame once less than a `for` loop does.
        frames.into_iter().for_each(|(iface, frame)| {
            env.ctx.stats.link.frames_in += 1;
            env.ctx.stats.link.bytes_in += frame.bytes.len() as u64;
            if kinds.packet.has_taps() {
                kinds.packet.on_received(&mut env, iface, &frame);
            }
            env.network.trace_begin(&mut env.ctx, iface, &frame);
            let received = env.network.handle_frame(&mut env.ctx, iface, frame);
            let is_joining = kinds.join_reception(&mut env, received);
            env.network.trace_end(&mut env.ctx, is_joining);
        });
        kinds.finish_joining(&mut env);
    }

    /// Runs the timers that are due. Early and repeated calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.core.advance(now);
        debug_assert_eq!(self.next_timeout_at(), self.poll_timeout().map(|deadline| deadline.at));
        let (mut env, kinds) = self.parts();
        kinds.renew_budget(&mut env);
        env.network.handle_timeout(&mut env.ctx);
        kinds.handle_timeout(&mut env);
        loop_back(&mut env, kinds);
    }

    /// Receives the next packet that the stack has sent to itself. Returns whether there was one;
    /// if so, [`poll_transmit`](Stack::poll_transmit) may have more to send, and this call more to
    /// receive.
    ///
    /// It also returns true when `poll_transmit` has ended after 64 packets none of which became a
    /// frame, for example because their neighbour is not known, or after 1,024 sockets that had
    /// nothing to send: others may have more.
    ///
    /// Call this even where there is no device. While a packet waits here, `poll_transmit` takes no
    /// more from sockets, and [`poll_timeout`](Stack::poll_timeout) returns the present time:
    /// [`handle_timeout`](Stack::handle_timeout) receives the packet, too.
    pub fn handle_loopback(&mut self, now: Instant) -> bool {
        self.core.advance(now);
        let (mut env, kinds) = self.parts();
        loop_back(&mut env, kinds)
    }

    /// Returns the next frame for a device; `None` when there is nothing to send now.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        self.core.advance(now);
        if !self.network.has_turn() {
            let transmit = self.sockets.kinds.poll_run(&mut self.core.stats);
            if let Some(sent) = &transmit {
                self.network.on_socket_sent();
                self.network.on_sent(self.core.now, &mut self.core.stats, sent);
                if self.sockets.kinds.packet.has_taps() {
                    let (mut env, kinds) = self.parts();
                    kinds.packet.on_sent(&mut env, sent);
                }
                return transmit;
            }
        }
        if !self.has_transmits() {
            return None;
        }
        let (mut env, kinds) = self.parts();
        let mut frame = None;
        next_transmit(&mut env, kinds, &mut frame);
        if let Some(transmit) = &frame {
            env.network.on_sent(env.ctx.now, env.ctx.stats, transmit);
            if kinds.packet.has_taps() {
                kinds.packet.on_sent(&mut env, transmit);
            }
        }
        frame
    }

    /// Whether [`poll_transmit`](Stack::poll_transmit) or
    /// [`handle_loopback`](Stack::handle_loopback) may have something to do. This is cheap. After
    /// `true` there may still be nothing to send; after `false` there is nothing.
    pub fn has_transmits(&self) -> bool {
        self.network.has_transmits() || self.network.has_loopback() || self.sockets.has_transmits()
    }

    /// Switches the trace on or off. While it is on, the stack keeps every frame that enters or
    /// leaves, with its verdict, and every packet that is dropped on its way out, with the reason,
    /// for [`poll_trace`](Stack::poll_trace). Switching it off discards what is kept. The bytes are
    /// shared, not copied. At most 4,096 frames and 16 MiB are kept; further ones are only counted,
    /// in [`untraced_frames`](crate::LinkStats::untraced_frames).
    ///
    /// A trace does not change what the stack does, and costs nothing while it is off.
    pub fn set_trace(&mut self, is_on: bool) {
        match (is_on, &self.network.trace) {
            (true, None) => self.network.trace = Some(Box::default()),
            (true, Some(_)) => {}
            (false, _) => self.network.trace = None,
        }
    }

    /// Returns the next frame of the trace, oldest first.
    pub fn poll_trace(&mut self) -> Option<Traced> {
        self.network.trace.as_mut()?.pop()
    }

    /// Returns the next event of a socket.
    #[inline(always)]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.sockets.common.poll_event()
    }

    /// When to call [`handle_timeout`](Stack::handle_timeout) next: at the first deadline, or a
    /// little earlier. A timer that was postponed or stopped may still be returned here; the call
    /// then finds nothing to do.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let network =
            self.network.poll_timeout().map(|at| Deadline { at, kind: DeadlineKind::Network, socket: None });
        let loopback = self.network.has_loopback().then_some(Deadline {
            at: self.core.now,
            kind: DeadlineKind::Loopback,
            socket: None,
        });
        let closing = self.sockets.has_removed().then_some(Deadline {
            at: self.core.now,
            kind: DeadlineKind::Closing,
            socket: None,
        });
        let unreachable = self.sockets.unreachable_at(self.core.now);
        let unreachable =
            unreachable.map(|at| Deadline { at, kind: DeadlineKind::Unreachable, socket: None });
        let all = [loopback, closing, unreachable, network, self.sockets.poll_timeout()];
        all.into_iter().flatten().min_by_key(|deadline| deadline.at)
    }

    /// The time of [`poll_timeout`](Stack::poll_timeout), without the timer and its socket: this is
    /// cheaper.
    pub fn next_timeout_at(&self) -> Option<Instant> {
        let sockets = &self.sockets;
        let is_due = self.network.has_loopback() || sockets.has_removed();
        let due = is_due.then_some(self.core.now);
        let unreachable = sockets.unreachable_at(self.core.now);
        [due, unreachable, self.network.poll_timeout(), sockets.next_timeout_at()].into_iter().flatten().min()
    }

    /// The configuration that the stack was made with.
    pub fn config(&self) -> &Config {
        &self.core.config
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.core.stats
    }

    /// Bytes held by sockets and by the network layer.
    pub fn memory_bytes(&self) -> usize {
        self.network.memory_bytes() + self.sockets.common.memory_bytes()
    }
}

/// Packets of sockets that one call of [`Stack::poll_transmit`] works off without a frame for the
/// device: those that wait for a neighbour, or are dropped.
const MAX_ELSEWHERE: usize = 64;
/// How many sockets that have nothing to send one call passes. After its last packet, each socket
/// is asked once more.
const MAX_PASSED: usize = 1024;

/// Stores the next frame, of the network layer or of a socket, in `frame`.
fn next_transmit(env: &mut Env<'_>, kinds: &mut Kinds, frame: &mut Option<Transmit>) {
    let (mut elsewhere, mut may_pass) = (0, MAX_PASSED);
    loop {
        // The network layer's own queue, in which a socket's packet may have put a neighbour
        // solicitation or fragments, and the loopback are emptied first: neither grows while
        // sockets have more. Forwarded frames take turns with those of sockets.
        if env.network.has_turn() {
            *frame = env.network.poll_transmit();
            return;
        }
        if env.network.has_loopback() {
            return;
        }
        if elsewhere >= MAX_ELSEWHERE || may_pass == 0 {
            env.network.end_turn();
            return;
        }
        let outcome = kinds.poll_transmit(env, frame, &mut may_pass);
        if frame.is_some() {
            return env.network.on_socket_sent();
        }
        if outcome == TransmitOutcome::Nothing && may_pass > 0 {
            *frame = env.network.poll_transmit();
            return;
        }
        elsewhere += 1;
    }
}

/// Receives the next packet from the loopback. Returns whether there was any.
fn loop_back(env: &mut Env<'_>, kinds: &mut Kinds) -> bool {
    if !env.network.has_loopback() {
        return false;
    }
    if kinds.packet.has_taps()
        && let Some(packet) = env.network.next_looped()
    {
        kinds.packet.on_looped(env, &packet, &[PacketType::Outgoing, PacketType::Host]);
    }
    let received = env.network.poll_loopback(&mut env.ctx);
    kinds.handle_reception(env, received);
    env.network.trace_end(&mut env.ctx, false);
    true
}

#[cfg(test)]
mod tests;
