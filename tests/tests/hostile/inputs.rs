//! The inputs for the stack: nearly valid frames, nearly valid calls, and time.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portolan::testing::{PacketBuilder, TcpSegment};
use portolan::{Cidr, Descriptor, Domain, Medium, Route, Shutdown, SocketKind, SocketOption};
use portolan_tests::{RawConnection, RawPeer};
use proptest::prelude::*;
use proptest::sample::Index;

/// One input.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Frame(FrameInput),
    Call(Call),
    Time(Duration),
}

/// A frame: a packet, the changes to it, and the link header around it.
#[derive(Clone, Debug)]
pub(crate) struct FrameInput {
    packet: PacketInput,
    domain: Domain,
    hop_limit: u8,
    mutations: Vec<Mutation>,
    link: LinkInput,
}

#[derive(Clone, Debug)]
enum PacketInput {
    /// A segment of the open connection, with numbers relative to the expected ones.
    OfConnection {
        seq: i32,
        ack: i32,
        flags: u8,
        window: u16,
        options: Vec<u8>,
        len: usize,
    },
    Tcp {
        src_port: u16,
        dst_port: u16,
        seq: u32,
        ack: u32,
        flags: u8,
        options: Vec<u8>,
        len: usize,
    },
    Udp {
        src_port: u16,
        dst_port: u16,
        len: usize,
    },
    Icmp {
        icmp_type: u8,
        code: u8,
        rest: Vec<u8>,
    },
    /// An ICMP error about a packet that the stack may have sent.
    IcmpError {
        icmp_type: u8,
        code: u8,
        value: u32,
        protocol: u8,
        ports: (u16, u16),
        seq: i32,
    },
    Fragment {
        identification: u8,
        offset: u16,
        len: usize,
        more: bool,
        protocol: u8,
    },
    Raw {
        protocol: u8,
        rest: Vec<u8>,
    },
    Arp {
        operation: u8,
        rest: Vec<u8>,
    },
    Bytes(Vec<u8>),
}

#[derive(Clone, Debug)]
enum Mutation {
    Flip(Index, u8),
    Set(Index, u8),
    Truncate(Index),
    Append(Vec<u8>),
}

#[derive(Clone, Copy, Debug)]
enum LinkInput {
    Ours,
    Broadcast,
    Multicast,
    OtherStation,
    EtherType(u16),
}

/// One call of a program; descriptors are chosen from all that ever existed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    Socket(Domain, SocketKind),
    Bind(usize, SocketAddr),
    Listen(usize, usize),
    Accept(usize),
    Connect(usize, SocketAddr),
    Send(usize, usize),
    SendBytes(usize, usize),
    SendTo(usize, usize, SocketAddr),
    Recv(usize, usize),
    RecvBytes(usize, usize),
    RecvFrom(usize, usize),
    Peek(usize, usize),
    Shutdown(usize, Shutdown),
    SetOption(usize, SocketOption),
    Look(usize),
    Close(usize),
    CloseAll,
    AddAddress(Cidr),
    RemoveAddress(IpAddr),
    AddRoute(Cidr, Option<IpAddr>),
    RemoveRoute(Cidr),
}

/// The stack under test.
#[derive(Debug)]
pub(crate) struct Sut {
    pub(crate) peer: RawPeer,
    /// Every descriptor that was returned, closed ones included.
    pub(crate) descriptors: Vec<Descriptor>,
    /// The connections over IPv4 and IPv6.
    pub(crate) connections: Vec<RawConnection>,
}

impl Sut {
    pub(crate) fn apply(&mut self, input: &Input) {
        match input {
            Input::Frame(frame) => {
                let frame = self.frame(frame);
                self.peer.send_frame(&frame);
            }
            Input::Call(call) => {
                self.call(*call);
                self.peer.settle();
            }
            Input::Time(duration) => self.peer.pass(*duration),
        }
        self.peer.take_sent();
    }

