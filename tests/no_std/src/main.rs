//! Two stacks in a program without std: a handshake between them, and a page of data. Exits with 0
//! when everything has arrived. std would bring an allocator and a panic handler, and there can be
//! only one of each: if a dependency of the stack needs std, this program does not link.
#![no_std]
#![no_main]

extern crate alloc;

mod bare;

use alloc::vec::Vec;
use core::fmt::Write as _;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use bare::Out;
use portolan::{
    Cidr, Config, Descriptor, Domain, Error, Frame, Instant, InterfaceConfig, InterfaceId, MacAddr, Medium,
    Result, SocketKind, Stack,
};

const PAGE: usize = 4096;
/// The limit of virtual time: address detection, resolution and the transfer take some seconds.
const END: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(1);

struct Host {
    stack: Stack,
    iface: InterfaceId,
}

impl Host {
    fn new(last: u8, now: Instant) -> Result<Host> {
        let mut stack = Stack::new(Config::default(), [last; 32], now);
        let medium = Medium::Ethernet(MacAddr([2, 0, 0, 0, 0, last]));
        let cidr = Cidr { addr: Ipv4Addr::new(10, 0, 0, last).into(), prefix_len: 24 };
        let iface = stack.add_interface(now, InterfaceConfig::new(medium).address(cidr))?;
        Ok(Host { stack, iface })
    }

    /// The frames that it has to send, as bytes.
    fn transmits(&mut self, now: Instant) -> Vec<Vec<u8>> {
        self.stack.handle_timeout(now);
        let mut frames = Vec::new();
        while let Some(transmit) = self.stack.poll_transmit(now) {
            frames.push(transmit.to_vec());
        }
        while self.stack.poll_event().is_some() {}
        frames
    }

    fn handle(&mut self, now: Instant, frames: Vec<Vec<u8>>) {
        for frame in frames {
            self.stack.handle_frame(now, self.iface, Frame::new(frame));
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    match run() {
        Ok(()) => {
            let _ = writeln!(Out, "{PAGE} bytes crossed");
            0
        }
        Err(error) => {
            let _ = writeln!(Out, "{error}");
            1
        }
    }
}

fn run() -> Result<()> {
    let mut now = Instant::from_nanos(0);
    let end = now + END;
    let (mut server, mut client) = (Host::new(1, now)?, Host::new(2, now)?);
    let listener = server.stack.socket(Domain::V4, SocketKind::Stream)?;
    server.stack.bind(listener, SocketAddr::from(([0, 0, 0, 0], 80)))?;
    server.stack.listen(listener, 1)?;
    let page: Vec<u8> = (0..PAGE).map(|n| (n % 251) as u8).collect();

    let (mut connecting, mut accepted) = (None, None);
    let (mut sent, mut received) = (0, Vec::new());
    while received.len() < PAGE {
        if now > end {
            return Err(Error::TimedOut);
        }
        now = now + TICK;
        let (to_server, to_client) = (client.transmits(now), server.transmits(now));
        server.handle(now, to_server);
        client.handle(now, to_client);

        if connecting.is_none() {
            connecting = connect(&mut client.stack, now)?;
        }
        if let Some(descriptor) = connecting {
            sent += ready(client.stack.send(now, descriptor, page.get(sent..).unwrap_or_default()))?;
        }
        if accepted.is_none() {
            accepted = ready(server.stack.accept(listener).map(Some))?.map(|(descriptor, _)| descriptor);
        }
        if let Some(descriptor) = accepted {
            let mut buffer = [0; 1000];
            let len = ready(server.stack.recv(now, descriptor, &mut buffer))?;
            received.extend_from_slice(&buffer[..len]);
        }
    }
    assert!(received == page, "the page is damaged");
    Ok(())
}

/// Connects as soon as the client's own address can be used.
fn connect(stack: &mut Stack, now: Instant) -> Result<Option<Descriptor>> {
    let descriptor = stack.socket(Domain::V4, SocketKind::Stream)?;
    match stack.connect(now, descriptor, SocketAddr::from(([10, 0, 0, 1], 80))) {
        Ok(()) | Err(Error::InProgress) => Ok(Some(descriptor)),
        Err(Error::AddressNotAvailable | Error::NetworkUnreachable) => {
            stack.close(now, descriptor)?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The result of a call; the default value if it would have to wait.
fn ready<T: Default>(result: Result<T>) -> Result<T> {
    match result {
        Err(Error::WouldBlock | Error::InProgress | Error::NotConnected) => Ok(T::default()),
        result => result,
    }
}
