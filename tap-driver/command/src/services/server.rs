//! Runs the services on a stack: a listener for each, a thread for each connection.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portolan::{AddressState, SendMeta, SocketOption};
use portolan_runtime::{Handle, TcpListener, TcpStream, UdpSocket};

use super::status::Status;
use super::{Service, Services, datagram, daytime_line, http, stream};

#[cfg(test)]
mod tests;

/// The most connections of all services together. Each costs a thread, so there must be a limit;
/// further ones are refused.
const MAX_CONNECTIONS: usize = 4096;
/// The stack size for echo and similar services: their deepest calls are those of the stack, which
/// does not recurse.
const THREAD_STACK_BYTES: usize = 128 << 10;
/// The most connections that may wait to be accepted: a thousand clients may connect at once.
const BACKLOG: usize = 4096;
/// The most connections that were opened by data in a SYN and whose handshake has not completed.
const FAST_OPENS: usize = 256;
/// A connection is given up if its peer sends nothing for this long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// A connection is given up if its peer reads nothing for this long.
const WRITE_TIMEOUT: Duration = Duration::from_secs(300);
/// The most time between two requests of HTTP, and between two pieces of a request.
const HTTP_TIMEOUT: Duration = Duration::from_secs(15);
/// For how long, and how much, is read from a peer that still sends after its last answer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
const DRAIN_BYTES: usize = 256 << 10;
/// The most datagrams that are answered together.
const MAX_DATAGRAMS: usize = 64;
/// The pause after an error of `accept` or `recv_from` that is not final, such as a lack of memory.
const ERROR_PAUSE: Duration = Duration::from_millis(20);

/// Starts the chosen services on all addresses of a stack that are in use, IPv4 and IPv6. They run
/// until the runtime is over.
///
/// Call this when the stack is ready ([`Handle::wait_ready`]): a datagram service has a socket for
/// each address, so that it answers from the address that the datagram was sent to.
///
/// # Errors
///
/// An error that names the port and service if the port is taken; or that of a thread that cannot
/// be started.
pub(crate) fn serve(handle: &Handle, device: &str, services: &Services) -> io::Result<()> {
    let server = Arc::new(Server {
        handle: handle.clone(),
        device: device.to_owned(),
        started_at: Instant::now(),
        connections: AtomicUsize::new(0),
        refused: AtomicUsize::new(0),
    });
    for service in services.iter() {
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), service.port());
        // A request that is repeated because its SYN-ACK was lost does no harm here (RFC 7413
        // §2.1).
        let fast_open = SocketOption::FastOpen(FAST_OPENS);
        let listener = TcpListener::bind_with(handle, any, BACKLOG, &[fast_open])
            .map_err(|error| taken(service, "tcp", &error))?;
        let this = server.clone();
        spawn(format!("{service} tcp"), move || this.accept_loop(service, &listener))?;
        if !service.has_udp() {
            continue;
        }
        for addr in datagram_addresses(handle, service.port()) {
            let socket = UdpSocket::bind(handle, addr).map_err(|error| taken(service, "udp", &error))?;
            let this = server.clone();
            spawn(format!("{service} udp"), move || this.datagram_loop(service, &socket))?;
        }
    }
    Ok(())
}

fn taken(service: Service, protocol: &str, error: &io::Error) -> io::Error {
    let port = service.port();
    let message = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {port}/{protocol} of the stack is taken, so {service} cannot listen on it; leave {service} out with \
             --services, or close the other socket"
        ),
        _ => format!("{service} cannot listen on port {port}/{protocol} of the stack: {error}"),
    };
    io::Error::new(error.kind(), message)
}

/// The addresses of the stack that are in use, each with this port.
fn datagram_addresses(handle: &Handle, port: u16) -> Vec<SocketAddr> {
    let interfaces = handle.interfaces();
    let in_use = interfaces.iter().flat_map(|interface| {
        let preferred = interface.addresses.iter().filter(|(_, state)| *state == AddressState::Preferred);
        preferred.map(|(cidr, _)| (cidr.addr, interface.id.scope_id()))
    });
    in_use
        .map(|(addr, scope_id)| match addr {
            IpAddr::V6(addr) if addr.is_unicast_link_local() => {
                SocketAddrV6::new(addr, port, 0, scope_id).into()
            }
            addr => SocketAddr::new(addr, port),
        })
        .collect()
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name).stack_size(THREAD_STACK_BYTES).spawn(body).map(drop)
}

struct Server {
    handle: Handle,
    device: String,
    started_at: Instant,
    connections: AtomicUsize,
    /// The number of connections that were refused.
    refused: AtomicUsize,
}

/// One of the allowed connections. Dropping this makes room for another.
struct Place(Arc<Server>);

