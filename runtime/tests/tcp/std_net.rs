//! One program over the sockets of std, on the kernel's loopback, and over ours, on the loopback of
//! a stack: only the `use` lines and the handle differ.

use std::path::Path;

use portolan_runtime::Runtime;

use crate::common::{pair, within_time};

macro_rules! program {
    ($name:ident, $($net:ident)::+, $($unix:ident)::+ $(, $handle:ident)?) => {
        mod $name {
            use std::io::{self, Read, Write};
            use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
            use std::path::Path;
            use std::time::Duration;

            use $($net)::+::{TcpListener, TcpStream, UdpSocket};
            use $($unix)::+::{UnixDatagram, UnixListener, UnixStream};

            /// What a call returns, in a form that does not depend on ports.
            fn said<T>(result: io::Result<T>) -> Result<(), io::ErrorKind> {
                result.map(|_| ()).map_err(|error| error.kind())
            }

            pub(super) fn run($($handle: &super::Runtime,)? dir: &Path) -> Vec<String> {
                let mut lines = Vec::new();
                $(let $handle = $handle;)?
                tcp($($handle,)? &mut lines);
                udp($($handle,)? &mut lines);
                unix($($handle,)? dir, &mut lines);
                lines
            }

            #[allow(deprecated, reason = "std's `only_v6` is")]
            fn tcp($($handle: &super::Runtime,)? lines: &mut Vec<String>) {
                let mut note = |line| lines.push(line);
                let nobody: SocketAddr = "192.0.2.1:0".parse().unwrap();
                let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
                note(format!("{:?}", said(TcpListener::bind($($handle,)? "127.0.0.1:0"))));
                note(format!("{:?}", said(TcpListener::bind($($handle,)? ("127.0.0.1", 0)))));
                note(format!("{:?}", said(TcpListener::bind($($handle,)? ("127.0.0.1".to_owned(), 0)))));
                note(format!("{:?}", said(TcpListener::bind($($handle,)? (IpAddr::V4(Ipv4Addr::LOCALHOST), 0)))));
                note(format!("{:?}", said(TcpListener::bind($($handle,)? (Ipv6Addr::LOCALHOST, 0)))));
                note(format!("{:?}", said(TcpListener::bind($($handle,)? nobody))));
                note(format!("{:?}", said(TcpListener::bind($($handle,)? &[nobody, here][..]))));
                note(format!("{:?}", said(TcpListener::bind($($handle,)? &[here, nobody][..]))));
                note(format!("{:?}", said(TcpListener::bind($($handle,)? &[][..]))));
                note(format!("{:?}", said(TcpListener::bind($($handle,)? "127.0.0.1"))));
                note(format!("{:?}", TcpListener::bind($($handle,)? "[::]:0").unwrap().only_v6()));

                let listener = TcpListener::bind($($handle,)? here).unwrap();
                let addr = listener.local_addr().unwrap();
                note(format!("{:?}", said(TcpListener::bind($($handle,)? addr))));
                listener.set_nonblocking(true).unwrap();
                note(format!("{:?}", said(listener.accept())));
                listener.set_nonblocking(false).unwrap();
                let near = TcpStream::connect($($handle,)? &[addr][..]).unwrap();
                let far = listener.incoming().next().unwrap().unwrap();
                note(format!("{:?}", far.peer_addr().unwrap() == near.local_addr().unwrap()));
                note(format!("{:?}", said(near.set_read_timeout(Some(Duration::ZERO)))));
                near.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
                note(format!("{:?}", said((&near).read(&mut [0]))));
                note(format!("{:?} {:?}", near.try_clone().unwrap().read_timeout(), near.write_timeout()));
                note(format!("{:?} {:?}", near.nodelay(), near.ttl()));
                note(format!("{:?}", said(near.set_ttl(256))));
                (&far).write_all(b"hello").unwrap();
                let mut buf = [0; 10];
                note(format!("{:?} {:?}", near.peek(&mut buf[..3]), (&near).read(&mut buf)));
                far.shutdown(Shutdown::Write).unwrap();
                note(format!("{:?} {:?}", (&near).read(&mut buf), said((&near).write(b"still"))));
                drop(near);
                note(format!("{:?}", io::read_to_string(&far)));
                note(format!("{:?} {:?}", far.take_error().unwrap().is_none(), said(listener.take_error())));
                drop(listener);
                note(format!("{:?}", said(TcpStream::connect_timeout($($handle,)? &addr, Duration::ZERO))));
                note(format!("{:?}", said(TcpStream::connect($($handle,)? addr))));
            }

            fn udp($($handle: &super::Runtime,)? lines: &mut Vec<String>) {
                let mut note = |line| lines.push(line);
                let nobody: SocketAddr = "192.0.2.1:0".parse().unwrap();
                let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
                let server = UdpSocket::bind($($handle,)? &[nobody, here][..]).unwrap();
                let addr = server.local_addr().unwrap();
                note(format!("{:?}", said(UdpSocket::bind($($handle,)? addr))));
                let client = UdpSocket::bind($($handle,)? "127.0.0.1:0").unwrap();
                note(format!("{:?} {:?}", said(client.peer_addr()), said(client.send(b"to whom?"))));
                note(format!("{:?}", client.send_to(b"one", addr.to_string())));
                note(format!("{:?}", client.send_to(b"two", ("127.0.0.1", addr.port()))));
                note(format!("{:?}", said(client.send_to(b"none", &[][..]))));
                note(format!("{:?}", said(client.send_to(b"none", "127.0.0.1"))));
                let mut buf = [0; 2];
                note(format!("{:?}", server.peek_from(&mut buf).map(|(len, _)| len)));
                note(format!("{:?}", server.recv_from(&mut buf).map(|(len, _)| (len, buf))));
                client.connect(&[addr, nobody][..]).unwrap();
                note(format!("{:?} {:?}", client.peer_addr().unwrap() == addr, client.send(b"three")));
                server.set_nonblocking(true).unwrap();
                note(format!("{:?} {:?}", server.recv(&mut buf), server.recv(&mut buf)));
                note(format!("{:?}", said(server.recv(&mut buf))));
                note(format!("{:?} {:?}", server.broadcast(), server.multicast_ttl_v4()));
                note(format!("{:?} {:?}", server.multicast_loop_v4(), said(server.set_ttl(0))));
                note(format!("{:?}", said(server.join_multicast_v4(&Ipv4Addr::LOCALHOST, &Ipv4Addr::LOCALHOST))));
                note(format!("{:?}", said(server.set_write_timeout(Some(Duration::ZERO)))));
            }

            fn unix($($handle: &super::Runtime,)? dir: &Path, lines: &mut Vec<String>) {
                let mut note = |line| lines.push(line);
                let path = dir.join("stream");
                note(format!("{:?}", said(UnixStream::connect($($handle,)? &path))));
                let listener = UnixListener::bind($($handle,)? &path).unwrap();
                note(format!("{:?}", said(UnixListener::bind($($handle,)? path.as_path()))));
                note(format!("{:?}", said(UnixListener::bind($($handle,)? "a".repeat(200)))));
                let mut near = UnixStream::connect($($handle,)? path.to_str().unwrap()).unwrap();
                for stream in &listener {
                    let mut stream = stream.unwrap();
                    near.write_all(b"hello").unwrap();
                    near.shutdown(Shutdown::Write).unwrap();
                    note(format!("{:?}", io::read_to_string(&mut stream)));
                    break;
                }
                note(format!("{:?} {:?}", near.read(&mut [0; 4]), said(near.write(b"more"))));
                let (one, other) = UnixDatagram::pair($($handle)?).unwrap();
                note(format!("{:?}", one.send(b"datagram")));
                note(format!("{:?}", other.recv(&mut [0; 4])));
                let server = UnixDatagram::bind($($handle,)? dir.join("datagram")).unwrap();
                let client = UnixDatagram::unbound($($handle)?).unwrap();
                note(format!("{:?}", said(client.send(b"to whom?"))));
                note(format!("{:?}", client.send_to(b"datagram", dir.join("datagram"))));
                note(format!("{:?}", server.recv_from(&mut [0; 9]).map(|(len, from)| (len, from.is_unnamed()))));
                note(format!("{:?}", said(client.send_to(b"datagram", dir.join("missing")))));
            }
        }
    };
}

program!(of_std, std::net, std::os::unix::net);
program!(ours, portolan_runtime, portolan_runtime, handle);

#[test]
fn a_program_of_std_does_the_same_here() {
    within_time(|| {
        let (host, _other) = pair();
        let dir = std::env::temp_dir().join(format!("portolan-std-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let of_std = of_std::run(&dir);
        std::fs::remove_dir_all(&dir).unwrap();
        let ours = ours::run(&host, Path::new("/run"));
        assert_eq!(ours, of_std);
        assert!(ours.len() > 40, "{ours:#?}");
    });
}
