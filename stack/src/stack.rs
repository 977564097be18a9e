//! [`Stack`]: the driving loop.

use core::net::IpAddr;

use crate::config::Config;
use crate::error::Result;
use crate::event::{Deadline, Event};
use crate::frame::{Frame, Transmit};
use crate::network::{Cidr, InterfaceConfig, InterfaceId, InterfaceInfo, Route};
use crate::stats::Stats;
use crate::time::Instant;

/// A TCP/IP stack: frames in, frames out, sockets behind descriptors.
///
/// # The contract
///
/// Whoever drives a stack
///
/// 1. hands in what happened: frames ([`handle_frame`](Stack::handle_frame)), the time
///    ([`handle_timeout`](Stack::handle_timeout)), and the calls of programs ([`send`](Stack::send) and its kin);
/// 2. then drains [`poll_transmit`](Stack::poll_transmit) into the device, as far as that has room;
/// 3. drains [`poll_event`](Stack::poll_event) and wakes whoever waits;
/// 4. waits for a frame, a call, or [`poll_timeout`](Stack::poll_timeout), whichever is first.
///
/// Every call does bounded work. Time comes in as an argument and never goes back (a stack that is handed an
/// earlier time keeps the later one). Randomness comes from the seed. Hence the same inputs give the same outputs.
#[derive(Debug)]
pub struct Stack {}

#[allow(unused_variables)]
impl Stack {
    /// A stack with no interface but its loopback. The seed keys hashes, sequence numbers and ports: draw it from the
    /// operating system's randomness, or fix it to replay a run.
    pub fn new(config: Config, seed: [u8; 32], now: Instant) -> Self {
        todo!()
    }

    /// Adds an interface; its addresses are probed first (duplicate address detection).
    pub fn add_interface(&mut self, now: Instant, config: InterfaceConfig) -> Result<InterfaceId> {
        todo!()
    }

    /// Adds an address to an interface; it is probed first.
    pub fn add_address(&mut self, now: Instant, iface: InterfaceId, cidr: Cidr) -> Result<()> {
        todo!()
    }

    /// Takes an address from an interface. Connections that use it go on until they time out.
    pub fn remove_address(&mut self, iface: InterfaceId, addr: IpAddr) -> Result<()> {
        todo!()
    }

    /// The interfaces as they are now, with the state of their addresses.
    pub fn interfaces(&self) -> alloc::vec::Vec<InterfaceInfo> {
        todo!()
    }

    /// Adds a route. Routes to the networks of an interface's addresses are there by themselves.
    pub fn add_route(&mut self, route: Route) -> Result<()> {
        todo!()
    }

    /// Removes a route.
    pub fn remove_route(&mut self, destination: Cidr, iface: InterfaceId) -> Result<()> {
        todo!()
    }

    /// The routes, most specific first.
    pub fn routes(&self) -> &[Route] {
        todo!()
    }

    /// One frame in.
    pub fn handle_frame(&mut self, now: Instant, iface: InterfaceId, frame: Frame) {
        todo!()
    }

    /// Time has passed. Early or repeated calls are no-ops.
    pub fn handle_timeout(&mut self, now: Instant) {
        todo!()
    }

    /// One frame out; `None` when there is nothing to send now.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        todo!()
    }

    /// What became of a descriptor.
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }

    /// When to call [`handle_timeout`](Stack::handle_timeout) next.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        todo!()
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        todo!()
    }

    /// Bytes held by sockets and by the network layer.
    pub fn memory_bytes(&self) -> usize {
        todo!()
    }
}
