//! Portolan: its runtime with blocking sockets on its TAP device, with its default configuration.

use std::io;
use std::net::SocketAddr;

use bytes::{Buf, Bytes};
use portolan::{Cidr, Config};
use portolan_runtime::{Builder, TcpListener, TcpStream, UdpSocket};
use portolan_tap::{Offload, Tap, TapBuilder};

use super::datagrams;
use super::services::{self, Service};
use crate::link;
use crate::peers::Peer;

/// What 100,000 connections may hold together; the default of 256 MiB is for fewer.
const MEMORY_LIMIT_BYTES: usize = 1 << 30;
/// How much chargen sends at once, as the command's service does: just below four runs of 64 KiB at
/// an MTU of 1,500.
const LENT_BYTES: usize = 253_080;

pub(super) fn start(peer: Peer, idle: usize) -> io::Result<String> {
    let host = Cidr { addr: link::CLIENT.into(), prefix_len: 24 };
    let offload = if peer.is_plain() { Offload::Off } else { Offload::Auto };
    let queues = if peer == Peer::PortolanQueues { 2 } else { 1 };
    let tap = TapBuilder::new().name(link::CLIENT_DEVICE).host_address(host).offload(offload);
    let taps = tap.open_queues(queues).map_err(io::Error::other)?;
    let note = format!("offloads: {}", taps.first().map(Tap::offloads).unwrap_or_default());
    let mut config = Config::default();
    // No other host could have its address.
    config.neighbor.duplicate_address_probes = 0;
    config.memory_limit_bytes = MEMORY_LIMIT_BYTES;
    let stack = Cidr { addr: link::SERVER.into(), prefix_len: 24 };
    let runtime = Builder::new().config(config).interface_with_queues(taps, [stack]).start()?;

    let listener = |port: u16| TcpListener::bind(&runtime, any(port));
    let accept = |listener: TcpListener| move || listener.accept().map(|(stream, _)| stream);
    let is_copied = peer == Peer::PortolanCopies;
    services::serve_each(
        accept(listener(Service::Discard.port())?),
        move |stream: TcpStream| match is_copied {
            true => services::discard(stream),
            false => discard_lent(&stream),
        },
    );
    services::serve_each(
        accept(listener(Service::Chargen.port())?),
        move |stream: TcpStream| match is_copied {
            true => services::chargen(stream),
            false => chargen_lent(&stream),
        },
    );
    services::serve_each(accept(listener(Service::Echo.port())?), |stream: TcpStream| {
        stream.set_nodelay(true)?;
        services::echo(stream)
    });
    services::serve_in_turn(accept(listener(Service::Brief.port())?), |stream: TcpStream| {
        services::echo(stream)
    });
    let socket = UdpSocket::bind(&runtime, any(Service::Datagrams.port()))?;
    std::thread::spawn(move || {
        let Err(error) = datagrams::echo(&socket);
        services::end("UDP echo", &error);
    });
    for (port, _) in (services::FIRST_IDLE_PORT..).zip(services::idle_shares(idle)?) {
        services::keep_all(accept(listener(port)?));
    }
    // The runtime serves until the process ends.
    std::mem::forget(runtime);
    Ok(note)
}

/// Takes received data without a copy.
fn discard_lent(stream: &TcpStream) -> io::Result<()> {
    while !stream.recv_bytes(usize::MAX)?.is_empty() {}
    Ok(())
}

/// Sends the same memory for ever.
fn chargen_lent(stream: &TcpStream) -> io::Result<()> {
    let whole = Bytes::from(vec![b'x'; LENT_BYTES]);
    loop {
        let mut left = whole.clone();
        while left.has_remaining() {
            let len = stream.send_bytes(left.clone())?;
            left.advance(len);
        }
    }
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}
