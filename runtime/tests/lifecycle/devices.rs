//! Devices that fail or are replaced, under live connections.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use portolan::{DropReason, InterfaceId, LinkState, MacAddr, Medium, NetworkEvent};
use portolan_runtime::device::{
    Device, MemoryDevice, MemoryPair, Outgoing, Readiness, Received, Switch, memory_pair,
};
use portolan_runtime::{Builder, Clock, Runtime, TcpListener, TcpStream, UdpSocket};

use super::common::{config, pattern, start, within_time};

/// The calls of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Transmit,
    Receive,
    Service,
}

/// A device with the name "cable0", one of whose calls fails once the test says so.
struct Failing {
    device: MemoryDevice,
    call: Call,
    fails: Arc<AtomicBool>,
    /// Dropped with the device.
    _held: Arc<()>,
}

impl Failing {
    fn check(&self, call: Call) -> io::Result<()> {
        if call == self.call && self.fails.load(Ordering::SeqCst) {
            return Err(io::Error::new(ErrorKind::NotFound, "the cable is cut"));
        }
        Ok(())
    }
}

impl Device for Failing {
    fn name(&self) -> &str {
        "cable0"
    }
    fn medium(&self) -> Medium {
        self.device.medium()
    }
    fn mtu(&self) -> usize {
        self.device.mtu()
    }
    fn readiness(&mut self, waker: &Waker) -> Readiness<'_> {
        self.device.readiness(waker)
    }
    fn transmit(&mut self, outgoing: &mut Outgoing<'_>) -> io::Result<()> {
        self.check(Call::Transmit)?;
        self.device.transmit(outgoing)
    }
    fn receive(&mut self, received: &mut Received<'_>) -> io::Result<()> {
        self.check(Call::Receive)?;
        self.device.receive(received)
    }
    fn deadline(&self) -> Option<portolan::Instant> {
        self.check(Call::Service).err().map(|_| Clock::now())
    }
    fn service(&mut self) -> io::Result<()> {
        self.check(Call::Service)
    }
}

/// A client on two links, each with a server at its other end and an echoing connection to it. The
/// device of the first link can be made to fail.
struct Bench {
    client: Runtime,
    _servers: [Runtime; 2],
    streams: [TcpStream; 2],
    fails: Arc<AtomicBool>,
    held: Arc<()>,
}

impl Bench {
    fn new(call: Call) -> Bench {
        let (fails, held) = (Arc::new(AtomicBool::new(false)), Arc::new(()));
        let [(near, far), (other_near, other_far)] = [memory_pair().unwrap(), memory_pair().unwrap()];
        let device = Failing { device: near, call, fails: fails.clone(), _held: held.clone() };
        let client = Builder::new()
            .config(config())
            .interface(device, ["10.0.0.2/24".parse().unwrap()])
            .interface(other_near, ["10.0.1.2/24".parse().unwrap()])
            .start()
            .unwrap();
        let servers = [(0, far), (1, other_far)].map(|(net, device)| {
            let address = format!("10.0.{net}.1/24").parse().unwrap();
            Builder::new().config(config()).interface(device, [address]).start().unwrap()
        });
        let streams = [0, 1].map(|net| {
            let listener = TcpListener::bind(&servers[net], ([10, 0, net as u8, 1], 7)).unwrap();
            std::thread::spawn(move || {
                let Ok((stream, _)) = listener.accept() else { return };
                let _ = io::copy(&mut &stream, &mut &stream);
            });
            let stream = TcpStream::connect(&client, ([10, 0, net as u8, 1], 7)).unwrap();
            ask(&stream);
            stream
        });
        while client.handle().poll_network_event().is_some() {}
        Bench { client, _servers: servers, streams, fails, held }
    }

    fn first(&self) -> InterfaceId {
        self.client.handle().interface_named("if0")
    }
}

/// Finds an interface by its name.
trait ByName {
    fn interface_named(&self, name: &str) -> InterfaceId;
}

impl ByName for portolan_runtime::Handle {
    fn interface_named(&self, name: &str) -> InterfaceId {
        self.interfaces().into_iter().find(|interface| interface.name == name).unwrap().id
    }
}

