//! The kernel's packet sockets, and a TAP device.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_short};
use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use portolan::{LinkHeader, MacAddr, PacketMembershipKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::net::netdevice::name_to_index;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, accept, bind, connect, listen,
    recv, send, sendto, shutdown, socket_with,
};
use tun_tap::{Iface, Mode};

use super::{Answer, Call, Interface, MTU, Machine, OWN, PEER, frame};
use crate::packet_socket::LinkAddress;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);
const DEVICE: &str = "packets0";
const MISSING_INDEX: c_int = 99;
const LOOPBACK_INDEX: c_int = 1;

#[derive(Debug)]
pub(super) struct Kernel {
    tap: Iface,
    index: c_int,
    /// Those that are closed are `None`.
    sockets: Vec<Option<OwnedFd>>,
}

impl Kernel {
    pub(super) fn new() -> io::Result<Kernel> {
        // Without IPv6 the kernel itself sends nothing.
        let _ = fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        let tap = Iface::without_packet_info(DEVICE, Mode::Tap)?;
        // SAFETY: the device is open for as long as this borrows it.
        fcntl_setfl(unsafe { BorrowedFd::borrow_raw(tap.as_raw_fd()) }, OFlags::NONBLOCK)?;
        let control = socket_with(AddressFamily::PACKET, SocketType::DGRAM, FLAGS, None)?;
        let set = |request, value: libc::__c_anonymous_ifr_ifru| set_device(&control, request, value);
        let mut sa_data = [0; 14];
        sa_data.iter_mut().zip(OWN.0).for_each(|(place, byte)| *place = byte as libc::c_char);
        let ifru_hwaddr = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data };
        set(libc::SIOCSIFHWADDR, libc::__c_anonymous_ifr_ifru { ifru_hwaddr })?;
        set(libc::SIOCSIFMTU, libc::__c_anonymous_ifr_ifru { ifru_mtu: MTU.into() })?;
        let up = (libc::IFF_UP | libc::IFF_RUNNING) as c_short;
        set(libc::SIOCSIFFLAGS, libc::__c_anonymous_ifr_ifru { ifru_flags: up })?;
        let index = name_to_index(&control, DEVICE)? as c_int;
        Ok(Kernel { tap, index, sockets: Vec::new() })
    }

    /// Closes all sockets, and forgets what they sent.
    pub(super) fn close_all(&mut self) {
        self.sockets.clear();
        while self.tap.recv(&mut [0; 2048]).is_ok() {}
    }

    fn d(&self, name: usize) -> io::Result<&OwnedFd> {
        self.sockets[name].as_ref().ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }

    fn index_of(&self, interface: Interface) -> c_int {
        match interface {
            Interface::Any => 0,
            Interface::Ethernet => self.index,
            Interface::Loopback => LOOPBACK_INDEX,
            Interface::Missing => MISSING_INDEX,
        }
    }

    fn interface_of(&self, index: c_int) -> Interface {
        match index {
            0 => Interface::Any,
            LOOPBACK_INDEX => Interface::Loopback,
            index if index == self.index => Interface::Ethernet,
            _ => Interface::Missing,
        }
    }

    fn address(&self, interface: Interface, protocol: u16, mac: Option<MacAddr>) -> LinkAddress {
        let mut sll_addr = [0; 8];
        if let Some(MacAddr(mac)) = mac {
            sll_addr[..6].copy_from_slice(&mac);
        }
        LinkAddress(libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as libc::c_ushort,
            sll_protocol: protocol.to_be(),
            sll_ifindex: self.index_of(interface),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: if mac.is_some() { 6 } else { 0 },
            sll_addr,
        })
    }

    fn name_of(&self, address: &libc::sockaddr_ll) -> (Interface, u16, u16, Option<MacAddr>) {
        let mac = address.sll_addr.first_chunk().copied().map(MacAddr).filter(|_| address.sll_halen == 6);
        (self.interface_of(address.sll_ifindex), u16::from_be(address.sll_protocol), address.sll_hatype, mac)
    }

    fn make(&mut self, call: Call) -> io::Result<Answer> {
        let done = |result: usize| Answer::Done(result);
        let d = |name: usize| self.d(name);
        match call {
            Call::Socket(header) => {
                let kind = match header {
                    LinkHeader::Included => SocketType::RAW,
                    LinkHeader::Cooked => SocketType::DGRAM,
                };
                let socket = socket_with(AddressFamily::PACKET, kind, FLAGS, None)?;
                set_option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, &(1 as c_int))?;
                self.sockets.push(Some(socket));
                Ok(Answer::Opened)
            }
            Call::Close(name) => {
                self.d(name)?;
                self.sockets[name] = None;
                Ok(done(0))
            }
            Call::Bind(name, interface, protocol) => {
                bind(d(name)?, &self.address(interface, protocol, None))?;
                Ok(done(0))
            }
            Call::Name(name) => self.name(name),
            Call::Send(name, len, ethertype) => {
                let data = frame(PEER, OWN, ethertype, len);
                Ok(done(send(d(name)?, &data, SendFlags::empty())?))
            }
            Call::SendTo(name, len, interface, protocol, mac) => {
                let (data, to) =
                    (frame(PEER, OWN, protocol, len), self.address(interface, protocol, Some(mac)));
                Ok(done(sendto(d(name)?, &data, SendFlags::empty(), &to)?))
            }
            Call::Recv(name, len) => self.receive(name, len),
            Call::Peek(name, len) => Ok(done(recv(d(name)?, &mut vec![0; len][..], RecvFlags::PEEK)?.0)),
            Call::RecvUrgent(name) => Ok(done(recv(d(name)?, &mut [0; 1][..], RecvFlags::OOB)?.0)),
            Call::Absent(name, which) => {
                let socket = d(name)?;
                match which {
                    0 => connect(socket, &self.address(Interface::Ethernet, 0x88b5, Some(PEER)))?,
                    1 => listen(socket, 1)?,
                    2 => drop(accept(socket)?),
                    _ => shutdown(socket, Shutdown::Both)?,
                }
                Ok(done(0))
            }
            Call::Readable(name) => {
                let mut polled = [PollFd::new(d(name)?, PollFlags::IN)];
                Ok(done(poll(&mut polled, Some(&Timespec::default()))?))
            }
            Call::Filter(name, kept) => attach(d(name)?, &[(0x06, kept)]).map(|()| done(0)),
            Call::FilterLength(name, less) => {
                attach(d(name)?, &[(0x80, 0), (0x14, less), (0x16, 0)]).map(|()| done(0))
            }
            Call::Detach(name) => {
                set_option(d(name)?, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &(0 as c_int))
                    .map(|()| done(0))
            }
            Call::Lock(name, on) => {
                set_option(d(name)?, libc::SOL_SOCKET, libc::SO_LOCK_FILTER, &c_int::from(on))
                    .map(|()| done(0))
            }
            Call::Statistics(name) => self.statistics(name),
            Call::Membership(name, is_added, interface, kind, mac) => {
                let mut address = [0; 8];
                if let Some(MacAddr(mac)) = mac {
                    address[..6].copy_from_slice(&mac);
                }
                let request = libc::packet_mreq {
                    mr_ifindex: self.index_of(interface),
                    mr_type: match kind {
                        PacketMembershipKind::Multicast => 0,
                        PacketMembershipKind::Promiscuous => 1,
                        PacketMembershipKind::AllMulticast => 2,
                        PacketMembershipKind::Unicast => 3,
                    },
                    mr_alen: if mac.is_some() { 6 } else { 0 },
                    mr_address: address,
                };
                let option = match is_added {
                    true => libc::PACKET_ADD_MEMBERSHIP,
                    false => libc::PACKET_DROP_MEMBERSHIP,
                };
                set_option(d(name)?, libc::SOL_PACKET, option, &request).map(|()| done(0))
            }
            Call::IgnoreOutgoing(name, on) => {
                let on = c_int::from(on);
                set_option(d(name)?, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &on).map(|()| done(0))
            }
            Call::Inject(dst, ethertype, len) => {
                self.tap.send(&frame(dst, PEER, ethertype, 14 + len))?;
                Ok(done(0))
            }
        }
    }

    fn name(&self, name: usize) -> io::Result<Answer> {
        let (socket, mut address) = (self.d(name)?, self.address(Interface::Any, 0, None));
        let mut len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address has the length that the call is told.
        cvt(unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut address.0).cast(), &raw mut len) })?;
        let (interface, protocol, hardware_type, mac) = self.name_of(&address.0);
        Ok(Answer::Name(interface, protocol, hardware_type, mac))
    }

    fn statistics(&self, name: usize) -> io::Result<Answer> {
        let (socket, mut counts) = (self.d(name)?, [0_u32; 2]);
        let mut len = size_of_val(&counts) as libc::socklen_t;
        let (level, option) = (libc::SOL_PACKET, libc::PACKET_STATISTICS);
        // SAFETY: the counts have the length that the call is told.
        cvt(unsafe {
            libc::getsockopt(socket.as_raw_fd(), level, option, counts.as_mut_ptr().cast(), &raw mut len)
        })?;
        Ok(Answer::Counts(counts[0], counts[1]))
    }

    fn receive(&self, name: usize, len: usize) -> io::Result<Answer> {
        let socket = self.d(name)?;
        let (mut bytes, LinkAddress(mut address)) = (vec![0_u8; len], self.address(Interface::Any, 0, None));
        let mut control = [0_u64; 16];
        let mut slice = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: len };
        // SAFETY: zeros are a message without parts.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_name = (&raw mut address).cast();
        message.msg_namelen = size_of_val(&address) as libc::socklen_t;
        message.msg_iov = &raw mut slice;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control) as _;
        // SAFETY: the message points to buffers of the lengths that it names.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
        bytes.truncate(usize::try_from(received).map_err(|_| io::Error::last_os_error())?);
        // SAFETY: the kernel has filled in the control message, which is PACKET_AUXDATA.
        let aux = unsafe {
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            assert!(!header.is_null() && (*header).cmsg_type == libc::PACKET_AUXDATA);
            libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned()
        };
        Ok(Answer::Frame {
            bytes,
            from: self.name_of(&address),
            packet_type: address.sll_pkttype,
            lens: [aux.tp_len, aux.tp_snaplen, aux.tp_net.into()],
        })
    }
}

