//! The cable between the client and the measured peer, and the setup of the kernel's ends.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The client's end: the TAP device, or one end of the veth pair.
pub(crate) const CLIENT_DEVICE: &str = "bench0";
/// The other end of the veth pair.
pub(crate) const SERVER_DEVICE: &str = "bench1";
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// The MAC address of a peer that is not a kernel.
pub(crate) const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The queue length of every peer, so that none is slow because the frames of a window do not fit.
const QUEUE_LEN: &str = "4000";

/// The address of a service.
pub(crate) fn server(port: u16) -> SocketAddr {
    SocketAddrV4::new(SERVER, port).into()
}

/// Runs `ip` of iproute2.
pub(crate) fn ip(line: &str) -> io::Result<()> {
    let output =
        Command::new("ip").args(line.split_whitespace()).stdin(Stdio::null()).output().map_err(|error| {
            let hint = "it comes with iproute2 (on Debian or Ubuntu: sudo apt-get install iproute2)";
            io::Error::new(error.kind(), format!("cannot run `ip {line}`: {error}; {hint}"))
        })?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("`ip {line}`: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// Gives a kernel's end its address and brings it up.
pub(crate) fn bring_up(device: &str, addr: Ipv4Addr) -> io::Result<()> {
    ip(&format!("address add {addr}/24 dev {device}"))?;
    ip(&format!("link set {device} up txqueuelen {QUEUE_LEN}"))
}

/// Makes the settings of a namespace that all measurements need.
pub(crate) fn settle_namespace() -> io::Result<()> {
    // The cable is to carry only the measured traffic. Where there is no IPv6, there is nothing to
    // switch off.
    for which in ["all", "default"] {
        let path = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
        if Path::new(&path).exists() {
            std::fs::write(path, "1")?;
        }
    }
    // One client opens tens of thousands of connections to one port, each of which is in TIME-WAIT
    // for a minute.
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535")
}

/// From `linux/ethtool.h`: generic segmentation and receive offload, TCP segmentation, checksums,
/// scatter and gather.
const ETHTOOL_SRXCSUM: u32 = 0x15;
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_SSG: u32 = 0x19;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_SGSO: u32 = 0x24;
const ETHTOOL_SGRO: u32 = 0x2c;

#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// What `ethtool -K DEVICE rx off tx off sg off tso off gso off gro off` does.
pub(crate) fn switch_offloads_off(device: &str) -> io::Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    for command in [ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO, ETHTOOL_STXCSUM, ETHTOOL_SRXCSUM, ETHTOOL_SSG] {
        let mut value = EthtoolValue { command, data: 0 };
        let mut request = interface_request(device)?;
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        // SAFETY: the kernel reads and writes the request and the value that it points to; both are
        // live and have the expected size.
        #[allow(unsafe_code)]
        let status =
            unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as libc::Ioctl, &raw mut request) };
        if status != 0 {
            let error = io::Error::last_os_error();
            return Err(io::Error::new(
                error.kind(),
                format!("ethtool command {command:#x} on {device}: {error}"),
            ));
        }
    }
    Ok(())
}

/// A `struct ifreq` with a name.
pub(crate) fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: the type consists of integers and a pointer, for which zero is a valid value.
    #[allow(unsafe_code)]
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    // The last byte stays zero.
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is too long")));
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    Ok(request)
}
