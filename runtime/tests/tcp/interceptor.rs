//! Connections to any address, which a program decides about, and datagrams to any address.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use portolan::{Cidr, DropReason, IgnoreReason, Interception, Rejection, SocketOption, Unreachable};
use portolan_runtime::device::MemoryPair;
use portolan_runtime::{Builder, Runtime, TcpInterceptor, TcpStream, UdpInterceptor, UdpSocket};

use crate::common::{addresses, config, pattern, within_time};

/// A host that takes packets for every address, and a host whose packets it gets.
fn pair() -> (Runtime, Runtime) {
    let (a, b) = MemoryPair::new().build().unwrap();
    let proxy = Builder::new().config(config()).seed([1; 32]).interface(a, addresses(1));
    let client = Builder::new().config(config()).seed([2; 32]).interface(b, addresses(2));
    let client = client.gateway("10.0.0.1".parse().unwrap()).gateway("fd00::1".parse().unwrap());
    (proxy.intercept(Interception::all()).start().unwrap(), client.start().unwrap())
}

fn destinations() -> [SocketAddr; 2] {
    ["203.0.113.7:443", "[2001:db8::7]:443"].map(|addr| addr.parse().unwrap())
}

#[test]
fn any_address_is_answered_when_the_program_accepts() {
    let (proxy, client) = pair();
    let interceptor = TcpInterceptor::with_options(&proxy, &[SocketOption::NoDelay(true)]).unwrap();
    for destination in destinations() {
        let source = client.handle().clone();
        let connecting = thread::spawn(move || TcpStream::connect(&source, destination).unwrap());
        let pending = interceptor.next().unwrap();
        assert_eq!(pending.destination(), destination);
        assert_eq!(pending.interface(), proxy.handle().interfaces()[0].id);
        assert!(!pending.is_cancelled().unwrap());
        assert!(!connecting.is_finished(), "the SYN is not answered yet");
        let source = pending.source();
        let mut far = pending.accept().unwrap();
        let mut near = connecting.join().unwrap();
        assert_eq!((far.local_addr().unwrap(), far.peer_addr().unwrap()), (destination, source));
        assert_eq!((near.peer_addr().unwrap(), near.local_addr().unwrap()), (destination, source));
        assert!(far.nodelay().unwrap());
        let data = pattern(1 << 20, 7);
        let sent = data.clone();
        let writing = thread::spawn(move || near.write_all(&sent));
        let mut received = Vec::new();
        far.read_to_end(&mut received).unwrap();
        assert!(received == data);
        writing.join().unwrap().unwrap();
    }
}

#[test]
fn a_client_learns_what_the_program_chose() {
    let (proxy, client) = pair();
    let interceptor = TcpInterceptor::new(&proxy).unwrap();
    let chosen = |what| Rejection::Unreachable(what);
    for (how, expected) in [
        (Rejection::Reset, ErrorKind::ConnectionRefused),
        (chosen(Unreachable::Port), ErrorKind::ConnectionRefused),
        (chosen(Unreachable::Host), ErrorKind::HostUnreachable),
        (chosen(Unreachable::Network), ErrorKind::NetworkUnreachable),
    ] {
        for destination in destinations() {
            let source = client.handle().clone();
            let connecting = thread::spawn(move || TcpStream::connect(&source, destination));
            interceptor.next().unwrap().reject(how).unwrap();
            assert_eq!(connecting.join().unwrap().unwrap_err().kind(), expected, "{how:?} {destination}");
        }
    }
}

#[test]
fn a_client_learns_why_the_program_has_no_connection_itself() {
    let (proxy, client) = pair();
    let interceptor = TcpInterceptor::new(&proxy).unwrap();
    for (error, expected) in [
        (ErrorKind::ConnectionRefused, ErrorKind::ConnectionRefused),
        (ErrorKind::AddrNotAvailable, ErrorKind::ConnectionRefused),
        (ErrorKind::HostUnreachable, ErrorKind::HostUnreachable),
        (ErrorKind::NetworkUnreachable, ErrorKind::NetworkUnreachable),
    ] {
        for destination in destinations() {
            let source = client.handle().clone();
            let connecting = thread::spawn(move || TcpStream::connect(&source, destination));
            interceptor.next().unwrap().reject_because(&error.into()).unwrap();
            assert_eq!(connecting.join().unwrap().unwrap_err().kind(), expected, "{error} {destination}");
        }
    }
    // There is nothing to tell, or the client should try again.
    let source = client.handle().clone();
    let connecting = thread::spawn(move || TcpStream::connect(&source, destinations()[0]));
    interceptor.next().unwrap().reject_because(&ErrorKind::TimedOut.into()).unwrap();
    assert_eq!(proxy.handle().stats().drops(DropReason::IgnoredForSilence), 1);
    const EMFILE: i32 = 24;
    interceptor.next().unwrap().reject_because(&io::Error::from_raw_os_error(EMFILE)).unwrap();
    assert_eq!(proxy.handle().stats().drops(DropReason::IgnoredForOverload), 1);
    let _far = interceptor.next().unwrap().accept().unwrap();
    connecting.join().unwrap().unwrap();
}

