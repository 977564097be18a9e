//! The kernel's sockets as sockets of a host under test.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use portolan::{
    CongestionControl, Domain, Instant, MtuDiscover, Readiness, Shutdown, SocketKind, SocketOption,
};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, ipproto,
};
use rustix::net::{
    accept_with, bind, connect, getpeername, getsockname, listen, recv, send, sendmsg, sendmsg_addr, sendto,
    shutdown, socket_with,
};

use super::{LinuxHost, messages};
use crate::by_family;
use crate::host::{CallResult, Found, Host, Message};

/// This is not in `libc` yet. Accepted connections inherit it from their listener.
const TCP_DELACK_MAX_US: i32 = 46;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

impl Host for LinuxHost {
    type Descriptor = RawFd;

    const REAL_TIME: bool = true;

    fn now(&self) -> Instant {
        self.time()
    }

    fn wait(&mut self, end: Instant) {
        self.wait_until(end);
    }

    fn take_sent(&mut self) -> Vec<(Instant, Vec<u8>)> {
        std::mem::take(&mut self.sent)
    }

    fn send_packet(&mut self, packet: &[u8]) {
        self.write_packet(packet);
    }

    fn socket_of(&mut self, domain: Domain, kind: SocketKind) -> CallResult<RawFd> {
        let family = by_family(domain, AddressFamily::INET, AddressFamily::INET6);
        let (socket_type, protocol) = match kind {
            SocketKind::Stream => (SocketType::STREAM, None),
            SocketKind::Datagram => (SocketType::DGRAM, None),
            SocketKind::Echo => (SocketType::DGRAM, Some(by_family(domain, ipproto::ICMP, ipproto::ICMPV6))),
            _ => return Err("EPROTONOSUPPORT"),
        };
        if kind == SocketKind::Echo {
            named(pass_named_identifiers())?;
        }
        let socket = named(socket_with(family, socket_type, FLAGS, protocol))?;
        if kind != SocketKind::Stream {
            named(messages::ask_for_control(socket.as_raw_fd(), domain))?;
        } else if let Some(time) = self.delayed_ack {
            named(set_delayed_ack(socket.as_raw_fd(), time))?;
        }
        Ok(self.keep(socket))
    }

    fn bind(&mut self, d: RawFd, addr: SocketAddr) -> CallResult<()> {
        self.after(d, |socket| bind(socket, &addr))
    }

    fn local_addr(&mut self, d: RawFd) -> CallResult<SocketAddr> {
        let addr = self.after(d, |socket| getsockname(socket))?;
        SocketAddr::try_from(addr).map_err(|_| "EAFNOSUPPORT")
    }

    fn peer_addr(&mut self, d: RawFd) -> CallResult<SocketAddr> {
        let addr = self.after(d, |socket| getpeername(socket))?;
        SocketAddr::try_from(addr.ok_or("ENOTCONN")?).map_err(|_| "EAFNOSUPPORT")
    }

    fn listen(&mut self, d: RawFd, backlog: usize) -> CallResult<()> {
        self.after(d, |socket| listen(socket, backlog as i32))
    }

    fn accept(&mut self, d: RawFd) -> CallResult<RawFd> {
        let socket = self.after(d, |socket| accept_with(socket, FLAGS))?;
        Ok(self.keep(socket))
    }

    fn connect(&mut self, d: RawFd, addr: SocketAddr) -> CallResult<()> {
        self.after(d, |socket| connect(socket, &addr))
    }

    fn disconnect(&mut self, d: RawFd) -> CallResult<()> {
        self.after(d, messages::disconnect)
    }

    fn connect_with_data(&mut self, d: RawFd, addr: SocketAddr, data: &[u8]) -> CallResult<usize> {
        let flags = SendFlags::NOSIGNAL | SendFlags::from_bits_retain(libc::MSG_FASTOPEN as u32);
        self.after(d, |socket| sendto(socket, data, flags, &addr))
    }

    fn send_with(&mut self, d: RawFd, data: &[u8], flags: portolan::SendFlags) -> CallResult<usize> {
        let flags = SendFlags::NOSIGNAL | SendFlags::from_bits_retain(flags.bits());
        self.after(d, |socket| send(socket, data, flags))
    }

