//! Sockets of the kernel and of Portolan in the states that the comparison needs.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::ptr;

use portolan::{
    Config, CongestionControl, Credentials, Descriptor, Domain, Error, Instant, OwnerId, SocketKind, Stack,
    UnixAddr,
};

use super::{Answer, Call, Place, State};
use crate::by_family;
use crate::host::LinuxHost;

/// The port to which sockets without a listener are connected.
const OTHER_PORT: u16 = 9;

/// A host's sockets.
pub(super) trait Sockets {
    /// A socket, which [`close`](Sockets::close) ends.
    type Socket: Copy;

    /// A socket in this state.
    fn open(&mut self, place: &Place) -> io::Result<Self::Socket>;

    fn close(&mut self, socket: Self::Socket);

    fn call(&mut self, socket: Self::Socket, option: (i32, i32), call: &Call) -> Answer;
}

fn loopback(domain: Domain, port: u16) -> SocketAddr {
    by_family(domain, (Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into())
}

/// The kernel, in a namespace.
pub(super) struct Kernel {
    /// It keeps the namespace as it is.
    _host: LinuxHost,
    listeners: [libc::c_int; 2],
    /// The other ends of connections.
    others: Vec<(libc::c_int, OwnedFd)>,
}

impl Kernel {
    pub(super) fn new() -> io::Result<Kernel> {
        let host = LinuxHost::new(&[])?;
        fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0")?;
        set_loopback_up()?;
        let mut kernel = Kernel { _host: host, listeners: [0; 2], others: Vec::new() };
        for (at, domain) in [Domain::V4, Domain::V6].into_iter().enumerate() {
            let place = Place { domain, kind: SocketKind::Stream, state: State::Listening, option: (0, 0) };
            kernel.listeners[at] = kernel.open(&place)?;
        }
        Ok(kernel)
    }

    /// A socket of the Unix domain; a connected one is one of a pair.
    fn open_unix(&mut self, kind: SocketKind, state: State) -> io::Result<libc::c_int> {
        let kind = match kind {
            SocketKind::Stream => libc::SOCK_STREAM,
            SocketKind::Datagram => libc::SOCK_DGRAM,
            _ => libc::SOCK_SEQPACKET,
        } | libc::SOCK_CLOEXEC;
        if matches!(state, State::Connected | State::Accepted) {
            let mut pair = [0; 2];
            // SAFETY: there is room for two descriptors.
            checked(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) })?;
            // SAFETY: the descriptor is new, and nobody else closes it.
            self.others.push((pair[0], unsafe { OwnedFd::from_raw_fd(pair[1]) }));
            return Ok(pair[0]);
        }
        // SAFETY: a call without pointers.
        let socket = checked(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
        if state != State::New {
            let family = (libc::AF_UNIX as libc::sa_family_t).to_ne_bytes();
            // SAFETY: the address is as long as the length says. Without a name the kernel chooses
            // one.
            checked(unsafe { libc::bind(socket, family.as_ptr().cast(), family.len() as libc::socklen_t) })?;
        }
        if state == State::Listening {
            // SAFETY: a call without pointers.
            checked(unsafe { libc::listen(socket, 8) })?;
        }
        Ok(socket)
    }
}

impl Sockets for Kernel {
    type Socket = libc::c_int;