    pub(crate) fn frame(&self, input: &FrameInput) -> Vec<u8> {
        let builder = self.peer.packet(input.domain).hop_limit(input.hop_limit);
        let (mut packet, arp) = match &input.packet {
            PacketInput::Arp { operation, rest } => {
                let mut message = vec![0, 1, 8, 0, 6, 4, 0, *operation];
                message.extend_from_slice(rest);
                (message, true)
            }
            packet => (self.packet(&builder, input.domain, packet), false),
        };
        for mutation in &input.mutations {
            mutation.apply(&mut packet);
        }
        if self.peer.medium() == Medium::Ip {
            return packet;
        }
        let mut frame = self.peer.frame(&packet);
        match input.link {
            LinkInput::Ours => {}
            LinkInput::Broadcast => frame[..6].fill(0xff),
            LinkInput::Multicast => frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]),
            LinkInput::OtherStation => frame[..6].copy_from_slice(&[2, 9, 9, 9, 9, 9]),
            LinkInput::EtherType(ethertype) => frame[12..14].copy_from_slice(&ethertype.to_be_bytes()),
        }
        if arp {
            frame[12..14].copy_from_slice(&[8, 6]);
        }
        frame
    }

    fn packet(&self, builder: &PacketBuilder, domain: Domain, packet: &PacketInput) -> Vec<u8> {
        let connection = &self.connections[usize::from(domain == Domain::V6)];
        match packet {
            PacketInput::OfConnection { seq, ack, flags, window, options, len } => {
                let mut segment = connection.segment(*flags, &vec![0xda; *len]);
                segment.seq = segment.seq.wrapping_add_signed(*seq);
                segment.ack = segment.ack.wrapping_add_signed(*ack);
                segment.window = *window;
                segment.options = options.clone();
                builder.tcp(&segment)
            }
            PacketInput::Tcp { src_port, dst_port, seq, ack, flags, options, len } => {
                builder.tcp(&TcpSegment {
                    seq: *seq,
                    ack: *ack,
                    flags: *flags,
                    options: options.clone(),
                    payload: vec![1; *len],
                    ..TcpSegment::new(*src_port, *dst_port)
                })
            }
            PacketInput::Udp { src_port, dst_port, len } => builder.udp(*src_port, *dst_port, &vec![2; *len]),
            PacketInput::Icmp { icmp_type, code, rest } => builder.icmp(*icmp_type, *code, rest),
            PacketInput::IcmpError { icmp_type, code, value, protocol, ports, seq } => {
                let mut about = PacketBuilder::new(builder.dst, builder.src);
                about.identification = 7;
                let seq = connection.rcv_nxt.wrapping_add_signed(*seq);
                let mut transport = Vec::from(ports.0.to_be_bytes());
                transport.extend_from_slice(&ports.1.to_be_bytes());
                transport.extend_from_slice(&seq.to_be_bytes());
                let mut rest = Vec::from(value.to_be_bytes());
                rest.extend_from_slice(&about.raw(*protocol, &transport));
                builder.icmp(*icmp_type, *code, &rest)
            }
            PacketInput::Fragment { identification, offset, len, more, protocol } => {
                let mut builder = builder.clone();
                builder.identification = u32::from(*identification % 4);
                builder.fragment(*protocol, usize::from(*offset), &vec![3; *len], *more)
            }
            PacketInput::Raw { protocol, rest } => builder.raw(*protocol, rest),
            PacketInput::Arp { rest, .. } | PacketInput::Bytes(rest) => rest.clone(),
        }
    }

    fn call(&mut self, call: Call) {
        let now = self.peer.now;
        let d = |index: usize| self.descriptors[index % self.descriptors.len()];
        let stack = &mut self.peer.stack;
        match call {
            Call::Socket(domain, kind) => {
                if let Ok(descriptor) = stack.socket(domain, kind) {
                    self.descriptors.push(descriptor);
                }
            }
            Call::Bind(index, addr) => may_fail(stack.bind(d(index), addr)),
            Call::Listen(index, backlog) => may_fail(stack.listen(d(index), backlog)),
            Call::Accept(index) => {
                if let Ok((descriptor, _)) = stack.accept(d(index)) {
                    self.descriptors.push(descriptor);
                }
            }
            Call::Connect(index, addr) => may_fail(stack.connect(now, d(index), addr)),
            Call::Send(index, len) => may_fail(stack.send(now, d(index), &vec![4; len])),
            Call::SendBytes(index, len) => may_fail(stack.send_bytes(now, d(index), vec![5; len].into())),
            Call::SendTo(index, len, addr) => may_fail(stack.send_to(now, d(index), &vec![6; len], addr)),
            Call::Recv(index, len) => may_fail(stack.recv(now, d(index), &mut vec![0; len])),
            Call::RecvBytes(index, len) => may_fail(stack.recv_bytes(now, d(index), len)),
            Call::RecvFrom(index, len) => may_fail(stack.recv_from(now, d(index), &mut vec![0; len])),
            Call::Peek(index, len) => may_fail(stack.peek(d(index), &mut vec![0; len])),
            Call::Shutdown(index, how) => may_fail(stack.shutdown(now, d(index), how)),
            Call::SetOption(index, option) => may_fail(stack.set_option(now, d(index), option)),
            Call::Look(index) => {
                let d = d(index);
                may_fail(stack.local_addr(d));
                may_fail(stack.peer_addr(d));
                may_fail(stack.options(d));
                may_fail(stack.readiness(d));
                may_fail(stack.take_error(d));
                let sockets: Vec<_> = stack.sockets().collect();
                assert!(!format!("{sockets:?} {:?} {stack:?}", stack.routes()).is_empty());
            }
            Call::Close(index) => may_fail(stack.close(now, d(index))),
            Call::CloseAll => {
                for &descriptor in &self.descriptors {
                    may_fail(stack.close(now, descriptor));
                }
            }
            Call::AddAddress(cidr) => may_fail(stack.add_address(now, self.peer.iface, cidr)),
            Call::RemoveAddress(addr) => may_fail(stack.remove_address(self.peer.iface, addr)),
            Call::AddRoute(destination, gateway) => {
                let mut route = Route::new(destination, self.peer.iface).metric(1);
                route.gateway = gateway;
                may_fail(stack.add_route(route));
            }
            Call::RemoveRoute(destination) => may_fail(stack.remove_route(destination, self.peer.iface)),
        }
    }
}

