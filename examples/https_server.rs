//! A server that speaks HTTPS on a stack inside the program: rustls takes our `TcpStream`, because
//! it reads and writes as tokio's does. The client trusts the certificate that the server has made
//! for itself, and nothing else.
//!
//! `cargo run -p portolan-examples --example https_server`

use std::error::Error;
use std::io;
use std::sync::Arc;

use portolan_examples::two_hosts;
use portolan_runtime::task::{TcpListener, TcpStream};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const SERVER: ([u8; 4], u16) = ([10, 0, 0, 1], 443);
const NAME: &str = "server.example";

fn main() -> Result<(), Box<dyn Error>> {
    let executor = tokio::runtime::Builder::new_current_thread().build()?;
    executor.block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let (server, client) = two_hosts()?;
    let listener = TcpListener::bind(&server, SERVER).await?;
    let (acceptor, certificate) = certified()?;
    tokio::spawn(accept(listener, acceptor));

    let connector = trusting(&[certificate])?;
    println!("{}", get(&connector, TcpStream::connect(&client, SERVER).await?, "/secret").await?);

    // A client that does not know the certificate ends the handshake.
    let stranger = trusting(&[])?;
    let refused = get(&stranger, TcpStream::connect(&client, SERVER).await?, "/secret").await;
    println!("a client without the certificate: {}", refused.expect_err("it trusts nobody"));
    Ok(())
}

/// A certificate, and what serves with it. A real server reads both from files.
fn certified() -> Result<(TlsAcceptor, CertificateDer<'static>), Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.clone()], key)?;
    Ok((TlsAcceptor::from(Arc::new(config)), certificate))
}

/// A client that trusts these certificates.
fn trusting(certificates: &[CertificateDer<'static>]) -> Result<TlsConnector, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone())?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor) {
    while let Ok((stream, peer)) = listener.accept().await {
        let acceptor = acceptor.clone();
        // The handshake is the task's, so a slow client keeps no other waiting.
        tokio::spawn(async move {
            if let Err(error) = serve(stream, acceptor).await {
                println!("server: {}: {error}", peer.ip());
            }
        });
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<()> {
    let mut stream = BufReader::new(acceptor.accept(stream).await?);
    let mut request = String::new();
    // The end of the head is an empty line.
    while stream.read_line(&mut request).await? > 2 {}
    let path = request.split(' ').nth(1).unwrap_or("/");
    let (_, session) = stream.get_ref().get_ref();
    let version = session.protocol_version().ok_or(io::ErrorKind::NotConnected)?;
    let body = format!("{path} by {version:?}");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    // Tells the client that the answer was not cut off (close_notify).
    stream.shutdown().await
}

/// Asks for a page. Returns its body.
async fn get(connector: &TlsConnector, stream: TcpStream, path: &str) -> io::Result<String> {
    let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
    let mut stream = connector.connect(name, stream).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    Ok(body.to_owned())
}