    fn recv(&mut self, d: RawFd, buf: &mut [u8]) -> CallResult<usize> {
        self.after(d, |socket| recv(socket, buf, RecvFlags::empty()).map(|(len, _)| len))
    }

    fn send_message(
        &mut self,
        d: RawFd,
        data: &[&[u8]],
        to: Option<SocketAddr>,
        flags: portolan::SendFlags,
    ) -> CallResult<usize> {
        let slices: Vec<IoSlice<'_>> = data.iter().map(|slice| IoSlice::new(slice)).collect();
        let flags = SendFlags::NOSIGNAL | SendFlags::from_bits_retain(flags.bits());
        let mut control = SendAncillaryBuffer::default();
        self.after(d, |socket| match to {
            Some(to) => sendmsg_addr(socket, &to, &slices, &mut control, flags),
            None => sendmsg(socket, &slices, &mut control, flags),
        })
    }

    fn recv_message(&mut self, d: RawFd, lens: &[usize], flags: portolan::RecvFlags) -> CallResult<Message> {
        self.after(d, |socket| messages::receive(socket, lens, flags))
    }

    fn shutdown(&mut self, d: RawFd, how: Shutdown) -> CallResult<()> {
        let how = match how {
            Shutdown::Read => rustix::net::Shutdown::Read,
            Shutdown::Write => rustix::net::Shutdown::Write,
            Shutdown::Both => rustix::net::Shutdown::Both,
        };
        self.after(d, |socket| shutdown(socket, how))
    }

    fn close(&mut self, d: RawFd) -> CallResult<()> {
        let at = self.time();
        let closed = self.sockets.remove(&d).ok_or("EBADF");
        let result = closed.map(drop);
        self.drain(at);
        result
    }

    fn set_option(&mut self, d: RawFd, option: SocketOption) -> CallResult<()> {
        self.after(d, |socket| set_option(socket.as_raw_fd(), option))
    }

    fn take_error(&mut self, d: RawFd) -> CallResult<Option<&'static str>> {
        let error = self.after(d, |socket| rustix::net::sockopt::socket_error(socket))?;
        Ok(error.err().map(errno_name))
    }

    fn readiness(&mut self, d: RawFd) -> CallResult<Readiness> {
        self.after(d, super::look::readiness)
    }

    fn queued_bytes(&mut self, d: RawFd) -> CallResult<(usize, usize)> {
        self.after(d, super::look::queued_bytes)
    }

    fn unread_bytes(&mut self, d: RawFd) -> CallResult<usize> {
        self.after(d, |socket| messages::ask(socket, libc::FIONREAD))
    }

    fn unacknowledged_bytes(&mut self, d: RawFd) -> CallResult<usize> {
        self.after(d, |socket| messages::ask(socket, libc::TIOCOUTQ))
    }

    fn unsent_bytes(&mut self, d: RawFd) -> CallResult<usize> {
        self.after(d, |socket| messages::ask(socket, messages::SIOCOUTQNSD))
    }

    fn at_mark(&mut self, d: RawFd) -> CallResult<bool> {
        self.after(d, |socket| messages::ask(socket, messages::SIOCATMARK)).map(|mark| mark != 0)
    }

    fn path_mtu(&mut self, d: RawFd) -> CallResult<usize> {
        self.after(d, |socket| messages::path_mtu(socket.as_raw_fd()))
    }

    fn info(&mut self, d: RawFd, field: &str) -> CallResult<Found> {
        self.after(d, |socket| super::look::info(socket, field))
    }

    fn states(&mut self) -> Vec<(u16, u16, String)> {
        super::look::states()
    }

    fn close_reason(&mut self, _: RawFd) -> CallResult<Found> {
        Ok(Found::NotHere)
    }

    fn counter(&mut self, name: &str) -> Found {
        super::look::counter(name)
    }

    fn drops(&mut self, _: &str) -> Found {
        Found::NotHere
    }

    fn timer(&mut self) -> Found {
        Found::NotHere
    }
}

