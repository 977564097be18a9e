//! Socket options, under their Berkeley names.

use alloc::boxed::Box;
use core::time::Duration;

use super::kind::SocketKind;
use crate::config::Config;
use crate::config::CongestionControl;
use crate::copy_on_write::CopyOnWrite;
use crate::error::{Error, Result};
use crate::ports::Reuse;
use crate::tcp::{FastOpenKey, Settings};

/// One option, to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketOption {
    /// SO_REUSEADDR: bind although connections of an earlier listener still use the port.
    ReuseAddr(bool),
    /// SO_REUSEPORT: several sockets share an address and port; each flow sticks to one of them.
    ReusePort(bool),
    /// SO_RCVBUF in bytes (not doubled, unlike Linux). A stream's does not grow by itself any more then.
    ReceiveBuffer(usize),
    /// SO_SNDBUF in bytes (not doubled, unlike Linux). A stream's does not grow by itself any more then.
    SendBuffer(usize),
    /// SO_KEEPALIVE.
    KeepAlive(bool),
    /// TCP_KEEPIDLE.
    KeepIdle(Duration),
    /// TCP_KEEPINTVL.
    KeepInterval(Duration),
    /// TCP_KEEPCNT.
    KeepCount(u8),
    /// SO_LINGER: zero makes `close` a reset; a longer time matters to blocking callers only, as `close` here never
    /// waits.
    Linger(Option<Duration>),
    /// SO_BROADCAST.
    Broadcast(bool),
    /// SO_RCVLOWAT in bytes: a stream is readable once this many wait, or its end, or as many as its window lets come. At
    /// least 1 and at most half of what the receive buffer is, or can grow to.
    ReceiveLowWater(usize),
    /// TCP_NOTSENT_LOWAT in bytes: `send` takes no more than this beyond what is sent, and the stream is writable while less
    /// than half of it waits. `usize::MAX`, the default, is no limit but the send buffer. At least 1.
    UnsentLowWater(usize),
    /// TCP_USER_TIMEOUT (RFC 5482): how long data may stay unacknowledged, or wait before a closed window, counted from the
    /// first retransmission or probe; the connection then ends as timed out. It also bounds how long keepalives may stay
    /// unanswered. `None`, or zero: the numbers of retries decide.
    UserTimeout(Option<Duration>),
    /// TCP_CORK: only full segments are sent until it is taken off, the stream is ended, or what waits has waited for one
    /// RTO, at least 200 ms. It outdoes TCP_NODELAY.
    Cork(bool),
    /// SO_OOBINLINE: urgent data is read as the rest, and [`Stack::at_mark`](crate::Stack::at_mark) tells when it is next
    /// (RFC 6093 §4 advises it). Otherwise its last byte is taken out of the stream, for
    /// [`Stack::recv_oob`](crate::Stack::recv_oob).
    OobInline(bool),
    /// TCP_QUICKACK: acknowledge at once for a while, or from now on late. As on Linux it does not stay: the stack goes on
    /// adapting, and it is not inherited.
    QuickAck(bool),
    /// TCP_NODELAY: no Nagle.
    NoDelay(bool),
    /// TCP_CONGESTION: also in the middle of a connection, which keeps its window.
    Congestion(CongestionControl),
    /// TCP_FASTOPEN on a listener: SYNs with a cookie may carry data (RFC 7413), and so many connections that began so may
    /// wait for their handshake to end. 0, as from the start: none.
    FastOpen(usize),
    /// SO_MAX_PACING_RATE in bytes a second: data goes out at no more than this, and never in bursts of more than a
    /// millisecond. `None` takes the limit away, and with it the pacing, unless the algorithm or
    /// [`TcpConfig::pacing`](crate::TcpConfig::pacing) asks for it.
    MaxPacingRate(Option<u64>),
    /// TCP_FASTOPEN_CONNECT: `connect` to a server whose cookie is known returns at once, and the first `send` goes with the
    /// SYN; otherwise the SYN asks for a cookie.
    FastOpenConnect(bool),
    /// TCP_FASTOPEN_NO_COOKIE: the SYN carries data although no cookie of the server is known; a listener takes data from clients
    /// without a cookie. For networks in which nobody forges addresses.
    FastOpenWithoutCookie(bool),
    /// TCP_FASTOPEN_KEY on a listener: cookies are made with this, and not with a key of the stack's own that changes
    /// with time.
    FastOpenKey(FastOpenKey),
    /// TCP_DEFER_ACCEPT on a listener: a connection is there to be accepted when its first data is; without data after about
    /// this time. Zero, as from the start: at once.
    DeferAccept(Duration),
    /// TCP_MAXSEG in bytes, 88 to 32,767, before the connection is opened.
    MaxSegment(u16),
    /// IP_TTL and IPV6_UNICAST_HOPS, 1 to 255.
    Ttl(u8),
    /// IP_TOS and IPV6_TCLASS: the DSCP in the upper six bits. Datagrams carry the lower two, the ECN field, as well; TCP keeps
    /// those for itself, and they are not set on a stream.
    Tos(u8),
    /// TCP_SYNCNT, 1 to 127: how often the SYN is repeated before `connect` gives up; on a listener, the SYN-ACK. As from the
    /// start: [`TcpConfig::syn_retries`](crate::TcpConfig::syn_retries) and
    /// [`TcpConfig::syn_ack_retries`](crate::TcpConfig::syn_ack_retries).
    SynCount(u8),
    /// TCP_LINGER2: how long a connection that no descriptor holds waits in FIN-WAIT-2 for the peer's FIN, at most 2 minutes, and
    /// at least 3.5 times its RTO. Zero: [`TcpConfig::fin_wait_2`](crate::TcpConfig::fin_wait_2), as from the start. `None`, a
    /// negative number in C: not at all, the connection is reset.
    Linger2(Option<Duration>),
    /// IPV6_V6ONLY, before `bind`.
    V6Only(bool),
    /// UDP_SEGMENT: what one call sends goes out as datagrams of this many bytes, the last with what is left; at most 128
    /// of them, each small enough not to be fragmented. A device that cuts runs is handed all of it at once. 0, as from
    /// the start: each call sends one datagram.
    UdpSegment(u16),
    /// UDP_GRO: datagrams of one sender that the device has joined are received together;
    /// [`DatagramMeta::segment_len`](crate::DatagramMeta::segment_len) says how long each is.
    UdpGro(bool),
}