/// Any call may fail, as long as it returns.
fn may_fail<T>(_result: portolan::Result<T>) {}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Mutation::Append(more) => bytes.extend_from_slice(more),
            _ if bytes.is_empty() => {}
            Mutation::Flip(at, bit) => *at.get_mut(bytes) ^= 1 << (bit % 8),
            Mutation::Set(at, value) => *at.get_mut(bytes) = *value,
            Mutation::Truncate(at) => bytes.truncate(at.index(bytes.len())),
        }
    }
}

pub(crate) fn input() -> impl Strategy<Value = Input> {
    let time = prop_oneof![
        4 => (0u64..2_000_000).prop_map(Duration::from_nanos),
        4 => (0u64..300).prop_map(Duration::from_millis),
        1 => (0u64..400).prop_map(Duration::from_secs),
    ];
    prop_oneof![
        8 => frames().prop_map(Input::Frame),
        6 => call().prop_map(Input::Call),
        2 => time.prop_map(Input::Time),
    ]
}

pub(crate) fn frames() -> impl Strategy<Value = FrameInput> {
    let mutation = prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Mutation::Set(at, value)),
        any::<Index>().prop_map(Mutation::Truncate),
        bytes(40).prop_map(Mutation::Append),
    ];
    let mutations = prop_oneof![
        3 => Just(Vec::new()),
        1 => proptest::collection::vec(mutation, 1..4),
    ];
    let link = prop_oneof![
        12 => Just(LinkInput::Ours),
        1 => Just(LinkInput::Broadcast),
        1 => Just(LinkInput::Multicast),
        1 => Just(LinkInput::OtherStation),
        1 => prop_oneof![Just(0x8100u16), Just(0x0806), Just(0x86dd), Just(0x0800), Just(100), any::<u16>()]
            .prop_map(LinkInput::EtherType),
    ];
    let hop_limit = prop_oneof![4 => Just(64u8), 2 => Just(255), 1 => Just(1), 1 => Just(0)];
    (packet(), domain(), hop_limit, mutations, link).prop_map(
        |(packet, domain, hop_limit, mutations, link)| FrameInput {
            packet,
            domain,
            hop_limit,
            mutations,
            link,
        },
    )
}

fn packet() -> impl Strategy<Value = PacketInput> {
    prop_oneof![
        8 => of_connection(),
        4 => tcp(),
        3 => (port(), port(), small_or_large()).prop_map(|(src_port, dst_port, len)| PacketInput::Udp { src_port, dst_port, len }),
        3 => icmp(),
        2 => icmp_error(),
        4 => fragment(),
        2 => (protocol(), bytes(80)).prop_map(|(protocol, rest)| PacketInput::Raw { protocol, rest }),
        1 => (0u8..4, bytes(30)).prop_map(|(operation, rest)| PacketInput::Arp { operation, rest }),
        1 => bytes(100).prop_map(PacketInput::Bytes),
    ]
}