impl LinuxHost {
    fn keep(&mut self, socket: OwnedFd) -> RawFd {
        let d = socket.as_raw_fd();
        self.sockets.insert(d, socket);
        d
    }

    /// Makes a call, and then reads what the kernel has sent because of it.
    fn after<T>(
        &mut self,
        d: RawFd,
        call: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> CallResult<T> {
        let at = self.time();
        let socket = self.sockets.get(&d).ok_or("EBADF")?;
        let result = named(call(std::os::fd::AsFd::as_fd(socket)));
        self.drain(at);
        result
    }
}

/// Sets the longest time that the kernel delays an acknowledgement.
pub(crate) fn set_delayed_ack(socket: RawFd, time: Duration) -> rustix::io::Result<()> {
    let micros = (time.as_micros() as i32).to_ne_bytes();
    set_bytes(socket, libc::IPPROTO_TCP, TCP_DELACK_MAX_US, &micros)
}

/// Sets the kernel's equivalent of a [`SocketOption`]. Times are in the unit of the option.
fn set_option(socket: RawFd, option: SocketOption) -> rustix::io::Result<()> {
    use libc::{IPPROTO_TCP, SOL_SOCKET};
    let (level, name, value) = match option {
        SocketOption::ReuseAddr(on) => (SOL_SOCKET, libc::SO_REUSEADDR, i32::from(on)),
        SocketOption::ReusePort(on) => (SOL_SOCKET, libc::SO_REUSEPORT, i32::from(on)),
        SocketOption::ReceiveBuffer(bytes) => (SOL_SOCKET, libc::SO_RCVBUF, bytes as i32),
        SocketOption::SendBuffer(bytes) => (SOL_SOCKET, libc::SO_SNDBUF, bytes as i32),
        SocketOption::KeepAlive(on) => (SOL_SOCKET, libc::SO_KEEPALIVE, i32::from(on)),
        SocketOption::KeepIdle(time) => (IPPROTO_TCP, libc::TCP_KEEPIDLE, time.as_secs() as i32),
        SocketOption::KeepInterval(time) => (IPPROTO_TCP, libc::TCP_KEEPINTVL, time.as_secs() as i32),
        SocketOption::KeepCount(count) => (IPPROTO_TCP, libc::TCP_KEEPCNT, i32::from(count)),
        SocketOption::Linger(time) => {
            // `struct linger`: whether, and how many seconds.
            let linger = [i32::from(time.is_some()), time.unwrap_or_default().as_secs() as i32];
            return set_bytes(socket, SOL_SOCKET, libc::SO_LINGER, &linger.map(i32::to_ne_bytes).concat());
        }
        SocketOption::ReceiveLowWater(bytes) => (SOL_SOCKET, libc::SO_RCVLOWAT, bytes as i32),
        SocketOption::UnsentLowWater(bytes) => {
            (IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, bytes.min(u32::MAX as usize) as i32)
        }
        SocketOption::UserTimeout(time) => {
            (IPPROTO_TCP, libc::TCP_USER_TIMEOUT, time.unwrap_or_default().as_millis() as i32)
        }
        SocketOption::Cork(on) => (IPPROTO_TCP, libc::TCP_CORK, i32::from(on)),
        SocketOption::OobInline(on) => (SOL_SOCKET, libc::SO_OOBINLINE, i32::from(on)),
        SocketOption::QuickAck(on) => (IPPROTO_TCP, libc::TCP_QUICKACK, i32::from(on)),
        SocketOption::NoDelay(on) => (IPPROTO_TCP, libc::TCP_NODELAY, i32::from(on)),
        SocketOption::Congestion(kind) => {
            return set_bytes(socket, IPPROTO_TCP, libc::TCP_CONGESTION, congestion_name(kind)?.as_bytes());
        }
        SocketOption::FastOpen(queue) => (IPPROTO_TCP, libc::TCP_FASTOPEN, queue as i32),
        SocketOption::FastOpenWithoutCookie(on) => (IPPROTO_TCP, libc::TCP_FASTOPEN_NO_COOKIE, i32::from(on)),
        SocketOption::FastOpenKey(key) => {
            let keys: Vec<[u8; 16]> = [key.primary].into_iter().chain(key.backup).collect();
            let bytes = keys.concat();
            return set_bytes(socket, IPPROTO_TCP, libc::TCP_FASTOPEN_KEY, &bytes);
        }
        SocketOption::MaxPacingRate(rate) => {
            let rate = rate.unwrap_or(u64::MAX);
            return set_bytes(socket, SOL_SOCKET, libc::SO_MAX_PACING_RATE, &rate.to_ne_bytes());
        }
        SocketOption::Tos(tos) => {
            return set_for_ip(socket, libc::IP_TOS, libc::IPV6_TCLASS, i32::from(tos));
        }
        SocketOption::Ttl(ttl) => {
            return set_for_ip(socket, libc::IP_TTL, libc::IPV6_UNICAST_HOPS, i32::from(ttl));
        }
        SocketOption::ReceiveErrors(on) => {
            return set_for_ip(socket, libc::IP_RECVERR, libc::IPV6_RECVERR, i32::from(on));
        }
        SocketOption::MtuDiscover(mode) => {
            let mode = match mode {
                MtuDiscover::Dont => libc::IP_PMTUDISC_DONT,
                MtuDiscover::Want => libc::IP_PMTUDISC_WANT,
                MtuDiscover::Do => libc::IP_PMTUDISC_DO,
                MtuDiscover::Probe => libc::IP_PMTUDISC_PROBE,
                MtuDiscover::Interface => libc::IP_PMTUDISC_INTERFACE,
                _ => libc::IP_PMTUDISC_OMIT,
            };
            return set_for_ip(socket, libc::IP_MTU_DISCOVER, libc::IPV6_MTU_DISCOVER, mode);
        }
        SocketOption::DontFragment(on) => (libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, i32::from(on)),
        SocketOption::UdpCork(on) => (libc::IPPROTO_UDP, libc::UDP_CORK, i32::from(on)),
        SocketOption::Broadcast(on) => (SOL_SOCKET, libc::SO_BROADCAST, i32::from(on)),
        SocketOption::SynCount(count) => (IPPROTO_TCP, libc::TCP_SYNCNT, i32::from(count)),
        SocketOption::Linger2(time) => {
            (IPPROTO_TCP, libc::TCP_LINGER2, time.map_or(-1, |time| time.as_secs() as i32))
        }
        SocketOption::FastOpenConnect(on) => (IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, i32::from(on)),
        SocketOption::DeferAccept(time) => (IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, time.as_secs() as i32),
        SocketOption::MaxSegment(bytes) => (IPPROTO_TCP, libc::TCP_MAXSEG, i32::from(bytes)),
        _ => return Err(Errno::NOPROTOOPT),
    };
    set_bytes(socket, level, name, &value.to_ne_bytes())
}

/// Sets an option of IP: on an IPv6 socket that of IPv6, and that of IPv4 for mapped addresses.
fn set_for_ip(socket: RawFd, v4: i32, v6: i32, value: i32) -> rustix::io::Result<()> {
    if is_v6(socket)? {
        set_bytes(socket, libc::IPPROTO_IPV6, v6, &value.to_ne_bytes())?;
    }
    set_bytes(socket, libc::IPPROTO_IP, v4, &value.to_ne_bytes())
}

pub(super) fn is_v6(socket: RawFd) -> rustix::io::Result<bool> {
    let mut domain = [0; 4];
    get_bytes(socket, libc::SOL_SOCKET, libc::SO_DOMAIN, &mut domain)?;
    Ok(i32::from_ne_bytes(domain) == libc::AF_INET6)
}

fn congestion_name(kind: CongestionControl) -> rustix::io::Result<&'static str> {
    match kind {
        CongestionControl::Reno => Ok("reno"),
        CongestionControl::Cubic => Ok("cubic"),
        CongestionControl::Bbr => Ok("bbr"),
        _ => Err(Errno::NOENT),
    }
}

