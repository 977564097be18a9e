//! QUIC (quinn-proto) over the runtime's `UdpSocket`: two stacks, each with a thread that blocks in
//! `recv_batch`, carry a stream with GSO, GRO and ECN.
//!
//! The stream has 16 MiB. `QUIC_MIB=1024 cargo test --release -p portolan-tests --test quic --
//! --nocapture` carries a gibibyte and prints the throughput.

mod peer;
mod wire;

use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use portolan::{Config, MtuDiscover, Offloads, SocketOption};
use portolan_runtime::device::MemoryPair;
use portolan_runtime::{Builder, Runtime, UdpSocket};
use portolan_tests::pattern::Pattern;
use quinn_proto::{ClientConfig, ServerConfig};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;

use peer::{Peer, Seen};
use wire::{Counted, Counts};

const SERVER_NAME: &str = "server";
const PORT: u16 = 4433;
/// Both ends compute the stream from this seed.
const SEED: u64 = 7;
/// One in so many frames is marked "congestion experienced", where frames are marked.
const MARKED: u64 = 50;

/// What came of a stream.
struct Carried {
    /// What the sending and the receiving socket have seen.
    sender: Seen,
    receiver: Seen,
    /// The frames that the sender's device was given.
    frames: Arc<Counts>,
    /// How often the sender reduced its window.
    congestion_events: u64,
}

#[test]
fn a_stream_crosses_in_runs_of_datagrams_over_ipv4() {
    let carried = carry("10.0.0.1", "10.0.0.2", None);
    check_runs(&carried);
    // Every datagram of the client is ECN-capable, and none is marked.
    let [not_capable, _, ect0, marked] = carried.receiver.ecn;
    assert!(not_capable == 0 && ect0 > 0 && marked == 0, "{:?}", carried.receiver);
}

#[test]
fn congestion_marks_arrive_and_are_reported_to_the_sender_over_ipv6() {
    let carried = carry("fd00::1", "fd00::2", Some(MARKED));
    check_runs(&carried);
    let [not_capable, _, ect0, marked] = carried.receiver.ecn;
    assert!(not_capable == 0 && ect0 > 0 && marked > 0, "{:?}", carried.receiver);
    assert!(carried.congestion_events > 0, "the receiver reports the marks, and the sender slows down");
}

/// Most data left the sender in runs (GSO), crossed the wire in runs, and was read in runs (GRO).
fn check_runs(carried: &Carried) {
    let Carried { sender, receiver, frames, .. } = carried;
    assert!(sender.run_datagrams > sender.datagrams / 2, "{sender:?}");
    assert!(receiver.run_datagrams > receiver.datagrams / 2, "{receiver:?}");
    assert!(sender.longest_run > 10 && receiver.longest_run > 10, "{sender:?} {receiver:?}");
    assert!(frames.runs() > 0 && frames.runs() >= sender.runs, "{frames:?} {sender:?}");
}

/// Carries the stream from the client to the server, whose stack has this address.
fn carry(server_addr: &str, client_addr: &str, marked: Option<u64>) -> Carried {
    let mib: u64 = env::var("QUIC_MIB").map_or(16, |mib| mib.parse().expect("QUIC_MIB is a number"));
    let (server_device, client_device) =
        MemoryPair::new().offloads(Offloads::ALL).build().expect("a pair of devices");
    let (client_device, frames) = Counted::new(client_device, None);
    let (server_device, _) = Counted::new(server_device, marked);
    let server_host = start(server_addr, server_device);
    let client_host = start(client_addr, client_device);
    let (server_config, client_config) = configs().expect("a certificate");

    let server_addr = SocketAddr::new(server_addr.parse().expect("an address"), PORT);
    let server_socket = socket(&server_host, server_addr);
    let client_addr = SocketAddr::new(client_addr.parse().expect("an address"), 0);
    let client_socket = socket(&client_host, client_addr);

    let server = thread::spawn(move || {
        let mut peer = Peer::server(server_socket, server_config);
        peer.receive_stream(&mut Pattern::new(SEED));
        peer.seen
    });
    let begun_at = Instant::now();
    let mut client = Peer::client(client_socket, client_config, server_addr, SERVER_NAME);
    client.send_stream(&mut Pattern::new(SEED), mib << 20);
    let time = begun_at.elapsed();
    let receiver = server.join().expect("the server has received the stream");
    let congestion_events = client.congestion_events();
    println!(
        "{mib} MiB in {time:.2?}, {:.1} MiB/s; the sender: {:?}; the receiver: {receiver:?}",
        mib as f64 / time.as_secs_f64(),
        client.seen,
    );
    Carried { sender: client.seen, receiver, frames, congestion_events }
}

fn start(addr: &str, device: Counted) -> Runtime {
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    let cidr = if addr.contains(':') { format!("{addr}/64") } else { format!("{addr}/24") };
    let cidr = cidr.parse().expect("an address");
    Builder::new().config(config).interface(device, [cidr]).start().expect("a runtime")
}

/// A socket as an I/O loop for QUIC sets it up: runs in both directions, packets that are never
/// fragmented, and a receive buffer for more than a window of the stream.
fn socket(host: &Runtime, addr: SocketAddr) -> UdpSocket {
    let options = [
        SocketOption::UdpGro(true),
        SocketOption::MtuDiscover(MtuDiscover::Probe),
        SocketOption::ReceiveBuffer(4 << 20),
    ];
    UdpSocket::bind_with(host, addr, &options).expect("a socket")
}

/// The settings of both ends. The client trusts the server's certificate, which is made here.
fn configs() -> Result<(ServerConfig, ClientConfig), Box<dyn Error>> {
    let certified = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()])?;
    let certificate = certified.cert.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let server = ServerConfig::with_single_cert(vec![certificate], key)?;
    Ok((server, ClientConfig::with_root_certificates(Arc::new(roots))?))
}
