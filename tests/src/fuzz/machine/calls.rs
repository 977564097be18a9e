//! The program of the machine: its calls.

use std::net::SocketAddr;
use std::time::Duration;

use portolan::{
    CongestionControl, Descriptor, MtuDiscover, RecvFlags, SendFlags, Shutdown, SocketKind, SocketOption,
};

use super::{FIRST_PEER_PORT, LISTENING_PORT, Machine};
use crate::fuzz::features::Features;
use crate::fuzz::step::Step;
use crate::host;

const MAX_SOCKETS: usize = 12;
/// The most bytes of one send or read; longer ones test nothing new.
const MAX_LEN: usize = 20_000;

impl Machine {
    fn addr(&self, ours: bool, port: u16) -> SocketAddr {
        let domain = self.features.domain();
        let addr = if ours { host::host_addr(domain) } else { host::peer_addr(domain) };
        (addr, port).into()
    }

    pub(super) fn open(&mut self, how: u8) {
        if self.sockets.len() >= MAX_SOCKETS || (how % 8 == 1 && self.listener.is_some()) {
            return;
        }
        let kind = if how % 8 == 4 { SocketKind::Datagram } else { SocketKind::Stream };
        let Ok(descriptor) = self.host.stack.socket(self.features.domain(), kind) else { return };
        let now = self.host.now;
        let (peer, ourselves) = (self.addr(false, 80), self.addr(true, LISTENING_PORT));
        let (datagrams, fast_open) = (self.addr(true, 50), self.features.has(Features::FAST_OPEN));
        let stack = &mut self.host.stack;
        if how % 8 == 1 {
            let backlog = if self.features.has(Features::SMALL_BACKLOG) { 1 } else { 8 };
            if self.features.has(Features::DEFER_ACCEPT) {
                let option = SocketOption::DeferAccept(Duration::from_secs(3));
                let _ = stack.set_option(now, descriptor, option);
            }
            if fast_open {
                let _ = stack.set_option(now, descriptor, SocketOption::FastOpen(4));
            }
            let _ = stack.bind(descriptor, ourselves);
            let _ = stack.listen(descriptor, backlog);
            self.listener = Some(descriptor);
            return;
        }
        // Whether these succeed depends on the earlier steps.
        let _ = match how % 8 {
            0 => stack.connect(now, descriptor, peer),
            2 => stack.connect_with_data(now, descriptor, peer, &[0xcc; 700]).map(|_| ()),
            3 => stack.connect(now, descriptor, ourselves),
            4 => stack.bind(descriptor, datagrams),
            5 => {
                let _ = stack.set_option(now, descriptor, SocketOption::FastOpenConnect(true));
                stack.connect(now, descriptor, peer)
            }
            6 => stack.listen(descriptor, 2),
            _ => Ok(()),
        };
        self.sockets.push(descriptor);
    }

    pub(super) fn accept(&mut self) {
        let Some(listener) = self.listener else { return };
        if self.sockets.len() < MAX_SOCKETS
            && let Ok((descriptor, _)) = self.host.stack.accept(listener)
        {
            self.sockets.push(descriptor);
        }
    }

    pub(super) fn call(&mut self, step: &Step) {
        let (Step::Send(index, _)
        | Step::Recv(index, _)
        | Step::Shutdown(index, _)
        | Step::Close(index)
        | Step::SetOption(index, ..)
        | Step::Look(index, _)) = step
        else {
            return;
        };
        let count = self.sockets.len() + usize::from(self.listener.is_some());
        if count == 0 {
            return;
        }
        let index = usize::from(*index) % count;
        let listener = self.listener;
        let Some(descriptor) = self.sockets.get(index).copied().or(listener) else { return };
        let now = self.host.now;
        let peer = self.addr(false, FIRST_PEER_PORT);
        let stack = &mut self.host.stack;
        match *step {
            Step::Send(_, len) => {
                let data = vec![0xdd; usize::from(len) % MAX_LEN];
                if let Ok(sent) = stack.send(now, descriptor, &data) {
                    assert!(sent <= data.len());
                } else if len % 2 == 1 {
                    let _ = stack.send_to(now, descriptor, &data, peer);
                }
            }
            Step::Recv(_, len) => {
                let mut buf = vec![0; usize::from(len) % MAX_LEN];
                if let Ok(got) = stack.recv(now, descriptor, &mut buf) {
                    assert!(got <= buf.len());
                }
            }
            Step::Shutdown(_, how) => {
                let how = [Shutdown::Read, Shutdown::Write, Shutdown::Both][usize::from(how % 3)];
                let _ = stack.shutdown(now, descriptor, how);
            }
            Step::Close(_) => {
                stack.close(now, descriptor).expect("the descriptor is open");
                if index < self.sockets.len() {
                    self.sockets.remove(index);
                } else {
                    self.listener = None;
                }
            }
            Step::SetOption(_, which, value) => {
                let _ = stack.set_option(now, descriptor, socket_option(which, value));
            }
            Step::Look(_, what) => self.look(descriptor, what),
            _ => {}
        }
    }