fn of_connection() -> impl Strategy<Value = PacketInput> {
    let offset = || prop_oneof![4 => Just(0i32), 3 => -10i32..20_000, 1 => any::<i32>()];
    let flags = prop_oneof![6 => Just(TcpSegment::ACK), 2 => Just(TcpSegment::ACK | TcpSegment::FIN), 2 => any::<u8>()];
    let window = prop_oneof![Just(0u16), Just(u16::MAX), any::<u16>()];
    (offset(), offset(), flags, window, options(), small_or_large()).prop_map(
        |(seq, ack, flags, window, options, len)| PacketInput::OfConnection {
            seq,
            ack,
            flags,
            window,
            options,
            len,
        },
    )
}

fn tcp() -> impl Strategy<Value = PacketInput> {
    let flags = prop_oneof![Just(TcpSegment::SYN), Just(TcpSegment::ACK), Just(TcpSegment::RST), any::<u8>()];
    (port(), port(), any::<(u32, u32)>(), flags, options(), 0usize..100).prop_map(
        |(src_port, dst_port, (seq, ack), flags, options, len)| PacketInput::Tcp {
            src_port,
            dst_port,
            seq,
            ack,
            flags,
            options,
            len,
        },
    )
}

fn icmp() -> impl Strategy<Value = PacketInput> {
    let icmp_type = prop_oneof![any::<u8>(), 0u8..14, 128u8..145];
    (icmp_type, prop_oneof![Just(0u8), any::<u8>()], bytes(120))
        .prop_map(|(icmp_type, code, rest)| PacketInput::Icmp { icmp_type, code, rest })
}

fn icmp_error() -> impl Strategy<Value = PacketInput> {
    let icmp_type = prop_oneof![Just(3u8), Just(1), Just(2), Just(11), Just(12), Just(4), Just(5)];
    let value = prop_oneof![Just(0u32), Just(1280), Just(576), Just(68), any::<u32>()];
    let seq = prop_oneof![Just(0i32), -2000i32..2000, any::<i32>()];
    (icmp_type, 0u8..16, value, protocol(), (port(), port()), seq).prop_map(
        |(icmp_type, code, value, protocol, ports, seq)| PacketInput::IcmpError {
            icmp_type,
            code,
            value,
            protocol,
            ports,
            seq,
        },
    )
}

fn fragment() -> impl Strategy<Value = PacketInput> {
    let offset = prop_oneof![3 => (0u16..20).prop_map(|units| units * 8), 1 => any::<u16>()];
    let len = prop_oneof![3 => (0usize..10).prop_map(|units| units * 8), 1 => 0usize..1400];
    (any::<u8>(), offset, len, any::<bool>(), protocol()).prop_map(
        |(identification, offset, len, more, protocol)| PacketInput::Fragment {
            identification,
            offset,
            len,
            more,
            protocol,
        },
    )
}

fn call() -> impl Strategy<Value = Call> {
    let index = || 0usize..32;
    let len = || prop_oneof![3 => 0usize..3_000, 1 => 0usize..200_000];
    let how = prop_oneof![Just(Shutdown::Read), Just(Shutdown::Write), Just(Shutdown::Both)];
    let kind = prop_oneof![Just(SocketKind::Stream), Just(SocketKind::Datagram), Just(SocketKind::Echo)];
    prop_oneof![
        2 => (domain(), kind).prop_map(|(domain, kind)| Call::Socket(domain, kind)),
        2 => (index(), addr()).prop_map(|(d, addr)| Call::Bind(d, addr)),
        1 => (index(), 0usize..10).prop_map(|(d, backlog)| Call::Listen(d, backlog)),
        2 => index().prop_map(Call::Accept),
        2 => (index(), addr()).prop_map(|(d, addr)| Call::Connect(d, addr)),
        4 => (index(), len()).prop_map(|(d, len)| Call::Send(d, len)),
        3 => (index(), len()).prop_map(|(d, len)| Call::SendBytes(d, len)),
        3 => (index(), len(), addr()).prop_map(|(d, len, addr)| Call::SendTo(d, len, addr)),
        3 => (index(), len()).prop_map(|(d, len)| Call::Recv(d, len)),
        2 => (index(), len()).prop_map(|(d, len)| Call::RecvBytes(d, len)),
        2 => (index(), len()).prop_map(|(d, len)| Call::RecvFrom(d, len)),
        1 => (index(), len()).prop_map(|(d, len)| Call::Peek(d, len)),
        2 => (index(), how).prop_map(|(d, how)| Call::Shutdown(d, how)),
        3 => (index(), option()).prop_map(|(d, option)| Call::SetOption(d, option)),
        1 => index().prop_map(Call::Look),
        3 => index().prop_map(Call::Close),
        1 => cidr().prop_map(Call::AddAddress),
        1 => ip().prop_map(Call::RemoveAddress),
        1 => (cidr(), proptest::option::of(ip())).prop_map(|(cidr, gateway)| Call::AddRoute(cidr, gateway)),
        1 => cidr().prop_map(Call::RemoveRoute),
    ]
}

