//! [`Machine`]: the states of a DHCP client (RFC 2131 §4.4).
//!
//! The machine does no I/O. Its driver sends what `poll_transmit` returns, hands in messages, calls
//! `handle_timeout` when `poll_timeout` says so, and does what `poll_change` says: it gives the
//! stack an address and takes it away, and reports whether another host has it.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use portolan::{Instant, MacAddr};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::lease::DhcpLease;
use super::message::{self, Reply, ReplyKind, Request, RequestKind};

/// RFC 2131 §4.1: the first time-out, which doubles up to the last, give or take a second.
const FIRST_TIMEOUT: Duration = Duration::from_secs(4);
const LAST_TIMEOUT: Duration = Duration::from_secs(64);
const JITTER: Duration = Duration::from_secs(1);
/// Requests for an offer before the client begins anew: about a minute, as in RFC 2131 §3.1.
const MAX_REQUESTS: u32 = 4;
/// Requests for the address of an earlier lease (RFC 2131 §3.2).
const MAX_REBOOT_REQUESTS: u32 = 2;
/// RFC 2131 §3.1: the pause after an address that another host has.
const CONFLICT_DELAY: Duration = Duration::from_secs(10);
/// RFC 2131 §4.4.5: the least time between requests to renew a lease.
const RENEW_INTERVAL: Duration = Duration::from_secs(60);
/// The pause after a server has refused an address, so that the two do not keep each other busy.
const REFUSAL_DELAY: Duration = Duration::from_secs(1);

/// The states of RFC 2131, figure 5. REBOOTING is `Requesting` without a server.
#[derive(Clone, Debug)]
enum DhcpState {
    /// INIT, until it is time to look for servers.
    Init,
    Selecting {
        attempt: u32,
    },
    Requesting {
        addr: Ipv4Addr,
        server: Option<Ipv4Addr>,
        attempt: u32,
    },
    /// The stack probes whether another host has the address.
    Checking {
        lease: DhcpLease,
        granted_at: Instant,
    },
    Bound {
        lease: DhcpLease,
        granted_at: Instant,
    },
    Renewing {
        lease: DhcpLease,
        granted_at: Instant,
    },
    Rebinding {
        lease: DhcpLease,
        granted_at: Instant,
    },
    Released,
}

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To all, from 0.0.0.0.
    Unconfigured,
    /// To all, from the client's address.
    Broadcast,
    /// To the server, from the client's address.
    Server(Ipv4Addr),
}

/// What the driver has to do to the stack, and to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Give the stack this address, and call `on_unique` or `on_conflict` when it was probed.
    Add(DhcpLease),
    /// The address may be used: add its routes.
    Bound(DhcpLease),
    /// The lease was renewed.
    Renewed(DhcpLease),
    /// Take the address away, because of this.
    Lost(DhcpLease, &'static str),
    /// A server sent something of no use.
    Problem(String),
}

/// A DHCP client without I/O; see the [module](self).
#[derive(Debug)]
pub(super) struct Machine {
    mac: MacAddr,
    rng: ChaCha20Rng,
    state: DhcpState,
    xid: u32,
    /// When it began to look for a lease, or to renew one.
    began_at: Instant,
    /// When the last request was sent.
    asked_at: Instant,
    timeout_at: Option<Instant>,
    transmits: VecDeque<(Route, Vec<u8>)>,
    changes: VecDeque<Change>,
}

impl Machine {
    /// Begins at once. With the address of an earlier lease it asks for that first (INIT-REBOOT).
    pub(super) fn new(now: Instant, mac: MacAddr, earlier: Option<Ipv4Addr>, seed: [u8; 32]) -> Machine {
        let mut machine = Machine {
            mac,
            rng: ChaCha20Rng::from_seed(seed),
            state: DhcpState::Init,
            xid: 0,
            began_at: now,
            asked_at: now,
            timeout_at: Some(now),
            transmits: VecDeque::new(),
            changes: VecDeque::new(),
        };
        if let Some(addr) = earlier {
            machine.xid = machine.rng.next_u32();
            machine.state = DhcpState::Requesting { addr, server: None, attempt: 0 };
        }
        machine.handle_timeout(now);
        machine
    }

    pub(super) fn poll_transmit(&mut self) -> Option<(Route, Vec<u8>)> {
        self.transmits.pop_front()
    }

