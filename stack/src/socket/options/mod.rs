//! Socket options, under their Berkeley names.

mod control;
mod ip;
mod multicast;
mod packet;
mod raw;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

pub use control::ControlData;
pub(super) use ip::IpFields;
pub use ip::{IpOptions, MtuDiscover};
pub use multicast::MulticastOptions;
pub use packet::{PacketFanout, PacketFanoutMode, PacketMembership, PacketMembershipKind};
pub use raw::{IcmpFilter, RawOptions};
pub use tcp::{FastOpenOptions, TcpOptions};
pub use udp::UdpOptions;

use alloc::boxed::Box;
use core::net::IpAddr;
use core::time::Duration;

use super::kind::Domain;
use crate::bpf::Filter;
use crate::config::Config;
use crate::config::CongestionControl;
use crate::copy_on_write::CopyOnWrite;
use crate::error::{Error, Result};
use crate::interface_id::InterfaceId;
use crate::multicast::MulticastInterface;
use crate::network::Network;
use crate::ports::Reuse;
use crate::socket::port_selector::PortSelector;
use crate::tcp::{FastOpenKey, Settings};

/// One option, to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketOption {
    /// SO_REUSEADDR: bind although connections of an earlier listener still use the port.
    ReuseAddr(bool),
    /// SO_REUSEPORT: several sockets share an address and port; each flow sticks to one of them.
    ReusePort(bool),
    /// SO_RCVBUF in bytes (not doubled, unlike Linux). Setting it ends the automatic growth of a
    /// stream's buffer.
    ReceiveBuffer(usize),
    /// SO_SNDBUF in bytes (not doubled, unlike Linux). Setting it ends the automatic growth of a
    /// stream's buffer.
    SendBuffer(usize),
    /// SO_KEEPALIVE.
    KeepAlive(bool),
    /// TCP_KEEPIDLE.
    KeepIdle(Duration),
    /// TCP_KEEPINTVL.
    KeepInterval(Duration),
    /// TCP_KEEPCNT.
    KeepCount(u8),
    /// SO_LINGER: with zero, `close` resets the connection. A longer time affects only blocking
    /// callers, as `close` itself never waits.
    Linger(Option<Duration>),
    /// SO_BROADCAST.
    Broadcast(bool),
    /// SO_BINDTODEVICE and SO_BINDTOIFINDEX: the socket sends and receives through this interface
    /// only. It finds routes and link-local addresses of that interface only, and may share its
    /// port with sockets on other interfaces. Packets of the stack to one of its own addresses come
    /// in through the interface that has the address, as on Linux, or the loopback. Accepted
    /// connections inherit the interface. `disconnect` of a socket that sends datagrams ends the
    /// restriction, as on Linux. As there, the interface need not exist. On a packet socket the
    /// option has no effect: `bind` names its interface.
    BindToDevice(Option<InterfaceId>),
    /// SO_DONTROUTE: packets over IPv4 go to hosts on the link only (`NetworkUnreachable`), as with
    /// [`SendFlags::DONT_ROUTE`](crate::SendFlags::DONT_ROUTE). As on Linux the option has no
    /// effect over IPv6.
    DontRoute(bool),
    /// SO_NO_CHECK: UDP datagrams over IPv4 are sent without a checksum (RFC 768). For datagrams
    /// over IPv6 there is [`NoCheck6Tx`](SocketOption::NoCheck6Tx).
    NoCheck(bool),
    /// SO_BUF_LOCK: whether the receive buffer keeps its size. Otherwise that of a stream grows
    /// automatically. Setting SO_RCVBUF sets it, too.
    LockReceiveBuffer(bool),
    /// SO_BUF_LOCK: whether the send buffer keeps its size.
    LockSendBuffer(bool),
    /// Asks for control data (IP_PKTINFO, IP_RECVTTL, SO_TIMESTAMP and so on). The stack returns it
    /// all the same, in [`DatagramMeta`](crate::DatagramMeta) and other structs. The option is for
    /// bindings to other languages, which pass a program what it has asked for:
    /// [`SocketOptions::asks_for`].
    AskFor(ControlData, bool),
    /// SO_RCVTIMEO: how long a blocking read waits; `None` for as long as it takes. The stack's own
    /// calls never wait: this is for whoever waits on behalf of a program. The sockets of the
    /// runtime obey it.
    ReceiveTimeout(Option<Duration>),
    /// SO_SNDTIMEO: as `ReceiveTimeout`, for a blocking `send` and `connect`.
    SendTimeout(Option<Duration>),
    /// SO_PRIORITY. It has no effect: sockets send in turn. IP_TOS changes it, as on Linux.
    Priority(u32),
    /// SO_MARK. It has no effect, because no route or filter depends on marks.
    Mark(u32),
    /// SO_PASSCRED, of Unix-domain sockets: messages are received with the credentials of their
    /// senders ([`UnixMessage::credentials`](crate::UnixMessage::credentials)).
    PassCredentials(bool),
    /// SO_RCVLOWAT in bytes: a stream is readable when this many bytes are queued, or its end, or
    /// as many as its window allows. At least 1, and at most half of the receive buffer, or of what
    /// the buffer can grow to.
    ReceiveLowWater(usize),
    /// SO_PEEK_OFF: how many bytes of the queue a call with
    /// [`RecvFlags::PEEK`](crate::RecvFlags::PEEK) skips; a negative number, as the default of -1,
    /// switches that off. Each such call moves the offset behind what it has returned, and each
    /// other receive moves it back by what it has taken. So a program can look at its input piece
    /// by piece. A datagram that lies before the offset is skipped. Behind the end of a stream
    /// there is nothing yet (`WouldBlock`). Streams, UDP and Unix-domain sockets have the option;
    /// `NotSupported` on others.
    PeekOffset(i32),
    /// TCP_NOTSENT_LOWAT in bytes: `send` takes data only while fewer bytes than this are unsent,
    /// and the stream is writable while less than half of that is unsent. `usize::MAX`, the
    /// default, leaves only the limit of the send buffer. At least 1.
    UnsentLowWater(usize),
    /// TCP_USER_TIMEOUT (RFC 5482): how long data may stay unacknowledged, or wait for a closed
    /// window, counted from the first retransmission or probe. Then the connection ends with
    /// `TimedOut`. The option also limits how long keepalives may stay unanswered. With `None` or
    /// zero the numbers of retries apply.
    UserTimeout(Option<Duration>),
    /// TCP_CORK: only full segments are sent until the option is cleared, the stream is shut down,
    /// or the data has waited for one RTO, at least 200 ms. It takes precedence over TCP_NODELAY.
    Cork(bool),
    /// SO_OOBINLINE: urgent data is read in line, and [`Stack::at_mark`](crate::Stack::at_mark)
    /// tells when it is next (recommended by RFC 6093 §4). Otherwise its last byte is removed from
    /// the stream, for [`RecvFlags::OOB`](crate::RecvFlags::OOB).
    OobInline(bool),
    /// TCP_QUICKACK: whether the next segments are acknowledged at once. As on Linux this is not
    /// permanent: the stack continues to adapt. Accepted connections do not inherit it.
    QuickAck(bool),
    /// TCP_NODELAY: switches the Nagle algorithm off.
    NoDelay(bool),
    /// TCP_CONGESTION. It may be set on an open connection, which keeps its congestion window.
    Congestion(CongestionControl),
    /// TCP_FASTOPEN on a listener: SYNs with a cookie may carry data (RFC 7413), and at most this
    /// many connections that were opened so may wait for the end of their handshake, and at most
    /// [`TcpConfig::max_backlog`](crate::TcpConfig::max_backlog). 0, the default, switches it off.
    FastOpen(usize),
    /// SO_MAX_PACING_RATE in bytes a second: the limit of the sending rate, with bursts of at most
    /// a millisecond. `None` removes the limit, and the pacing, too, unless the algorithm or
    /// [`TcpConfig::pacing`](crate::TcpConfig::pacing) demands it.
    MaxPacingRate(Option<u64>),
    /// TCP_FASTOPEN_CONNECT: `connect` to a server whose cookie is known returns at once, and the
    /// first `send` goes out with the SYN. Otherwise the SYN asks for a cookie.
    FastOpenConnect(bool),
    /// TCP_FASTOPEN_NO_COOKIE: a SYN carries data even if no cookie of the server is known, and a
    /// listener takes data from clients without a cookie. For networks in which nobody forges
    /// addresses.
    FastOpenWithoutCookie(bool),
    /// TCP_FASTOPEN_KEY on a listener: the key of its cookies, instead of the stack's own key,
    /// which changes over time.
    FastOpenKey(FastOpenKey),
    /// TCP_DEFER_ACCEPT on a listener: a connection can be accepted when its first data has
    /// arrived, or without data after about this time. Zero, the default: at once.
    DeferAccept(Duration),
    /// TCP_MAXSEG in bytes, 88 to 32,767; to be set before the connection is opened. 0, the
    /// default: as the route allows.
    MaxSegment(u16),
    /// IP_TTL and IPV6_UNICAST_HOPS, 1 to 255.
    Ttl(u8),
    /// IP_TTL and IPV6_UNICAST_HOPS of -1: the configured TTL again.
    ResetTtl,
    /// IP_TOS and IPV6_TCLASS: the DSCP in the upper six bits. The lower two, the ECN field, are
    /// set on datagrams only: TCP sets them itself.
    Tos(u8),
    /// TCP_SYNCNT, 1 to 127: how often the SYN is repeated before `connect` fails; on a listener,
    /// how often the SYN-ACK is repeated. The defaults are
    /// [`TcpConfig::syn_retries`](crate::TcpConfig::syn_retries) and
    /// [`TcpConfig::syn_ack_retries`](crate::TcpConfig::syn_ack_retries).
    SynCount(u8),
    /// TCP_LINGER2: how long a connection that no descriptor holds waits in FIN-WAIT-2 for the
    /// peer's FIN: at most 2 minutes, and at least 3.5 times its RTO. Zero, the default, stands for
    /// [`TcpConfig::fin_wait_2`](crate::TcpConfig::fin_wait_2). `None`, a negative number in C,
    /// resets the connection instead.
    Linger2(Option<Duration>),
    /// IPV6_V6ONLY; to be set before `bind`.
    V6Only(bool),
    /// IP_RECVERR and IPV6_RECVERR, for both families of a socket. On datagrams every error about
    /// one of its packets is reported, soft ones and those of a socket that is not connected, too,
    /// and put into the error queue, for [`recv_error`](crate::Stack::recv_error). The queue shares
    /// the receive buffer. A stream has no error queue; with this option it reports ICMP errors at
    /// once, instead of keeping them as the reason in case it times out.
    ReceiveErrors(bool),
    /// IP_MTU_DISCOVER and IPV6_MTU_DISCOVER of datagrams. A stream always discovers its path MTU.
    MtuDiscover(MtuDiscover),
    /// IPV6_DONTFRAG: datagrams over IPv6 that do not fit the path MTU are refused
    /// (`MessageTooLong`).
    DontFragment(bool),
    /// IP_FREEBIND and IPV6_FREEBIND: `bind` accepts an address that the stack does not have yet.
    /// As on Linux nothing can be sent from it over IPv4 (`InvalidArgument`) until it has.
    FreeBind(bool),
    /// IP_BIND_ADDRESS_NO_PORT: `bind` with port 0 draws no port. That is left to `connect`, which
    /// for a stream needs a port that is free for its peer only, or to the first datagram.
    BindAddressNoPort(bool),
    /// IP_LOCAL_PORT_RANGE: the ports that are drawn for the socket, lowest and highest. 0 stands
    /// for the limit of [`Config::ephemeral_ports`](crate::Config::ephemeral_ports), and so does a
    /// number outside. `InvalidArgument` if the highest is below the lowest.
    LocalPortRange(u16, u16),
    /// IP_MINTTL: segments of a TCP connection over IPv4 with a lower TTL are dropped (RFC 5082).
    MinTtl(u8),
    /// IPV6_MINHOPCOUNT: the same over IPv6.
    MinHopCount(u8),
    /// IP_UNICAST_IF: datagrams to IPv4 hosts leave through this interface, as if each call had
    /// named it. `AddressNotAvailable` if there is none, `InvalidArgument` on a socket that is
    /// bound to a device.
    UnicastInterface(Option<InterfaceId>),
    /// IPV6_UNICAST_IF: the same for IPv6.
    UnicastInterfaceV6(Option<InterfaceId>),
    /// UDP_NO_CHECK6_TX: datagrams over IPv6 are sent without a checksum (RFC 6936).
    NoCheck6Tx(bool),
    /// UDP_NO_CHECK6_RX: datagrams without a checksum are accepted over IPv6.
    NoCheck6Rx(bool),
    /// TCP_WINDOW_CLAMP: the largest receive window that is offered, in bytes, whatever the size of
    /// the buffer; at least 1,152. A window that was offered before is not taken back. 0, the
    /// default, is no limit; as on Linux it is `InvalidArgument` once the stream is open.
    WindowClamp(u32),
    /// TCP_THIN_LINEAR_TIMEOUTS: while fewer than four segments are in flight, the first six
    /// time-outs of a segment do not double the RTO.
    ThinLinearTimeouts(bool),
    /// TCP_SAVE_SYN on a listener: connections that it accepts keep the headers of the SYN that
    /// opened them, until [`Stack::take_saved_syn`](crate::Stack::take_saved_syn). A connection
    /// that was opened with a SYN cookie has none.
    SaveSyn(bool),
    /// UDP_CORK: as if each call had [`SendFlags::MORE`](crate::SendFlags::MORE). When the option
    /// is cleared, the datagram is sent.
    UdpCork(bool),
    /// IP_MULTICAST_TTL: the TTL of packets to IPv4 groups. 1, the default, keeps them on the link,
    /// 0 on this host.
    MulticastTtl(u8),
    /// IP_MULTICAST_LOOP: whether members on this host get what the socket sends to IPv4 groups.
    /// The default is true.
    MulticastLoop(bool),
    /// IP_MULTICAST_ALL: whether a socket that is bound to no address also gets datagrams to IPv4
    /// groups that only other sockets of this host have joined. As on Linux the default is true for
    /// an IPv4 socket, and false for an IPv6 socket.
    MulticastAll(bool),
    /// IP_MULTICAST_IF: the interface that packets to IPv4 groups leave through. If it is named by
    /// an address, they also have that source. `AddressNotAvailable` if there is none.
    MulticastInterface(MulticastInterface),
    /// IPV6_MULTICAST_HOPS: the hop limit of packets to IPv6 groups.
    MulticastHopsV6(u8),
    /// IPV6_MULTICAST_LOOP: like [`MulticastLoop`](SocketOption::MulticastLoop), for all groups of
    /// both families that an IPv6 socket sends to. As on Linux the IPv4 option does not count
    /// there.
    MulticastLoopV6(bool),
    /// IPV6_MULTICAST_ALL: like [`MulticastAll`](SocketOption::MulticastAll). The default is true.
    MulticastAllV6(bool),
    /// IPV6_MULTICAST_IF: the interface that packets to IPv6 groups leave through. `NoDevice` if
    /// there is none.
    MulticastInterfaceV6(Option<InterfaceId>),
    /// UDP_SEGMENT: the data of one call is sent as datagrams of this many bytes, the last of which
    /// may be shorter; at most 128 of them (`InvalidArgument`). None may need fragmentation, not
    /// even a single one (`MessageTooLong`). A device that cuts runs gets all of it at once. 0, the
    /// default: each call sends one datagram, fragmented if necessary.
    UdpSegment(u16),
    /// SO_LOCK_FILTER: the filter ([`Stack::attach_filter`](crate::Stack::attach_filter)), or that
    /// there is none, cannot be changed any more. The option cannot be cleared (`NotPermitted`).
    LockFilter(bool),
    /// PACKET_ADD_MEMBERSHIP, of a packet socket. A membership that is added twice must be dropped
    /// twice. `NoDevice`, `InvalidArgument` for a MAC address that is missing or that the link does
    /// not have.
    PacketAddMembership(PacketMembership),
    /// PACKET_DROP_MEMBERSHIP. As on Linux this is no error if there is no such membership.
    PacketDropMembership(PacketMembership),
    /// PACKET_FANOUT: the packet socket joins a group, of which one member gets each frame. It
    /// leaves the group when it is closed. `InvalidArgument` for a socket that takes no frames, or
    /// if the group has other settings; `Already` for a member.
    PacketFanout(PacketFanout),
    /// PACKET_IGNORE_OUTGOING: the packet socket gets no copies of frames that this host sends.
    PacketIgnoreOutgoing(bool),
    /// UDP_GRO: datagrams of one sender that the device has joined are received together;
    /// [`DatagramMeta::segment_len`](crate::DatagramMeta::segment_len) is the length of each.
    UdpGro(bool),
    /// IP_HDRINCL and IPV6_HDRINCL on a raw socket, see
    /// [`RawOptions::header_included`](crate::RawOptions::header_included).
    HeaderIncluded(bool),
    /// IPV6_CHECKSUM on an IPv6 raw socket: the offset of the checksum in the data, an even number.
    /// The stack computes the checksum of what is sent, and drops what is received with a wrong
    /// one. `None`, -1 in C and the default, switches that off. On a socket of ICMPv6 it is always
    /// on and cannot be set.
    ChecksumOffset(Option<u16>),
    /// ICMP_FILTER or ICMP6_FILTER on a raw socket of ICMP or ICMPv6: the types of messages that it
    /// receives.
    IcmpFilter(IcmpFilter),
}

