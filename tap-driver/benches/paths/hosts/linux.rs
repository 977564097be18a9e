//! The kernel, in its own network namespace behind a TAP device.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use portolan::Cidr;
use portolan_runtime::device::Device;
use portolan_tap::{Tap, TapBuilder};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::{CONNECT_TIMEOUT, Host, Options, Place, Program};
use crate::flow::{self, CALL_TIMEOUT, Shared, Stall};
use crate::kernel_sockets;

/// Settings that a machine may have changed; they are set to the kernel's own defaults (tcp(7),
/// ip-sysctl).
const SETTINGS: [(&str, &str); 4] = [
    ("ipv4/tcp_rmem", "4096 131072 6291456"),
    ("ipv4/tcp_wmem", "4096 16384 4194304"),
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
];

type Job = Box<dyn FnOnce() + Send>;

/// A thread in its own namespace. Threads that it starts, and sockets that it makes, belong there,
/// too.
pub(super) struct LinuxHost {
    place: Place,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    congestion: String,
}

impl LinuxHost {
    pub(super) fn start(place: Place, options: &Options) -> io::Result<(LinuxHost, Box<dyn Device>)> {
        let (jobs, queue) = channel::<Job>();
        let (opened, open) = channel();
        let congestion = options.kernel_congestion.clone();
        let thread = std::thread::spawn({
            move || {
                let tap = enter_and_open(place);
                if opened.send(tap).is_ok() {
                    queue.into_iter().for_each(|job| job());
                }
            }
        });
        let tap = open.recv().map_err(|_| gone())??;
        Ok((LinuxHost { place, jobs: Some(jobs), thread: Some(thread), congestion }, Box::new(tap)))
    }

    /// Runs a function in the namespace and waits for its result.
    fn inside<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> io::Result<R> {
        let (done, result) = channel();
        let job: Job = Box::new(move || drop(done.send(f())));
        self.jobs.as_ref().expect("it is there until the host is dropped").send(job).map_err(|_| gone())?;
        result.recv().map_err(|_| gone())
    }
}

impl Drop for LinuxHost {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic was printed already.
            let _ = thread.join();
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread in the namespace is gone")
}

fn enter_and_open(place: Place) -> io::Result<Tap> {
    // SAFETY: unsafe because of CLONE_FILES, which is not among the flags.
    #[allow(unsafe_code)]
    unsafe {
        unshare_unsafe(UnshareFlags::NEWNET)?;
    }
    for (setting, value) in SETTINGS {
        fs::write(format!("/proc/sys/net/{setting}"), value)
            .map_err(|error| io::Error::new(error.kind(), format!("{setting} = {value}: {error}")))?;
    }
    let cidr = Cidr { addr: place.addr().into(), prefix_len: 24 };
    TapBuilder::new().host_address(cidr).open().map_err(io::Error::other)
}

impl Host for LinuxHost {
    fn receive(&self, port: u16, stall: Option<Stall>, shared: Arc<Shared>) -> io::Result<Program> {
        let addr = self.place.socket_addr(port);
        let congestion = self.congestion.clone();
        let listener = self.inside(move || kernel_sockets::listen(addr, &congestion, 1))??;
        Ok(std::thread::spawn(move || {
            let (stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(CALL_TIMEOUT))?;
            flow::receive(&stream, stall, &shared)?;
            Ok(String::new())
        }))
    }

    fn send(&self, to: SocketAddr, shared: Arc<Shared>) -> io::Result<Program> {
        let congestion = self.congestion.clone();
        self.inside(move || {
            std::thread::spawn(move || {
                let stream = kernel_sockets::connect(to, &congestion, CONNECT_TIMEOUT)?;
                stream.set_write_timeout(Some(CALL_TIMEOUT))?;
                flow::send(&stream, &shared)?;
                describe(&stream)
            })
        })
    }
}

/// TCP_INFO in one line.
fn describe(stream: impl AsFd) -> io::Result<String> {
    // SAFETY: all fields are integers, for which zero is a valid value.
    #[allow(unsafe_code)]
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `info`, which is that long.
    #[allow(unsafe_code)]
    let status = unsafe {
        libc::getsockopt(
            stream.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(format!(
        "{} repeated, cwnd {}, ssthresh {}, rtt {} us",
        info.tcpi_total_retrans, info.tcpi_snd_cwnd, info.tcpi_snd_ssthresh, info.tcpi_rtt
    ))
}