    fn open(&mut self, place: &Place) -> io::Result<libc::c_int> {
        let Place { domain, kind, state, .. } = *place;
        if domain == Domain::Unix {
            return self.open_unix(kind, state);
        }
        let family = by_family(domain, libc::AF_INET, libc::AF_INET6);
        let (kind, protocol) = match kind {
            SocketKind::Stream => (libc::SOCK_STREAM, 0),
            SocketKind::Echo => {
                (libc::SOCK_DGRAM, by_family(domain, libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6))
            }
            SocketKind::Raw(protocol) => (libc::SOCK_RAW, protocol.into()),
            _ => (libc::SOCK_DGRAM, 0),
        };
        // SAFETY: a call without pointers.
        let socket = checked(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })?;
        if kind == libc::SOCK_STREAM {
            let cubic = Call::Set(CongestionControl::Cubic.name().into());
            let result = self.call(socket, (libc::IPPROTO_TCP, libc::TCP_CONGESTION), &cubic);
            result.map_err(io::Error::from_raw_os_error)?;
        }
        let listener = by_family(domain, self.listeners[0], self.listeners[1]);
        match state {
            State::New => {}
            State::Bound => with_addr(loopback(domain, 0), |addr, len| {
                // SAFETY: `with_addr` passes an address of this length.
                unsafe { libc::bind(socket, addr, len) }
            })?,
            State::Listening => {
                with_addr(loopback(domain, 0), |addr, len| {
                    // SAFETY: as above.
                    unsafe { libc::bind(socket, addr, len) }
                })?;
                // SAFETY: a call without pointers.
                checked(unsafe { libc::listen(socket, 8) })?;
            }
            State::Connected | State::Accepted if kind == libc::SOCK_STREAM => {
                with_addr(local_addr(listener)?, |addr, len| {
                    // SAFETY: as above.
                    unsafe { libc::connect(socket, addr, len) }
                })?;
                // SAFETY: null pointers mean that the address is not wanted.
                let accepted =
                    checked(unsafe { libc::accept4(listener, ptr::null_mut(), ptr::null_mut(), 0) })?;
                let (own, other) =
                    if state == State::Accepted { (accepted, socket) } else { (socket, accepted) };
                // SAFETY: the descriptor is new, and nobody else closes it.
                self.others.push((own, unsafe { OwnedFd::from_raw_fd(other) }));
                return Ok(own);
            }
            State::Connected | State::Accepted => {
                with_addr(loopback(domain, OTHER_PORT), |addr, len| {
                    // SAFETY: as above.
                    unsafe { libc::connect(socket, addr, len) }
                })?;
            }
        }
        Ok(socket)
    }

    fn close(&mut self, socket: libc::c_int) {
        self.others.retain(|(of, _)| *of != socket);
        // SAFETY: the descriptor came from `open`, and is not used any more.
        unsafe { libc::close(socket) };
    }

    fn call(&mut self, socket: libc::c_int, (level, number): (i32, i32), call: &Call) -> Answer {
        let errno = |error: io::Error| error.raw_os_error().unwrap_or(0);
        match call {
            Call::Set(value) => {
                let len = value.len() as libc::socklen_t;
                // SAFETY: the value is as long as the length says.
                let result = unsafe { libc::setsockopt(socket, level, number, value.as_ptr().cast(), len) };
                checked(result).map(|_| Vec::new()).map_err(errno)
            }
            Call::Get(room) => {
                let mut buf = vec![0; *room];
                let mut len = *room as libc::socklen_t;
                // SAFETY: the buffer is as long as the length says.
                let result =
                    unsafe { libc::getsockopt(socket, level, number, buf.as_mut_ptr().cast(), &raw mut len) };
                checked(result).map_err(errno)?;
                buf.truncate(len as usize);
                Ok(buf)
            }
        }
    }
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Passes the address in the layout of C.
fn with_addr(
    addr: SocketAddr,
    call: impl FnOnce(*const libc::sockaddr, libc::socklen_t) -> libc::c_int,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    match addr {
        SocketAddr::V4(v4) => {
            bytes.extend((libc::AF_INET as u16).to_ne_bytes());
            bytes.extend(v4.port().to_be_bytes());
            bytes.extend(v4.ip().octets());
            bytes.extend([0; 8]);
        }
        SocketAddr::V6(v6) => {
            bytes.extend((libc::AF_INET6 as u16).to_ne_bytes());
            bytes.extend(v6.port().to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(v6.ip().octets());
            bytes.extend([0; 4]);
        }
    }
    checked(call(bytes.as_ptr().cast(), bytes.len() as libc::socklen_t)).map(|_| ())
}

/// The address of a socket that is bound to the loopback.
fn local_addr(socket: libc::c_int) -> io::Result<SocketAddr> {
    let mut bytes = [0_u8; 28];
    let mut len = bytes.len() as libc::socklen_t;
    // SAFETY: the buffer is as long as the length says.
    checked(unsafe { libc::getsockname(socket, bytes.as_mut_ptr().cast(), &raw mut len) })?;
    let is_v4 = i32::from(u16::from_ne_bytes([bytes[0], bytes[1]])) == libc::AF_INET;
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    Ok(loopback(if is_v4 { Domain::V4 } else { Domain::V6 }, port))
}

/// Sets the loopback of the namespace up.
pub fn set_loopback_up() -> io::Result<()> {
    // SAFETY: a call without pointers.
    let socket = checked(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0) })?;
    // SAFETY: the struct is plain data, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the request is valid, and names the loopback.
    let result = checked(unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request) });
    // SAFETY: the descriptor is not used any more.
    unsafe { libc::close(socket) };
    result.map(|_| ())
}

