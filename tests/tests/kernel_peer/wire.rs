//! Portolan in the process of a test, on a TAP device of its own, with a record of its frames.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use portolan::{Cidr, Config, LinkAddr, LinkHeader, PacketType};
use portolan_runtime::{Builder, PacketSocket, Runtime};
use portolan_tap::{Offload, Tap, TapBuilder};

/// The name of the device.
pub(crate) const DEVICE: &str = "member";
/// The kernel's addresses on the link.
pub(crate) const KERNEL4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub(crate) const KERNEL6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1);
/// Portolan's.
pub(crate) const OWN4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
pub(crate) const OWN6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 2);

/// A frame, and whether Portolan sent it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) is_own: bool,
    pub(crate) frame: Vec<u8>,
}

/// The frames that a packet socket of the stack has seen.
#[derive(Clone, Debug)]
pub(crate) struct Record(Arc<Mutex<Vec<Seen>>>);

impl Record {
    /// Begins a record of what this socket receives.
    pub(crate) fn of(socket: PacketSocket) -> Record {
        let record = Record(Arc::default());
        let frames = record.clone();
        // The thread ends with the runtime.
        thread::spawn(move || {
            while let Ok((frame, meta)) = socket.recv_packet() {
                let is_own = meta.from.packet_type == PacketType::Outgoing;
                frames.0.lock().expect("nobody panics").push(Seen { is_own, frame: frame.to_vec() });
            }
        });
        record
    }

    /// The frames so far.
    pub(crate) fn frames(&self) -> Vec<Seen> {
        self.0.lock().expect("nobody panics").clone()
    }
}

/// Opens the device, without offloads, so that both ends see the same bytes.
pub(crate) fn open_device(host: &[IpAddr]) -> Tap {
    let mut builder = TapBuilder::new().name(DEVICE).offload(Offload::Off);
    for &addr in host {
        builder = builder.host_address(Cidr::new(addr, if addr.is_ipv4() { 24 } else { 64 }));
    }
    builder.open().expect("a device")
}

/// Starts Portolan on the device, and a record of all its frames.
pub(crate) fn start(device: Tap) -> (Runtime, Record) {
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    let cidrs = [Cidr::new(OWN4.into(), 24), Cidr::new(OWN6.into(), 64)];
    let runtime = Builder::new().config(config).interface(device, cidrs).start().expect("a stack");
    let socket = packet_socket(&runtime, LinkHeader::Included, LinkAddr::ETH_P_ALL);
    (runtime, Record::of(socket))
}

/// A packet socket for the frames of an EtherType.
pub(crate) fn packet_socket(runtime: &Runtime, header: LinkHeader, ethertype: u16) -> PacketSocket {
    let socket = PacketSocket::new(runtime, header).expect("a socket");
    socket.bind(&LinkAddr::new(None, ethertype)).expect("bound");
    socket
}

/// Waits until something is so.
///
/// # Panics
///
/// If that takes longer than any kernel needs.
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < until, "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