impl Machine for Kernel {
    fn call(&mut self, call: Call) -> Answer {
        self.make(call).unwrap_or_else(|error| Answer::Failed(error.raw_os_error().unwrap_or(0)))
    }
}

/// The error of a system call, if it failed.
fn cvt(result: c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set_device(
    control: &OwnedFd,
    request: libc::Ioctl,
    value: libc::__c_anonymous_ifr_ifru,
) -> io::Result<()> {
    let mut name = [0; libc::IFNAMSIZ];
    name.iter_mut().zip(DEVICE.bytes()).for_each(|(place, byte)| *place = byte as libc::c_char);
    let device = libc::ifreq { ifr_name: name, ifr_ifru: value };
    // SAFETY: the request reads an `ifreq`.
    cvt(unsafe { libc::ioctl(control.as_raw_fd(), request, &raw const device) })
}

/// `setsockopt`.
fn set_option<T>(socket: &OwnedFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer is to a value of this length.
    cvt(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const *value).cast(), len) })
}

/// SO_ATTACH_FILTER, with a program of these codes and constants.
fn attach(socket: &OwnedFd, program: &[(u16, u32)]) -> io::Result<()> {
    let mut filter: Vec<libc::sock_filter> =
        program.iter().map(|&(code, k)| libc::sock_filter { code, jt: 0, jf: 0, k }).collect();
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}
