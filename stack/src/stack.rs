//! [`Stack`]: the driving loop.

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::Ctx;
use crate::config::Config;
use crate::error::Result;
use crate::event::{Deadline, DeadlineKind, Event};
use crate::frame::{Frame, Transmit};
use crate::memory::Budget;
use crate::network::{Cidr, InterfaceConfig, InterfaceId, InterfaceInfo, NeighborInfo, Network, Route};
use crate::rng::Rng;
use crate::socket::{Env, Kinds, Sockets, TransmitOutcome};
use crate::stats::Stats;
use crate::tcp::Spares;
use crate::time::Instant;

/// A TCP/IP stack: frames in, frames out, sockets behind descriptors.
///
/// # The contract
///
/// Whoever drives a stack
///
/// 1. hands in what happened: first the frames that wait in the device ([`handle_frame`](Stack::handle_frame)), then the
///    time ([`handle_timeout`](Stack::handle_timeout)); and the calls of programs ([`send`](Stack::send) and its kin);
/// 2. then drains [`poll_transmit`](Stack::poll_transmit) into the device, as far as that has room;
/// 3. drains [`poll_event`](Stack::poll_event) and wakes whoever waits;
/// 4. waits for a frame, a call, or [`poll_timeout`](Stack::poll_timeout), whichever is first.
///
/// **Frames before timers**: after a pause (the thread had no processor for 10 ms) both wait, and among the frames may be the
/// acknowledgements that stop the timers. Timers that run first send data again that has long arrived. But read no
/// more than some hundred frames before each call of `handle_timeout`, or a flood keeps timers from running at all.
///
/// Every call does bounded work. Time comes in as an argument and never goes back (a stack that is handed an
/// earlier time keeps the later one). Randomness comes from the seed. Hence the same inputs give the same outputs.
#[derive(Debug)]
pub struct Stack {
    pub(crate) core: Core,
    pub(crate) network: Network,
    pub(crate) sockets: Sockets,
}

/// What every part is lent while it works.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    stats: Stats,
    rng: Rng,
    spares: Spares,
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
            config: &self.config,
            stats: &mut self.stats,
            rng: &mut self.rng,
            memory,
            spares: &mut self.spares,
        }
    }
}

impl Stack {
    /// A stack with no interface but its loopback. The seed keys hashes, sequence numbers and ports: draw it from the
    /// operating system's randomness, or fix it to replay a run.
    pub fn new(config: Config, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = Rng::new(seed);
        let network = Network::new(&config, &mut rng);
        let sockets = Sockets::new(&config, &mut rng);
        let core = Core { config, stats: Stats::new(), rng, spares: Spares::default(), now };
        Stack { core, network, sockets }
    }

    pub(crate) fn parts(&mut self) -> (Env<'_>, &mut Kinds) {
        let Sockets { common, kinds } = &mut self.sockets;
        let ctx = self.core.ctx(common.budget());
        (Env { ctx, network: &mut self.network, common }, kinds)
    }

    /// Adds an interface; its addresses are probed first (duplicate address detection).
    pub fn add_interface(&mut self, now: Instant, config: InterfaceConfig) -> Result<InterfaceId> {
        self.core.advance(now);
        self.network.add_interface(&mut self.core.ctx(Budget::UNLIMITED), config)
    }

    /// Adds an address to an interface; it is probed first.
    pub fn add_address(&mut self, now: Instant, iface: InterfaceId, cidr: Cidr) -> Result<()> {
        self.core.advance(now);
        self.network.add_address(&mut self.core.ctx(Budget::UNLIMITED), iface, cidr)
    }

    /// Takes an address from an interface. Connections that use it go on until they time out.
    pub fn remove_address(&mut self, iface: InterfaceId, addr: IpAddr) -> Result<()> {
        self.network.remove_address(iface, addr)
    }

    /// The interfaces as they are now, with the state of their addresses.
    pub fn interfaces(&self) -> Vec<InterfaceInfo> {
        self.network.interfaces()
    }

    /// The neighbours of an interface, by address: what ARP and NDP found.
    pub fn neighbors(&self, iface: InterfaceId) -> Vec<NeighborInfo> {
        self.network.neighbors(self.core.now, iface)
    }

    /// Adds a route. Routes to the networks of an interface's addresses are there by themselves.
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

    /// One frame in.
    pub fn handle_frame(&mut self, now: Instant, iface: InterfaceId, frame: Frame) {
        self.core.advance(now);
        let (mut env, kinds) = self.parts();
        env.ctx.stats.link.frames_in += 1;
        env.ctx.stats.link.bytes_in += frame.bytes.len() as u64;
        if let Some(delivery) = env.network.handle_frame(&mut env.ctx, iface, frame) {
            kinds.handle_delivery(&mut env, delivery);
        }
    }

    /// Frames that came in a burst: as [`handle_frame`](Stack::handle_frame) for each, and what belongs together is worked
    /// off together. Segments of one connection that follow each other are joined on the way, as a device with offloads
    /// does it.
    pub fn handle_frames(&mut self, now: Instant, frames: impl IntoIterator<Item = (InterfaceId, Frame)>) {
        self.core.advance(now);
        let (mut env, kinds) = self.parts();
        for (iface, frame) in frames {
            env.ctx.stats.link.frames_in += 1;
            env.ctx.stats.link.bytes_in += frame.bytes.len() as u64;
            if let Some(delivery) = env.network.handle_frame(&mut env.ctx, iface, frame) {
                kinds.join_delivery(&mut env, delivery);
            }
        }
        kinds.finish_joining(&mut env);
    }