impl SocketOption {
    /// Whether the option changes with which sockets this one may share its port.
    pub(super) fn is_about_reuse(self) -> bool {
        matches!(self, SocketOption::ReuseAddr(_) | SocketOption::ReusePort(_))
    }
}

/// The options of a socket, grouped by level. The fields here are those of SOL_SOCKET.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    /// SO_REUSEADDR.
    pub reuse_addr: bool,
    /// SO_REUSEPORT.
    pub reuse_port: bool,
    /// SO_RCVBUF. A stream's buffer grows automatically unless the option was set.
    pub receive_buffer: usize,
    /// SO_SNDBUF. A stream's buffer grows automatically unless the option was set.
    pub send_buffer: usize,
    /// Whether SO_RCVBUF was never set.
    pub(crate) auto_receive_buffer: bool,
    /// Whether SO_SNDBUF was never set.
    pub(crate) auto_send_buffer: bool,
    /// SO_KEEPALIVE.
    pub keepalive: bool,
    /// SO_LINGER.
    pub linger: Option<Duration>,
    /// SO_BROADCAST.
    pub broadcast: bool,
    /// SO_BINDTODEVICE.
    pub device: Option<InterfaceId>,
    /// SO_DONTROUTE.
    pub dont_route: bool,
    /// SO_NO_CHECK.
    pub no_check: bool,
    /// The control data that the program asks for, a bit for each.
    control: u16,
    /// Whether an option has a say in the way of packets: the interface, or whether there is a way.
    pub(in crate::socket) chooses_way: bool,
    /// SO_RCVLOWAT.
    pub receive_low_water: usize,
    /// SO_PEEK_OFF as it is now.
    pub peek_offset: i32,
    /// SO_RCVTIMEO.
    pub receive_timeout: Option<Duration>,
    /// SO_SNDTIMEO.
    pub send_timeout: Option<Duration>,
    /// SO_PRIORITY.
    pub priority: u32,
    /// SO_MARK.
    pub mark: u32,
    /// SO_OOBINLINE.
    pub oob_inline: bool,
    /// SO_MAX_PACING_RATE, if set.
    pub max_pacing_rate: Option<u64>,
    /// SO_GET_FILTER: the filter, if there is one.
    pub filter: Option<Filter>,
    /// SO_LOCK_FILTER.
    pub is_filter_locked: bool,
    /// SO_ATTACH_REUSEPORT_CBPF: how this socket wants the sockets on its port to be chosen. Of
    /// several the first one that is bound decides, and after that the last call.
    pub port_selector: Option<Box<PortSelector>>,
    /// IPPROTO_IP and IPPROTO_IPV6.
    pub ip: IpOptions,
    /// IPPROTO_TCP.
    pub tcp: TcpOptions,
    /// IPPROTO_UDP.
    pub udp: UdpOptions,
    /// The options of a raw socket, and only of such a socket.
    pub raw: Option<Box<RawOptions>>,
    /// The options of multicast, once one was set.
    multicast: Option<Box<MulticastOptions>>,
    /// The part of the options that a connection uses.
    settings: CopyOnWrite<Settings>,
}

