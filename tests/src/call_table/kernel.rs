//! The kernel, in the network namespace of this thread.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use portolan::Shutdown;
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg as _;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType,
    accept_with, bind, connect, getpeername, getsockname, ipproto, listen, recv, send, sendto, shutdown,
    socket_with,
};

use super::{Answer, Call, Kind, MESSAGE, Machine, Place, RAW_PROTOCOL, done, events, name_of};
use crate::host::{SIOCATMARK, SIOCOUTQNSD, ask, disconnect, errno_name, linux_readiness};
use crate::packet_socket::LinkAddress;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);
/// The index of the loopback interface.
const LOOPBACK_INDEX: u32 = 1;

/// The kernel's sockets.
#[derive(Debug, Default)]
pub struct Kernel {
    open: Vec<OwnedFd>,
}

impl Kernel {
    /// The kernel, in whose namespace everybody may open echo sockets from now on.
    ///
    /// # Errors
    ///
    /// If the system refuses the setting.
    pub fn new() -> io::Result<Kernel> {
        fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0")?;
        Ok(Kernel::default())
    }

    fn keep(&mut self, socket: OwnedFd) -> RawFd {
        let number = socket.as_raw_fd();
        self.open.push(socket);
        number
    }

    fn of(&self, socket: RawFd) -> rustix::io::Result<BorrowedFd<'_>> {
        let found = self.open.iter().find(|open| open.as_raw_fd() == socket);
        found.map(std::os::fd::AsFd::as_fd).ok_or(Errno::BADF)
    }

    fn make(&mut self, socket: RawFd, call: &Call) -> rustix::io::Result<String> {
        if *call == Call::Accept {
            let accepted = accept_with(self.of(socket)?, FLAGS)?;
            return Ok(done(self.keep(accepted)));
        }
        let socket = self.of(socket)?;
        let bytes = |len: usize| len.to_string();
        let mut buf = [0; 100];
        let mut receive = |len: usize, flags| recv(socket, &mut buf[..len], flags).map(|(len, _)| bytes(len));
        match call {
            Call::Accept => Ok(done(())),
            Call::Bind(place) => bind(socket, &addr_of(place)?).map(done),
            Call::Listen => listen(socket, 5).map(done),
            Call::Connect(place) => connect(socket, &addr_of(place)?).map(done),
            Call::Disconnect => disconnect(socket).map(done),
            Call::Send(flags) => {
                let flags = SendFlags::NOSIGNAL | SendFlags::from_bits_retain(flags.bits());
                send(socket, &MESSAGE, flags).map(bytes)
            }
            Call::SendTo(place) => sendto(socket, &MESSAGE, SendFlags::NOSIGNAL, &addr_of(place)?).map(bytes),
            Call::Recv => receive(100, RecvFlags::empty()),
            Call::Peek => receive(100, RecvFlags::PEEK),
            Call::RecvUrgent => receive(1, RecvFlags::OOB),
            Call::RecvError => receive(100, RecvFlags::ERRQUEUE),
            Call::Shutdown(how) => {
                let how = match how {
                    Shutdown::Read => rustix::net::Shutdown::Read,
                    Shutdown::Write => rustix::net::Shutdown::Write,
                    Shutdown::Both => rustix::net::Shutdown::Both,
                };
                shutdown(socket, how).map(done)
            }
            Call::LocalName => getsockname(socket).map(|name| name_of(is_name(name))),
            Call::PeerName => getpeername(socket).map(|name| name_of(name.is_some_and(is_name))),
            Call::TakeError => {
                Ok(rustix::net::sockopt::socket_error(socket)?.err().map_or("none", errno_name).into())
            }
            Call::Unread => ask(socket, libc::FIONREAD).map(bytes),
            Call::Unsent => ask(socket, SIOCOUTQNSD).map(bytes),
            Call::AtMark => ask(socket, SIOCATMARK).map(bytes),
            Call::Poll => linux_readiness(socket).map(events),
        }
    }
}

impl Machine for Kernel {
    type Socket = RawFd;

    fn open(&mut self, kind: Kind) -> Result<RawFd, &'static str> {
        let raw = std::num::NonZero::new(u32::from(RAW_PROTOCOL)).map(Protocol::from_raw);
        let (family, socket_type, protocol) = match kind {
            Kind::Tcp => (AddressFamily::INET, SocketType::STREAM, None),
            Kind::Udp => (AddressFamily::INET, SocketType::DGRAM, None),
            Kind::Ping => (AddressFamily::INET, SocketType::DGRAM, Some(ipproto::ICMP)),
            Kind::Raw => (AddressFamily::INET, SocketType::RAW, raw),
            Kind::Packet => (AddressFamily::PACKET, SocketType::DGRAM, None),
            Kind::UnixStream => (AddressFamily::UNIX, SocketType::STREAM, None),
            Kind::UnixSeqPacket => (AddressFamily::UNIX, SocketType::SEQPACKET, None),
            Kind::UnixDatagram => (AddressFamily::UNIX, SocketType::DGRAM, None),
        };
        let socket = socket_with(family, socket_type, FLAGS, protocol).map_err(errno_name)?;
        Ok(self.keep(socket))
    }

    fn accept(&mut self, socket: RawFd) -> Result<RawFd, &'static str> {
        let accepted = self.of(socket).and_then(|socket| accept_with(socket, FLAGS)).map_err(errno_name)?;
        Ok(self.keep(accepted))
    }

    fn call(&mut self, socket: RawFd, call: &Call) -> Answer {
        // Portolan has no ENOTTY, which is about files that are no sockets, too.
        self.make(socket, call).map_err(|error| match error {
            Errno::NOTTY => "EOPNOTSUPP",
            error => errno_name(error),
        })
    }

    fn close(&mut self, socket: RawFd) {
        self.open.retain(|open| open.as_raw_fd() != socket);
    }

    fn close_all(&mut self) {
        self.open.clear();
    }
}

/// The kernel's form of an address.
fn addr_of(place: &Place) -> rustix::io::Result<SocketAddrAny> {
    Ok(match place {
        Place::Ip(addr) => addr.as_any(),
        Place::Loopback(protocol) => LinkAddress::of_interface(LOOPBACK_INDEX, *protocol).as_any(),
        Place::Name(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?.as_any(),
    })
}

/// Whether an address is more than the unspecified one.
fn is_name(addr: SocketAddrAny) -> bool {
    if let Ok(addr) = SocketAddr::try_from(addr.clone()) {
        return !addr.ip().is_unspecified() || addr.port() != 0;
    }
    // An unnamed socket of the Unix domain has the family alone.
    addr.address_family() != AddressFamily::UNIX || addr.addr_len() as usize > size_of::<libc::sa_family_t>()
}
