//! TAP and TUN devices of Linux: `/dev/net/tun` and its ioctls. They are used in this file only.
//!
//! `tun-tap` opens plain devices with one queue. It cannot ask for virtio-net headers or several
//! queues, so this file makes the system calls for these.

use std::ffi::c_uint;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use portolan::Offloads;
use portolan_runtime::device::virtio::HEADER_LEN;
use rustix::fs::{Mode, OFlags};

const TUN: &str = "/dev/net/tun";

/// The sets of features to ask the kernel for, the largest first: kernels before 6.2 do not support
/// USO.
const WISHES: [c_uint; 4] = {
    const CSUM: c_uint = libc::TUN_F_CSUM;
    const TSO: c_uint = CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
    [TSO | libc::TUN_F_TSO_ECN | libc::TUN_F_USO4 | libc::TUN_F_USO6, TSO | libc::TUN_F_TSO_ECN, TSO, CSUM]
};

/// What a device carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// Ethernet frames: a TAP device.
    Ethernet,
    /// IP packets: a TUN device.
    Ip,
}

impl Layer {
    fn flag(self) -> libc::c_int {
        match self {
            Layer::Ethernet => libc::IFF_TAP,
            Layer::Ip => libc::IFF_TUN,
        }
    }

    fn mode(self) -> tun_tap::Mode {
        match self {
            Layer::Ethernet => tun_tap::Mode::Tap,
            Layer::Ip => tun_tap::Mode::Tun,
        }
    }
}

/// How many queues a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queues {
    One,
    /// Any number: each opening of the same name adds one.
    Several,
}

impl Queues {
    fn flag(self) -> libc::c_int {
        match self {
            Queues::One => 0,
            Queues::Several => libc::IFF_MULTI_QUEUE,
        }
    }
}

/// Opens `/dev/net/tun` and closes it, to distinguish its errors from those of creating a device.
pub(crate) fn check_access() -> io::Result<()> {
    OpenOptions::new().read(true).write(true).open(TUN).map(|_| ())
}

/// Opens a device with one queue for plain frames, non-blocking. Returns its descriptor and name.
pub(crate) fn create_plain(name: &str, layer: Layer) -> io::Result<(OwnedFd, String)> {
    let iface = tun_tap::Iface::without_packet_info(name, layer.mode())?;
    let name = iface.name().to_owned();
    // SAFETY: `into_raw_fd` gives up the descriptor, which is open and has no other owner.
    #[allow(unsafe_code)]
    let fd = unsafe { OwnedFd::from_raw_fd(iface.into_raw_fd()) };
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok((fd, name))
}

/// Opens a device with virtio-net headers, non-blocking. Returns its descriptor, its name, and
/// the kernel's offloads.
///
/// # Errors
///
/// Those of the system calls; `Unsupported` if the kernel does not support such headers.
pub(crate) fn create(name: &str, layer: Layer, queues: Queues) -> io::Result<(OwnedFd, String, Offloads)> {
    let (fd, name) = attach(name, layer.flag() | queues.flag() | libc::IFF_VNET_HDR)?;
    ioctl(&fd, libc::TUNSETVNETHDRSZ, &mut (HEADER_LEN as libc::c_int))?;
    let granted = WISHES.into_iter().find(|&wish| set_offload(&fd, wish).is_ok()).unwrap_or(0);
    Ok((fd, name, offloads(granted)))
}

/// Opens a device with several queues for plain frames, non-blocking. Returns its first queue
/// and its name.
pub(crate) fn create_plain_queue(name: &str, layer: Layer) -> io::Result<(OwnedFd, String)> {
    attach(name, layer.flag() | Queues::Several.flag())
}

/// Opens one more queue of a device that [`create`] or [`create_plain_queue`] made. It has the
/// features of the first queue.
pub(crate) fn add_queue(name: &str, layer: Layer, has_headers: bool) -> io::Result<OwnedFd> {
    let headers = if has_headers { libc::IFF_VNET_HDR } else { 0 };
    attach(name, layer.flag() | Queues::Several.flag() | headers).map(|(fd, _)| fd)
}

/// Creates a device of this name with these flags, or attaches to it. Fails with `Unsupported` if
/// the kernel does not support one of the flags.
fn attach(name: &str, flags: libc::c_int) -> io::Result<(OwnedFd, String)> {
    let open_flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(TUN, open_flags, Mode::empty())?;
    let mut features: c_uint = 0;
    ioctl(&fd, libc::TUNGETFEATURES, &mut features)?;
    if flags as c_uint & !features != 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let mut request = request_for(name);
    request.flags = (libc::IFF_NO_PI | flags) as i16;
    ioctl(&fd, libc::TUNSETIFF, &mut request)?;
    Ok((fd, request.name()))
}

/// `struct ifreq`, as TUNSETIFF uses it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    flags: i16,
    /// The rest of the union, so that the struct has the size that the kernel expects.
    rest: [u8; size_of::<libc::ifreq>() - libc::IFNAMSIZ - 2],
}

fn request_for(name: &str) -> InterfaceRequest {
    let mut request = InterfaceRequest {
        name: [0; libc::IFNAMSIZ],
        flags: 0,
        rest: [0; size_of::<libc::ifreq>() - libc::IFNAMSIZ - 2],
    };
    // The last byte stays zero; names were checked to be shorter.
    for (to, from) in request.name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from;
    }
    request
}

impl InterfaceRequest {
    /// Returns the name that the kernel chose.
    fn name(&self) -> String {
        let len = self.name.iter().position(|&byte| byte == 0).unwrap_or(self.name.len());
        String::from_utf8_lossy(&self.name[..len]).into_owned()
    }
}

fn ioctl<T>(fd: &OwnedFd, request: libc::Ioctl, argument: &mut T) -> io::Result<()> {
    // SAFETY: the requests above read or write a value of the type that they are called with, and
    // keep no pointer.
    #[allow(unsafe_code)]
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, argument as *mut T) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set_offload(fd: &OwnedFd, features: c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    #[allow(unsafe_code)]
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(features)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The kernel's offloads for frames that are sent: the same as for received frames.
fn offloads(granted: c_uint) -> Offloads {
    let has = |feature: c_uint| granted & feature == feature;
    Offloads::NONE
        .checksum(has(libc::TUN_F_CSUM))
        .tcp4(has(libc::TUN_F_TSO4))
        .tcp6(has(libc::TUN_F_TSO6))
        .udp(has(libc::TUN_F_USO4 | libc::TUN_F_USO6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_as_large_as_the_kernels() {
        assert_eq!(size_of::<InterfaceRequest>(), size_of::<libc::ifreq>());
        let request = request_for("portolan0");
        assert_eq!(request.name(), "portolan0");
        assert_eq!(request_for("a-name-that-is-too-long").name().len(), 15);
    }

    #[test]
    fn kernels_that_know_less_are_asked_for_less() {
        assert_eq!(WISHES.map(offloads)[0], Offloads::ALL);
        let with_tso = Offloads::ALL.udp(false);
        assert_eq!(WISHES.map(offloads)[1..3], [with_tso, with_tso]);
        assert_eq!(WISHES.map(offloads)[3], Offloads::NONE.checksum(true));
        assert_eq!(offloads(0), Offloads::NONE);
    }
}