/// The smallest value for SO_RCVBUF and SO_SNDBUF: room for two full segments (close to Linux's
/// SOCK_MIN_RCVBUF and SOCK_MIN_SNDBUF).
const MIN_BUFFER: usize = 4096;

/// Half of Linux's SOCK_MIN_RCVBUF.
const MIN_WINDOW_CLAMP: u32 = 1152;

/// Linux's MAX_TCP_SYNCNT.
const MAX_SYN_COUNT: u8 = 127;
/// Linux's TCP_FIN_TIMEOUT_MAX.
const MAX_LINGER2: Duration = Duration::from_secs(120);

/// The priority of a type of service (Linux's rt_tos2priority): best effort, bulk, interactive, or
/// interactive bulk.
fn priority_of(tos: u8) -> u32 {
    [0, 2, 6, 4][usize::from(tos >> 3 & 3)]
}

impl SocketOptions {
    /// The initial options of a stream socket.
    pub(crate) fn for_streams(config: &Config) -> Self {
        let tcp = &config.tcp;
        SocketOptions::with_buffers(config, tcp.receive_buffer_bytes, tcp.send_buffer_bytes)
    }

    /// The initial options of a datagram socket.
    pub(crate) fn for_datagrams(config: &Config) -> Self {
        let udp = &config.udp;
        SocketOptions::with_buffers(config, udp.receive_buffer_bytes, udp.send_buffer_bytes)
    }

