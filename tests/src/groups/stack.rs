//! Portolan's sockets.

use std::net::IpAddr;

use portolan::{
    Cidr, Config, Descriptor, Domain, Error, Instant, InterfaceConfig, InterfaceId, Medium,
    MulticastInterface, SocketKind, SocketOption, SourceFilter, Stack,
};

use super::kernel::peer_of;
use super::{Answer, Call, Iface, Machine, own};

const NOW: Instant = Instant::from_secs(1);
/// Its protocol number.
const UDP: u8 = 17;

pub(super) struct Portolan {
    stack: Stack,
    /// The descriptors, and whether they are of IPv6.
    sockets: Vec<(Descriptor, bool)>,
}

impl Iface {
    fn named(self) -> MulticastInterface {
        match self {
            Iface::Any => MulticastInterface::Any,
            Iface::Number(number) => InterfaceId::from_index(number.into()).into(),
            Iface::Address(number) => match own(false, number) {
                IpAddr::V4(addr) => addr.into(),
                IpAddr::V6(_) => unreachable!("of the other family"),
            },
        }
    }
}

impl Portolan {
    pub(super) fn new() -> Self {
        let mut stack = Stack::new(Config::default(), [7; 32], NOW);
        for link in 0..2 {
            let mut interface = InterfaceConfig::new(Medium::Ip);
            for host in 0..2 {
                let number = link * 2 + host;
                interface = interface
                    .address(Cidr::new(own(false, number), 24))
                    .address(Cidr::new(own(true, number), 64));
            }
            stack.add_interface(NOW, interface).expect("the addresses differ");
        }
        Portolan { stack, sockets: Vec::new() }
    }

    fn make(&mut self, call: &Call) -> Result<Answer, Error> {
        let Portolan { stack, sockets } = self;
        let done = |()| Answer::Done;
        let d = |name: usize| sockets.get(name).map(|&(d, _)| d).ok_or(Error::BadDescriptor);
        match *call {
            Call::Socket { is_v6 } | Call::Stream { is_v6 } | Call::Raw { is_v6 } => {
                let kind = match call {
                    Call::Stream { .. } => SocketKind::Stream,
                    Call::Raw { .. } => SocketKind::Raw(UDP),
                    _ => SocketKind::Datagram,
                };
                let domain = if is_v6 { Domain::V6 } else { Domain::V4 };
                let socket = stack.socket(domain, kind)?;
                stack.set_option(NOW, socket, SocketOption::ReuseAddr(true))?;
                sockets.push((socket, is_v6));
                Ok(Answer::Done)
            }
            Call::Bind(name, to, port) => {
                stack.bind(d(name)?, to.socket_addr(sockets[name].1, port)).map(done)
            }
            Call::Connect(name, number) => {
                stack.connect(NOW, d(name)?, peer_of(name, sockets[name].1, number)).map(done)
            }
            Call::Join(name, group, iface) => {
                stack.join_group(NOW, d(name)?, group.addr(), iface.named()).map(done)
            }
            Call::Leave(name, group, iface) => {
                stack.leave_group(NOW, d(name)?, group.addr(), iface.named()).map(done)
            }
            Call::JoinSource(name, group, source, iface) => {
                let source = own(group.is_v6, source);
                stack.join_source_group(NOW, d(name)?, group.addr(), source, iface.named()).map(done)
            }
            Call::LeaveSource(name, group, source, iface) => {
                let source = own(group.is_v6, source);
                stack.leave_source_group(NOW, d(name)?, group.addr(), source, iface.named()).map(done)
            }
            Call::Block(name, group, source, iface) => {
                let source = own(group.is_v6, source);
                stack.block_source(NOW, d(name)?, group.addr(), source, iface.named()).map(done)
            }
            Call::Unblock(name, group, source, iface) => {
                let source = own(group.is_v6, source);
                stack.unblock_source(NOW, d(name)?, group.addr(), source, iface.named()).map(done)
            }
            Call::SetFilter(name, group, iface, mode, ref sources) => {
                let sources = sources.iter().map(|&source| own(group.is_v6, source)).collect();
                let filter = SourceFilter::new(mode, sources);
                stack.set_source_filter(NOW, d(name)?, group.addr(), iface.named(), &filter).map(done)
            }
            Call::Filter(name, group, iface) => {
                let mut filter = stack.source_filter(d(name)?, group.addr(), iface.named())?;
                filter.sources.sort_unstable();
                Ok(Answer::Filter(filter.mode, filter.sources))
            }
            Call::All { socket, is_v6, on } => {
                let option =
                    if is_v6 { SocketOption::MulticastAllV6(on) } else { SocketOption::MulticastAll(on) };
                stack.set_option(NOW, d(socket)?, option).map(done)
            }
            Call::Loop { socket, is_v6, on } => {
                let option =
                    if is_v6 { SocketOption::MulticastLoopV6(on) } else { SocketOption::MulticastLoop(on) };
                stack.set_option(NOW, d(socket)?, option).map(done)
            }
            Call::Ttl { socket, is_v6, ttl } => {
                let option =
                    if is_v6 { SocketOption::MulticastHopsV6(ttl) } else { SocketOption::MulticastTtl(ttl) };
                stack.set_option(NOW, d(socket)?, option).map(done)
            }
            Call::SendThrough { socket, is_v6, iface } => {
                let option = match (is_v6, iface.named()) {
                    (false, named) => SocketOption::MulticastInterface(named),
                    (true, MulticastInterface::Id(iface)) => SocketOption::MulticastInterfaceV6(Some(iface)),
                    (true, _) => SocketOption::MulticastInterfaceV6(None),
                };
                stack.set_option(NOW, d(socket)?, option).map(done)
            }
            Call::Broadcast(name, on) => {
                stack.set_option(NOW, d(name)?, SocketOption::Broadcast(on)).map(done)
            }
            Call::Send(name, to, port) => {
                stack.send_to(NOW, d(name)?, b"x", to.socket_addr(sockets[name].1, port))?;
                while stack.poll_transmit(NOW).is_some() || stack.handle_loopback(NOW) {}
                let mut taken = Vec::new();
                for (index, &(socket, _)) in sockets.iter().enumerate() {
                    while stack.recv(NOW, socket, &mut [0; 8]).is_ok_and(|len| len > 0) {
                        taken.push(index);
                    }
                }
                Ok(Answer::Taken(taken))
            }
            Call::Close(name) => stack.close(NOW, d(name)?).map(done),
        }
    }
}

impl Machine for Portolan {
    fn call(&mut self, call: &Call) -> Answer {
        self.make(call).unwrap_or_else(|error| Answer::Failed(error.errno()))
    }
}