fn ask(mut stream: &TcpStream) {
    stream.write_all(b"hello").unwrap();
    stream.read_exact(&mut [0; 5]).unwrap();
}

/// Waits until the link of the first interface is down.
fn wait_for_link_down(runtime: &Runtime) -> InterfaceId {
    loop {
        let event = runtime.handle().wait_network_event(Some(Duration::from_secs(20))).unwrap();
        if let NetworkEvent::LinkDown { iface } = event.expect("an event") {
            return iface;
        }
    }
}

#[test]
fn a_device_that_fails_takes_its_interface_down_and_the_others_go_on() {
    for call in [Call::Transmit, Call::Receive, Call::Service] {
        within_time(move || {
            let bench = Bench::new(call);
            let handle = bench.client.handle();
            let first = bench.first();
            assert!(handle.device_error(first).is_none());
            // A thread leads, and polls the descriptors of both devices.
            let mut reader = bench.streams[1].try_clone().unwrap();
            let reading = std::thread::spawn(move || reader.read(&mut [0; 5]).unwrap());
            std::thread::sleep(Duration::from_millis(50));
            bench.fails.store(true, Ordering::SeqCst);
            (&bench.streams[0]).write_all(b"word").unwrap();
            assert_eq!(wait_for_link_down(&bench.client), first, "{call:?}");
            let error = handle.device_error(first).unwrap();
            assert_eq!(
                (error.kind(), error.to_string()),
                (ErrorKind::NotFound, "cable0: the cable is cut".into())
            );
            let interfaces = handle.interfaces();
            assert_eq!([LinkState::Down, LinkState::Up], [interfaces[0].link, interfaces[1].link]);
            assert!(handle.error().is_none() && handle.is_running());

            // As on Linux: what is sent through an interface without a link is lost.
            (&bench.streams[0]).write_all(b"word").unwrap();
            let socket = UdpSocket::bind(&bench.client, ([10, 0, 0, 2], 0)).unwrap();
            socket.send_to(b"x", ([10, 0, 0, 1], 9)).unwrap();
            // The other interface and the loopback work.
            (&bench.streams[1]).write_all(b"hello").unwrap();
            assert_eq!(reading.join().unwrap(), 5);
            ask(&bench.streams[1]);
            let looped = UdpSocket::bind(&bench.client, ([127, 0, 0, 1], 0)).unwrap();
            looped.send_to(b"x", looped.local_addr().unwrap()).unwrap();
            assert_eq!(looped.recv_from(&mut [0; 9]).unwrap().0, 1);

            // Nothing keeps the device open, and nobody spins on its descriptors.
            while Arc::strong_count(&bench.held) > 1 {
                std::thread::yield_now();
            }
        });
    }
}

#[test]
fn a_device_is_replaced_under_connections() {
    within_time(|| {
        let (near, far) = memory_pair().unwrap();
        let (server, client) = (start(1, near), start(2, far));
        let listener = TcpListener::bind(&server, ([10, 0, 0, 1], 7)).unwrap();
        let mut sender = TcpStream::connect(&client, ([10, 0, 0, 1], 7)).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        let data = pattern(3_000_000, 1);
        let expected = data.clone();
        let sending = std::thread::spawn(move || sender.write_all(&data).map(|()| sender));
        let (first, again) = std::sync::mpsc::channel();
        let receiving = std::thread::spawn(move || {
            let mut all = vec![0; 100_000];
            receiver.read_exact(&mut all).unwrap();
            first.send(()).unwrap();
            receiver.read_to_end(&mut all).unwrap();
            all
        });
        again.recv().unwrap();
        // The new link has other MAC addresses and a smaller MTU, and then it changes again.
        let mediums = [[2, 0, 0, 0, 9, 1], [2, 0, 0, 0, 9, 2]].map(|mac| Medium::Ethernet(MacAddr(mac)));
        for mtu in [1280, 9000] {
            let (near, far) = MemoryPair::new().mediums(mediums[0], mediums[1]).mtu(mtu).build().unwrap();
            for (runtime, device) in [(&server, near), (&client, far)] {
                let iface = runtime.handle().interface_named("if0");
                runtime.handle().replace_device(iface, device).unwrap();
                let interface = &runtime.handle().interfaces()[0];
                assert_eq!((interface.mtu, interface.link), (mtu, LinkState::Up));
            }
        }
        let sender = sending.join().unwrap().unwrap();
        let info = client.handle().sockets();
        assert!(!info.is_empty());
        drop(sender);
        assert!(receiving.join().unwrap() == expected);
    });
}