    fn with_buffers(config: &Config, receive_buffer: usize, send_buffer: usize) -> Self {
        let tcp = TcpOptions {
            keepalive_idle: config.tcp.keepalive_idle,
            keepalive_interval: config.tcp.keepalive_interval,
            keepalive_count: config.tcp.keepalive_probes,
            unsent_low_water: usize::MAX,
            user_timeout: None,
            cork: false,
            quick_ack: true,
            nodelay: false,
            congestion: config.tcp.congestion,
            defer_accept: Duration::ZERO,
            max_segment: None,
            syn_count: None,
            linger2: Some(config.tcp.fin_wait_2),
            window_clamp: 0,
            thin_linear_timeouts: false,
            save_syn: false,
            fast_open: FastOpenOptions { limit: 0, connect: false, without_cookie: false, key: None },
        };
        let mut options = SocketOptions {
            reuse_addr: false,
            reuse_port: false,
            receive_buffer,
            send_buffer,
            auto_receive_buffer: config.tcp.auto_tune_buffers,
            auto_send_buffer: config.tcp.auto_tune_buffers,
            keepalive: false,
            linger: None,
            broadcast: false,
            device: None,
            dont_route: false,
            no_check: false,
            control: 0,
            chooses_way: false,
            receive_low_water: 1,
            peek_offset: -1,
            receive_timeout: None,
            send_timeout: None,
            priority: 0,
            mark: 0,
            oob_inline: false,
            max_pacing_rate: None,
            filter: None,
            is_filter_locked: false,
            port_selector: None,
            ip: IpOptions {
                ttl: None,
                tos: 0,
                v6_only: false,
                receive_errors: false,
                mtu_discover: MtuDiscover::Want,
                dont_fragment: false,
                free_bind: false,
                bind_address_no_port: false,
                local_port_range: (0, 0),
                min_ttl: 0,
                min_hop_count: 0,
                unicast_interface: None,
                unicast_interface_v6: None,
            },
            tcp,
            udp: UdpOptions { segment: 0, gro: false, cork: false, no_check6_tx: false, no_check6_rx: false },
            raw: None,
            multicast: None,
            settings: Settings::default().into(),
        };
        *options.settings = options.to_settings();
        options
    }