    pub(super) fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timeout_at
    }

    /// The lease that the stack uses, or probes.
    pub(super) fn lease(&self) -> Option<&DhcpLease> {
        match &self.state {
            DhcpState::Checking { lease, .. }
            | DhcpState::Bound { lease, .. }
            | DhcpState::Renewing { lease, .. }
            | DhcpState::Rebinding { lease, .. } => Some(lease),
            _ => None,
        }
    }

    /// Whether answers come to a host that has no address.
    pub(super) fn is_unconfigured(&self) -> bool {
        matches!(self.state, DhcpState::Selecting { .. } | DhcpState::Requesting { .. })
    }

    /// Whether answers come to the client's address.
    pub(super) fn is_renewing(&self) -> bool {
        matches!(self.state, DhcpState::Renewing { .. } | DhcpState::Rebinding { .. })
    }

    /// Whether the stack probes the address.
    pub(super) fn is_checking(&self) -> bool {
        matches!(self.state, DhcpState::Checking { .. })
    }

    pub(super) fn handle_message(&mut self, now: Instant, bytes: &[u8]) {
        let Some(reply) = message::decode(bytes, self.xid, self.mac) else { return };
        match self.state.clone() {
            DhcpState::Selecting { .. } if reply.kind == ReplyKind::Offer => self.on_offer(now, &reply),
            DhcpState::Requesting { addr, server, .. } => self.on_reply(now, &reply, addr, server),
            DhcpState::Renewing { lease, .. } => self.on_renewal(now, &reply, lease, true),
            DhcpState::Rebinding { lease, .. } => self.on_renewal(now, &reply, lease, false),
            _ => {}
        }
    }

    /// The first offer that can be used is taken, as most clients do.
    fn on_offer(&mut self, now: Instant, reply: &Reply) {
        let Some(lease) = self.check(reply) else { return };
        self.state = DhcpState::Requesting { addr: lease.addr(), server: Some(lease.server), attempt: 0 };
        self.handle_timeout_now(now);
    }

    fn on_reply(&mut self, now: Instant, reply: &Reply, addr: Ipv4Addr, server: Option<Ipv4Addr>) {
        if server.is_some_and(|server| reply.granted.server != Some(server)) {
            return;
        }
        match reply.kind {
            ReplyKind::Offer => {}
            ReplyKind::Nak => self.restart(now + REFUSAL_DELAY),
            ReplyKind::Ack => match self.check(reply) {
                Some(lease) if lease.addr() == addr => {
                    self.changes.push_back(Change::Add(lease.clone()));
                    // RFC 2131 §4.4.1: the time counts from the request.
                    self.state = DhcpState::Checking { lease, granted_at: self.asked_at };
                    self.timeout_at = None;
                }
                // A server whose lease cannot be used would offer the same again.
                _ => self.restart(now + CONFLICT_DELAY),
            },
        }
    }

    fn on_renewal(&mut self, now: Instant, reply: &Reply, lease: DhcpLease, is_by_server: bool) {
        if is_by_server && reply.granted.server != Some(lease.server) {
            return;
        }
        match reply.kind {
            ReplyKind::Offer => {}
            ReplyKind::Nak => {
                self.changes.push_back(Change::Lost(lease, "the server refused to renew the lease"));
                self.restart(now + REFUSAL_DELAY);
            }
            ReplyKind::Ack => {
                let Some(renewed) = self.check(reply).filter(|renewed| renewed.address == lease.address)
                else {
                    return;
                };
                self.changes.push_back(Change::Renewed(renewed.clone()));
                self.bind(renewed, self.asked_at);
            }
        }
    }

    /// The lease in a reply, if it can be used. What is wrong is reported.
    fn check(&mut self, reply: &Reply) -> Option<DhcpLease> {
        let mut problems = Vec::new();
        let checked = reply.granted.check(&mut problems);
        let refused =
            checked.as_ref().err().map(|why| format!("an answer of a DHCP server is refused: {why}"));
        self.changes.extend(problems.into_iter().chain(refused).map(Change::Problem));
        checked.ok()
    }

    /// No other host has the address.
    pub(super) fn on_unique(&mut self) {
        if let DhcpState::Checking { lease, granted_at } = self.state.clone() {
            self.changes.push_back(Change::Bound(lease.clone()));
            self.bind(lease, granted_at);
        }
    }

    /// Another host has the address: RFC 2131 §3.1, RFC 5227.
    pub(super) fn on_conflict(&mut self, now: Instant) {
        let Some(lease) = self.lease().cloned() else { return };
        self.send(
            now,
            RequestKind::Decline,
            Route::Unconfigured,
            None,
            Some(lease.addr()),
            Some(lease.server),
        );
        self.changes.push_back(Change::Lost(lease, "another host has the address"));
        self.restart(now + CONFLICT_DELAY);
    }

    /// Asks the server to renew the lease, although it is not time yet.
    pub(super) fn renew_now(&mut self, now: Instant) {
        if let DhcpState::Bound { lease, granted_at } = self.state.clone() {
            self.renew(now, lease, granted_at);
        }
    }

    /// The stack cannot have the address.
    pub(super) fn give_up(&mut self, now: Instant) {
        if let Some(lease) = self.lease().cloned() {
            self.changes.push_back(Change::Lost(lease, "the stack cannot have the address"));
        }
        self.restart(now + CONFLICT_DELAY);
    }

    /// Gives the lease back.
    pub(super) fn release(&mut self, now: Instant) {
        if let Some(lease) = self.lease().cloned() {
            let route = Route::Server(lease.server);
            self.send(now, RequestKind::Release, route, Some(lease.addr()), None, Some(lease.server));
            self.changes.push_back(Change::Lost(lease, "it was released"));
        }
        self.state = DhcpState::Released;
        self.timeout_at = None;
    }

    fn bind(&mut self, lease: DhcpLease, granted_at: Instant) {
        self.timeout_at = lease.duration.map(|_| granted_at + lease.renew_after);
        self.state = DhcpState::Bound { lease, granted_at };
    }

    fn restart(&mut self, at: Instant) {
        self.state = DhcpState::Init;
        self.timeout_at = Some(at);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.timeout_at.is_some_and(|at| at <= now) {
            self.handle_timeout_now(now);
        }
    }

    fn handle_timeout_now(&mut self, now: Instant) {
        match self.state.clone() {
            DhcpState::Init => {
                self.xid = self.rng.next_u32();
                self.began_at = now;
                self.discover(now, 0);
            }
            DhcpState::Selecting { attempt } => self.discover(now, attempt.saturating_add(1)),
            DhcpState::Requesting { addr, server, attempt } => self.request(now, addr, server, attempt),
            DhcpState::Bound { lease, granted_at } | DhcpState::Renewing { lease, granted_at } => {
                self.renew(now, lease, granted_at);
            }
            DhcpState::Rebinding { lease, granted_at } => self.rebind(now, lease, granted_at),
            DhcpState::Checking { .. } | DhcpState::Released => self.timeout_at = None,
        }
    }

    fn discover(&mut self, now: Instant, attempt: u32) {
        self.send(now, RequestKind::Discover, Route::Unconfigured, None, None, None);
        self.state = DhcpState::Selecting { attempt };
        self.timeout_at = Some(now + self.backoff(attempt));
    }

    fn request(&mut self, now: Instant, addr: Ipv4Addr, server: Option<Ipv4Addr>, attempt: u32) {
        let max = if server.is_some() { MAX_REQUESTS } else { MAX_REBOOT_REQUESTS };
        if attempt >= max {
            self.restart(now);
            return self.handle_timeout_now(now);
        }
        self.send(now, RequestKind::Request, Route::Unconfigured, None, Some(addr), server);
        self.timeout_at = Some(now + self.backoff(attempt));
        self.state = DhcpState::Requesting { addr, server, attempt: attempt + 1 };
    }

    /// RENEWING until T2: asks the server that granted the lease.
    fn renew(&mut self, now: Instant, lease: DhcpLease, granted_at: Instant) {
        if matches!(self.state, DhcpState::Bound { .. }) {
            self.xid = self.rng.next_u32();
            self.began_at = now;
        }
        let rebind_at = granted_at + lease.rebind_after;
        if now >= rebind_at {
            return self.rebind(now, lease, granted_at);
        }
        self.send(now, RequestKind::Request, Route::Server(lease.server), Some(lease.addr()), None, None);
        self.timeout_at = Some(next_renewal(now, rebind_at));
        self.state = DhcpState::Renewing { lease, granted_at };
    }

    /// REBINDING until the lease ends: asks all servers.
    fn rebind(&mut self, now: Instant, lease: DhcpLease, granted_at: Instant) {
        let Some(duration) = lease.duration else { return };
        let ends_at = granted_at + duration;
        if now >= ends_at {
            self.changes.push_back(Change::Lost(lease, "the lease has ended"));
            self.restart(now);
            return self.handle_timeout_now(now);
        }
        self.send(now, RequestKind::Request, Route::Broadcast, Some(lease.addr()), None, None);
        self.timeout_at = Some(next_renewal(now, ends_at));
        self.state = DhcpState::Rebinding { lease, granted_at };
    }

    fn backoff(&mut self, attempt: u32) -> Duration {
        let timeout = FIRST_TIMEOUT.saturating_mul(1 << attempt.min(8)).min(LAST_TIMEOUT);
        let jitter = 2 * JITTER * (self.rng.next_u32() >> 16) / (1 << 16);
        timeout + jitter - JITTER
    }

    fn send(
        &mut self,
        now: Instant,
        kind: RequestKind,
        route: Route,
        client: Option<Ipv4Addr>,
        requested: Option<Ipv4Addr>,
        server: Option<Ipv4Addr>,
    ) {
        if kind == RequestKind::Request {
            self.asked_at = now;
        }
        let secs = u16::try_from((now - self.began_at).as_secs()).unwrap_or(u16::MAX);
        let request = Request { kind, xid: self.xid, secs, mac: self.mac, client, requested, server };
        self.transmits.push_back((route, request.encode()));
    }
}

/// RFC 2131 §4.4.5: after half of the time that is left, but not before a minute.
fn next_renewal(now: Instant, until: Instant) -> Instant {
    (now + ((until - now) / 2).max(RENEW_INTERVAL)).min(until)
}

#[cfg(test)]
mod tests;
