//! The example `proxy` between programs of this namespace and servers of another one, in which a
//! second thread lives.
#![allow(unsafe_code)]

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use portolan_tests::namespace::{beside_portolan, tool};
use portolan_tests::sources::built;
use rustix::thread::{UnshareFlags, gettid, unshare_unsafe};

/// The servers.
const FAR4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);
/// Hosts behind the far kernel, to which it has no route.
const NOWHERE4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
const NOWHERE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xdead, 0, 0, 0, 0, 9);

const HTTP: u16 = 80;
const ECHO: u16 = 7;
const DEAD: u16 = 9;

fn far(port: u16) -> [SocketAddr; 2] {
    [(FAR4, port).into(), (FAR6, port).into()]
}

/// Makes the far namespace, joined to this one by the link `out`, and serves there.
fn serve() {
    let (send, receive) = mpsc::channel();
    let (joined, is_joined) = mpsc::channel();
    thread::spawn(move || {
        // SAFETY: the flag takes nothing from other threads that they share.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("a namespace");
        send.send(gettid()).expect("it is waited for");
        is_joined.recv().expect("the link");
        tool("ip link set lo up");
        tool("ip link set far up");
        tool("ip addr add 203.0.113.7/24 dev far");
        tool("ip addr add 2001:db8::7/64 dev far nodad");
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            std::fs::write(format!("/proc/sys/net/{setting}"), "1").expect("a router");
        }
        for route in ["unreachable 198.51.100.0/24", "unreachable 2001:db8:dead::/64"] {
            tool(&format!("ip route add {route}"));
        }
        for listener in far(HTTP).map(|addr| TcpListener::bind(addr).expect("an address")) {
            thread::spawn(move || listener.incoming().flatten().for_each(answer));
        }
        for listener in far(ECHO).map(|addr| TcpListener::bind(addr).expect("an address")) {
            thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    thread::spawn(move || {
                        let mut all = Vec::new();
                        stream.read_to_end(&mut all).expect("the whole");
                        stream.write_all(&all).expect("the peer reads");
                    });
                }
            });
        }
        for socket in far(ECHO).map(|addr| UdpSocket::bind(addr).expect("an address")) {
            thread::spawn(move || {
                let mut buf = [0; 2000];
                while let Ok((len, from)) = socket.recv_from(&mut buf) {
                    socket.send_to(&buf[..len], from).expect("sent");
                }
            });
        }
        send.send(gettid()).expect("it is waited for");
    });
    let thread = receive.recv().expect("a namespace").as_raw_nonzero();
    tool(&format!("ip link add out type veth peer name far netns {thread}"));
    tool("ip link set out up");
    tool("ip addr add 203.0.113.1/24 dev out");
    tool("ip addr add 2001:db8::1/64 dev out nodad");
    joined.send(()).expect("it waits");
    receive.recv().expect("servers");
}

/// An HTTP server for a request.
fn answer(mut stream: TcpStream) {
    let mut lines = BufReader::new(stream.try_clone().expect("a clone")).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let body = format!("{request} from {}\n", stream.peer_addr().expect("it has one").ip());
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    // A client that has gone needs no answer.
    let _ = stream.write_all((head + &body).as_bytes());
}

/// The running example.
struct Proxy(Child);

impl Proxy {
    /// Starts it, and routes one host at a time through it: this kernel's own routes lead out.
    fn start() -> Proxy {
        let mut command = match built("examples/proxy") {
            Some(example) => Command::new(example),
            None => {
                let mut cargo = Command::new(env!("CARGO"));
                cargo.args(["run", "--quiet", "-p", "portolan-examples", "--example", "proxy", "--"]);
                cargo
            }
        };
        command.args(["tun0", "out"]).stdout(Stdio::piped()).current_dir(env!("CARGO_MANIFEST_DIR"));
        let mut child = command.spawn().expect("it starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        assert_eq!(output.next().expect("a line").expect("text"), "ready");
        thread::spawn(move || output.for_each(|line| println!("proxy: {}", line.unwrap_or_default())));
        for setting in ["all", "tun0", "out"] {
            let path = format!("/proc/sys/net/ipv4/conf/{setting}/rp_filter");
            std::fs::write(path, "0").expect("the kernel has the setting");
        }
        tool("ip route add 198.51.100.0/24 via 203.0.113.7");
        tool("ip route add 2001:db8:dead::/64 via 2001:db8::7");
        for host in [FAR4.to_string(), FAR6.to_string(), NOWHERE4.to_string(), NOWHERE6.to_string()] {
            tool(&format!("ip route add {host} dev tun0"));
        }
        Proxy(child)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn datagram_socket(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).expect("bound");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    socket.connect(to).expect("there is a route");
    socket
}

#[test]
fn the_example_relays_what_arrives_on_a_tun_device() {
    beside_portolan("proxy::the_example_relays_what_arrives_on_a_tun_device", &[], || {
        serve();
        let _proxy = Proxy::start();
        for (server, seen) in far(HTTP).into_iter().zip(["203.0.113.1", "2001:db8::1"]) {
            let page = tool(&format!("curl --silent --show-error --fail --max-time 10 http://{server}/page"));
            assert_eq!(page, format!("GET /page HTTP/1.1 from {seen}\n"), "the proxy's own connection");
        }
        for server in far(ECHO) {
            let mut stream = TcpStream::connect(server).expect("it is up");
            let data: Vec<u8> = (0..3_000_000_u32).map(|n| (n ^ n >> 8) as u8).collect();
            stream.write_all(&data).expect("relayed");
            stream.shutdown(Shutdown::Write).expect("half-closed");
            let mut back = Vec::new();
            stream.read_to_end(&mut back).expect("the other half goes on");
            assert!(back == data, "{} bytes", back.len());

            let socket = datagram_socket(server);
            let mut buf = [0; 100];
            for text in ["one", "two"] {
                socket.send(text.as_bytes()).expect("sent");
                let len = socket.recv(&mut buf).expect("an answer");
                assert_eq!(&buf[..len], text.as_bytes());
            }
        }
        for server in far(DEAD) {
            // The kernel's `connect` succeeds as soon as a SYN was answered.
            let error = TcpStream::connect(server).expect_err("nobody listens");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            let socket = datagram_socket(server);
            socket.send(b"who?").expect("sent");
            let error = socket.recv(&mut [0; 9]).expect_err("nobody is there");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        }
        // What the far kernel's ICMP errors mean, by family.
        for (host, meaning) in [
            (SocketAddr::from((NOWHERE4, HTTP)), ErrorKind::HostUnreachable),
            ((NOWHERE6, HTTP).into(), ErrorKind::NetworkUnreachable),
        ] {
            let started = Instant::now();
            let error = TcpStream::connect(host).expect_err("there is no route");
            assert_eq!(error.kind(), meaning, "{host}");
            assert!(started.elapsed() < Duration::from_secs(10), "{host}: {:?}", started.elapsed());
        }
    });
}