    /// Calls that change little or nothing.
    fn look(&mut self, descriptor: Descriptor, what: u8) {
        let now = self.host.now;
        let stack = &mut self.host.stack;
        match what % 12 {
            0 => drop(stack.info(now, descriptor)),
            1 => drop(stack.take_error(descriptor)),
            2 => drop(stack.send_with(now, descriptor, b"!", SendFlags::OOB)),
            3 => drop(stack.recv_with(now, descriptor, &mut [0], RecvFlags::OOB)),
            4 => drop(stack.peek(descriptor, &mut [0; 100])),
            5 => {
                let (received, unacknowledged) = stack.queued_bytes(descriptor).unwrap_or_default();
                let limit = 2 << 20;
                assert!(
                    received <= limit && unacknowledged <= limit,
                    "{received} and {unacknowledged} queued"
                );
            }
            6 => {
                let _ = stack.listen(descriptor, 4);
            }
            8 => drop(stack.disconnect(now, descriptor)),
            9 => {
                let flags = RecvFlags::from_bits(u32::from(what) << 1 | u32::from(what) << 8);
                let (mut first, mut second) = ([0; 3], [0; 100]);
                let _ = stack.recv_message(now, descriptor, &mut [&mut first, &mut second], flags);
            }
            10 => drop(stack.send_with(now, descriptor, &[0xdd; 900], SendFlags::MORE)),
            11 => {
                let _ = (stack.recv_error(descriptor), stack.unread_bytes(descriptor));
                let _ = (stack.unsent_bytes(descriptor), stack.path_mtu(now, descriptor));
            }
            _ => {
                let held = stack.sockets().filter_map(|info| info.descriptor);
                assert!(held.count() <= MAX_SOCKETS + 1);
                let _ = (stack.readiness(descriptor), stack.options(descriptor));
            }
        }
    }
}

fn socket_option(which: u8, value: u16) -> SocketOption {
    let (on, bytes) = (value % 2 == 1, usize::from(value));
    let time = Duration::from_millis(u64::from(value) * 10);
    match which % 24 {
        0 => SocketOption::ReceiveBuffer(bytes),
        1 => SocketOption::SendBuffer(bytes),
        2 => SocketOption::KeepAlive(on),
        3 => SocketOption::KeepIdle(time.max(Duration::from_secs(1))),
        4 => SocketOption::KeepInterval(time.max(Duration::from_secs(1))),
        5 => SocketOption::Linger(on.then_some(time)),
        6 => SocketOption::ReceiveLowWater(bytes),
        7 => SocketOption::UnsentLowWater(bytes),
        8 => SocketOption::UserTimeout(on.then_some(time)),
        9 => SocketOption::Cork(on),
        10 => SocketOption::OobInline(on),
        11 => SocketOption::QuickAck(on),
        12 => SocketOption::NoDelay(on),
        13 => SocketOption::Congestion(if on { CongestionControl::Reno } else { CongestionControl::Cubic }),
        14 => SocketOption::FastOpen(bytes % 8),
        15 => SocketOption::MaxPacingRate(on.then_some(u64::from(value) * 100 + 1000)),
        16 => SocketOption::DeferAccept(time),
        17 => SocketOption::MaxSegment(value),
        18 => SocketOption::KeepCount(value as u8),
        19 => SocketOption::UdpSegment(value),
        20 => SocketOption::ReceiveErrors(on),
        21 => SocketOption::MtuDiscover(
            [MtuDiscover::Dont, MtuDiscover::Want, MtuDiscover::Do, MtuDiscover::Probe][bytes % 4],
        ),
        22 => SocketOption::DontFragment(on),
        _ => SocketOption::UdpCork(on),
    }
}
