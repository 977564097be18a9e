//! The kernel's sockets, in a network namespace with two links.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use libc::c_int;
use portolan::FilterMode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto};
use rustix::net::{bind, connect, recv, sendto, socket_with};
use tun_tap::{Iface as Tap, Mode};

use super::{Answer, Call, FIRST_PORT, Group, Iface, Machine, To, Where, own, run};

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);
/// The names of the links.
const LINKS: [&str; 2] = ["link0", "link1"];

// linux/in.h: these are not in `libc`.
const MCAST_JOIN_GROUP: c_int = 42;
const MCAST_BLOCK_SOURCE: c_int = 43;
const MCAST_UNBLOCK_SOURCE: c_int = 44;
const MCAST_LEAVE_GROUP: c_int = 45;
const MCAST_JOIN_SOURCE_GROUP: c_int = 46;
const MCAST_LEAVE_SOURCE_GROUP: c_int = 47;
const MCAST_MSFILTER: c_int = 48;
const IP_MULTICAST_ALL: c_int = 49;
const IPV6_MULTICAST_ALL: c_int = 29;

/// Moves this process into a network namespace with the two links.
///
/// # Errors
///
/// If the system refuses the namespace or the links.
pub fn enter_namespace() -> io::Result<()> {
    portolan_tap::isolate().map_err(io::Error::other)?;
    run("ip link set lo up")?;
    // RFC 9776 §2: not below 64.
    std::fs::write("/proc/sys/net/ipv4/igmp_max_msf", "64")?;
    for (number, link) in LINKS.iter().enumerate() {
        // The link exists while the device is open. What is sent to it is dropped once its queue is
        // full.
        mem::forget(Tap::without_packet_info(link, Mode::Tap)?);
        run(&format!("ip link set {link} up"))?;
        let [first, second] = [0, 1].map(|host| number as u8 * 2 + host);
        for addr in [own(false, first), own(false, second)] {
            run(&format!("ip addr add {addr}/24 broadcast + dev {link}"))?;
        }
        // The kernel prefers the address that was added last.
        for addr in [own(true, second), own(true, first)] {
            run(&format!("ip addr add {addr}/64 nodad dev {link}"))?;
        }
    }
    run(&format!("ip route add default dev {}", LINKS[0]))
}

/// `struct group_req` and `struct group_source_req`, of which the second begins as the first does.
#[repr(C)]
struct GroupSourceReq {
    interface: u32,
    group: Storage,
    source: Storage,
}

/// `struct group_filter` with room for sources.
#[repr(C)]
struct GroupFilter {
    interface: u32,
    group: Storage,
    mode: u32,
    count: u32,
    sources: [Storage; 80],
}

/// `struct sockaddr_storage`.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Storage([u8; 128]);

impl Storage {
    fn new(addr: IpAddr) -> Storage {
        let mut bytes = [0; 128];
        match addr {
            IpAddr::V4(addr) => {
                bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                bytes[4..8].copy_from_slice(&addr.octets());
            }
            IpAddr::V6(addr) => {
                bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                bytes[8..24].copy_from_slice(&addr.octets());
            }
        }
        Storage(bytes)
    }

    fn addr(&self) -> IpAddr {
        let at = |range: std::ops::Range<usize>| &self.0[range];
        if u16::from_ne_bytes([self.0[0], self.0[1]]) == libc::AF_INET as u16 {
            IpAddr::from(<[u8; 4]>::try_from(at(4..8)).expect("four bytes"))
        } else {
            IpAddr::from(<[u8; 16]>::try_from(at(8..24)).expect("sixteen bytes"))
        }
    }
}

pub(super) struct Kernel {
    /// The sockets, of which those that are closed are `None`, and whether they are of IPv6.
    sockets: Vec<(Option<OwnedFd>, bool)>,
    /// The streams among them.
    streams: Vec<usize>,
}

fn index(iface: Iface) -> u32 {
    let link = match iface {
        Iface::Any => return 0,
        Iface::Number(number) => LINKS.get(usize::from(number)),
        Iface::Address(number) => LINKS.get(usize::from(number / 2)),
    };
    let Some(link) = link else { return 99 };
    let name = CString::new(*link).expect("no zero");
    // SAFETY: `name` ends with a zero.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
}