impl SocketOption {
    /// Whether it says with whom the socket shares its port.
    pub(super) fn is_about_reuse(self) -> bool {
        matches!(self, SocketOption::ReuseAddr(_) | SocketOption::ReusePort(_))
    }
}

/// All options of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    /// SO_REUSEADDR.
    pub reuse_addr: bool,
    /// SO_REUSEPORT.
    pub reuse_port: bool,
    /// SO_RCVBUF. A stream's grows with what it is used for, unless it was set.
    pub receive_buffer: usize,
    /// SO_SNDBUF. A stream's grows with what it is used for, unless it was set.
    pub send_buffer: usize,
    /// Nobody has set SO_RCVBUF.
    pub(crate) auto_receive_buffer: bool,
    /// Nobody has set SO_SNDBUF.
    pub(crate) auto_send_buffer: bool,
    /// SO_KEEPALIVE.
    pub keepalive: bool,
    /// TCP_KEEPIDLE.
    pub keepalive_idle: Duration,
    /// TCP_KEEPINTVL.
    pub keepalive_interval: Duration,
    /// TCP_KEEPCNT.
    pub keepalive_count: u8,
    /// SO_LINGER.
    pub linger: Option<Duration>,
    /// SO_BROADCAST.
    pub broadcast: bool,
    /// SO_RCVLOWAT.
    pub receive_low_water: usize,
    /// TCP_NOTSENT_LOWAT.
    pub unsent_low_water: usize,
    /// TCP_USER_TIMEOUT, if set.
    pub user_timeout: Option<Duration>,
    /// TCP_CORK.
    pub cork: bool,
    /// SO_OOBINLINE.
    pub oob_inline: bool,
    /// TCP_QUICKACK: whether the next segment will be acknowledged at once.
    pub quick_ack: bool,
    /// TCP_NODELAY.
    pub nodelay: bool,
    /// TCP_CONGESTION.
    pub congestion: CongestionControl,
    /// TCP_FASTOPEN: connections that may be opened fast at once.
    pub fast_open: usize,
    /// SO_MAX_PACING_RATE, if set.
    pub max_pacing_rate: Option<u64>,
    /// TCP_FASTOPEN_CONNECT.
    pub fast_open_connect: bool,
    /// TCP_FASTOPEN_NO_COOKIE.
    pub fast_open_without_cookie: bool,
    /// TCP_FASTOPEN_KEY, if set.
    pub fast_open_key: Option<Box<FastOpenKey>>,
    /// TCP_DEFER_ACCEPT.
    pub defer_accept: Duration,
    /// TCP_MAXSEG, if set.
    pub max_segment: Option<u16>,
    /// IP_TTL, if set.
    pub ttl: Option<u8>,
    /// IP_TOS and IPV6_TCLASS.
    pub tos: u8,
    /// TCP_SYNCNT, if set.
    pub syn_count: Option<u8>,
    /// TCP_LINGER2; `None` if a connection does not wait in FIN-WAIT-2.
    pub linger2: Option<Duration>,
    /// IPV6_V6ONLY.
    pub v6_only: bool,
    /// UDP_SEGMENT; 0 if it is off.
    pub udp_segment: u16,
    /// UDP_GRO.
    pub udp_gro: bool,
    /// What a connection wants to know of all this.
    tcp: CopyOnWrite<Settings>,
}

