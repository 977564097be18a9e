//! The same benchmarks with smoltcp: two interfaces and the link between them, with checksums
//! computed and verified.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

use super::{Copies, LINK_FRAMES, SOCKET_BUFFER};

/// The length of the largest frame, including the Ethernet header.
const MAX_FRAME_BYTES: usize = 1514;

/// A buffer as long as the largest frame, and the length of the frame in it.
struct Packet {
    buffer: Box<[u8; MAX_FRAME_BYTES]>,
    len: usize,
}

/// Free buffers for both ends. As in a device, no frame needs an allocation or must be zeroed.
type Pool = Rc<RefCell<Vec<Box<[u8; MAX_FRAME_BYTES]>>>>;

/// One end of a link.
#[derive(Default)]
struct End {
    inbox: VecDeque<Packet>,
    outbox: VecDeque<Packet>,
    pool: Pool,
}

struct Rx {
    packet: Packet,
    pool: Pool,
}

struct Tx<'a> {
    outbox: &'a mut VecDeque<Packet>,
    pool: Pool,
}

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let result = f(&self.packet.buffer[..self.packet.len]);
        self.pool.borrow_mut().push(self.packet.buffer);
        result
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let free = self.pool.borrow_mut().pop();
        let mut buffer = free.unwrap_or_else(|| Box::new([0; MAX_FRAME_BYTES]));
        let result = f(&mut buffer[..len]);
        self.outbox.push_back(Packet { buffer, len });
        result
    }
}

impl Device for End {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        if self.outbox.len() >= LINK_FRAMES {
            return None;
        }
        let rx = Rx { packet: self.inbox.pop_front()?, pool: self.pool.clone() };
        Some((rx, Tx { outbox: &mut self.outbox, pool: self.pool.clone() }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        (self.outbox.len() < LINK_FRAMES).then_some(Tx { outbox: &mut self.outbox, pool: self.pool.clone() })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MAX_FRAME_BYTES;
        capabilities
    }
}

struct Side {
    iface: Interface,
    end: End,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
}

pub(crate) struct Pair {
    client: Side,
    server: Side,
    now: Instant,
    buf: Vec<u8>,
}

impl Side {
    fn new(last: u8, now: Instant, idle: usize, pool: &Pool) -> Self {
        let mut end = End { pool: pool.clone(), ..End::default() };
        let config = Config::new(EthernetAddress([2, 0, 0, 0, 0, last]).into());
        let mut iface = Interface::new(config, &mut end, now);
        iface.update_ip_addrs(|addrs| addrs.push(IpCidr::new(IpAddress::v4(10, 0, 0, last), 24)).unwrap());
        let mut sockets = SocketSet::new(Vec::new());
        let socket = |size| {
            tcp::Socket::new(tcp::SocketBuffer::new(vec![0; size]), tcp::SocketBuffer::new(vec![0; size]))
        };
        for index in 0..idle {
            let mut listener = socket(64);
            listener.listen(1000 + index as u16).unwrap();
            sockets.add(listener);
        }
        let mut busy = socket(SOCKET_BUFFER);
        busy.set_nagle_enabled(false);
        let handle = sockets.add(busy);
        Side { iface, end, sockets, handle }
    }

    fn poll(&mut self, now: Instant, peer: &mut VecDeque<Packet>) {
        self.iface.poll(now, &mut self.end, &mut self.sockets);
        peer.append(&mut self.end.outbox);
    }

    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }
}

impl Pair {
    /// A server with this many sockets, one of them connected. Its buffers are as large as
    /// Portolan's.
    pub(crate) fn new(sockets: usize) -> Self {
        let now = Instant::from_secs(1);
        let pool = Pool::default();
        let (client, server) = (Side::new(1, now, 0, &pool), Side::new(2, now, sockets - 1, &pool));
        let mut pair = Pair { client, server, now, buf: vec![0; 64 << 10] };
        pair.server.socket().listen(80).unwrap();
        let context = pair.client.iface.context();
        let socket = pair.client.sockets.get_mut::<tcp::Socket>(pair.client.handle);
        socket.connect(context, (IpAddress::v4(10, 0, 0, 2), 80), 40_000).unwrap();
        for _ in 0..10 {
            pair.step();
        }
        assert!(pair.client.socket().may_send());
        pair
    }

    fn step(&mut self) {
        self.now += smoltcp::time::Duration::from_micros(50);
        self.client.poll(self.now, &mut self.server.end.inbox);
        self.server.poll(self.now, &mut self.client.end.inbox);
    }

    pub(crate) fn transfer(&mut self, bytes: usize, copies: Copies) {
        let (mut sent, mut received) = (0, 0);
        while received < bytes {
            let client = self.client.sockets.get_mut::<tcp::Socket>(self.client.handle);
            while sent < bytes && client.can_send() {
                let chunk = self.buf.len().min(bytes - sent);
                sent += match copies {
                    Copies::Both => client.send_slice(&self.buf[..chunk]).unwrap(),
                    Copies::None => client
                        .send(|room| {
                            let taken = room.len().min(chunk);
                            (taken, taken)
                        })
                        .unwrap(),
                };
            }
            self.step();
            let server = self.server.sockets.get_mut::<tcp::Socket>(self.server.handle);
            while server.can_recv() {
                received += match copies {
                    Copies::Both => server.recv_slice(&mut self.buf).unwrap(),
                    Copies::None => server.recv(|data| (data.len(), data.len())).unwrap(),
                };
            }
        }
        self.step();
        self.step();
    }

    pub(crate) fn receive_batch(&mut self, count: usize) -> Duration {
        for _ in 0..count {
            self.client.socket().send_slice(&[0; 100]).unwrap();
            self.now += smoltcp::time::Duration::from_micros(50);
            self.client.poll(self.now, &mut self.server.end.inbox);
        }
        let start = std::time::Instant::now();
        self.server.poll(self.now, &mut self.client.end.inbox);
        while self.server.socket().can_recv() {
            let received =
                self.server.sockets.get_mut::<tcp::Socket>(self.server.handle).recv_slice(&mut self.buf);
            std::hint::black_box(received.unwrap_or(0));
        }
        let time = start.elapsed();
        for _ in 0..4 {
            self.now += smoltcp::time::Duration::from_millis(11);
            self.step();
        }
        time
    }
}