    /// Sets an option. EINVAL for a value out of range; but buffer sizes are adjusted to their
    /// range, as in Linux. ENOPROTOOPT for an option of raw sockets on another socket.
    pub(crate) fn set(&mut self, config: &Config, option: SocketOption) -> Result<()> {
        let buffer = |size: usize| size.clamp(MIN_BUFFER, config.tcp.max_buffer_bytes.max(MIN_BUFFER));
        let check = |ok: bool| if ok { Ok(()) } else { Err(Error::InvalidArgument) };
        match option {
            SocketOption::ReuseAddr(on) => self.reuse_addr = on,
            SocketOption::ReusePort(on) => self.reuse_port = on,
            SocketOption::ReceiveBuffer(size) => {
                self.receive_buffer = buffer(size);
                self.auto_receive_buffer = false;
            }
            SocketOption::SendBuffer(size) => {
                self.send_buffer = buffer(size);
                self.auto_send_buffer = false;
            }
            SocketOption::KeepAlive(on) => self.keepalive = on,
            SocketOption::KeepIdle(idle) => {
                check(!idle.is_zero())?;
                self.tcp.keepalive_idle = idle;
            }
            SocketOption::KeepInterval(interval) => {
                check(!interval.is_zero())?;
                self.tcp.keepalive_interval = interval;
            }
            SocketOption::KeepCount(count) => {
                check(count > 0)?;
                self.tcp.keepalive_count = count;
            }
            SocketOption::Linger(time) => self.linger = time,
            SocketOption::Broadcast(on) => self.broadcast = on,
            SocketOption::BindToDevice(device) => self.device = device,
            SocketOption::DontRoute(on) => self.dont_route = on,
            SocketOption::NoCheck(on) => self.no_check = on,
            SocketOption::LockReceiveBuffer(on) => self.auto_receive_buffer = !on,
            SocketOption::LockSendBuffer(on) => self.auto_send_buffer = !on,
            SocketOption::AskFor(data, on) => self.ask_for(data, on),
            SocketOption::ReceiveTimeout(time) => self.receive_timeout = time,
            SocketOption::SendTimeout(time) => self.send_timeout = time,
            SocketOption::Priority(priority) => self.priority = priority,
            SocketOption::Mark(mark) => self.mark = mark,
            // The state of a Unix-domain socket holds it.
            SocketOption::PassCredentials(_) => return Err(Error::NotSupported),
            SocketOption::ReceiveLowWater(bytes) => {
                let most =
                    if self.auto_receive_buffer { config.tcp.max_buffer_bytes } else { self.receive_buffer };
                self.receive_low_water = bytes.clamp(1, (most / 2).max(1));
            }
            SocketOption::PeekOffset(offset) => self.peek_offset = offset,
            SocketOption::UnsentLowWater(bytes) => {
                check(bytes > 0)?;
                self.tcp.unsent_low_water = bytes;
            }
            SocketOption::UserTimeout(limit) => {
                self.tcp.user_timeout = limit.filter(|limit| !limit.is_zero())
            }
            SocketOption::Cork(on) => self.tcp.cork = on,
            SocketOption::OobInline(on) => self.oob_inline = on,
            // This option belongs to the connection, if there is one.
            SocketOption::QuickAck(_) => {}
            SocketOption::NoDelay(on) => self.tcp.nodelay = on,
            SocketOption::Congestion(kind) => self.tcp.congestion = kind,
            SocketOption::FastOpen(limit) => {
                self.tcp.fast_open.limit = limit.min(config.tcp.max_backlog);
            }
            SocketOption::MaxPacingRate(rate) => {
                check(rate != Some(0))?;
                self.max_pacing_rate = rate;
            }
            SocketOption::FastOpenConnect(on) => self.tcp.fast_open.connect = on,
            SocketOption::FastOpenWithoutCookie(on) => self.tcp.fast_open.without_cookie = on,
            SocketOption::FastOpenKey(key) => self.tcp.fast_open.key = Some(Box::new(key)),
            SocketOption::DeferAccept(delay) => self.tcp.defer_accept = delay,
            SocketOption::MaxSegment(mss) => {
                check(mss == 0 || (88..=32767).contains(&mss))?;
                self.tcp.max_segment = Some(mss).filter(|&mss| mss > 0);
            }
            SocketOption::Ttl(ttl) => {
                check(ttl > 0)?;
                self.ip.ttl = Some(ttl);
            }
            SocketOption::ResetTtl => self.ip.ttl = None,
            SocketOption::Tos(tos) => {
                self.ip.tos = tos;
                self.priority = priority_of(tos);
            }
            SocketOption::SynCount(count) => {
                check((1..=MAX_SYN_COUNT).contains(&count))?;
                self.tcp.syn_count = Some(count);
            }
            SocketOption::Linger2(time) => {
                let or_default = |time: Duration| if time.is_zero() { config.tcp.fin_wait_2 } else { time };
                self.tcp.linger2 = time.map(|time| or_default(time.min(MAX_LINGER2)));
            }
            SocketOption::V6Only(on) => self.ip.v6_only = on,
            SocketOption::ReceiveErrors(on) => self.ip.receive_errors = on,
            SocketOption::MtuDiscover(mode) => self.ip.mtu_discover = mode,
            SocketOption::DontFragment(on) => self.ip.dont_fragment = on,
            SocketOption::FreeBind(on) => self.ip.free_bind = on,
            SocketOption::BindAddressNoPort(on) => self.ip.bind_address_no_port = on,
            SocketOption::LocalPortRange(low, high) => {
                check(low == 0 || high == 0 || low <= high)?;
                self.ip.local_port_range = (low, high);
            }
            SocketOption::MinTtl(ttl) => self.ip.min_ttl = ttl,
            SocketOption::MinHopCount(hops) => self.ip.min_hop_count = hops,
            SocketOption::UnicastInterface(iface) => {
                check(iface.is_none() || self.device.is_none())?;
                self.ip.unicast_interface = iface;
            }
            SocketOption::UnicastInterfaceV6(iface) => {
                check(iface.is_none() || self.device.is_none())?;
                self.ip.unicast_interface_v6 = iface;
            }
            SocketOption::NoCheck6Tx(on) => self.udp.no_check6_tx = on,
            SocketOption::NoCheck6Rx(on) => self.udp.no_check6_rx = on,
            SocketOption::WindowClamp(0) => self.tcp.window_clamp = 0,
            SocketOption::WindowClamp(bytes) => self.tcp.window_clamp = bytes.max(MIN_WINDOW_CLAMP),
            SocketOption::ThinLinearTimeouts(on) => self.tcp.thin_linear_timeouts = on,
            SocketOption::SaveSyn(on) => self.tcp.save_syn = on,
            SocketOption::UdpCork(on) => self.udp.cork = on,
            SocketOption::MulticastTtl(_)
            | SocketOption::MulticastLoop(_)
            | SocketOption::MulticastAll(_)
            | SocketOption::MulticastInterface(_)
            | SocketOption::MulticastHopsV6(_)
            | SocketOption::MulticastLoopV6(_)
            | SocketOption::MulticastAllV6(_)
            | SocketOption::MulticastInterfaceV6(_) => self.multicast_mut().set(option),
            SocketOption::UdpSegment(len) => self.udp.segment = len,
            SocketOption::UdpGro(on) => self.udp.gro = on,
            SocketOption::HeaderIncluded(on) => self.raw_options()?.header_included = on,
            SocketOption::ChecksumOffset(at) => {
                // RFC 3542 §3.1 (RFC3542-3.1-d): the offset is even.
                check(at.is_none_or(|at| at % 2 == 0))?;
                self.raw_options()?.checksum_at = at;
            }
            SocketOption::IcmpFilter(filter) => self.raw_options()?.icmp_filter = filter,
            SocketOption::LockFilter(false) if self.is_filter_locked => return Err(Error::NotPermitted),
            SocketOption::LockFilter(on) => self.is_filter_locked = on,
            SocketOption::PacketAddMembership(_)
            | SocketOption::PacketDropMembership(_)
            | SocketOption::PacketFanout(_)
            | SocketOption::PacketIgnoreOutgoing(_) => return Err(Error::ProtocolNotAvailable),
        }
        self.renew_way();
        let settings = self.to_settings();
        if *self.settings != settings {
            *self.settings = settings;
        }
        Ok(())
    }