fn level(is_v6: bool) -> c_int {
    if is_v6 { libc::IPPROTO_IPV6 } else { libc::IPPROTO_IP }
}

impl Kernel {
    pub(super) fn new() -> Self {
        Kernel { sockets: Vec::new(), streams: Vec::new() }
    }

    fn d(&self, name: usize) -> Result<&OwnedFd, Errno> {
        self.sockets.get(name).and_then(|(socket, _)| socket.as_ref()).ok_or(Errno::BADF)
    }

    fn set<T>(
        &self,
        name: usize,
        level: c_int,
        option: c_int,
        value: &T,
        len: usize,
    ) -> Result<Answer, Errno> {
        let fd = self.d(name)?.as_raw_fd();
        debug_assert!(len <= mem::size_of::<T>());
        // SAFETY: the kernel reads `len` bytes of `value`, which is at least as long.
        let result = unsafe {
            libc::setsockopt(fd, level, option, (&raw const *value).cast(), len as libc::socklen_t)
        };
        if result == 0 { Ok(Answer::Done) } else { Err(last_error()) }
    }

    fn set_int(&self, name: usize, level: c_int, option: c_int, value: c_int) -> Result<Answer, Errno> {
        self.set(name, level, option, &value, mem::size_of::<c_int>())
    }

    /// A call on a membership.
    fn change(
        &self,
        name: usize,
        option: c_int,
        group: Group,
        source: Option<u8>,
        iface: Iface,
    ) -> Result<Answer, Errno> {
        if let (Iface::Address(number), IpAddr::V4(addr)) = (iface, group.addr()) {
            return self.change_by_address(name, option, addr, source, own(false, number));
        }
        if self.streams.contains(&name) {
            return self.change_stream(name, option, group, iface);
        }
        let source_addr = own(group.is_v6, source.unwrap_or(0));
        let request = GroupSourceReq {
            interface: index(iface),
            group: Storage::new(group.addr()),
            source: Storage::new(source_addr),
        };
        let len = mem::size_of::<GroupSourceReq>() - if source.is_some() { 0 } else { 128 };
        self.set(name, level(group.is_v6), option, &request, len)
    }

    /// The older calls, which are EPROTO on a stream. The newer ones are not.
    fn change_stream(&self, name: usize, option: c_int, group: Group, iface: Iface) -> Result<Answer, Errno> {
        let is_join = option == MCAST_JOIN_GROUP;
        match group.addr() {
            IpAddr::V4(addr) => self.change_by_address(name, option, addr, None, own(false, 0)),
            IpAddr::V6(addr) => {
                let option = if is_join { libc::IPV6_ADD_MEMBERSHIP } else { libc::IPV6_DROP_MEMBERSHIP };
                let mut request = [0; 20];
                request[..16].copy_from_slice(&addr.octets());
                request[16..].copy_from_slice(&index(iface).to_ne_bytes());
                self.set(name, libc::IPPROTO_IPV6, option, &request, 20)
            }
        }
    }

    /// The older calls, in which an address names the interface.
    fn change_by_address(
        &self,
        name: usize,
        option: c_int,
        group: Ipv4Addr,
        source: Option<u8>,
        iface: IpAddr,
    ) -> Result<Answer, Errno> {
        let octets = |addr: IpAddr| match addr {
            IpAddr::V4(addr) => addr.octets(),
            IpAddr::V6(_) => unreachable!("an IPv4 group"),
        };
        let option = match option {
            MCAST_JOIN_GROUP => libc::IP_ADD_MEMBERSHIP,
            MCAST_LEAVE_GROUP => libc::IP_DROP_MEMBERSHIP,
            MCAST_JOIN_SOURCE_GROUP => libc::IP_ADD_SOURCE_MEMBERSHIP,
            MCAST_LEAVE_SOURCE_GROUP => libc::IP_DROP_SOURCE_MEMBERSHIP,
            MCAST_BLOCK_SOURCE => libc::IP_BLOCK_SOURCE,
            _ => libc::IP_UNBLOCK_SOURCE,
        };
        let mut request = [group.octets(), octets(iface), [0; 4]];
        let mut len = 8;
        if let Some(source) = source {
            request[2] = octets(own(false, source));
            len = 12;
        }
        self.set(name, libc::IPPROTO_IP, option, &request, len)
    }