#[test]
fn a_connection_that_is_dropped_undecided_is_reset() {
    let (proxy, client) = pair();
    let interceptor = TcpInterceptor::new(&proxy).unwrap();
    let source = client.handle().clone();
    let connecting = thread::spawn(move || TcpStream::connect(&source, destinations()[0]));
    drop(interceptor.next().unwrap());
    assert_eq!(connecting.join().unwrap().unwrap_err().kind(), ErrorKind::ConnectionRefused);
    // So are those that nobody took out.
    let source = client.handle().clone();
    let connecting = thread::spawn(move || TcpStream::connect(&source, destinations()[1]));
    while proxy.handle().stats().interception.pending < 2 {
        thread::sleep(Duration::from_millis(1));
    }
    drop(interceptor);
    assert_eq!(connecting.join().unwrap().unwrap_err().kind(), ErrorKind::ConnectionRefused);
    // Another interceptor may follow, and while there is one there is no second.
    let _interceptor = TcpInterceptor::new(&proxy).unwrap();
    assert_eq!(TcpInterceptor::new(&proxy).unwrap_err().kind(), ErrorKind::AddrInUse);
}

#[test]
fn an_ignored_connection_comes_again() {
    let (proxy, client) = pair();
    let interceptor = TcpInterceptor::new(&proxy).unwrap();
    let source = client.handle().clone();
    let connecting = thread::spawn(move || TcpStream::connect(&source, destinations()[0]));
    interceptor.next().unwrap().ignore(IgnoreReason::Silence).unwrap();
    // The client repeats its SYN after a second.
    let _far = within_time(move || interceptor.next().unwrap().accept().unwrap());
    connecting.join().unwrap().unwrap();
    assert_eq!(proxy.handle().stats().drops(DropReason::IgnoredForSilence), 1);
}

#[test]
fn accepting_ends_when_the_client_is_gone() {
    let (proxy, client) = pair();
    let interceptor = TcpInterceptor::new(&proxy).unwrap();
    let source = client.handle().clone();
    let connecting = thread::spawn(move || TcpStream::connect(&source, destinations()[0]));
    let pending = interceptor.next().unwrap();
    drop(client);
    connecting.join().unwrap().unwrap_err();
    let accepted = pending.accept_timeout(Duration::from_millis(50));
    assert_eq!(accepted.unwrap_err().kind(), ErrorKind::TimedOut);
    // The reset that follows leaves nothing behind.
    assert_eq!(proxy.handle().sockets().len(), 1);
}

#[test]
fn each_connection_wakes_one_of_the_threads_that_wait_and_closing_wakes_all() {
    let (proxy, client) = pair();
    let interceptor = TcpInterceptor::new(&proxy).unwrap();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let interceptor = interceptor.try_clone().unwrap();
            thread::spawn(move || -> io::Error {
                loop {
                    match interceptor.next().and_then(|pending| pending.accept()) {
                        Ok(mut stream) => stream.write_all(b"hello").unwrap(),
                        Err(error) => return error,
                    }
                }
            })
        })
        .collect();
    let source = client.handle().clone();
    within_time(move || {
        for host in 1..=64 {
            let mut greeting = String::new();
            let mut stream = TcpStream::connect(&source, ([203, 0, 113, host], 80)).unwrap();
            stream.read_to_string(&mut greeting).unwrap();
            assert_eq!(greeting, "hello");
        }
    });
    interceptor.close().unwrap();
    within_time(move || {
        for thread in threads {
            assert_eq!(
                thread.join().unwrap().raw_os_error(),
                io::Error::from(portolan::Error::BadDescriptor).raw_os_error()
            );
        }
    });
}

#[test]
fn without_waiting_there_is_an_error_while_nothing_is_pending() {
    let (proxy, client) = pair();
    let interceptor = TcpInterceptor::new(&proxy).unwrap();
    interceptor.set_nonblocking(true).unwrap();
    assert_eq!(interceptor.next().unwrap_err().kind(), ErrorKind::WouldBlock);
    let source = client.handle().clone();
    let connecting = thread::spawn(move || TcpStream::connect(&source, destinations()[0]));
    let pending = loop {
        match interceptor.next() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(1)),
            result => break result.unwrap(),
        }
    };
    let _far = pending.accept().unwrap();
    connecting.join().unwrap().unwrap();
}

