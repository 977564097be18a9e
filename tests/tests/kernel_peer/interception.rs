//! Connections of the kernel's programs to any address, which Portolan decides about.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use portolan::{Cidr, Config, Interception, LinkAddr, LinkHeader, Rejection, Unreachable};
use portolan_runtime::{Builder, PendingStream, Runtime, TcpInterceptor, UdpInterceptor};
use portolan_tap::Tap;
use portolan_tests::namespace::{beside_portolan, tool};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::wire::{DEVICE, KERNEL4, KERNEL6, OWN4, OWN6, Record, open_device, packet_socket, wait_for};

/// Starts Portolan as the default router of the kernel. It takes every packet.
fn start() -> (Runtime, Record) {
    let device = open_device(&[KERNEL4.into(), KERNEL6.into()]);
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    let cidrs = [Cidr::new(OWN4.into(), 24), Cidr::new(OWN6.into(), 64)];
    let builder = Builder::new().config(config).interface(device, cidrs);
    let runtime = builder.intercept(Interception::all()).start().expect("a stack");
    for (family, router) in [("-4", OWN4.to_string()), ("-6", OWN6.to_string())] {
        tool(&format!("ip {family} route replace default via {router} dev {DEVICE}"));
    }
    let record = Record::of(packet_socket(&runtime, LinkHeader::Included, LinkAddr::ETH_P_ALL));
    (runtime, record)
}

/// Decides about every connection in a thread of its own, until the runtime ends.
fn decide(runtime: &Runtime, decide: impl Fn(PendingStream) + Send + 'static) {
    let interceptor = TcpInterceptor::new(runtime).expect("the only one");
    thread::spawn(move || {
        while let Ok(pending) = interceptor.next() {
            decide(pending);
        }
    });
}

fn destinations(port: u16) -> [SocketAddr; 2] {
    [([203, 0, 113, 7], port).into(), ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7], port).into()]
}

#[test]
fn curl_reaches_any_address() {
    beside_portolan("interception::curl_reaches_any_address", &[], || {
        let (runtime, _) = start();
        decide(&runtime, |pending| {
            let destination = pending.destination();
            let mut stream = pending.accept().expect("established");
            let mut request = [0; 4096];
            let len = stream.read(&mut request).expect("a request");
            assert!(request[..len].starts_with(b"GET / HTTP/1.1\r\n"));
            let body = format!("this is {destination}\n");
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).expect("written");
        });
        for destination in destinations(80).into_iter().chain(destinations(8443)) {
            let page =
                tool(&format!("curl --silent --show-error --fail --max-time 10 http://{destination}/"));
            assert_eq!(page, format!("this is {destination}\n"));
        }
    });
}

#[test]
fn the_kernel_reports_what_the_program_chose_and_sees_no_syn_ack() {
    beside_portolan(
        "interception::the_kernel_reports_what_the_program_chose_and_sees_no_syn_ack",
        &[],
        || {
            let (runtime, record) = start();
            decide(&runtime, |pending| {
                let unreachable = match pending.destination().port() {
                    1 => return pending.reject(Rejection::Reset).expect("pending"),
                    2 => Unreachable::Port,
                    3 => Unreachable::Host,
                    4 => Unreachable::Network,
                    _ => Unreachable::Prohibited,
                };
                pending.reject(Rejection::Unreachable(unreachable)).expect("pending");
            });
            let refused = ErrorKind::ConnectionRefused;
            for (port, v4, v6) in [
                (1, refused, refused),
                (2, refused, refused),
                (3, ErrorKind::HostUnreachable, ErrorKind::HostUnreachable),
                (4, ErrorKind::NetworkUnreachable, ErrorKind::NetworkUnreachable),
                (5, ErrorKind::HostUnreachable, ErrorKind::PermissionDenied),
            ] {
                for (destination, expected) in destinations(port).into_iter().zip([v4, v6]) {
                    let error = TcpStream::connect(destination).expect_err("nobody accepts");
                    assert_eq!(error.kind(), expected, "{destination}: {error}");
                }
            }
            let stats = runtime.handle().stats();
            assert_eq!((stats.interception.accepted, stats.tcp.passive_opens), (0, 0));
            let flags_of = |frame: &[u8]| match frame.get(12..14) {
                Some([0x08, 0x00]) if frame[23] == 6 => Some(frame[14 + 20 + 13]),
                Some([0x86, 0xdd]) if frame[20] == 6 => Some(frame[14 + 40 + 13]),
                _ => None,
            };
            // The thread that records may be late.
            let flags = wait_for("two segments", || {
                let frames = record.frames();
                let own = frames.iter().filter(|seen| seen.is_own);
                let flags: Vec<u8> = own.filter_map(|seen| flags_of(&seen.frame)).collect();
                (flags.len() >= 2).then_some(flags)
            });
            assert_eq!(flags, [0x14, 0x14], "two resets and no SYN-ACK");
        },
    );
}