impl Place {
    fn take(server: &Arc<Server>) -> Option<Place> {
        let count = server.connections.fetch_add(1, Ordering::Relaxed);
        let place = Place(server.clone());
        (count < MAX_CONNECTIONS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Server {
    fn accept_loop(self: &Arc<Self>, service: Service, listener: &TcpListener) {
        while self.handle.is_running() {
            match listener.accept() {
                Ok((stream, peer)) => self.begin(service, stream, canonical(peer)),
                Err(error) => self.pause(service, &error),
            }
        }
    }

    fn begin(self: &Arc<Self>, service: Service, stream: TcpStream, peer: SocketAddr) {
        let Some(place) = Place::take(self) else {
            return self.refuse(service, &stream, peer, "too many connections are open");
        };
        let spare = stream.try_clone();
        let started = spawn(format!("{service} {}", peer.port()), move || {
            let result = place.0.serve_connection(service, &stream);
            log::debug!(
                "{service}: the connection with {peer} has ended: {}",
                result.map_or_else(|error| error.to_string(), |()| "in order".into())
            );
        });
        if let (Err(error), Ok(stream)) = (started, spare) {
            self.refuse(service, &stream, peer, &format!("no thread for it: {error}"));
        }
    }

    /// Tells a peer that there is no room: with a message if the protocol has one, otherwise with a
    /// reset.
    fn refuse(&self, service: Service, mut stream: &TcpStream, peer: SocketAddr, why: &str) {
        let total = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        // Not every refusal is logged; otherwise a flood of connections would also flood the log.
        let level = if total.is_power_of_two() { log::Level::Warn } else { log::Level::Debug };
        log::log!(level, "{service}: {peer} is refused ({total} so far): {why}");
        let told = match service {
            Service::Http => stream.write_all(&http::busy()),
            _ => stream.set_linger(Some(Duration::ZERO)),
        };
        if let Err(error) = told {
            log::debug!("{service}: cannot send the refusal to {peer}: {error}");
        }
    }

    fn serve_connection(&self, service: Service, stream: &TcpStream) -> io::Result<()> {
        let read_timeout = if service == Service::Http { HTTP_TIMEOUT } else { IDLE_TIMEOUT };
        stream.set_read_timeout(Some(read_timeout))?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        match service {
            Service::Echo => stream::echo(stream).map(drop),
            Service::Discard => stream::discard(stream).map(drop),
            Service::Chargen => stream::chargen(stream),
            Service::Daytime => {
                stream::daytime(stream, &daytime_line())?;
                finish(stream)
            }
            Service::Http => {
                http::serve(stream, |path| self.resource(path))?;
                finish(stream)
            }
        }
    }

    fn resource(&self, path: &str) -> Option<http::Resource> {
        let status = || Status::of(&self.handle, &self.device, self.started_at.elapsed());
        match path {
            "/" => Some(http::Resource {
                content_type: "text/html; charset=utf-8",
                body: status().to_html().into_bytes(),
            }),
            "/socket-table.json" => Some(http::Resource {
                content_type: "application/json",
                body: status().to_json().into_bytes(),
            }),
            _ => None,
        }
    }

    fn datagram_loop(&self, service: Service, socket: &UdpSocket) {
        let (mut requests, mut answers) = (Vec::new(), Vec::new());
        while self.handle.is_running() {
            if let Err(error) = socket.recv_batch(&mut requests, MAX_DATAGRAMS) {
                self.pause(service, &error);
                continue;
            }
            for (request, meta) in requests.drain(..) {
                let from = meta.peer();
                let answer = datagram::answer(service, &request, from, daytime_line);
                answers.extend(answer.map(|answer| (answer, SendMeta::to(from))));
            }
            let mut left = &answers[..];
            while let Some((_, SendMeta { peer: Some(to), .. })) = left.first() {
                let count = socket.send_batch(left).unwrap_or_else(|error| {
                    log::debug!("{service}: cannot answer {to}: {error}");
                    1
                });
                left = &left[count..];
            }
            answers.clear();
        }
    }

    fn pause(&self, service: Service, error: &io::Error) {
        if self.handle.is_running() {
            log::debug!("{service}: {error}");
            thread::sleep(ERROR_PAUSE);
        }
    }
}

/// An IPv4 peer as an IPv4 address, for the log.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// Ends a connection in order after its last answer, although the peer may still be sending:
/// closing with unread data would be a reset (RFC 9293 §3.6.1 after RFC 1122 §4.2.2.13), which can
/// overtake the answer.
fn finish(mut stream: &TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(DRAIN_TIMEOUT))?;
    let begin = Instant::now();
    let mut rest = [0; 4096];
    let mut left = DRAIN_BYTES;
    while left > 0 && begin.elapsed() < DRAIN_TIMEOUT {
        match stream.read(&mut rest) {
            Ok(0) | Err(_) => break,
            Ok(len) => left = left.saturating_sub(len),
        }
    }
    Ok(())
}