    fn make(&mut self, call: &Call) -> Result<Answer, Errno> {
        let done = |()| Answer::Done;
        match *call {
            Call::Socket { is_v6 } | Call::Stream { is_v6 } | Call::Raw { is_v6 } => {
                let (kind, protocol) = match call {
                    Call::Stream { .. } => (SocketType::STREAM, None),
                    Call::Raw { .. } => (SocketType::RAW, Some(ipproto::UDP)),
                    _ => (SocketType::DGRAM, None),
                };
                let family = if is_v6 { AddressFamily::INET6 } else { AddressFamily::INET };
                let socket = socket_with(family, kind, FLAGS, protocol)?;
                rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
                if kind == SocketType::STREAM {
                    self.streams.push(self.sockets.len());
                }
                self.sockets.push((Some(socket), is_v6));
                Ok(Answer::Done)
            }
            Call::Bind(name, to, port) => {
                let is_v6 = self.sockets[name].1;
                bind(self.d(name)?, &to.socket_addr(is_v6, port)).map(done)
            }
            Call::Connect(name, number) => {
                let is_v6 = self.sockets[name].1;
                connect(self.d(name)?, &peer_of(name, is_v6, number)).map(done)
            }
            Call::Join(name, group, iface) => self.change(name, MCAST_JOIN_GROUP, group, None, iface),
            Call::Leave(name, group, iface) => self.change(name, MCAST_LEAVE_GROUP, group, None, iface),
            Call::JoinSource(name, group, source, iface) => {
                self.change(name, MCAST_JOIN_SOURCE_GROUP, group, Some(source), iface)
            }
            Call::LeaveSource(name, group, source, iface) => {
                self.change(name, MCAST_LEAVE_SOURCE_GROUP, group, Some(source), iface)
            }
            Call::Block(name, group, source, iface) => {
                self.change(name, MCAST_BLOCK_SOURCE, group, Some(source), iface)
            }
            Call::Unblock(name, group, source, iface) => {
                self.change(name, MCAST_UNBLOCK_SOURCE, group, Some(source), iface)
            }
            Call::SetFilter(name, group, iface, mode, ref sources) => {
                let mut filter = filter_of(group, iface, mode);
                filter.count = sources.len() as u32;
                for (to, &from) in filter.sources.iter_mut().zip(sources) {
                    *to = Storage::new(own(group.is_v6, from));
                }
                let len = mem::size_of::<GroupFilter>() - 128 * (80 - sources.len());
                self.set(name, level(group.is_v6), MCAST_MSFILTER, &filter, len)
            }
            Call::Filter(name, group, iface) => self.filter(name, group, iface),
            Call::All { socket, is_v6, on } => {
                let option = if is_v6 { IPV6_MULTICAST_ALL } else { IP_MULTICAST_ALL };
                self.set_int(socket, level(is_v6), option, on.into())
            }
            Call::Loop { socket, is_v6, on } => {
                let option = if is_v6 { libc::IPV6_MULTICAST_LOOP } else { libc::IP_MULTICAST_LOOP };
                self.set_int(socket, level(is_v6), option, on.into())
            }
            Call::Ttl { socket, is_v6, ttl } => {
                let option = if is_v6 { libc::IPV6_MULTICAST_HOPS } else { libc::IP_MULTICAST_TTL };
                self.set_int(socket, level(is_v6), option, ttl.into())
            }
            Call::SendThrough { socket, is_v6: true, iface } => {
                self.set_int(socket, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF, index(iface) as c_int)
            }
            Call::SendThrough { socket, is_v6: false, iface } => {
                // `struct ip_mreqn`: group, address, index.
                let mut request = [[0; 4]; 3];
                match iface {
                    Iface::Address(number) => {
                        let IpAddr::V4(addr) = own(false, number) else { unreachable!() };
                        request[1] = addr.octets();
                    }
                    iface => request[2] = index(iface).to_ne_bytes(),
                }
                self.set(socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &request, 12)
            }
            Call::Broadcast(name, on) => {
                rustix::net::sockopt::set_socket_broadcast(self.d(name)?, on).map(done)
            }
            Call::Send(name, to, port) => {
                let is_v6 = self.sockets[name].1;
                sendto(self.d(name)?, b"x", SendFlags::NOSIGNAL, &to.socket_addr(is_v6, port))?;
                let mut taken = Vec::new();
                for (index, (socket, _)) in self.sockets.iter().enumerate() {
                    let Some(socket) = socket else { continue };
                    while recv(socket, &mut [0; 8], RecvFlags::empty()).is_ok_and(|(len, _)| len > 0) {
                        taken.push(index);
                    }
                }
                Ok(Answer::Taken(taken))
            }
            Call::Close(name) => {
                self.d(name)?;
                self.sockets[name].0 = None;
                Ok(Answer::Done)
            }
        }
    }