#[test]
fn only_what_is_named_is_intercepted() {
    let (a, b) = MemoryPair::new().build().unwrap();
    let web = Interception::none().ports(Cidr::ANY_V4, 443..=443);
    let proxy = Builder::new().config(config()).interface(a, addresses(1)).intercept(web).start().unwrap();
    let client = Builder::new().config(config()).interface(b, addresses(2));
    let client = client.gateway("10.0.0.1".parse().unwrap()).start().unwrap();
    let _interceptor = TcpInterceptor::new(&proxy).unwrap();
    let other = TcpStream::connect_timeout(&client, ([203, 0, 113, 7], 80), Duration::from_millis(50));
    assert_eq!(other.unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(proxy.handle().stats().drops(DropReason::NotForUs), 1);
}

fn any_port_of_family(destination: SocketAddr) -> SocketAddr {
    if destination.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() }
}

#[test]
fn datagrams_to_any_address_are_flows() {
    let (proxy, client) = pair();
    let interceptor = UdpInterceptor::new(&proxy).unwrap();
    assert_eq!(UdpInterceptor::new(&proxy).unwrap_err().kind(), ErrorKind::AddrInUse);
    let accepting = interceptor.try_clone().unwrap();
    let echo = thread::spawn(move || {
        let mut flows = 0;
        while let Ok((flow, source)) = accepting.accept() {
            flows += 1;
            assert_eq!(flow.peer_addr().unwrap(), source);
            thread::spawn(move || {
                let mut buf = [0; 2000];
                while let Ok(len) = flow.recv(&mut buf) {
                    flow.send(&buf[..len]).unwrap();
                }
            });
        }
        flows
    });
    within_time(move || {
        for destination in destinations() {
            let socket = UdpSocket::bind(&client, any_port_of_family(destination)).unwrap();
            socket.connect(destination).unwrap();
            for number in 0..100 {
                socket.send(&[number; 1000]).unwrap();
                let mut buf = [0; 2000];
                assert_eq!(socket.recv(&mut buf).unwrap(), 1000);
                assert_eq!(buf[..1000], [number; 1000]);
            }
        }
        interceptor.close().unwrap();
        assert_eq!(echo.join().unwrap(), 2);
    });
}

#[test]
fn a_flow_that_is_rejected_is_an_error_at_its_source() {
    let (proxy, client) = pair();
    let interceptor = UdpInterceptor::new(&proxy).unwrap();
    for destination in destinations() {
        let socket = UdpSocket::bind(&client, any_port_of_family(destination)).unwrap();
        socket.connect(destination).unwrap();
        socket.send(b"x").unwrap();
        let (flow, _) = interceptor.accept().unwrap();
        flow.reject_flow(Unreachable::Port).unwrap();
        let (socket, error) = within_time(move || {
            let error = socket.recv(&mut [0; 9]).unwrap_err();
            (socket, error)
        });
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        // As the program's own socket has learned it; other errors say nothing about the
        // destination.
        flow.reject_flow_because(&ErrorKind::OutOfMemory.into()).unwrap();
        flow.reject_flow_because(&ErrorKind::ConnectionRefused.into()).unwrap();
        let error = within_time(move || socket.recv(&mut [0; 9]).unwrap_err());
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
    let other = UdpSocket::bind(&client, ([10, 0, 0, 2], 0)).unwrap();
    assert_eq!(other.reject_flow(Unreachable::Port).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_thread_waits_until_a_connection_needs_no_decision() {
    let (a, b) = MemoryPair::new().build().unwrap();
    let mut config = config();
    config.interception.max_pending_per_source = 1;
    let proxy = Builder::new().config(config.clone()).interface(a, addresses(1));
    let proxy = proxy.intercept(Interception::all()).start().unwrap();
    let client = Builder::new().config(config).interface(b, addresses(2));
    let client = client.gateway("10.0.0.1".parse().unwrap()).start().unwrap();
    let connect = |port| {
        let source = client.handle().clone();
        thread::spawn(move || TcpStream::connect(&source, ([203, 0, 113, 7], port)))
    };
    let interceptor = TcpInterceptor::new(&proxy).unwrap();
    let first = connect(443);
    let pending = interceptor.next().unwrap();
    assert!(!pending.cancelled(Some(Duration::from_millis(1))).unwrap());
    let pending = Arc::new(pending);
    let watched = pending.clone();
    let waiting = thread::spawn(move || within_time(move || watched.cancelled(None)));
    // A source may have one only.
    let second = connect(444);
    assert!(waiting.join().unwrap().unwrap());
    let pending = Arc::into_inner(pending).unwrap();
    assert_eq!(pending.accept().unwrap_err().kind(), ErrorKind::ConnectionAborted);
    drop(interceptor);
    for connecting in [first, second] {
        assert_eq!(connecting.join().unwrap().unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}
