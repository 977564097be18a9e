//! A poller with ten descriptors that are ready, and many that are not.

use std::net::{Ipv4Addr, SocketAddr};

use portolan::{Config, Descriptor, Domain, Instant, Interest, PollerId, Ready, SocketKind, Stack};

/// The descriptors that become ready in a round.
pub(crate) const READY: usize = 10;

const NOW: Instant = Instant::ZERO;

/// A stack with a poller.
pub(crate) struct Polled {
    stack: Stack,
    poller: PollerId,
    sender: Descriptor,
    receivers: Vec<(Descriptor, SocketAddr)>,
    ready: Vec<Ready>,
}

impl Polled {
    /// A poller with so many descriptors. Ten of them are spread evenly among the others.
    pub(crate) fn new(registered: usize) -> Self {
        let mut config = Config::default();
        config.memory_limit_bytes = 1 << 30;
        let mut stack = Stack::new(config, [1; 32], NOW);
        let poller = stack.add_poller().unwrap();
        let sender = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
        let mut receivers = Vec::new();
        for index in 0..registered {
            let socket = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
            stack.poller_add(poller, socket, Interest::READABLE, index as u64).unwrap();
            if index % (registered / READY) == 0 {
                stack.bind(socket, (Ipv4Addr::LOCALHOST, 0)).unwrap();
                receivers.push((socket, stack.local_addr(socket).unwrap()));
            }
        }
        assert_eq!(receivers.len(), READY);
        Polled { stack, poller, sender, receivers, ready: Vec::with_capacity(READY) }
    }

    /// Ten descriptors get a datagram each.
    pub(crate) fn fill(&mut self) {
        for (_, addr) in &self.receivers {
            self.stack.send_to(NOW, self.sender, b"x", *addr).unwrap();
        }
        while self.stack.poll_transmit(NOW).is_some() || self.stack.handle_loopback(NOW) {}
        while self.stack.poll_event().is_some() {}
    }

    /// Asks what is ready.
    pub(crate) fn wait(&mut self) {
        self.ready.clear();
        assert_eq!(self.stack.poller_wait(self.poller, &mut self.ready, 64), Ok(READY));
    }

    /// Ten descriptors get a datagram each, are reported, and are read.
    pub(crate) fn round(&mut self) {
        self.fill();
        self.wait();
        for (socket, _) in &self.receivers {
            self.stack.recv(NOW, *socket, &mut [0]).unwrap();
        }
    }
}