fn option() -> impl Strategy<Value = SocketOption> {
    let size = || prop_oneof![Just(0usize), Just(1), 0usize..100_000, Just(usize::MAX)];
    let time =
        || prop_oneof![Just(Duration::ZERO), Just(Duration::MAX), (0u64..100).prop_map(Duration::from_secs)];
    prop_oneof![
        any::<bool>().prop_map(SocketOption::ReuseAddr),
        any::<bool>().prop_map(SocketOption::ReusePort),
        size().prop_map(SocketOption::ReceiveBuffer),
        size().prop_map(SocketOption::SendBuffer),
        any::<bool>().prop_map(SocketOption::KeepAlive),
        time().prop_map(SocketOption::KeepIdle),
        time().prop_map(SocketOption::KeepInterval),
        any::<u8>().prop_map(SocketOption::KeepCount),
        proptest::option::of(time()).prop_map(SocketOption::Linger),
        any::<bool>().prop_map(SocketOption::Broadcast),
        any::<bool>().prop_map(SocketOption::NoDelay),
        any::<u16>().prop_map(SocketOption::MaxSegment),
        any::<u8>().prop_map(SocketOption::Ttl),
        any::<bool>().prop_map(SocketOption::V6Only),
        (0usize..5).prop_map(SocketOption::FastOpen),
        any::<bool>().prop_map(SocketOption::FastOpenConnect),
        time().prop_map(SocketOption::DeferAccept),
    ]
}

fn domain() -> impl Strategy<Value = Domain> {
    prop_oneof![Just(Domain::V4), Just(Domain::V6)]
}

fn ip() -> impl Strategy<Value = IpAddr> {
    let known: Vec<IpAddr> = [
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.77",
        "10.0.0.255",
        "192.0.2.1",
        "127.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "fd00::1",
        "fd00::2",
        "fd00::77",
        "2001:db8::1",
        "::1",
        "::",
        "ff02::1",
        "fe80::2",
        "::ffff:10.0.0.2",
    ]
    .iter()
    .map(|text| text.parse().unwrap())
    .collect();
    prop_oneof![8 => proptest::sample::select(known), 1 => any::<IpAddr>()]
}

fn addr() -> impl Strategy<Value = SocketAddr> {
    (ip(), port()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn cidr() -> impl Strategy<Value = Cidr> {
    (ip(), prop_oneof![Just(0u8), Just(24), Just(32), Just(64), Just(128), any::<u8>()])
        .prop_map(|(addr, prefix_len)| Cidr { addr, prefix_len })
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![3 => proptest::sample::select(vec![80u16, 81, 53, 54, 5000, 9, 0]), 1 => any::<u16>()]
}

/// TCP, UDP, ICMP, IGMP, IPv6's extension headers, anything.
fn protocol() -> impl Strategy<Value = u8> {
    let known = vec![6u8, 17, 1, 58, 2, 0, 43, 44, 60, 50, 51, 59, 135];
    prop_oneof![8 => proptest::sample::select(known), 1 => any::<u8>()]
}

fn options() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => Just(Vec::new()),
        1 => Just(vec![2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7]),
        1 => any::<[u8; 8]>().prop_map(|stamps| [&[1, 1, 8, 10], &stamps[..]].concat()),
        1 => any::<[u8; 16]>().prop_map(|blocks| [&[1, 1, 5, 18], &blocks[..]].concat()),
        1 => bytes(40),
    ]
}

fn small_or_large() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 0usize..50, 2 => 0usize..1_400]
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..=most)
}
