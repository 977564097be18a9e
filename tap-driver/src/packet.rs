//! [`PacketDevice`]: an interface of Linux, through a packet socket (AF_PACKET). The system calls
//! for that are used in this file only.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::task::Waker;

use portolan::{Frame, MacAddr, Medium, Offloads, Transmit};
use portolan_runtime::device::{
    Device, Outgoing, Readiness, ReceiveBuffer, Received, Sent, virtio, write_vectored,
};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::Error;
use crate::limits::{ETHERNET_HEADER_LEN, MAX_JOINED_LEN, OVERSIZE_LEN};
use crate::netlink::{Link, Netlink};
use crate::veth::VethPair;

/// What the kernel may queue for us to read, in bytes. An unprivileged process gets less.
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;

const ENXIO: i32 = 6;
const ENODEV: i32 = 19;
const ENETDOWN: i32 = 100;

/// An Ethernet interface of Linux as a device: a network card, one end of a veth pair. The stack is
/// one more station on the interface's link. It has a MAC address of its own; the interface is made
/// promiscuous for that.
///
/// The kernel itself does not see the stack's frames, nor the stack those that the kernel sends
/// through the same interface: the two reach each other by another station only. Where the network
/// card is a virtual one, its host must allow other MAC addresses.
///
/// ```no_run
/// use portolan_runtime::Builder;
/// use portolan_tap::PacketDevice;
///
/// let device = PacketDevice::open("eth0", "02:00:5e:10:00:01".parse()?)?;
/// let runtime = Builder::new().interface(device, ["192.168.1.77/24".parse()?]).start()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PacketDevice {
    fd: OwnedFd,
    buffer: ReceiveBuffer,
    name: String,
    index: u32,
    mac: MacAddr,
    mtu: usize,
    /// The pair that was made for this device.
    pair: Option<VethPair>,
}

impl PacketDevice {
    /// Opens an interface, for a stack with this MAC address. Needs CAP_NET_RAW in the network
    /// namespace, which [`isolate`](crate::isolate) gives.
    ///
    /// # Errors
    ///
    /// [`Error::NoInterface`], [`Error::NotPermitted`], and [`Error::Io`].
    pub fn open(interface: &str, mac: MacAddr) -> Result<PacketDevice, Error> {
        let failed = |doing: String| move |source| Error::changing(doing, source);
        let link = Netlink::open()
            .and_then(|mut netlink| netlink.link(interface))
            .map_err(failed(format!("ask for the interface {interface}")))?
            .ok_or_else(|| Error::NoInterface { name: interface.to_owned() })?;
        let fd = open_socket(&link).map_err(failed(format!("open a packet socket on {interface}")))?;
        log::info!("{interface}: packet socket, MTU {}, stack {mac}", link.mtu);
        Ok(PacketDevice {
            fd,
            buffer: ReceiveBuffer::new(MAX_JOINED_LEN + ETHERNET_HEADER_LEN + OVERSIZE_LEN),
            name: link.name,
            index: link.index,
            mac,
            mtu: link.mtu as usize,
            pair: None,
        })
    }

    /// The end of a pair that exists as long as this device, under the name of the other end.
    pub(crate) fn at_pair(self, pair: VethPair) -> PacketDevice {
        PacketDevice { pair: Some(pair), ..self }
    }

    /// Returns the name of the interface; for one end of a pair that was made for the device, that
    /// of the kernel's end.
    pub fn name(&self) -> &str {
        self.pair.as_ref().map_or(&self.name, VethPair::name)
    }

    /// Returns the MAC address of the stack.
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// Fails if the interface was removed, which an error of the socket may mean. Otherwise the
    /// interface is down for the moment.
    fn check_interface(&self, error: &io::Error) -> io::Result<()> {
        if !matches!(error.raw_os_error(), Some(ENXIO | ENODEV | ENETDOWN)) {
            return Ok(());
        }
        let link = Netlink::open().and_then(|mut netlink| netlink.link(&self.name))?;
        if link.is_some_and(|link| link.index == self.index) {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::NotConnected,
            format!("{}: the interface was removed from outside; start again to make a new one", self.name()),
        ))
    }

    fn send(&self, transmit: &Transmit) -> io::Result<Sent> {
        match write_vectored(&self.fd, &virtio::header_for(transmit), transmit) {
            Ok(sent) => Ok(sent),
            // ENETDOWN while the interface is down, ENOBUFS when its queue is full.
            Err(error) => {
                self.check_interface(&error)?;
                log::debug!("{}: a frame of {} bytes is lost: {error}", self.name, transmit.len());
                Ok(Sent::Taken)
            }
        }
    }

    fn recv(&mut self) -> io::Result<Option<Frame>> {
        match self.buffer.read_frame(|room| Ok(rustix::io::read(&self.fd, room)?)) {
            Ok(bytes) => Ok(bytes.and_then(virtio::frame_from)),
            Err(error) => {
                self.check_interface(&error)?;
                log::debug!("{}: a frame could not be read: {error}", self.name);
                Ok(None)
            }
        }
    }
}

