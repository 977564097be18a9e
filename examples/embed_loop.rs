//! Two stacks in a loop of one's own, without a device, a runtime or a clock: this is everything
//! that drives a stack.
//!
//! `cargo run -p portolan-examples --example embed_loop`

use std::collections::HashMap;

use portolan::{
    Config, Descriptor, Domain, Error, Instant, InterfaceConfig, InterfaceId, MacAddr, Medium, Shutdown,
    SocketKind, Stack,
};

struct Host {
    name: &'static str,
    stack: Stack,
    iface: InterfaceId,
}

impl Host {
    fn new(name: &'static str, number: u8, now: Instant) -> Host {
        let mut config = Config::default();
        config.neighbor.duplicate_address_probes = 0; // no other host is on this wire
        let mut stack = Stack::new(config, [number; 32], now);
        let address = format!("10.0.0.{number}/24").parse().expect("it is well-formed");
        let medium = Medium::Ethernet(MacAddr([2, 0, 0, 0, 0, number]));
        let iface =
            stack.add_interface(now, InterfaceConfig::new(medium).address(address)).expect("it is fine");
        Host { name, stack, iface }
    }
}

fn main() -> Result<(), Error> {
    let mut now = Instant::ZERO; // the program chooses the time
    let mut client = Host::new("client", 1, now);
    let mut server = Host::new("server", 2, now);

    let listener = server.stack.socket(Domain::V4, SocketKind::Stream)?;
    server.stack.bind(listener, ([10, 0, 0, 2], 7))?;
    server.stack.listen(listener, 16)?;
    let mut connections = HashMap::new(); // events name sockets, calls take descriptors

    let stream = client.stack.socket(Domain::V4, SocketKind::Stream)?;
    assert_eq!(client.stack.connect(now, stream, ([10, 0, 0, 2], 7)), Err(Error::InProgress));

    let mut is_done = false;
    while !is_done {
        // Frames that the stacks have to send go on the wire, and from there into the other stack.
        let sent = carry(now, &mut client, &mut server) + carry(now, &mut server, &mut client);
        while let Some(event) = server.stack.poll_event() {
            if let Some(&d) = connections.get(&event.socket) {
                receive(&mut server.stack, now, d, |stack, data| match data {
                    [] => stack.close(now, d),
                    data => stack.send(now, d, data).map(|_| ()),
                })?;
            } else {
                let (accepted, peer) = server.stack.accept(listener)?;
                connections.insert(server.stack.socket_id(accepted)?, accepted);
                println!("{now} server: accepted {accepted:?} from {peer}");
            }
        }
        while let Some(event) = client.stack.poll_event() {
            if event.readiness.readable {
                receive(&mut client.stack, now, stream, |_, data| {
                    println!("{now} client: received {:?}", String::from_utf8_lossy(data));
                    is_done = data.is_empty();
                    Ok(())
                })?;
            } else if event.readiness.writable {
                println!("{now} client: connected");
                client.stack.send(now, stream, b"hello")?;
                client.stack.shutdown(now, stream, Shutdown::Write)?;
            }
        }

        // If no frame is in flight, advance to the next time that a stack waits for. Timers run
        // after frames, because an acknowledgement stops the timer of the data that it is for.
        let deadlines = client.stack.poll_timeout().into_iter().chain(server.stack.poll_timeout());
        let Some(at) = deadlines.map(|deadline| deadline.at).min() else { continue };
        if sent == 0 {
            now = now.max(at);
            client.stack.handle_timeout(now);
            server.stack.handle_timeout(now);
        }
    }
    Ok(())
}

/// Carries every frame that one stack has to send to the other, and returns their number.
fn carry(now: Instant, from: &mut Host, to: &mut Host) -> usize {
    let mut count = 0;
    loop {
        while let Some(transmit) = from.stack.poll_transmit(now) {
            println!("{now} {} sends {} bytes", from.name, transmit.len());
            to.stack.handle_frame(now, to.iface, transmit.to_frame());
            count += 1;
        }
        // Packets that the stack sends to its own addresses.
        if !from.stack.handle_loopback(now) {
            return count;
        }
    }
}

/// Calls `f` with all data that is there, because events are edge-triggered, and with an empty
/// slice if the peer has ended.
fn receive<F>(stack: &mut Stack, now: Instant, d: Descriptor, mut f: F) -> Result<(), Error>
where
    F: FnMut(&mut Stack, &[u8]) -> Result<(), Error>,
{
    let mut buf = [0; 100];
    loop {
        match stack.recv(now, d, &mut buf) {
            Ok(0) => return f(stack, &[]),
            Ok(len) => f(stack, &buf[..len])?,
            Err(Error::WouldBlock) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
