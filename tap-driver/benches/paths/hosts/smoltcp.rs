//! smoltcp with buffers of 4 MiB and its CUBIC, one socket, and one thread that polls it whenever
//! it asks for that.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Instant as StdInstant;

use portolan::{Frame, InterfaceId, Medium, Transmit};
use portolan_runtime::device::{Device, MemoryDevice, MemoryPair, Outgoing, Received};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy;
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpCidr};

use super::{Host, PORT_FRAMES, Place, Program};
use crate::emulator::Bell;
use crate::flow::{CHUNK_BYTES, Shared, Stall};

const SOCKET_BUFFER: usize = 4 << 20;
const MTU: usize = 1514;
const LOCAL_PORT: u16 = 40_000;
/// The longest sleep. The program has no other way to be woken.
const LONGEST_SLEEP: Duration = Duration::from_millis(5);

pub(super) struct SmoltcpHost {
    place: Place,
    /// The device, until the only program takes it.
    device: Mutex<Option<MemoryDevice>>,
}

impl SmoltcpHost {
    pub(super) fn start(place: Place) -> io::Result<(SmoltcpHost, Box<dyn Device>)> {
        let medium = Medium::Ethernet(place.mac());
        let (device, port) = MemoryPair::new().mediums(medium, medium).capacity(PORT_FRAMES).build()?;
        Ok((SmoltcpHost { place, device: Mutex::new(Some(device)) }, Box::new(port)))
    }

    fn machine(&self) -> io::Result<Machine> {
        let device = self.device.lock().map_err(|_| io::Error::other("a panic"))?.take();
        let device = device.ok_or_else(|| io::Error::other("smoltcp runs one flow"))?;
        Machine::new(self.place, device)
    }
}

impl Host for SmoltcpHost {
    fn receive(&self, port: u16, stall: Option<Stall>, shared: Arc<Shared>) -> io::Result<Program> {
        let mut machine = self.machine()?;
        machine.socket().listen(port).map_err(io::Error::other)?;
        Ok(std::thread::spawn(move || {
            let mut chunk = vec![0; CHUNK_BYTES];
            let mut first_at: Option<StdInstant> = None;
            while !shared.is_over() {
                machine.turn()?;
                let is_stalled = Stall::is_now(stall, first_at.map(|at| at.elapsed()));
                let socket = machine.socket();
                while !is_stalled && socket.can_recv() {
                    first_at.get_or_insert_with(StdInstant::now);
                    shared.note(socket.recv_slice(&mut chunk).map_err(io::Error::other)?);
                }
            }
            Ok(String::new())
        }))
    }

    fn send(&self, to: SocketAddr, shared: Arc<Shared>) -> io::Result<Program> {
        let mut machine = self.machine()?;
        machine.connect(to)?;
        Ok(std::thread::spawn(move || {
            let chunk = vec![0x5a; CHUNK_BYTES];
            while !shared.is_over() {
                let socket = machine.socket();
                while socket.can_send() && socket.send_slice(&chunk).map_err(io::Error::other)? > 0 {}
                machine.turn()?;
            }
            Ok(String::new())
        }))
    }
}

/// An interface, its device and one socket.
struct Machine {
    device: Cable,
    bell: Arc<Bell>,
    iface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    started_at: StdInstant,
}

impl Machine {
    fn new(place: Place, mut device: MemoryDevice) -> io::Result<Machine> {
        let bell = Bell::new()?;
        device.readiness(&Waker::from(bell.clone()));
        let mut device = Cable(device);
        let config = Config::new(EthernetAddress(place.mac().0).into());
        let mut iface = Interface::new(config, &mut device, Instant::ZERO);
        iface.update_ip_addrs(|addrs| {
            // The list has room for two entries.
            let _ = addrs.push(IpCidr::new(place.addr().into(), 24));
        });
        let buffer = || SocketBuffer::new(vec![0; SOCKET_BUFFER]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_congestion_control(CongestionControl::Cubic);
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        Ok(Machine { device, bell, iface, sockets, handle, started_at: StdInstant::now() })
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    fn connect(&mut self, to: SocketAddr) -> io::Result<()> {
        let context = self.iface.context();
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        socket.connect(context, to, LOCAL_PORT).map_err(io::Error::other)
    }

    /// Does what is possible, then sleeps until a frame comes or a timer is due.
    fn turn(&mut self) -> io::Result<()> {
        self.bell.clear();
        self.iface.poll(self.now(), &mut self.device, &mut self.sockets);
        let now = self.now();
        let delay = self.iface.poll_delay(now, &self.sockets).unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
        let timeout = Timespec { tv_sec: 0, tv_nsec: (delay.total_micros() * 1000) as i64 };
        let mut fds = [PollFd::from_borrowed_fd(self.bell.0.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.started_at.elapsed().as_micros() as i64)
    }
}

/// Our device with smoltcp's interface.
struct Cable(MemoryDevice);

struct Rx(Frame);
struct Tx<'a>(&'a mut MemoryDevice);

impl phy::RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0.bytes)
    }
}

impl phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        let transmit = Transmit::from_frame(InterfaceId::from_index(0), Frame::new(frame));
        // The cable has more room than the path needs. If it were full, the frame would be lost, as
        // on any cable.
        let _ = self.0.transmit(&mut Outgoing::new(&mut VecDeque::from([transmit])));
        result
    }
}

impl phy::Device for Cable {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        let mut frames = Vec::new();
        self.0.receive(&mut Received::new(&mut frames, 1)).ok()?;
        Some((Rx(frames.pop()?), Tx(&mut self.0)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.0))
    }

    fn capabilities(&self) -> phy::DeviceCapabilities {
        let mut capabilities = phy::DeviceCapabilities::default();
        capabilities.medium = phy::Medium::Ethernet;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}