    fn renew_way(&mut self) {
        self.chooses_way = self.device.is_some()
            || self.dont_route
            || self.ip.free_bind
            || self.ip.unicast_interface.is_some()
            || self.ip.unicast_interface_v6.is_some();
    }

    /// The options of a connection or flow with this scope: those of the socket that accepts it,
    /// which it shares until they differ. In another zone than zone 0 it is bound to its interface.
    #[inline]
    pub(in crate::socket) fn inherited(
        parent: &CopyOnWrite<Self>,
        network: &Network,
        scope: u16,
    ) -> CopyOnWrite<Self> {
        let mut options = parent.clone();
        if scope != 0
            && let Some(iface) = network.apart_interface(scope)
        {
            options.device = Some(iface);
            options.renew_way();
        }
        options
    }

    /// Whether the program has asked for this control data.
    pub fn asks_for(&self, data: ControlData) -> bool {
        self.control & data.bit() != 0
    }

    fn ask_for(&mut self, data: ControlData, on: bool) {
        self.control = self.control & !data.bit() | if on { data.bit() } else { 0 };
    }

    /// The options of a raw socket. ENOPROTOOPT for another socket.
    fn raw_options(&mut self) -> Result<&mut RawOptions> {
        self.raw.as_deref_mut().ok_or(Error::ProtocolNotAvailable)
    }

