//! A TAP device without any of Portolan's code, so that the limit is that of the device.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use crate::link;

/// The length of `struct virtio_net_hdr` without the number of buffers.
pub(super) const VNET_HEADER_LEN: usize = 10;

/// Sets of offloads, the largest first; each later one is for a kernel that does not support the
/// one before.
const OFFLOADS: [libc::c_uint; 3] =
    [libc::TUN_F_CSUM | TSO | libc::TUN_F_USO4 | libc::TUN_F_USO6, libc::TUN_F_CSUM | TSO, libc::TUN_F_CSUM];
const TSO: libc::c_uint = libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;

pub(super) struct RawTap {
    fd: OwnedFd,
    /// The length of the virtio-net header; zero without offloads.
    pub(super) vnet_len: usize,
    /// A description of the device's offloads for people.
    pub(super) note: String,
    is_blocking: bool,
}

impl RawTap {
    pub(super) fn open(name: &str, is_plain: bool) -> io::Result<RawTap> {
        let fd: OwnedFd = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?.into();
        let vnet = if is_plain { 0 } else { libc::IFF_VNET_HDR };
        let mut request = link::interface_request(name)?;
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | vnet) as libc::c_short;
        ioctl(&fd, libc::TUNSETIFF, (&raw mut request).cast())?;
        let mut tap = RawTap { fd, vnet_len: 0, note: "plain frames".into(), is_blocking: true };
        if !is_plain {
            tap.vnet_len = VNET_HEADER_LEN;
            tap.ask_for_offloads()?;
        }
        Ok(tap)
    }

    fn ask_for_offloads(&mut self) -> io::Result<()> {
        let mut len = VNET_HEADER_LEN as libc::c_int;
        ioctl(&self.fd, libc::TUNSETVNETHDRSZ, (&raw mut len).cast())?;
        for offloads in OFFLOADS {
            // The argument is the flags themselves, not a pointer.
            match ioctl(&self.fd, libc::TUNSETOFFLOAD, std::ptr::without_provenance_mut(offloads as usize)) {
                Ok(()) => {
                    self.note = format!("offloads {offloads:#x}");
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("the kernel takes no offloads, not even checksums"))
    }

    /// Sets whether `read` waits for a frame.
    pub(super) fn set_blocking(&mut self, is_blocking: bool) -> io::Result<()> {
        if is_blocking != self.is_blocking {
            rustix::io::ioctl_fionbio(&self.fd, !is_blocking)?;
            self.is_blocking = is_blocking;
        }
        Ok(())
    }

    pub(super) fn is_blocking(&self) -> bool {
        self.is_blocking
    }

    /// Reads the next frame; `None` if there is none now.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match rustix::io::read(&self.fd, &mut *buffer) {
                Ok(len) => return Ok(Some(len)),
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Writes a frame that consists of two pieces.
    pub(super) fn write(&self, head: &[u8], payload: &[u8]) -> io::Result<()> {
        let slices = [io::IoSlice::new(head), io::IoSlice::new(payload)];
        let slices = if payload.is_empty() { &slices[..1] } else { &slices };
        loop {
            match rustix::io::writev(&self.fd, slices) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn ioctl(fd: &OwnedFd, request: libc::Ioctl, argument: *mut libc::c_void) -> io::Result<()> {
    // SAFETY: all callers pass what the request takes: a `struct ifreq`, an int, or flags in place
    // of a pointer.
    #[allow(unsafe_code)]
    let status = unsafe { libc::ioctl(fd.as_raw_fd(), request, argument) };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
