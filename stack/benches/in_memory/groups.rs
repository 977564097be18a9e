//! A member of a multicast group, and many members of the same group that a datagram is not for.

use std::net::{IpAddr, Ipv4Addr};

use portolan::{Config, Descriptor, Domain, Instant, MulticastInterface, SocketKind, Stack};

const NOW: Instant = Instant::ZERO;
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
const PORT: u16 = 5000;

/// A stack with a socket that sends to a group, and sockets that are members of the group.
pub(crate) struct Members {
    stack: Stack,
    sender: Descriptor,
    receiver: Descriptor,
}

impl Members {
    /// One member on the port that the datagrams go to, and so many on ports of their own.
    pub(crate) fn new(elsewhere: u16) -> Self {
        let mut config = Config::default();
        config.memory_limit_bytes = 1 << 30;
        let mut stack = Stack::new(config, [1; 32], NOW);
        let mut member = |port: u16| {
            let socket = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
            stack.bind(socket, (Ipv4Addr::UNSPECIFIED, port)).unwrap();
            let loopback = MulticastInterface::Address(Ipv4Addr::LOCALHOST);
            stack.join_group(NOW, socket, IpAddr::V4(GROUP), loopback).unwrap();
            socket
        };
        let receiver = member(PORT);
        (0..elsewhere).for_each(|index| {
            member(PORT + 1 + index);
        });
        let sender = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
        stack.bind(sender, (Ipv4Addr::LOCALHOST, 0)).unwrap();
        Members { stack, sender, receiver }
    }

    /// The group gets a datagram, which the member on its port reads.
    pub(crate) fn round(&mut self) {
        self.stack.send_to(NOW, self.sender, b"x", (GROUP, PORT)).unwrap();
        while self.stack.poll_transmit(NOW).is_some() || self.stack.handle_loopback(NOW) {}
        while self.stack.poll_event().is_some() {}
        self.stack.recv(NOW, self.receiver, &mut [0]).unwrap();
    }
}