/// The smallest buffer that SO_RCVBUF and SO_SNDBUF give: one full segment and its neighbour (Linux's SOCK_MIN_RCVBUF
/// and SOCK_MIN_SNDBUF are near it).
const MIN_BUFFER: usize = 4096;

/// Linux's MAX_TCP_SYNCNT.
const MAX_SYN_COUNT: u8 = 127;
/// Linux's TCP_FIN_TIMEOUT_MAX.
const MAX_LINGER2: Duration = Duration::from_secs(120);

/// What a socket sets of the IP headers of its packets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IpFields {
    /// Config's, if none.
    pub(super) ttl: Option<u8>,
    /// TOS or traffic class.
    pub(super) tos: u8,
}

impl SocketOptions {
    pub(crate) fn new(config: &Config, kind: SocketKind) -> Self {
        let (receive_buffer, send_buffer) = match kind {
            SocketKind::Stream => (config.tcp.receive_buffer_bytes, config.tcp.send_buffer_bytes),
            SocketKind::Datagram | SocketKind::Echo => {
                (config.udp.receive_buffer_bytes, config.udp.send_buffer_bytes)
            }
        };
        let tcp = Settings {
            receive_buffer_bytes: receive_buffer,
            send_buffer_bytes: send_buffer,
            auto_receive_buffer: config.tcp.auto_tune_buffers,
            auto_send_buffer: config.tcp.auto_tune_buffers,
            receive_low_water: 1,
            unsent_low_water: usize::MAX,
            user_timeout: None,
            cork: false,
            oob_inline: false,
            nodelay: false,
            congestion: config.tcp.congestion,
            max_pacing_rate: None,
            keepalive: false,
            keepalive_idle: config.tcp.keepalive_idle,
            keepalive_interval: config.tcp.keepalive_interval,
            keepalive_probes: config.tcp.keepalive_probes,
            syn_retries: None,
            fin_wait_2: Some(config.tcp.fin_wait_2),
        };
        SocketOptions {
            reuse_addr: false,
            reuse_port: false,
            receive_buffer,
            send_buffer,
            auto_receive_buffer: tcp.auto_receive_buffer,
            auto_send_buffer: tcp.auto_send_buffer,
            keepalive: tcp.keepalive,
            keepalive_idle: tcp.keepalive_idle,
            keepalive_interval: tcp.keepalive_interval,
            keepalive_count: tcp.keepalive_probes,
            linger: None,
            broadcast: false,
            receive_low_water: tcp.receive_low_water,
            unsent_low_water: tcp.unsent_low_water,
            user_timeout: tcp.user_timeout,
            cork: tcp.cork,
            oob_inline: tcp.oob_inline,
            quick_ack: true,
            nodelay: tcp.nodelay,
            congestion: tcp.congestion,
            fast_open: 0,
            max_pacing_rate: tcp.max_pacing_rate,
            fast_open_connect: false,
            fast_open_without_cookie: false,
            fast_open_key: None,
            defer_accept: Duration::ZERO,
            max_segment: None,
            ttl: None,
            tos: 0,
            syn_count: tcp.syn_retries,
            linger2: tcp.fin_wait_2,
            v6_only: false,
            udp_segment: 0,
            udp_gro: false,
            tcp: tcp.into(),
        }
    }