pub(crate) fn set_bytes(socket: RawFd, level: i32, name: i32, value: &[u8]) -> rustix::io::Result<()> {
    // SAFETY: the pointer and the length are those of `value`, which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(socket, level, name, value.as_ptr().cast(), value.len() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

/// Reads an option into `value`. Returns the length that the kernel reports.
pub(super) fn get_bytes(socket: RawFd, level: i32, name: i32, value: &mut [u8]) -> rustix::io::Result<usize> {
    let mut len = value.len() as libc::socklen_t;
    // SAFETY: the pointers are to `value` and to its length, and the kernel does not write beyond
    // that.
    let result = unsafe { libc::getsockopt(socket, level, name, value.as_mut_ptr().cast(), &raw mut len) };
    if result == 0 { Ok(len as usize) } else { Err(last_error()) }
}

pub(super) fn last_error() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Lets the kernel go past the identifiers that tests name themselves. It gives ping sockets those
/// that it chooses one after the other, counted over all network namespaces, so that now and then
/// it would choose one of these.
fn pass_named_identifiers() -> rustix::io::Result<()> {
    const NAMED: [RangeInclusive<u16>; 2] = [0..=10, 7000..=7001];
    /// More than the sockets of one sequence take, and those of other tests meanwhile.
    const SOON: u16 = 100;
    let is_soon = |id: u16| NAMED.iter().any(|named| named.contains(&id));
    loop {
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, FLAGS, Some(ipproto::ICMP))?;
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
        let chosen = SocketAddr::try_from(getsockname(&socket)?)?.port();
        if !(0..=SOON).any(|ahead| is_soon(chosen.wrapping_add(ahead))) {
            return Ok(());
        }
    }
}