    /// Time has passed. Early or repeated calls are no-ops.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.core.advance(now);
        debug_assert_eq!(self.next_timeout_at(), self.poll_timeout().map(|deadline| deadline.at));
        let (mut env, kinds) = self.parts();
        kinds.renew_budget(&mut env);
        env.network.handle_timeout(&mut env.ctx);
        kinds.handle_timeout(&mut env);
    }

    /// One frame out; `None` when there is nothing to send now.
    ///
    /// Packets to the stack's own addresses go round in here, so it is to be called even where there is no device.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        self.core.advance(now);
        let may_have = self.has_transmits();
        let (mut env, kinds) = self.parts();
        let transmit = next_transmit(&mut env, kinds);
        debug_assert!(may_have || transmit.is_none(), "whoever asked first would not have polled");
        if let Some(transmit) = &transmit {
            env.ctx.stats.link.frames_out += 1;
            env.ctx.stats.link.bytes_out += transmit.len() as u64;
        }
        transmit
    }

    /// Whether [`poll_transmit`](Stack::poll_transmit) may have something to do, to find out cheaply. It may turn out that there
    /// is nothing to send; but when this says no, there is nothing.
    pub fn has_transmits(&self) -> bool {
        self.network.has_output() || self.sockets.has_transmits()
    }

    /// What became of a descriptor.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.sockets.common.poll_event()
    }

    /// When to call [`handle_timeout`](Stack::handle_timeout) next: at the first deadline, or a little earlier. A timer that was
    /// put off or called off may still be named here; the call finds nothing to do then.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let network = self.network.poll_timeout().map(|at| Deadline {
            at,
            kind: DeadlineKind::Network,
            descriptor: None,
        });
        [network, self.sockets.poll_timeout()].into_iter().flatten().min_by_key(|deadline| deadline.at)
    }

    /// The moment of [`poll_timeout`](Stack::poll_timeout), which costs less than to say whose it is.
    pub fn next_timeout_at(&self) -> Option<Instant> {
        [self.network.poll_timeout(), self.sockets.next_timeout_at()].into_iter().flatten().min()
    }

    /// What it was made with.
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

/// The next frame, of the network layer or of a socket.
fn next_transmit(env: &mut Env<'_>, kinds: &mut Kinds) -> Option<Transmit> {
    loop {
        // The network layer's own queue is emptied first, also of what a socket's packet has put there (a question
        // for a neighbour, fragments), and so is the loopback: neither grows while sockets have more.
        let ready = if env.network.has_transmits() {
            env.network.poll_transmit(&mut env.ctx)
        } else {
            kinds.poll_run(&mut env.ctx)
        };
        if ready.is_some() {
            return ready;
        }
        let sent = kinds.poll_transmit(env);
        if let TransmitOutcome::Frame(transmit) = sent {
            return Some(transmit);
        }
        match env.network.poll_delivery(&mut env.ctx) {
            Some(delivery) => kinds.handle_delivery(env, delivery),
            None if matches!(sent, TransmitOutcome::Nothing) => return None,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{MacAddr, Medium};
    use crate::{Domain, DropReason, Error, SocketKind};
    use bytes::Bytes;
    use std::vec;

    /// A stack that is 10.0.0.1 on an Ethernet, its announcements sent.
    fn stack() -> Stack {
        let mut config = Config::default();
        config.neighbor.duplicate_address_probes = 0;
        let mut stack = Stack::new(config, [1; 32], Instant::ZERO);
        let ethernet = Medium::Ethernet(MacAddr([2, 0, 0, 0, 0, 1]));
        let interface = InterfaceConfig::new(ethernet).address("10.0.0.1/24".parse().unwrap());
        stack.add_interface(Instant::ZERO, interface).unwrap();
        while stack.poll_transmit(Instant::ZERO).is_some() {}
        stack
    }

    #[test]
    fn the_question_for_a_neighbour_comes_out_of_the_poll_that_causes_it() {
        let mut stack = stack();
        let d = stack.socket(Domain::V4, SocketKind::Stream).unwrap();
        let connecting = stack.connect(Instant::ZERO, d, ([10, 0, 0, 2], 7).into());
        assert_eq!(connecting, Err(Error::InProgress));
        let frame = stack.poll_transmit(Instant::ZERO).expect("an ARP request").to_vec();
        assert_eq!(frame[12..14], [8, 6]);
        assert!(stack.poll_transmit(Instant::ZERO).is_none());
    }

    #[test]
    fn there_is_something_to_send_until_it_was_sent() {
        let mut stack = stack();
        assert!(!stack.has_transmits());
        // To a neighbour that must be asked for first, and round the loopback.
        for addr in [[10, 0, 0, 2], [127, 0, 0, 1]] {
            let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
            stack.send_to(Instant::ZERO, d, b"x", (addr, 7).into()).unwrap();
            assert!(stack.has_transmits());
            while stack.poll_transmit(Instant::ZERO).is_some() {}
            assert!(!stack.has_transmits());
        }
    }

    #[test]
    fn datagrams_wait_in_their_socket_and_not_as_fragments() {
        let mut stack = stack();
        let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
        stack.set_option(Instant::ZERO, d, crate::SocketOption::SendBuffer(4 << 20)).unwrap();
        stack.set_option(Instant::ZERO, d, crate::SocketOption::Broadcast(true)).unwrap();
        let data = Bytes::from(vec![7; 60_000]);
        for _ in 0..50 {
            stack.send_bytes_to(Instant::ZERO, d, data.clone(), ([10, 0, 0, 255], 9).into()).unwrap();
        }
        let mut frames = 0;
        while stack.poll_transmit(Instant::ZERO).is_some() {
            frames += 1;
        }
        assert_eq!(frames, 50 * 41);
        assert_eq!(stack.stats().drops(DropReason::TransmitQueueFull), 0);
    }
}
