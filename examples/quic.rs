//! QUIC on two stacks inside the program: quinn takes a `QuinnSocket`, which is our `UdpSocket`
//! with the options that QUIC needs. Each question is a stream of its own, and none waits for
//! another.
//!
//! `cargo run -p portolan-examples --example quic`

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use portolan::SocketOption;
use portolan_examples::two_hosts;
use portolan_runtime::Runtime;
use portolan_runtime::task::{QuinnSocket, UdpSocket};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::task::JoinSet;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const NAME: &str = "server.example";
/// The most that one side takes of a stream.
const LIMIT: usize = 16 << 20;
const RECEIVE_BUFFER: usize = 4 << 20;

fn main() -> Result<()> {
    let executor = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    executor.block_on(run())
}

async fn run() -> Result<()> {
    let (server_host, client_host) = two_hosts()?;
    let server_addr: SocketAddr = ([10, 0, 0, 1], 4433).into();
    let (config, certificate) = certified()?;
    let server = endpoint(&server_host, server_addr, Some(config)).await?;
    let serving = tokio::spawn(serve(server.clone()));

    let client = endpoint(&client_host, ([10, 0, 0, 2], 0).into(), None).await?;
    let connection = client.connect_with(trusting(certificate)?, server_addr, NAME)?.await?;
    let mut questions = JoinSet::new();
    for len in [1, 1000, 4 << 20] {
        questions.spawn(ask(connection.clone(), len));
    }
    while let Some(answered) = questions.join_next().await {
        println!("client: {}", answered??);
    }
    let path = connection.stats().path;
    println!("client: datagrams of up to {} bytes, {} lost", path.current_mtu, path.lost_packets);

    connection.close(0u32.into(), b"done");
    client.wait_idle().await;
    println!("server: the client says {:?}", serving.await??);
    server.close(0u32.into(), b"");
    Ok(())
}

/// An end of QUIC connections, on a stack.
async fn endpoint(host: &Runtime, addr: SocketAddr, config: Option<ServerConfig>) -> Result<Endpoint> {
    let socket = UdpSocket::bind(host, addr).await?;
    // Room for what comes while the task does not run. The peer takes what does not fit as a sign
    // of congestion.
    socket.set_option(SocketOption::ReceiveBuffer(RECEIVE_BUFFER))?;
    let socket = QuinnSocket::new(socket)?;
    // quinn's own runtime has the timers and starts the tasks; only the socket is ours.
    let runtime = Arc::new(TokioRuntime);
    Ok(Endpoint::new_with_abstract_socket(EndpointConfig::default(), config, Arc::new(socket), runtime)?)
}

/// The configuration of a server with a new certificate.
fn certified() -> Result<(ServerConfig, CertificateDer<'static>)> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    Ok((ServerConfig::with_single_cert(vec![certificate.clone()], key)?, certificate))
}

/// The configuration of a client that trusts this certificate.
fn trusting(certificate: CertificateDer<'static>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    Ok(ClientConfig::with_root_certificates(Arc::new(roots))?)
}

/// Serves one client. Returns what it says at the end.
async fn serve(endpoint: Endpoint) -> Result<String> {
    let connection = endpoint.accept().await.ok_or("the endpoint is closed")?.await?;
    println!("server: {} is connected", connection.remote_address().ip());
    loop {
        let (mut send, mut recv) = match connection.accept_bi().await {
            Ok(stream) => stream,
            Err(quinn::ConnectionError::ApplicationClosed(close)) => {
                return Ok(String::from_utf8_lossy(&close.reason).into_owned());
            }
            Err(error) => return Err(error.into()),
        };
        tokio::spawn(async move {
            let question = recv.read_to_end(LIMIT).await?;
            let sum: u64 = question.iter().map(|&byte| u64::from(byte)).sum();
            send.write_all(format!("{} bytes, their sum is {sum}", question.len()).as_bytes()).await?;
            send.finish()?;
            Result::Ok(())
        });
    }
}

/// Sends so many bytes on a new stream, and returns the answer.
async fn ask(connection: Connection, len: usize) -> Result<String> {
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(&vec![2; len]).await?;
    send.finish()?;
    Ok(String::from_utf8(recv.read_to_end(LIMIT).await?)?)
}