fn named<T>(result: rustix::io::Result<T>) -> CallResult<T> {
    result.map_err(errno_name)
}

/// The name of an error.
pub(crate) fn errno_name(error: Errno) -> &'static str {
    match error {
        Errno::AGAIN => "EAGAIN",
        Errno::INPROGRESS => "EINPROGRESS",
        Errno::ALREADY => "EALREADY",
        Errno::ISCONN => "EISCONN",
        Errno::NOTCONN => "ENOTCONN",
        Errno::BADF => "EBADF",
        Errno::INVAL => "EINVAL",
        Errno::OPNOTSUPP => "EOPNOTSUPP",
        Errno::AFNOSUPPORT => "EAFNOSUPPORT",
        Errno::ADDRINUSE => "EADDRINUSE",
        Errno::ADDRNOTAVAIL => "EADDRNOTAVAIL",
        Errno::DESTADDRREQ => "EDESTADDRREQ",
        Errno::MSGSIZE => "EMSGSIZE",
        Errno::CONNREFUSED => "ECONNREFUSED",
        Errno::CONNRESET => "ECONNRESET",
        Errno::CONNABORTED => "ECONNABORTED",
        Errno::PIPE => "EPIPE",
        Errno::TIMEDOUT => "ETIMEDOUT",
        Errno::HOSTUNREACH => "EHOSTUNREACH",
        Errno::NETUNREACH => "ENETUNREACH",
        Errno::HOSTDOWN => "EHOSTDOWN",
        Errno::NONET => "ENONET",
        Errno::PROTO => "EPROTO",
        Errno::NOPROTOOPT => "ENOPROTOOPT",
        Errno::ACCESS => "EACCES",
        Errno::PERM => "EPERM",
        Errno::NOBUFS => "ENOBUFS",
        Errno::NOMEM => "ENOMEM",
        Errno::NOENT => "ENOENT",
        Errno::MFILE => "EMFILE",
        Errno::NOTTY => "ENOTTY",
        Errno::PROTONOSUPPORT => "EPROTONOSUPPORT",
        Errno::PROTOTYPE => "EPROTOTYPE",
        Errno::SOCKTNOSUPPORT => "ESOCKTNOSUPPORT",
        Errno::NODEV => "ENODEV",
        Errno::NXIO => "ENXIO",
        Errno::NFILE => "ENFILE",
        Errno::TOOMANYREFS => "ETOOMANYREFS",
        Errno::REMOTEIO => "EREMOTEIO",
        _ => "another error",
    }
}