    /// IPPROTO_IP and IPPROTO_IPV6: the options of multicast.
    pub fn multicast(&self) -> MulticastOptions {
        self.multicast.as_deref().copied().unwrap_or(MulticastOptions::DEFAULT)
    }

    /// The options of multicast, to be changed.
    pub(in crate::socket) fn multicast_mut(&mut self) -> &mut MulticastOptions {
        self.multicast.get_or_insert_with(|| Box::new(MulticastOptions::DEFAULT))
    }

    /// The fields for packets that are not to a group.
    pub(super) fn ip_fields(&self) -> IpFields {
        let (tos, mtu_discover) = (self.ip.tos, self.ip.mtu_discover);
        IpFields { ttl: self.ip.ttl, tos, mtu_discover, is_looped: true, is_unchecked: false }
    }

    /// The fields for packets to this address, which may be a group.
    #[inline]
    pub(super) fn ip_fields_to(&self, dst: IpAddr, domain: Domain) -> IpFields {
        let fields = if dst.is_multicast() { self.ip_fields_to_group(dst, domain) } else { self.ip_fields() };
        let is_unchecked = if dst.is_ipv4() { self.no_check } else { self.udp.no_check6_tx };
        IpFields { is_unchecked, ..fields }
    }

    #[cold]
    fn ip_fields_to_group(&self, dst: IpAddr, domain: Domain) -> IpFields {
        let options = self.multicast();
        let ttl = if dst.is_ipv4() { options.ttl } else { options.hops_v6 };
        let is_looped = if domain == Domain::V4 { options.loops } else { options.loops_v6 };
        IpFields { ttl: Some(ttl), is_looped, ..self.ip_fields() }
    }