    /// Sets one. EINVAL for a value out of its range; buffer sizes are moved into theirs, as Linux does.
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
                self.keepalive_idle = idle;
            }
            SocketOption::KeepInterval(interval) => {
                check(!interval.is_zero())?;
                self.keepalive_interval = interval;
            }
            SocketOption::KeepCount(count) => {
                check(count > 0)?;
                self.keepalive_count = count;
            }
            SocketOption::Linger(time) => self.linger = time,
            SocketOption::Broadcast(on) => self.broadcast = on,
            SocketOption::ReceiveLowWater(bytes) => {
                let most =
                    if self.auto_receive_buffer { config.tcp.max_buffer_bytes } else { self.receive_buffer };
                self.receive_low_water = bytes.clamp(1, (most / 2).max(1));
            }
            SocketOption::UnsentLowWater(bytes) => {
                check(bytes > 0)?;
                self.unsent_low_water = bytes;
            }
            SocketOption::UserTimeout(limit) => self.user_timeout = limit.filter(|limit| !limit.is_zero()),
            SocketOption::Cork(on) => self.cork = on,
            SocketOption::OobInline(on) => self.oob_inline = on,
            // Of the connection, if there is one.
            SocketOption::QuickAck(_) => {}
            SocketOption::NoDelay(on) => self.nodelay = on,
            SocketOption::Congestion(kind) => self.congestion = kind,
            SocketOption::FastOpen(limit) => self.fast_open = limit,
            SocketOption::MaxPacingRate(rate) => {
                check(rate != Some(0))?;
                self.max_pacing_rate = rate;
            }
            SocketOption::FastOpenConnect(on) => self.fast_open_connect = on,
            SocketOption::FastOpenWithoutCookie(on) => self.fast_open_without_cookie = on,
            SocketOption::FastOpenKey(key) => self.fast_open_key = Some(Box::new(key)),
            SocketOption::DeferAccept(delay) => self.defer_accept = delay,
            SocketOption::MaxSegment(mss) => {
                check((88..=32767).contains(&mss))?;
                self.max_segment = Some(mss);
            }
            SocketOption::Ttl(ttl) => {
                check(ttl > 0)?;
                self.ttl = Some(ttl);
            }
            SocketOption::Tos(tos) => self.tos = tos,
            SocketOption::SynCount(count) => {
                check((1..=MAX_SYN_COUNT).contains(&count))?;
                self.syn_count = Some(count);
            }
            SocketOption::Linger2(time) => {
                let or_default = |time: Duration| if time.is_zero() { config.tcp.fin_wait_2 } else { time };
                self.linger2 = time.map(|time| or_default(time.min(MAX_LINGER2)));
            }
            SocketOption::V6Only(on) => self.v6_only = on,
            SocketOption::UdpSegment(len) => self.udp_segment = len,
            SocketOption::UdpGro(on) => self.udp_gro = on,
        }
        let settings = self.to_settings();
        if *self.tcp != settings {
            *self.tcp = settings;
        }
        Ok(())
    }

    pub(super) fn ip_fields(&self) -> IpFields {
        IpFields { ttl: self.ttl, tos: self.tos }
    }

    /// With whom the socket shares its port.
    pub(crate) fn reuse(&self) -> Reuse {
        Reuse::new(self.reuse_addr, self.reuse_port)
    }

    /// What of it a connection wants to know.
    pub(crate) fn tcp_settings(&self) -> CopyOnWrite<Settings> {
        self.tcp.clone()
    }

    fn to_settings(&self) -> Settings {
        Settings {
            receive_buffer_bytes: self.receive_buffer,
            send_buffer_bytes: self.send_buffer,
            auto_receive_buffer: self.auto_receive_buffer,
            auto_send_buffer: self.auto_send_buffer,
            receive_low_water: self.receive_low_water,
            unsent_low_water: self.unsent_low_water,
            user_timeout: self.user_timeout,
            cork: self.cork,
            oob_inline: self.oob_inline,
            nodelay: self.nodelay,
            congestion: self.congestion,
            max_pacing_rate: self.max_pacing_rate,
            keepalive: self.keepalive,
            keepalive_idle: self.keepalive_idle,
            keepalive_interval: self.keepalive_interval,
            keepalive_probes: self.keepalive_count,
            syn_retries: self.syn_count,
            fin_wait_2: self.linger2,
        }
    }
}
