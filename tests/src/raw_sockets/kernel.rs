//! The kernel's sockets.

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::thread;
use std::time::Duration;

use portolan::{Domain, Shutdown, SocketKind, SocketOption};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{
    bind, connect, getpeername, getsockname, recvfrom, send, sendto, shutdown, socket_with, sockopt,
};

use super::mask::{mask, mask_received};
use super::stack::protocol_of;
use super::{Answer, Call, Machine, Reaction};
use crate::by_family;
use crate::host::{Host as _, KernelSetting, LinuxHost, linux_readiness, set_option_bytes};

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// The kernel in a namespace of its own, with Portolan's addresses in [`RawPeer`](crate::RawPeer).
#[derive(Debug)]
pub struct Kernel {
    host: LinuxHost,
    /// Those that are closed are `None`.
    descriptors: Vec<(Option<OwnedFd>, Domain, SocketKind)>,
}

impl Kernel {
    /// Moves this thread into a new network namespace, in which everybody may open echo sockets and
    /// nothing limits ICMP errors.
    ///
    /// # Errors
    ///
    /// If the system refuses the namespace or a setting.
    pub fn new() -> io::Result<Kernel> {
        let settings = [
            ("ipv4/ping_group_range", "0 0"),
            ("ipv4/icmp_ratelimit", "0"),
            ("ipv4/icmp_msgs_per_sec", "1000000"),
            ("ipv4/icmp_msgs_burst", "1000000"),
            ("ipv6/icmp/ratelimit", "0"),
        ];
        let setting =
            |(name, value): (&str, &str)| KernelSetting::Sysctl { name: name.into(), value: value.into() };
        let host = LinuxHost::new(&settings.map(setting))?;
        // Whatever the settings, a new namespace sends no ICMP errors for 20 ms
        // (`icmp_global_allow`).
        thread::sleep(Duration::from_millis(100));
        Ok(Kernel { host, descriptors: Vec::new() })
    }

    /// Makes a call.
    pub fn answer(&mut self, call: &Call) -> Answer {
        self.make(call).unwrap_or_else(|error| Answer::Failed(error.raw_os_error()))
    }

    /// The packets that the kernel has sent since the last call.
    pub fn take_sent(&mut self) -> Vec<Vec<u8>> {
        self.host.wait(self.host.now());
        self.host.take_sent().into_iter().map(|(_, packet)| packet).collect()
    }

    /// Passes a packet to the kernel.
    pub fn send_packet(&mut self, packet: &[u8]) {
        self.host.send_packet(packet);
    }

    /// Makes the kernel a router.
    ///
    /// # Errors
    ///
    /// If the system refuses it.
    pub fn forward(&self) -> io::Result<()> {
        for name in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            std::fs::write(format!("/proc/sys/net/{name}"), "1")?;
        }
        Ok(())
    }

    /// Closes all sockets.
    pub(super) fn begin(&mut self) {
        self.descriptors.clear();
        self.host.wait(self.host.now());
        self.host.take_sent();
    }

    fn d(&self, name: usize) -> rustix::io::Result<&OwnedFd> {
        self.descriptors[name].0.as_ref().ok_or(Errno::BADF)
    }

    fn make(&mut self, call: &Call) -> rustix::io::Result<Answer> {
        let done = |()| Answer::Done(0);
        match call {
            &Call::Socket(domain, kind) => {
                let opened = open(domain, kind)?;
                self.descriptors.push((Some(opened), domain, kind));
                Ok(Answer::Opened)
            }
            Call::Bind(name, addr) => bind(self.d(*name)?, addr).map(done),
            Call::Connect(name, addr) => connect(self.d(*name)?, addr).map(done),
            Call::Send(name, data) => send(self.d(*name)?, data, SendFlags::NOSIGNAL).map(Answer::Done),
            Call::SendTo(name, addr, data) => {
                sendto(self.d(*name)?, data, SendFlags::NOSIGNAL, addr).map(Answer::Done)
            }
            Call::Recv(name, len) => self.receive(*name, *len, RecvFlags::empty()),
            Call::Peek(name, len) => self.receive(*name, *len, RecvFlags::PEEK),
            Call::Shutdown(name, how) => {
                let how = match how {
                    Shutdown::Read => rustix::net::Shutdown::Read,
                    Shutdown::Write => rustix::net::Shutdown::Write,
                    Shutdown::Both => rustix::net::Shutdown::Both,
                };
                shutdown(self.d(*name)?, how).map(done)
            }
            Call::Close(name) => {
                self.d(*name)?;
                self.descriptors[*name].0 = None;
                Ok(done(()))
            }
            Call::LocalAddr(name) => {
                let addr = getsockname(self.d(*name)?)?;
                Ok(Answer::Addr(addr.try_into().map_err(|_| Errno::AFNOSUPPORT)?))
            }
            Call::PeerAddr(name) => {
                let addr = getpeername(self.d(*name)?)?.ok_or(Errno::NOTCONN)?;
                Ok(Answer::Addr(addr.try_into().map_err(|_| Errno::AFNOSUPPORT)?))
            }
            Call::TakeError(name) => {
                let error = sockopt::socket_error(self.d(*name)?)?.err();
                Ok(Answer::Done(error.map_or(0, |error| error.raw_os_error() as usize)))
            }
            Call::Readiness(name) => linux_readiness(self.d(*name)?.as_fd()).map(Answer::Ready),
            Call::Set(name, option) => {
                let domain = self.descriptors[*name].1;
                set(self.d(*name)?.as_raw_fd(), domain, *option).map(done)
            }
            Call::Arrive(packets) => {
                for packet in packets {
                    self.host.send_packet(packet);
                }
                Ok(Answer::Done(0))
            }
        }
    }

    fn receive(&self, name: usize, len: usize, flags: RecvFlags) -> rustix::io::Result<Answer> {
        let (_, domain, kind) = self.descriptors[name];
        let mut data = vec![0; len];
        let (len, _, from) = recvfrom(self.d(name)?, &mut data[..], flags)?;
        data.truncate(len);
        mask_received(domain, protocol_of(kind), &mut data);
        let from = from.and_then(|from| SocketAddr::try_from(from).ok()).ok_or(Errno::AFNOSUPPORT)?;
        Ok(Answer::Received(from, data))
    }
}