    /// With which sockets this one may share its port.
    pub(crate) fn reuse(&self) -> Reuse {
        Reuse::new(self.reuse_addr, self.reuse_port)
    }

    /// The part of the options that a connection uses.
    pub(crate) fn tcp_settings(&self) -> CopyOnWrite<Settings> {
        self.settings.clone()
    }

    fn to_settings(&self) -> Settings {
        Settings {
            receive_buffer_bytes: self.receive_buffer,
            send_buffer_bytes: self.send_buffer,
            auto_receive_buffer: self.auto_receive_buffer,
            auto_send_buffer: self.auto_send_buffer,
            receive_low_water: self.receive_low_water,
            unsent_low_water: self.tcp.unsent_low_water,
            user_timeout: self.tcp.user_timeout,
            cork: self.tcp.cork,
            oob_inline: self.oob_inline,
            nodelay: self.tcp.nodelay,
            congestion: self.tcp.congestion,
            max_pacing_rate: self.max_pacing_rate,
            keepalive: self.keepalive,
            keepalive_idle: self.tcp.keepalive_idle,
            keepalive_interval: self.tcp.keepalive_interval,
            keepalive_probes: self.tcp.keepalive_count,
            window_clamp: self.tcp.window_clamp,
            thin_linear_timeouts: self.tcp.thin_linear_timeouts,
            syn_retries: self.tcp.syn_count,
            fin_wait_2: self.tcp.linger2,
            reports_soft_errors: self.ip.receive_errors,
        }
    }
}
