//! smoltcp on a TAP device, through its own phy: one thread, large buffers, and only the sockets
//! that the row needs, because it scans all of them for each packet.

use std::io;
use std::os::fd::AsRawFd as _;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Medium, TunTapInterface};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr};

use super::services::{self, Service};
use crate::link;

/// The buffer of a socket in the direction of bulk data; other directions and sockets have the
/// small one.
const LARGE_BUFFER: usize = 4 << 20;
const SMALL_BUFFER: usize = 64 << 10;
/// smoltcp's backlog is the number of listening sockets, so there is one for each connection that
/// has not ended.
const BRIEF_SOCKETS: usize = 16;
const DATAGRAMS: usize = 1024;

/// Opens the device and serves in its own thread until the process ends.
pub(super) fn start(service: Service, streams: usize) -> io::Result<String> {
    let (opened, open) = std::sync::mpsc::channel();
    // The device cannot be moved to another thread.
    std::thread::spawn(move || {
        let machine = Machine::open(service, streams);
        let (machine, result) = match machine {
            Ok(machine) => (Some(machine), Ok(())),
            Err(error) => (None, Err(error)),
        };
        if opened.send(result).is_ok()
            && let Some(mut machine) = machine
            && let Err(error) = machine.run()
        {
            services::end("smoltcp", &error);
        }
    });
    open.recv().map_err(|_| io::Error::other("smoltcp's thread panicked"))??;
    link::bring_up(link::CLIENT_DEVICE, link::CLIENT)?;
    Ok(String::new())
}

struct Machine {
    device: TunTapInterface,
    iface: Interface,
    sockets: SocketSet<'static>,
    handles: Vec<SocketHandle>,
    service: Service,
    chunk: Vec<u8>,
}

impl Machine {
    fn open(service: Service, streams: usize) -> io::Result<Machine> {
        let mut device = TunTapInterface::new(link::CLIENT_DEVICE, Medium::Ethernet)?;
        let config = Config::new(EthernetAddress(link::SERVER_MAC).into());
        let mut iface = Interface::new(config, &mut device, Instant::now());
        iface.update_ip_addrs(|addrs| {
            // The list has room for two entries.
            let _ = addrs.push(IpCidr::new(link::SERVER.into(), 24));
        });
        let mut sockets = SocketSet::new(Vec::new());
        let handles = match service {
            Service::Datagrams => {
                let buffer = || {
                    let metadata = vec![udp::PacketMetadata::EMPTY; DATAGRAMS];
                    udp::PacketBuffer::new(metadata, vec![0; SMALL_BUFFER])
                };
                let mut socket = udp::Socket::new(buffer(), buffer());
                socket.bind(service.port()).map_err(io::Error::other)?;
                vec![sockets.add(socket)]
            }
            service => {
                let count = if service == Service::Brief { BRIEF_SOCKETS } else { streams };
                let buffer = |is_large| {
                    tcp::SocketBuffer::new(vec![0; if is_large { LARGE_BUFFER } else { SMALL_BUFFER }])
                };
                let socket = |_| {
                    let (rx, tx) = (buffer(service == Service::Discard), buffer(service == Service::Chargen));
                    let mut socket = tcp::Socket::new(rx, tx);
                    socket.set_nagle_enabled(false);
                    sockets.add(socket)
                };
                (0..count).map(socket).collect()
            }
        };
        let chunk = vec![b'x'; services::CHUNK_BYTES];
        Ok(Machine { device, iface, sockets, handles, service, chunk })
    }

    fn run(&mut self) -> io::Result<()> {
        loop {
            self.iface.poll(Instant::now(), &mut self.device, &mut self.sockets);
            let mut is_busy = false;
            for index in 0..self.handles.len() {
                let handle = self.handles[index];
                is_busy |= match self.service {
                    Service::Datagrams => self.echo_datagrams(handle)?,
                    _ => self.serve(handle)?,
                };
            }
            if !is_busy {
                let delay = self.iface.poll_delay(Instant::now(), &self.sockets);
                phy::wait(self.device.as_raw_fd(), delay)?;
            }
        }
    }

    /// Serves a socket. Returns whether there was something to do.
    fn serve(&mut self, handle: SocketHandle) -> io::Result<bool> {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
        if !socket.is_open() {
            socket.listen(self.service.port()).map_err(io::Error::other)?;
            return Ok(false);
        }
        let mut is_busy = false;
        match self.service {
            Service::Chargen => {
                while socket.can_send() {
                    is_busy |= socket.send_slice(&self.chunk).map_err(io::Error::other)? > 0;
                }
            }
            Service::Discard => {
                while socket.can_recv() {
                    is_busy |=
                        socket.recv(|data| (data.len(), !data.is_empty())).map_err(io::Error::other)?;
                }
            }
            _ => {
                while socket.can_recv() && socket.can_send() {
                    let len = socket.recv_slice(&mut self.chunk[..1]).map_err(io::Error::other)?;
                    socket.send_slice(&self.chunk[..len]).map_err(io::Error::other)?;
                    is_busy = true;
                }
            }
        }
        if socket.state() == tcp::State::CloseWait {
            socket.close();
            is_busy = true;
        }
        Ok(is_busy)
    }

    fn echo_datagrams(&mut self, handle: SocketHandle) -> io::Result<bool> {
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(handle);
        let mut is_busy = false;
        while socket.can_recv() && socket.can_send() {
            let (len, from) = socket.recv_slice(&mut self.chunk).map_err(io::Error::other)?;
            socket.send_slice(&self.chunk[..len], from.endpoint).map_err(io::Error::other)?;
            is_busy = true;
        }
        Ok(is_busy)
    }
}
