//! [`LinuxHost`]: the kernel in a new network namespace, with a TUN device that leads to the test.
//!
//! Read this file (the namespace, the device, time), then `settings` (sysctls), `link` (the
//! interface), `sockets` and `messages` (calls) and `look` (queries).
#![allow(unsafe_code)]

mod link;
mod look;
mod messages;
mod settings;
mod sockets;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use portolan::{Domain, Instant};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tun_tap::{Iface, Mode};

use crate::by_family;
use crate::host::packet;

pub(crate) use look::readiness as linux_readiness;
pub(crate) use messages::{SIOCATMARK, SIOCOUTQNSD, ask, disconnect};
pub use settings::{KernelSetting, kernel_settings_of};
pub(crate) use sockets::{errno_name, set_bytes as set_option_bytes, set_delayed_ack};

const DEVICE: &str = "tun0";
const MTU: usize = 1500;

/// The kernel as a host under test, in real time.
///
/// The namespace belongs to the thread: a host stays on the thread that made it, and a thread has
/// only one at a time. A process without privileges must call [`portolan_tap::isolate`] first,
/// while it has one thread; then its threads may create namespaces.
#[derive(Debug)]
pub struct LinuxHost {
    tun: Iface,
    started_at: std::time::Instant,
    sent: Vec<(Instant, Vec<u8>)>,
    sockets: BTreeMap<RawFd, OwnedFd>,
    /// TCP_DELACK_MAX_US of every socket.
    delayed_ack: Option<Duration>,
    /// The namespace belongs to one thread.
    not_send: PhantomData<*const ()>,
}

impl LinuxHost {
    /// Moves this thread into a new network namespace and makes a host in it, with the defaults
    /// that scripts rely on and these settings.
    ///
    /// # Errors
    ///
    /// If the system refuses the namespace or the device, or does not know a setting.
    pub fn new(settings: &[KernelSetting]) -> io::Result<LinuxHost> {
        // SAFETY: unsafe because of CLONE_FILES, which is not among the flags.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET)? };
        settings::set_defaults()?;
        let tun = Iface::without_packet_info(DEVICE, Mode::Tun)?;
        rustix::io::ioctl_fionbio(device_of(&tun), true)?;
        for setting in settings {
            if let KernelSetting::Sysctl { name, value } = setting {
                settings::set(name, value)?;
            }
        }
        let index = rustix::net::netdevice::name_to_index(any_socket()?, DEVICE)?;
        link::set_up(index, MTU as u32, settings)?;
        let mut host = LinuxHost {
            tun,
            started_at: std::time::Instant::now(),
            sent: Vec::new(),
            sockets: BTreeMap::new(),
            delayed_ack: settings.iter().find_map(|setting| match setting {
                KernelSetting::DelayedAck(time) => Some(*time),
                _ => None,
            }),
            not_send: PhantomData,
        };
        for domain in [Domain::V4, Domain::V6] {
            host.await_echo(domain)?;
        }
        host.started_at = std::time::Instant::now();
        Ok(host)
    }

    /// Waits until the host answers a ping, because the kernel sets an interface up in the
    /// background.
    fn await_echo(&mut self, domain: Domain) -> io::Result<()> {
        let request = [0, 1, 0, 1];
        let packet =
            by_family(domain, packet(domain).icmp(8, 0, &request), packet(domain).icmp(128, 0, &request));
        let is_reply = |packet: &[u8]| {
            by_family(
                domain,
                packet.first() == Some(&0x45) && packet.get(20) == Some(&0),
                packet.first().is_some_and(|first| first >> 4 == 6) && packet.get(40) == Some(&129),
            )
        };
        for _ in 0..1000 {
            self.write_packet(&packet);
            self.wait_until(self.time() + Duration::from_millis(2));
            if std::mem::take(&mut self.sent).iter().any(|(_, packet)| is_reply(packet)) {
                return Ok(());
            }
        }
        Err(io::Error::other(format!("the kernel answers no ping over {domain:?}")))
    }

    /// The time, which begins at one second, as that of [`RawPeer`] does.
    fn time(&self) -> Instant {
        Instant::from_secs(1) + self.started_at.elapsed()
    }

    /// Reads what the kernel has sent; `at` is the time at which it was sent.
    fn drain(&mut self, at: Instant) {
        let mut buf = [0; MTU + 100];
        while let Ok(len) = self.tun.recv(&mut buf) {
            self.sent.push((at, buf[..len].to_vec()));
        }
    }

    fn wait_until(&mut self, end: Instant) {
        let left = end.duration_since(self.time());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let ready =
            poll(&mut [PollFd::from_borrowed_fd(device_of(&self.tun), PollFlags::IN)], Some(&timeout));
        let now = self.time();
        // Packets after `end` belong to the time after it.
        if ready.is_ok_and(|ready| ready > 0) && (now <= end || left == Duration::ZERO) {
            self.drain(now);
        }
    }

    /// Passes a packet to the kernel. It is processed before the write returns, so the answer is
    /// there then.
    fn write_packet(&mut self, packet: &[u8]) {
        let at = self.time();
        self.tun.send(packet).expect("a TUN device takes every packet");
        self.drain(at);
    }
}

/// A socket for ioctls: names are looked up in the namespace of a socket.
fn any_socket() -> io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    Ok(socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?)
}

fn device_of(tun: &Iface) -> BorrowedFd<'_> {
    // SAFETY: the device is open as long as `tun`, from which the lifetime comes.
    unsafe { BorrowedFd::borrow_raw(tun.as_raw_fd()) }
}

/// The kernel version that the scripts were compared with. Older kernels behave differently in some
/// cases, which the scripts do not record.
const JUDGE: (u32, u32) = (6, 18);

/// Whether this kernel is new enough for comparisons.
pub fn is_judge() -> bool {
    let version = kernel_version();
    let (major, minor) = version.split_once('.').unwrap_or_default();
    (major.parse().unwrap_or(0), minor.parse().unwrap_or(0)) >= JUDGE
}

/// `6.18`: the first two numbers of this kernel's version.
pub fn kernel_version() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-', '\n']);
    format!("{}.{}", numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}