impl Machine for Kernel {
    fn call(&mut self, call: &Call) -> Reaction {
        let answer = self.answer(call);
        let mut sent = self.take_sent();
        sent.iter_mut().for_each(|packet| mask(packet));
        (answer, sent)
    }
}

fn open(domain: Domain, kind: SocketKind) -> rustix::io::Result<OwnedFd> {
    let family = by_family(domain, AddressFamily::INET, AddressFamily::INET6);
    let protocol = |number: u8| NonZero::new(u32::from(number)).map(Protocol::from_raw);
    match kind {
        SocketKind::Raw(number) => socket_with(family, SocketType::RAW, FLAGS, protocol(number)),
        SocketKind::Echo => socket_with(family, SocketType::DGRAM, FLAGS, protocol(by_family(domain, 1, 58))),
        _ => socket_with(family, SocketType::DGRAM, FLAGS, None),
    }
}

/// The level, the name and the value of an option in C.
fn set(socket: RawFd, domain: Domain, option: SocketOption) -> rustix::io::Result<()> {
    let int = |value: i32| value.to_ne_bytes().to_vec();
    let ip = by_family(domain, libc::IPPROTO_IP, libc::IPPROTO_IPV6);
    let (level, name, value) = match option {
        SocketOption::HeaderIncluded(on) => (ip, by_family(domain, libc::IP_HDRINCL, 36), int(on.into())),
        SocketOption::ChecksumOffset(at) => {
            (libc::IPPROTO_IPV6, libc::IPV6_CHECKSUM, int(at.map_or(-1, i32::from)))
        }
        SocketOption::IcmpFilter(filter) => {
            let words: Vec<u8> = filter.bits().into_iter().flat_map(u32::to_ne_bytes).collect();
            // SOL_RAW and ICMP_FILTER; IPPROTO_ICMPV6 and ICMPV6_FILTER.
            by_family(domain, (255, 1, words[..4].to_vec()), (libc::IPPROTO_ICMPV6, 1, words))
        }
        SocketOption::Ttl(ttl) => {
            (ip, by_family(domain, libc::IP_TTL, libc::IPV6_UNICAST_HOPS), int(ttl.into()))
        }
        SocketOption::Tos(tos) => (ip, by_family(domain, libc::IP_TOS, libc::IPV6_TCLASS), int(tos.into())),
        SocketOption::Broadcast(on) => (libc::SOL_SOCKET, libc::SO_BROADCAST, int(on.into())),
        SocketOption::ReuseAddr(on) => (libc::SOL_SOCKET, libc::SO_REUSEADDR, int(on.into())),
        _ => return Err(Errno::NOSYS),
    };
    set_option_bytes(socket, level, name, &value)
}