#[test]
fn a_device_that_cannot_serve_the_interface_is_refused() {
    within_time(|| {
        let (near, _far) = memory_pair().unwrap();
        let runtime = start(1, near);
        let handle = runtime.handle();
        let iface = handle.interface_named("if0");
        while handle.poll_network_event().is_some() {}
        let refuse = |iface, pair: MemoryPair| {
            let error = handle.replace_device(iface, pair.build().unwrap().0).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            error.to_string()
        };
        let bare = MemoryPair::new().mediums(Medium::Ip, Medium::Ip);
        assert!(refuse(iface, bare).contains("carries IP packets, and the interface if0 carries Ethernet"));
        assert!(refuse(iface, MemoryPair::new().mtu(60)).contains("an MTU of 60"));
        let group = Medium::Ethernet(MacAddr::BROADCAST);
        assert!(refuse(iface, MemoryPair::new().mediums(group, group)).contains("no station can have"));
        let missing = InterfaceId::from_index(7);
        assert!(refuse(missing, MemoryPair::new()).contains("which the stack does not have"));
        assert_eq!(handle.poll_network_event(), None, "nothing has changed");
        assert_eq!(handle.interfaces()[0].link, LinkState::Up);
    });
}

/// A VPN that comes and goes beside an interface that stays.
#[test]
fn interfaces_come_and_go_under_connections() {
    within_time(|| {
        let bench = Bench::new(Call::Transmit);
        let handle = bench.client.handle();
        let mut ids = vec![bench.first()];
        for round in 0..3u8 {
            let mediums = MemoryPair::new().mediums(Medium::Ip, Medium::Ip);
            let (near, far) = mediums.build().unwrap();
            let server = Builder::new().config(config()).interface(far, ["10.9.0.1/24".parse().unwrap()]);
            let server = server.start().unwrap();
            let listener = TcpListener::bind(&server, ([10, 9, 0, 1], 7)).unwrap();
            // A thread leads while the interface is added.
            let mut reader = bench.streams[1].try_clone().unwrap();
            let reading = std::thread::spawn(move || reader.read(&mut [0; 1]).unwrap());
            std::thread::sleep(Duration::from_millis(20));
            let held = Arc::new(());
            let fails = Arc::new(AtomicBool::new(false));
            let device = Failing { device: near, call: Call::Transmit, fails, _held: held.clone() };
            let iface = handle.add_interface(device, ["10.9.0.2/24".parse().unwrap()]).unwrap();
            assert!(!ids.contains(&iface), "a number names one interface only");
            ids.push(iface);
            assert_eq!(handle.device_name(iface).as_deref(), Some("cable0"));
            let mut near = TcpStream::connect(&bench.client, ([10, 9, 0, 1], 7)).unwrap();
            let (mut far, _) = listener.accept().unwrap();
            near.write_all(&[round; 100_000]).unwrap();
            far.read_exact(&mut vec![0; 100_000]).unwrap();

            handle.remove_interface(iface).unwrap();
            assert_eq!(Arc::strong_count(&held), 1, "the device is closed");
            assert!(handle.device_name(iface).is_none() && handle.interfaces().len() == 2);
            // As on Linux: a connection repeats its data, and a datagram has no way.
            near.write_all(b"x").unwrap();
            let socket = UdpSocket::bind(&bench.client, ([0; 4], 0)).unwrap();
            let refused = socket.send_to(b"x", ([10, 9, 0, 1], 9)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::NetworkUnreachable);
            let refused = handle.remove_interface(iface).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidInput);
            (&bench.streams[1]).write_all(b"a").unwrap();
            assert_eq!(reading.join().unwrap(), 1);
        }
        bench.streams.iter().for_each(ask);
        let wrong = handle.add_interface(memory_pair().unwrap().0, ["127.0.0.1/8".parse().unwrap()]);
        assert_eq!(wrong.unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

/// Five hosts at a switch: each talks to each at once.
#[test]
fn hosts_at_a_switch_talk_to_each_other() {
    within_time(|| {
        let switch = Switch::new();
        let host = |last: u8| {
            let address = format!("10.0.0.{last}/24").parse().unwrap();
            let port = switch.port(MacAddr([2, 0, 0, 0, 0, last]));
            Builder::new().config(config()).interface(port, [address]).start().unwrap()
        };
        let hosts: Vec<Runtime> = (1..=5).map(host).collect();
        let listeners: Vec<_> = (1..=5)
            .zip(&hosts)
            .map(|(last, host)| TcpListener::bind(host, ([10, 0, 0, last], 7)).unwrap())
            .collect();
        let servers = listeners.into_iter().map(|listener| {
            std::thread::spawn(move || {
                for _ in 0..4 {
                    let (stream, _) = listener.accept().unwrap();
                    std::thread::spawn(move || io::copy(&mut &stream, &mut &stream));
                }
            })
        });
        let servers: Vec<_> = servers.collect();
        let clients = hosts.iter().enumerate().map(|(from, host)| {
            let handle = host.handle().clone();
            std::thread::spawn(move || {
                for to in (0..5).filter(|&to| to != from) {
                    let mut stream = TcpStream::connect(&handle, ([10, 0, 0, to as u8 + 1], 7)).unwrap();
                    let data = pattern(50_000, from as u8);
                    let mut echo = vec![0; data.len()];
                    stream.write_all(&data).unwrap();
                    stream.read_exact(&mut echo).unwrap();
                    assert!(echo == data);
                }
            })
        });
        let clients: Vec<_> = clients.collect();
        clients.into_iter().chain(servers).for_each(|thread| thread.join().unwrap());
        let counts = switch.counts();
        assert!(counts.forwarded > 10 * counts.flooded, "{counts:?}");
    });
}

/// The other end of the first link takes nothing.
#[test]
fn a_device_that_stays_full_does_not_stop_the_others() {
    within_time(|| {
        let pair = || MemoryPair::new().mediums(Medium::Ip, Medium::Ip).capacity(2).build().unwrap();
        let ((stuck, mut nobody), (near, far)) = (pair(), pair());
        let client = Builder::new()
            .config(config())
            .interface(stuck, ["10.0.0.2/24".parse().unwrap()])
            .interface(near, ["10.0.1.2/24".parse().unwrap()])
            .start()
            .unwrap();
        let server = Builder::new().config(config()).interface(far, ["10.0.1.1/24".parse().unwrap()]);
        let server = server.start().unwrap();
        let flood = UdpSocket::bind(&client, ([0; 4], 0)).unwrap();
        for _ in 0..200 {
            flood.send_to(&[7; 100], ([10, 0, 0, 1], 9)).unwrap();
        }
        let begin = Instant::now();
        let listener = TcpListener::bind(&server, ([10, 0, 1, 1], 7)).unwrap();
        let stream = TcpStream::connect(&client, ([10, 0, 1, 1], 7)).unwrap();
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let _ = io::copy(&mut &stream, &mut &stream);
        });
        for _ in 0..100 {
            ask(&stream);
        }
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        // It works again when the other end takes frames. All others were counted.
        let lost =
            || client.handle().with_stack(|stack| stack.stats().drops(DropReason::DeviceFull)) as usize;
        assert!(lost() > 100);
        let (mut frames, mut arrived) = (Vec::new(), 0);
        while arrived + lost() < 200 {
            nobody.receive(&mut Received::new(&mut frames, 10)).unwrap();
            arrived += frames.drain(..).filter(|frame| frame.bytes.len() == 128).count();
            std::thread::yield_now();
        }
        assert!(arrived >= 10);
    });
}
