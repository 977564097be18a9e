//! The hosts at the ends of the path: the kernel in a network namespace, Portolan, smoltcp.

mod linux;
mod portolan;
mod smoltcp;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ::portolan::MacAddr;
use portolan_runtime::device::Device;

use crate::flow::{Shared, Stall};

/// More than the path holds at once, so that a port is never full: 1 Gbit/s for 200 ms and more.
const PORT_FRAMES: usize = 1 << 16;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// The TCP implementation of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Portolan,
    Linux,
    Smoltcp,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Portolan => "Portolan",
            Kind::Linux => "Linux",
            Kind::Smoltcp => "smoltcp",
        }
    }
}

/// The addresses of one end of the path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) side: u8,
    pub(crate) kind: Kind,
}

impl Place {
    fn number(self) -> u8 {
        10 * (self.side + 1) + self.kind as u8
    }

    pub(crate) fn addr(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, self.number())
    }

    pub(crate) fn socket_addr(self, port: u16) -> SocketAddr {
        SocketAddrV4::new(self.addr(), port).into()
    }

    pub(crate) fn mac(self) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, self.number()])
    }
}

/// The program at one end. It ends when [`Shared::stop`] is set, and returns a text about its TCP.
pub(crate) type Program = JoinHandle<io::Result<String>>;

/// A host. Its threads end when it is dropped.
pub(crate) trait Host {
    /// Listens, and reads from the first connection.
    fn receive(&self, port: u16, stall: Option<Stall>, shared: Arc<Shared>) -> io::Result<Program>;

    /// Connects, and writes.
    fn send(&self, to: SocketAddr, shared: Arc<Shared>) -> io::Result<Program>;
}

/// Settings of hosts beside their place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// TCP_CONGESTION of the kernel.
    pub(crate) kernel_congestion: String,
}

/// Starts a host. Also returns the emulator's end of its cable.
pub(crate) fn start(place: Place, options: &Options) -> io::Result<(Box<dyn Host>, Box<dyn Device>)> {
    Ok(match place.kind {
        Kind::Linux => {
            let (host, port) = linux::LinuxHost::start(place, options)?;
            (Box::new(host), port)
        }
        Kind::Portolan => {
            let (host, port) = portolan::PortolanHost::start(place)?;
            (Box::new(host), port)
        }
        Kind::Smoltcp => {
            let (host, port) = smoltcp::SmoltcpHost::start(place)?;
            (Box::new(host), port)
        }
    })
}