#[test]
fn datagrams_of_the_kernel_reach_any_address_and_learn_that_nobody_is_there() {
    beside_portolan(
        "interception::datagrams_of_the_kernel_reach_any_address_and_learn_that_nobody_is_there",
        &[],
        || {
            let (runtime, _) = start();
            let interceptor = UdpInterceptor::new(&runtime).expect("the only one");
            thread::spawn(move || {
                while let Ok((flow, _)) = interceptor.accept() {
                    thread::spawn(move || {
                        let mut buf = [0; 2000];
                        while let Ok(len) = flow.recv(&mut buf) {
                            match flow.local_addr().expect("it has one").port() {
                                53 => flow.send(&buf[..len]).map(drop).expect("sent"),
                                _ => flow.reject_flow(Unreachable::Port).expect("a flow"),
                            }
                        }
                    });
                }
            });
            for (port, is_answered) in [(53, true), (54, false)] {
                for destination in destinations(port) {
                    let any = if destination.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                    let socket = UdpSocket::bind(any).expect("bound");
                    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
                    socket.connect(destination).expect("there is a route");
                    socket.send(b"who?").expect("sent");
                    let mut buf = [0; 99];
                    let received = socket.recv(&mut buf);
                    match is_answered {
                        true => assert_eq!(buf[..received.expect("an answer")], *b"who?"),
                        false => {
                            let error = received.expect_err("nobody is there");
                            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{destination}");
                        }
                    }
                }
            }
        },
    );
}

/// A kernel of its own: a thread in a new namespace, with the same device and addresses as any
/// other. It runs a command when it is told to, and returns what that prints.
#[allow(unsafe_code, reason = "a namespace of its own")]
fn guest() -> (Tap, mpsc::Sender<String>, mpsc::Receiver<String>) {
    let (send_device, device) = mpsc::channel();
    let (command, commands) = mpsc::channel::<String>();
    let (send_output, output) = mpsc::channel();
    thread::spawn(move || {
        // SAFETY: the flag takes nothing from other threads that they share.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("a namespace");
        let device = open_device(&[KERNEL4.into(), KERNEL6.into()]);
        for (family, router) in [("-4", OWN4.to_string()), ("-6", OWN6.to_string())] {
            tool(&format!("ip {family} route replace default via {router} dev {DEVICE}"));
        }
        send_device.send(device).expect("it is waited for");
        for command in commands {
            send_output.send(tool(&command)).expect("it is waited for");
        }
    });
    (device.recv().expect("a device"), command, output)
}

#[test]
fn kernels_with_the_same_addresses_reach_any_address_at_once() {
    beside_portolan("interception::kernels_with_the_same_addresses_reach_any_address_at_once", &[], || {
        let mut config = Config::default();
        config.neighbor.duplicate_address_probes = 0;
        let mut builder = Builder::new().config(config);
        let mut guests = Vec::new();
        for zone in 1..=2 {
            let (device, command, output) = guest();
            let cidrs = [Cidr::new(OWN4.into(), 24), Cidr::new(OWN6.into(), 64)];
            builder = builder.interface(device, cidrs).intercept(Interception::all()).zone(zone);
            guests.push((zone, command, output));
        }
        let runtime = builder.start().expect("a stack");
        let (send, both) = mpsc::channel();
        decide(&runtime, move |pending| send.send(pending).expect("it is waited for"));
        for (destination, port) in destinations(80).into_iter().zip(5000..) {
            for (_, command, _) in &guests {
                let fetch = "curl --silent --show-error --fail --max-time 20 --local-port";
                command.send(format!("{fetch} {port} http://{destination}/")).expect("a guest");
            }
            // Both are open before one is answered. They have the same addresses and ports.
            let streams: Vec<_> = (0..2)
                .map(|_| {
                    let pending = both.recv_timeout(Duration::from_secs(20)).expect("a connection");
                    let (source, zone) = (pending.source(), pending.zone().number());
                    (source, zone, pending.accept().expect("established"))
                })
                .collect();
            assert_eq!(streams[0].0, streams[1].0);
            for (_, zone, mut stream) in streams {
                let mut request = [0; 4096];
                let len = stream.read(&mut request).expect("a request");
                assert!(request[..len].starts_with(b"GET / HTTP/1.1\r\n"));
                let body = format!("you are in zone {zone}\n");
                let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ";
                let answer = format!("{head}{}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).expect("written");
            }
            for (zone, _, output) in &guests {
                let page = output.recv_timeout(Duration::from_secs(30)).expect("a page");
                assert_eq!(page, format!("you are in zone {zone}\n"), "{destination}");
            }
        }
    });
}
