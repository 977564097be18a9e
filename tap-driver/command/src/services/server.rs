//! Runs the services on a stack: over TCP a listener for each and a task for each connection, over
//! UDP a thread for each socket.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use portolan::{AddressState, SendMeta, SocketOption};
use portolan_runtime::task::{TcpListener, TcpStream};
use portolan_runtime::{Handle, UdpSocket};
use tokio::runtime::{Builder, Runtime};

use super::share::{Place, Share, Shared};
use super::status::Status;
use super::{Service, Services, datagram, daytime_line, http, stream};

#[cfg(test)]
mod tests;

/// The stack size of the threads for datagrams: their deepest calls are those of the stack, which
/// does not recurse.
const THREAD_STACK_BYTES: usize = 128 << 10;
/// The most connections of echo. Each takes less than 2 KiB of the process, and half of that of the
/// stack's memory, of which this many take two thirds: there is no memory pressure yet.
const MAX_ECHO_CONNECTIONS: usize = 110_000;
/// The most connections of every other service.
const MAX_CONNECTIONS: usize = 4096;
/// The most connections that may wait to be accepted: a thousand clients may connect at once.
const BACKLOG: usize = 4096;
/// The most connections that were opened by data in a SYN and whose handshake has not completed.
const FAST_OPENS: usize = 256;
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
    let shares = services.iter().map(|service| Share::new(service, max_connections(service)));
    serve_with(handle, device, shares.collect())
}

fn serve_with(handle: &Handle, device: &str, shares: Vec<Arc<Share>>) -> io::Result<()> {
    let (handle, device) = (handle.clone(), device.to_owned());
    let server = Arc::new(Server { handle, device, started_at: Instant::now(), shares });
    let handle = &server.handle;
    for share in &server.shares {
        let service = share.service;
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), service.port());
        // A request that is repeated because its SYN-ACK was lost does no harm here (RFC 7413
        // §2.1).
        let fast_open = SocketOption::FastOpen(FAST_OPENS);
        let listener = portolan_runtime::TcpListener::bind_with(handle, any, BACKLOG, &[fast_open])
            .map_err(|error| taken(service, "tcp", &error))?;
        let listener = TcpListener::from_blocking(listener);
        let executor = executor(service, handle.stacks())?;
        let (this, share) = (server.clone(), share.clone());
        let accept = move || executor.block_on(this.accept_loop(&share, &listener));
        thread::Builder::new().name(format!("{service} tcp")).spawn(accept)?;
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

/// The most connections of a service.
const fn max_connections(service: Service) -> usize {
    match service {
        Service::Echo => MAX_ECHO_CONNECTIONS,
        Service::Discard | Service::Daytime | Service::Chargen | Service::Http => MAX_CONNECTIONS,
    }
}

/// The executor of a service's tasks. Each service has its own, so that a busy one cannot delay the
/// others. It has a thread for each stack.
fn executor(service: Service, stacks: usize) -> io::Result<Runtime> {
    if stacks == 1 {
        return Builder::new_current_thread().enable_time().build();
    }
    Builder::new_multi_thread().worker_threads(stacks).thread_name(service.name()).enable_time().build()
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
    shares: Vec<Arc<Share>>,
}

impl Server {
    async fn accept_loop(self: &Arc<Self>, share: &Arc<Share>, listener: &TcpListener) {
        while self.handle.is_running() {
            match listener.accept().await {
                Ok((stream, peer)) => self.begin(share, stream, canonical(peer)),
                Err(error) => {
                    if self.may_go_on(share.service, &error) {
                        tokio::time::sleep(ERROR_PAUSE).await;
                    }
                }
            }
        }
    }

    fn begin(self: &Arc<Self>, share: &Arc<Share>, stream: TcpStream, peer: SocketAddr) {
        let place = match share.take() {
            Ok(place) => place,
            Err(shared) => return refuse(shared, &stream, peer),
        };
        match share.service {
            Service::Echo => run(place, peer, || stream::echo(stream)),
            Service::Discard => run(place, peer, || stream::discard(stream)),
            Service::Daytime => run(place, peer, || stream::daytime(stream)),
            Service::Chargen => run(place, peer, || stream::chargen(stream)),
            Service::Http => {
                let this = self.clone();
                let resource = move |path: &str| this.resource(path);
                run(place, peer, || http::serve(stream, http::REQUEST_TIMEOUT, resource));
            }
        }
    }

    fn resource(&self, path: &str) -> Option<http::Resource> {
        let services = || self.shares.iter().map(|share| share.figures()).collect();
        let status = || Status::of(&self.handle, &self.device, self.started_at.elapsed(), services());
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
                if self.may_go_on(service, &error) {
                    thread::sleep(ERROR_PAUSE);
                }
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

    /// Whether a service may go on after an error, because the stack still runs.
    fn may_go_on(&self, service: Service, error: &io::Error) -> bool {
        let is_running = self.handle.is_running();
        if is_running {
            log::debug!("{service}: {error}");
        }
        is_running
    }
}

/// Starts the task of a connection. Its future is made in the task, where nothing else is as large.
fn run<F>(place: Place, peer: SocketAddr, serve: impl FnOnce() -> F + Send + 'static)
where
    F: Future<Output = io::Result<()>> + Send,
{
    tokio::spawn(async move {
        let result = serve().await;
        log_end(place.service(), peer, result);
    });
}

fn log_end(service: Service, peer: SocketAddr, result: io::Result<()>) {
    log::debug!(
        "{service}: the connection with {peer} has ended: {}",
        result.map_or_else(|error| error.to_string(), |()| "in order".into())
    );
}

/// Tells a peer that there is no room: with a message if the protocol has one, otherwise with a
/// reset.
fn refuse(shared: Shared, stream: &TcpStream, peer: SocketAddr) {
    let Shared { service, limit, refused, .. } = shared;
    // Not every refusal is logged; otherwise a flood of connections would also flood the log.
    let level = if refused.is_power_of_two() { log::Level::Warn } else { log::Level::Debug };
    log::log!(level, "{service}: {peer} is refused ({refused} so far): {limit} connections are open");
    let told = match service {
        Service::Http => stream.try_write(&http::busy()).map(drop),
        _ => stream.set_zero_linger(),
    };
    if let Err(error) = told {
        log::debug!("{service}: cannot send the refusal to {peer}: {error}");
    }
}

/// An IPv4 peer as an IPv4 address, for the log.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}