impl Device for PacketDevice {
    fn name(&self) -> &str {
        PacketDevice::name(self)
    }

    fn medium(&self) -> Medium {
        Medium::Ethernet(self.mac)
    }

    fn mtu(&self) -> usize {
        self.mtu
    }

    /// What an interface cannot do, the kernel does for it. USO in virtio-net headers needs Linux
    /// 6.2, and older kernels refuse such frames only when they are sent.
    fn offloads(&self) -> Offloads {
        Offloads::ALL.udp(false)
    }

    fn readiness(&mut self, _: &Waker) -> Readiness<'_> {
        Readiness::fd(self.fd.as_fd())
    }

    fn transmit(&mut self, outgoing: &mut Outgoing<'_>) -> io::Result<()> {
        outgoing.send_each(|transmit| self.send(transmit))
    }

    fn receive(&mut self, received: &mut Received<'_>) -> io::Result<()> {
        received.fill_with(|| self.recv())
    }
}

/// A non-blocking packet socket with virtio-net headers, bound to an interface.
fn open_socket(link: &Link) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    // Without a protocol it receives nothing until it is bound.
    let fd = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
    set_option::<c_int>(&fd, PACKET_VNET_HDR, &1)?;
    // What the kernel sends through the interface is not for the stack. Before Linux 4.20 the stack
    // sees it.
    if let Err(error) = set_option::<c_int>(&fd, PACKET_IGNORE_OUTGOING, &1) {
        log::debug!("the stack sees what the kernel sends through {}: {error}", link.name);
    }
    if set_socket_recv_buffer_size_force(&fd, RECEIVE_BUFFER_BYTES).is_err() {
        set_socket_recv_buffer_size(&fd, RECEIVE_BUFFER_BYTES)?;
    }
    bind(&fd, link.index)?;
    let promiscuous = Membership {
        interface: link.index as c_int,
        kind: PACKET_MR_PROMISC,
        address_len: 0,
        address: [0; 8],
    };
    set_option(&fd, PACKET_ADD_MEMBERSHIP, &promiscuous)?;
    Ok(fd)
}

// linux/if_packet.h.
const PACKET_ADD_MEMBERSHIP: c_int = 1;
const PACKET_VNET_HDR: c_int = 15;
const PACKET_IGNORE_OUTGOING: c_int = 23;
const PACKET_MR_PROMISC: u16 = 1;

/// `struct packet_mreq`.
#[repr(C)]
struct Membership {
    interface: c_int,
    kind: u16,
    address_len: u16,
    address: [u8; 8],
}

fn set_option<T>(fd: &OwnedFd, option: c_int, value: &T) -> io::Result<()> {
    // SAFETY: the options above read a value of the type that they are set with, and keep no
    // pointer.
    #[allow(unsafe_code)]
    let result = unsafe {
        let value = std::ptr::from_ref(value).cast();
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_PACKET, option, value, size_of::<T>() as libc::socklen_t)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn bind(fd: &OwnedFd, index: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as libc::c_ushort,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: index as c_int,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the address is a complete `sockaddr_ll`, and the kernel keeps no pointer to it.
    #[allow(unsafe_code)]
    let result = unsafe {
        let address = (&raw const address).cast();
        libc::bind(fd.as_raw_fd(), address, size_of::<libc::sockaddr_ll>() as libc::socklen_t)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let opened = PacketDevice::open("no-such-link", MacAddr([2, 0, 0, 0, 0, 1]));
        let text = opened.map(drop).map_err(|error| error.to_string());
        let message = "there is no interface no-such-link in this network namespace; `ip link` lists them";
        assert_eq!(text, Err(message.to_owned()));
    }
}