    fn filter(&self, name: usize, group: Group, iface: Iface) -> Result<Answer, Errno> {
        let mut filter = filter_of(group, iface, FilterMode::Include);
        filter.count = filter.sources.len() as u32;
        let mut len = mem::size_of::<GroupFilter>() as libc::socklen_t;
        let fd = self.d(name)?.as_raw_fd();
        // SAFETY: the kernel writes at most `len` bytes to `filter`, which is as long.
        let result = unsafe {
            libc::getsockopt(fd, level(group.is_v6), MCAST_MSFILTER, (&raw mut filter).cast(), &mut len)
        };
        if result != 0 {
            return Err(last_error());
        }
        let mode = if filter.mode == 0 { FilterMode::Exclude } else { FilterMode::Include };
        let sources = filter.sources.iter().take(filter.count as usize).map(Storage::addr);
        let mut sources: Vec<IpAddr> = sources.collect();
        sources.sort_unstable();
        Ok(Answer::Filter(mode, sources))
    }
}

fn filter_of(group: Group, iface: Iface, mode: FilterMode) -> GroupFilter {
    GroupFilter {
        interface: index(iface),
        group: Storage::new(group.addr()),
        mode: u32::from(mode == FilterMode::Include),
        count: 0,
        sources: [Storage([0; 128]); 80],
    }
}

fn last_error() -> Errno {
    let error = io::Error::last_os_error();
    Errno::from_io_error(&error).unwrap_or(Errno::INVAL)
}

impl Machine for Kernel {
    fn call(&mut self, call: &Call) -> Answer {
        self.make(call).unwrap_or_else(|error| Answer::Failed(error.raw_os_error()))
    }
}

/// A peer that no other socket has.
pub(super) fn peer_of(name: usize, is_v6: bool, number: u8) -> SocketAddr {
    SocketAddr::new(own(is_v6, number), FIRST_PORT + 100 + name as u16)
}

/// An address as a socket of this family names it.
fn named(is_v6: bool, addr: IpAddr, port: u16) -> SocketAddr {
    match addr {
        IpAddr::V4(addr) if is_v6 => SocketAddr::new(addr.to_ipv6_mapped().into(), port),
        addr => SocketAddr::new(addr, port),
    }
}

impl Where {
    pub(super) fn socket_addr(self, is_v6: bool, port: u16) -> SocketAddr {
        let addr = match self {
            Where::Any if is_v6 => "::".parse().expect("an address"),
            Where::Any => Ipv4Addr::UNSPECIFIED.into(),
            Where::Own(number) => own(is_v6, number),
            Where::Group(group) => group.addr(),
            Where::Broadcast => Ipv4Addr::new(10, 0, 0, 255).into(),
        };
        named(is_v6, addr, FIRST_PORT + port)
    }
}

impl To {
    pub(super) fn socket_addr(self, is_v6: bool, port: u16) -> SocketAddr {
        let addr = match self {
            To::Group(group) => group.addr(),
            To::Broadcast(link) => Ipv4Addr::new(10, link, 0, 255).into(),
            To::Everyone => Ipv4Addr::BROADCAST.into(),
        };
        named(is_v6, addr, FIRST_PORT + port)
    }
}
