//! A proxy: relays every TCP connection and UDP flow that arrives on a TUN device to an ordinary
//! socket of this host, which leaves through another device.
//!
//! `cargo run -p portolan-examples --example proxy -- tun0 eth0`
//!
//! makes the device tun0 (CAP_NET_ADMIN is needed). Then `ip route add 203.0.113.0/24 dev tun0`
//! sends what is for these hosts through the proxy, and `ip -6 route add` does it for IPv6.

use std::error::Error;
use std::io::{self, ErrorKind::WouldBlock, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;

use portolan::Interception;
use portolan_runtime::Builder;
use portolan_runtime::task::{PendingStream, TcpInterceptor, UdpInterceptor, UdpSocket, relay};
use portolan_tap::TapBuilder;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};

/// Called for each outgoing socket before it is connected: its packets must not come back through
/// the TUN device. SO_BINDTODEVICE is one way; others are SO_MARK (`socket.set_mark`) with a
/// routing rule for the mark, and on Android `VpnService.protect`.
fn prepare(socket: SockRef<'_>, device: &str) -> io::Result<()> {
    socket.bind_device(Some(device.as_bytes()))
}

async fn connect(to: SocketAddr, device: &str) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    prepare(SockRef::from(&socket), device)?;
    socket.connect(to).await
}

async fn connect_datagrams(to: SocketAddr, device: &str) -> io::Result<tokio::net::UdpSocket> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = tokio::net::UdpSocket::bind(any).await?;
    prepare(SockRef::from(&socket), device)?;
    socket.connect(to).await?;
    socket.writable().await.map(|()| socket) // until then `try_send` sends nothing
}

/// Answers the SYN when the destination has answered ours, and then relays until both have ended.
async fn relay_connection(pending: PendingStream, device: Arc<str>) -> io::Result<()> {
    let (source, destination) = (pending.source(), pending.destination());
    let upstream = tokio::select! {
        upstream = connect(destination, &device) => upstream,
        () = pending.cancelled() => return Ok(()),
    };
    match upstream {
        Ok(upstream) => {
            let done = relay(pending.accept().await?, upstream).await?;
            println!("{source} - {destination}: {} bytes up, {} down", done.a_to_b, done.b_to_a);
            Ok(())
        }
        Err(error) => pending.reject_because(&error),
    }
}

/// Relays datagrams until the stack ends the flow: it was idle for minutes, or there are too many.
async fn relay_flow(flow: UdpSocket, device: Arc<str>) -> io::Result<()> {
    let upstream = match connect_datagrams(flow.local_addr()?, &device).await {
        Ok(upstream) => upstream,
        Err(error) => return flow.reject_flow_because(&error),
    };
    loop {
        let passed = tokio::select! {
            ready = flow.readable() => ready.and_then(|()| pass_up(&flow, &upstream)),
            ready = upstream.readable() => ready.and_then(|()| pass_down(&upstream, Interest::READABLE, &flow)),
            // An ICMP error does not make the socket readable.
            ready = upstream.ready(Interest::ERROR) => ready.and_then(|_| pass_down(&upstream, Interest::ERROR, &flow)),
        };
        // What finds no room is lost, as in any network.
        passed.or_else(|error| if error.kind() == WouldBlock { Ok(()) } else { Err(error) })?;
    }
}

// The buffers are in functions that do not wait, so that an idle flow takes little memory. The
// source learns of ICMP errors from the destination.

fn pass_up(flow: &UdpSocket, upstream: &tokio::net::UdpSocket) -> io::Result<()> {
    let mut datagram = [0; 65_535];
    let len = flow.try_recv(&mut datagram)?;
    upstream.try_send(&datagram[..len]).map(drop).or_else(|error| flow.reject_flow_because(&error))
}

fn pass_down(upstream: &tokio::net::UdpSocket, of: Interest, flow: &UdpSocket) -> io::Result<()> {
    let mut datagram = [0; 65_535];
    match upstream.try_io(of, || (&*SockRef::from(upstream)).read(&mut datagram)) {
        Ok(len) => flow.try_send(&datagram[..len]).map(drop),
        Err(error) => flow.reject_flow_because(&error),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [tun, device] = <[String; 2]>::try_from(std::env::args().skip(1).collect::<Vec<_>>())
        .map_err(|_| "usage: proxy TUN-DEVICE OUTGOING-DEVICE")?;
    let device: Arc<str> = device.into();
    let tun = TapBuilder::new().tun().name(tun);
    let tun = tun.host_address("10.7.0.1/24".parse()?).host_address("fd07::1/64".parse()?);
    let runtime = Builder::new()
        .interface(tun.open()?, ["10.7.0.2/24".parse()?, "fd07::2/64".parse()?])
        .gateway("10.7.0.1".parse()?)
        .gateway("fd07::1".parse()?)
        .intercept(Interception::all())
        .start()?;
    let (connections, flows) = (TcpInterceptor::new(&runtime)?, UdpInterceptor::new(&runtime)?);
    println!("ready");
    loop {
        // A task each. Their errors end what they are about, and nothing else.
        tokio::select! {
            pending = connections.next() => { tokio::spawn(relay_connection(pending?, device.clone())); }
            flow = flows.accept() => { tokio::spawn(relay_flow(flow?.0, device.clone())); }
        }
    }
}
