//! A TAP device and nothing around it: none of Portolan's code, so that the limit is the device's
//! own.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use crate::link;

/// `struct virtio_net_hdr`, without the count of buffers.
pub(super) const VNET_HEADER_LEN: usize = 10;

/// What the kernel may leave to us, most of it first: each is a step down for a kernel that does
/// not know the one before.
const OFFLOADS: [libc::c_uint; 3] =
    [libc::TUN_F_CSUM | TSO | libc::TUN_F_USO4 | libc::TUN_F_USO6, libc::TUN_F_CSUM | TSO, libc::TUN_F_CSUM];
const TSO: libc::c_uint = libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;

pub(super) struct RawTap {
    fd: OwnedFd,
    /// Of the header in front of each frame; zero without offloads.
    pub(super) vnet_len: usize,
    /// What it got, for people.
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
            // The flags are the argument itself, not what it points to.
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

    /// Whether `read` waits for a frame.
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

    /// The next frame; none if there is none now.
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

    /// A frame out of two pieces.
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
    // SAFETY: all callers pass what this request takes: a `struct ifreq`, an int, or flags in place
    // of a pointer.
    #[allow(unsafe_code)]
    let status = unsafe { libc::ioctl(fd.as_raw_fd(), request, argument) };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
