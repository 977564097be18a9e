//! Networks that tests often need, and transfers over them.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::ids::{LinkId, NodeId};
use super::net::{LinkConfig, SimNet};
use super::pattern::bits_per_second;
use super::program::ProgramId;
use super::stream::{Client, Server, StreamPhase, StreamScript, TestStream};
use crate::config::Config;
use crate::socket::Domain;
use crate::testing::path::PathConfig;
use crate::time::Instant;

/// Pairs of hosts, left and right, that share one link in the middle:
///
/// ```text
/// left[0] --.                                      .-- right[0]
/// left[1] ---- left router ==== bottleneck ==== right router ---- right[1]
/// ```
///
/// `bottleneck` runs [`Way::There`](super::Way::There) from left to right.
#[derive(Debug)]
pub struct Dumbbell {
    /// The network.
    pub net: SimNet,
    /// The hosts on the left.
    pub left: Vec<NodeId>,
    /// The hosts on the right.
    pub right: Vec<NodeId>,
    /// The link that they share.
    pub bottleneck: LinkId,
    next_port: u16,
}

impl Dumbbell {
    /// A dumbbell with one pair of hosts for each delay, which is the delay of each of the pair's
    /// two access links. These have no other effect.
    pub fn new(
        seed: u64,
        config: &Config,
        delays: &[Duration],
        bottleneck: impl Into<LinkConfig>,
    ) -> Dumbbell {
        Dumbbell::with_configs(seed, delays.iter().map(|&delay| (config.clone(), delay)), bottleneck)
    }

    /// A dumbbell with one pair of hosts for each configuration; the duration is the delay of its
    /// access links.
    pub fn with_configs(
        seed: u64,
        pairs: impl IntoIterator<Item = (Config, Duration)>,
        bottleneck: impl Into<LinkConfig>,
    ) -> Dumbbell {
        let mut net = SimNet::new(seed);
        let routers = [net.add_router(), net.add_router()];
        let bottleneck = net.connect(routers[0], routers[1], bottleneck);
        let mut sides = [Vec::new(), Vec::new()];
        for (config, delay) in pairs {
            for (side, router) in sides.iter_mut().zip(routers) {
                let host = net.add_host(config.clone());
                net.connect(host, router, PathConfig::delayed(delay));
                side.push(host);
            }
        }
        let [left, right] = sides;
        Dumbbell { net, left, right, bottleneck, next_port: 5001 }
    }

    /// Starts a bulk transfer of `bytes` from the left host of a pair to the right one.
    pub fn start_bulk(&mut self, pair: usize, bytes: u64) -> Flow {
        let port = self.next_port;
        self.next_port += 1;
        Flow::start(&mut self.net, self.left[pair], self.right[pair], Domain::V4, port, bytes)
    }
}

/// A bulk transfer in which every byte is compared.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// The sending host.
    pub from: NodeId,
    /// The receiving host.
    pub to: NodeId,
    /// The program that sends.
    pub sender: ProgramId<Client>,
    /// The program that receives.
    pub receiver: ProgramId<Server>,
    bytes: u64,
    started_at: Instant,
}

impl Flow {
    /// Starts a transfer; one of `u64::MAX` bytes never ends.
    pub fn start(net: &mut SimNet, from: NodeId, to: NodeId, domain: Domain, port: u16, bytes: u64) -> Flow {
        Flow::start_as(net, from, to, SocketAddr::new(net.addr(to, domain), port), {
            let seed = u64::from(port);
            [StreamScript::sender(seed, bytes), StreamScript::receiver(seed)]
        })
    }

    /// Starts a transfer in which `scripts[0]` tells what the end on `from` does, and `scripts[1]`
    /// what the end on `to` does.
    pub fn start_as(
        net: &mut SimNet,
        from: NodeId,
        to: NodeId,
        addr: SocketAddr,
        scripts: [StreamScript; 2],
    ) -> Flow {
        let domain = if addr.is_ipv4() { Domain::V4 } else { Domain::V6 };
        let [sender, receiver] = scripts;
        let bytes = sender.send.bytes;
        let receiver = net.spawn(to, Server::new(domain, addr.port(), receiver));
        let sender = net.spawn(from, Client::new(addr, sender));
        Flow { from, to, sender, receiver, bytes, started_at: net.now() }
    }

    /// The receiving end of the connection, once it exists.
    pub fn received(self, net: &SimNet) -> Option<&TestStream> {
        net.program(self.receiver).streams().first()
    }

    /// The sending end of the connection, once it exists.
    pub fn sent(self, net: &SimNet) -> Option<&TestStream> {
        net.program(self.sender).stream()
    }

    /// The bytes that have arrived. All of them were right.
    pub fn bytes(self, net: &SimNet) -> u64 {
        self.received(net).map_or(0, TestStream::received)
    }

    /// Whether everything has arrived, or the connection has ended.
    pub fn is_over(self, net: &SimNet) -> bool {
        let is_broken = |stream: Option<&TestStream>| {
            stream.is_some_and(|stream| matches!(stream.phase(), StreamPhase::Failed(..)))
        };
        self.bytes(net) >= self.bytes || is_broken(self.sent(net)) || is_broken(self.received(net))
    }

    /// Runs until the transfer is over, but at most for `limit`. Returns the rate in bits a second
    /// from the start (the handshake included) to the last byte.
    pub fn run(self, net: &mut SimNet, limit: Duration) -> f64 {
        net.run_until(limit, |net| self.is_over(net));
        self.goodput(net)
    }

    /// The rate in bits a second from the start (the handshake included) to the last byte that has
    /// arrived.
    pub fn goodput(self, net: &SimNet) -> f64 {
        let last = self.received(net).and_then(TestStream::received_between);
        last.map_or(0.0, |(_, last)| bits_per_second(self.bytes(net), self.started_at, last))
    }
}

/// Jain's index of fairness: 1 if all shares are equal, 1 / n if one of n has everything.
pub fn jain_index(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    if squares > 0.0 { sum * sum / (shares.len() as f64 * squares) } else { 1.0 }
}