const NOW: Instant = Instant::ZERO;

/// Portolan.
pub(super) struct Portolan {
    stack: Stack,
    /// The other ends of connections.
    others: Vec<(Descriptor, Descriptor)>,
    listeners: [Option<Descriptor>; 2],
}

impl Portolan {
    pub(super) fn new() -> Portolan {
        let mut stack = Stack::new(Config::default(), [7; 32], NOW);
        // SAFETY: calls without pointers.
        let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
        let credentials = Credentials { pid: std::process::id(), uid, gid };
        stack.set_credentials(OwnerId::FIRST, credentials).expect("the first owner is there");
        let mut portolan = Portolan { stack, others: Vec::new(), listeners: [None; 2] };
        for (at, domain) in [Domain::V4, Domain::V6].into_iter().enumerate() {
            let place = Place { domain, kind: SocketKind::Stream, state: State::Listening, option: (0, 0) };
            portolan.listeners[at] = portolan.open(&place).ok();
        }
        portolan
    }

    /// A socket of the Unix domain; a connected one is one of a pair.
    fn open_unix(&mut self, kind: SocketKind, state: State) -> Result<Descriptor, Error> {
        if matches!(state, State::Connected | State::Accepted) {
            let [own, other] = self.stack.socket_pair(Domain::Unix, kind)?;
            self.others.push((own, other));
            return Ok(own);
        }
        let socket = self.stack.socket(Domain::Unix, kind)?;
        if state != State::New {
            self.stack.bind(socket, UnixAddr::UNNAMED)?;
        }
        if state == State::Listening {
            self.stack.listen(socket, 8)?;
        }
        Ok(socket)
    }

    fn connect(&mut self, socket: Descriptor, place: &Place) -> Result<Descriptor, Error> {
        if place.kind != SocketKind::Stream {
            self.stack.connect(NOW, socket, loopback(place.domain, OTHER_PORT))?;
            return Ok(socket);
        }
        let listener = by_family(place.domain, self.listeners[0], self.listeners[1]);
        let listener = listener.ok_or(Error::BadDescriptor)?;
        let addr = self.stack.local_addr(listener)?;
        match self.stack.connect(NOW, socket, addr) {
            Err(Error::InProgress) => {}
            other => other?,
        }
        self.run();
        let (accepted, _) = self.stack.accept(listener)?;
        let (own, other) =
            if place.state == State::Accepted { (accepted, socket) } else { (socket, accepted) };
        self.others.push((own, other));
        Ok(own)
    }

    fn run(&mut self) {
        while self.stack.poll_transmit(NOW).is_some() || self.stack.handle_loopback(NOW) {}
    }
}

impl Sockets for Portolan {
    type Socket = Descriptor;

    fn open(&mut self, place: &Place) -> io::Result<Descriptor> {
        if place.domain == Domain::Unix {
            return Ok(self.open_unix(place.kind, place.state)?);
        }
        let socket = self.stack.socket(place.domain, place.kind)?;
        let any_port = loopback(place.domain, 0);
        match place.state {
            State::New => {}
            State::Bound => self.stack.bind(socket, any_port)?,
            State::Listening => {
                self.stack.bind(socket, any_port)?;
                self.stack.listen(socket, 8)?;
            }
            State::Connected | State::Accepted => return Ok(self.connect(socket, place)?),
        }
        Ok(socket)
    }

    fn close(&mut self, socket: Descriptor) {
        if let Some(at) = self.others.iter().position(|(of, _)| *of == socket) {
            let (_, other) = self.others.swap_remove(at);
            let _ = self.stack.close(NOW, other);
        }
        let _ = self.stack.close(NOW, socket);
        self.run();
    }

    fn call(&mut self, socket: Descriptor, (level, number): (i32, i32), call: &Call) -> Answer {
        match call {
            Call::Set(value) => {
                let result = self.stack.setsockopt(NOW, socket, level, number, value);
                result.map(|()| Vec::new()).map_err(Error::errno)
            }
            Call::Get(room) => {
                let mut buf = vec![0; *room];
                let len = self.stack.getsockopt(NOW, socket, level, number, &mut buf);
                let len = len.map_err(Error::errno)?;
                buf.truncate(len);
                Ok(buf)
            }
        }
    }
}
