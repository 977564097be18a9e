//! Portolan's packet sockets.

use std::net::Ipv4Addr;

use portolan::bpf::{Filter, Instruction};
use portolan::{
    Config, Descriptor, Domain, Error, Frame, Instant, InterfaceConfig, InterfaceId, LinkAddr, MacAddr,
    Medium, PacketMembership, RecvFlags, Shutdown, SocketKind, SocketOption, Stack,
};

use super::{Answer, Call, Interface, MTU, Machine, OWN, PEER, frame};

const NOW: Instant = Instant::ZERO;

pub(super) struct Portolan {
    stack: Stack,
    ethernet: InterfaceId,
    sockets: Vec<Descriptor>,
}

impl Portolan {
    pub(super) fn new() -> Self {
        let mut stack = Stack::new(Config::default(), [7; 32], NOW);
        let config = InterfaceConfig::new(Medium::Ethernet(OWN)).mtu(MTU.into());
        let ethernet = stack.add_interface(NOW, config).expect("the first");
        Portolan { stack, ethernet, sockets: Vec::new() }
    }

    fn iface_of(&self, interface: Interface) -> Option<InterfaceId> {
        match interface {
            Interface::Any => None,
            Interface::Ethernet => Some(self.ethernet),
            Interface::Loopback => Some(InterfaceId::LOOPBACK),
            Interface::Missing => Some(InterfaceId::from_index(99)),
        }
    }

    fn interface_of(&self, iface: Option<InterfaceId>) -> Interface {
        match iface {
            None => Interface::Any,
            Some(InterfaceId::LOOPBACK) => Interface::Loopback,
            Some(iface) if iface == self.ethernet => Interface::Ethernet,
            Some(_) => Interface::Missing,
        }
    }

    fn name_of(&self, addr: LinkAddr) -> (Interface, u16, u16, Option<MacAddr>) {
        (self.interface_of(addr.iface), addr.protocol, addr.hardware_type, addr.mac)
    }

    fn make(&mut self, call: Call) -> Result<Answer, Error> {
        let done = |()| Answer::Done(0);
        let d = |name: usize| self.sockets[name];
        let iface = |interface| self.iface_of(interface);
        match call {
            Call::Socket(header) => {
                let d = self.stack.socket(Domain::V4, SocketKind::Packet(header))?;
                self.sockets.push(d);
                Ok(Answer::Opened)
            }
            Call::Close(name) => self.stack.close(NOW, d(name)).map(done),
            Call::Bind(name, interface, protocol) => {
                let addr = LinkAddr::new(iface(interface), protocol);
                self.stack.bind(d(name), addr).map(done)
            }
            Call::Name(name) => {
                let addr = self.stack.local_name(d(name))?.link().expect("it is a packet socket");
                let (interface, protocol, hardware_type, mac) = self.name_of(addr);
                Ok(Answer::Name(interface, protocol, hardware_type, mac))
            }
            Call::Send(name, len, ethertype) => {
                self.stack.send(NOW, d(name), &frame(PEER, OWN, ethertype, len)).map(Answer::Done)
            }
            Call::SendTo(name, len, interface, protocol, mac) => {
                let (to, data) =
                    (LinkAddr::new(iface(interface), protocol).mac(mac), frame(PEER, OWN, protocol, len));
                self.stack.send_packet(NOW, d(name), data.into(), Some(&to)).map(Answer::Done)
            }
            Call::Recv(name, len) => {
                let (data, meta) = self.stack.recv_packet(NOW, d(name))?;
                Ok(Answer::Frame {
                    bytes: data[..len.min(data.len())].to_vec(),
                    from: self.name_of(meta.from),
                    packet_type: meta.from.packet_type as u8,
                    lens: [meta.len, data.len(), meta.network_at].map(|len| len as u32),
                })
            }
            Call::Peek(name, len) => self.stack.peek(d(name), &mut vec![0; len]).map(Answer::Done),
            Call::RecvUrgent(name) => {
                self.stack.recv_with(NOW, d(name), &mut [0], RecvFlags::OOB).map(|_| Answer::Done(1))
            }
            Call::Absent(name, which) => match which {
                0 => self.stack.connect(NOW, d(name), (Ipv4Addr::LOCALHOST, 9)).map(done),
                1 => self.stack.listen(d(name), 1).map(done),
                2 => self.stack.accept(d(name)).map(|_| Answer::Opened),
                _ => self.stack.shutdown(NOW, d(name), Shutdown::Both).map(done),
            },
            Call::Readable(name) => {
                self.stack.readiness(d(name)).map(|ready| Answer::Done(ready.readable.into()))
            }
            Call::Filter(name, kept) => self.attach(name, &[(0x06, kept)]),
            Call::FilterLength(name, less) => self.attach(name, &[(0x80, 0), (0x14, less), (0x16, 0)]),
            Call::Detach(name) => self.stack.detach_filter(d(name)).map(done),
            Call::Lock(name, on) => {
                self.stack.set_option(NOW, d(name), SocketOption::LockFilter(on)).map(done)
            }
            Call::Statistics(name) => {
                let counts = self.stack.take_packet_statistics(d(name))?;
                Ok(Answer::Counts(counts.packets, counts.drops))
            }
            Call::Membership(name, is_added, interface, kind, mac) => {
                let iface = iface(interface).expect("memberships are on an interface");
                let membership = PacketMembership::new(iface, kind, mac);
                let option = match is_added {
                    true => SocketOption::PacketAddMembership(membership),
                    false => SocketOption::PacketDropMembership(membership),
                };
                self.stack.set_option(NOW, d(name), option).map(done)
            }
            Call::IgnoreOutgoing(name, on) => {
                self.stack.set_option(NOW, d(name), SocketOption::PacketIgnoreOutgoing(on)).map(done)
            }
            Call::Inject(dst, ethertype, len) => {
                let frame = Frame::new(frame(dst, PEER, ethertype, 14 + len));
                self.stack.handle_frame(NOW, self.ethernet, frame);
                Ok(Answer::Done(0))
            }
        }
    }

    fn attach(&mut self, name: usize, program: &[(u16, u32)]) -> Result<Answer, Error> {
        let program: Vec<Instruction> =
            program.iter().map(|&(code, k)| Instruction::new(code, 0, 0, k)).collect();
        let program = Filter::new(&program)?;
        self.stack.attach_filter(self.sockets[name], program).map(|()| Answer::Done(0))
    }
}

impl Machine for Portolan {
    fn call(&mut self, call: Call) -> Answer {
        let answer = self.make(call).unwrap_or_else(|error| Answer::Failed(error.errno()));
        while self.stack.poll_transmit(NOW).is_some() {}
        answer
    }
}
