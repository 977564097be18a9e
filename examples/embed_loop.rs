//! Two stacks in one thread, without a device, a runtime or a clock: everything that drives a
//! stack. `cargo run -p portolan-examples --example embed_loop`

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
        let config =
            InterfaceConfig::new(Medium::Ethernet(MacAddr([2, 0, 0, 0, 0, number]))).address(address);
        let iface = stack.add_interface(now, config).expect("the address is fine");
        Host { name, stack, iface }
    }
}

fn main() -> Result<(), Error> {
    // The program chooses the time.
    let mut now = Instant::ZERO;
    let mut client = Host::new("client", 1, now);
    let mut server = Host::new("server", 2, now);

    let listener = server.stack.socket(Domain::V4, SocketKind::Stream)?;
    server.stack.bind(listener, ([10, 0, 0, 2], 7))?;
    server.stack.listen(listener, 16)?;
    let mut connections = HashMap::new(); // events name sockets, calls take descriptors

    let stream = client.stack.socket(Domain::V4, SocketKind::Stream)?;
    let connecting = client.stack.connect(now, stream, ([10, 0, 0, 2], 7));
    assert_eq!(connecting, Err(Error::InProgress));
    println!("{now} client: connecting to 10.0.0.2 port 7");

    let mut is_done = false;
    while !is_done {
        // Frames that the stacks have to send go on the wire, and from there into the other stack.
        let sent = carry(now, &mut client, &mut server) + carry(now, &mut server, &mut client);

        // The events of the sockets.
        while let Some(event) = server.stack.poll_event() {
            if let Some(&d) = connections.get(&event.socket) {
                echo(&mut server.stack, now, d)?;
            } else {
                let (accepted, peer) = server.stack.accept(listener)?;
                connections.insert(server.stack.socket_id(accepted)?, accepted);
                println!("{now} server: accepted {accepted:?} from {peer}");
            }
        }
        while let Some(event) = client.stack.poll_event() {
            if event.readiness.readable {
                // Events are edge-triggered: take everything that is there.
                let mut buf = [0; 100];
                while let Some(len) = available(client.stack.recv(now, stream, &mut buf))? {
                    println!("{now} client: received {:?}", String::from_utf8_lossy(&buf[..len]));
                    if len == 0 {
                        is_done = true;
                        break;
                    }
                }
            } else if event.readiness.writable {
                println!("{now} client: connected");
                client.stack.send(now, stream, b"hello")?;
                client.stack.shutdown(now, stream, Shutdown::Write)?;
            }
        }

        // If there is nothing left to do now and no frame is in flight, advance to the next time
        // that a stack waits for. Timers run after frames, because an acknowledgement that has not
        // been read yet stops the timer of the data that it acknowledges.
        let deadlines = [client.stack.poll_timeout(), server.stack.poll_timeout()];
        if let Some(at) = deadlines.into_iter().flatten().map(|deadline| deadline.at).min()
            && sent == 0
        {
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

/// Sends back the data that is there; ends when the peer has ended.
fn echo(stack: &mut Stack, now: Instant, d: Descriptor) -> Result<(), Error> {
    let mut buf = [0; 100];
    while let Some(len) = available(stack.recv(now, d, &mut buf))? {
        if len == 0 {
            return stack.close(now, d);
        }
        println!("{now} server: echoes {len} bytes");
        stack.send(now, d, &buf[..len])?;
    }
    Ok(())
}

/// Turns `WouldBlock` into `None`.
fn available(received: Result<usize, Error>) -> Result<Option<usize>, Error> {
    match received {
        Ok(len) => Ok(Some(len)),
        Err(Error::WouldBlock) => Ok(None),
        Err(error) => Err(error),
    }
}
