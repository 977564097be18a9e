use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use portolan_runtime::TcpStream as BlockingStream;

use super::*;
use crate::services::pattern::CharacterGenerator;
use crate::services::testing::{connection, executor};

/// Serves one connection while a client uses it. Returns how the service ended.
fn serve<F: Future<Output = io::Result<()>>>(
    service: impl FnOnce(TcpStream) -> F,
    client: impl FnOnce(BlockingStream) + Send + 'static,
) -> io::Result<()> {
    let (_runtime, server, stream) = connection();
    let client = std::thread::spawn(move || client(stream));
    let result = executor(false).block_on(service(server));
    client.join().expect("the client does not panic");
    result
}

#[test]
fn echo_returns_every_byte_and_stops_at_the_end() {
    serve(echo, |mut client| {
        let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let mut writer = client.try_clone().expect("a clone");
        let data = sent.clone();
        let writer = std::thread::spawn(move || {
            data.chunks(77_777).for_each(|piece| writer.write_all(piece).expect("written"));
            writer.shutdown(Shutdown::Write).expect("shut down");
        });
        // The service has no room to send, and keeps what it has read until then.
        std::thread::sleep(Duration::from_millis(100));
        let mut back = Vec::new();
        client.read_to_end(&mut back).expect("everything");
        writer.join().expect("the writer");
        assert!(back == sent, "{} bytes of {}", back.len(), sent.len());
    })
    .expect("an end in order");
}

#[test]
fn discard_takes_everything_and_says_nothing() {
    serve(discard, |mut client| {
        client.write_all(&[7; 500_000]).expect("written");
        client.shutdown(Shutdown::Write).expect("shut down");
        assert_eq!(client.read(&mut [0; 10]).expect("the end"), 0);
    })
    .expect("an end in order");
    let reset = |client: BlockingStream| client.set_linger(Some(Duration::ZERO)).expect("an option");
    assert_eq!(serve(discard, reset).expect_err("a reset").kind(), ErrorKind::ConnectionReset);
}

#[test]
fn chargen_goes_on_until_the_peer_is_gone() {
    let error = serve(chargen, |mut client| {
        // More than is sent at once.
        let mut characters = vec![0; 1_000_000];
        client.read_exact(&mut characters).expect("characters");
        let mut expected = vec![0; 1_000_000];
        CharacterGenerator::new().fill(&mut expected);
        assert!(characters == expected, "the pattern goes on where a buffer ends");
        for (index, line) in characters.chunks_exact(74).enumerate() {
            assert_eq!(line.get(72..), Some(&b"\r\n"[..]), "line {index}");
        }
    })
    .expect_err("the peer is gone");
    assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
}

#[test]
fn daytime_is_one_line_also_if_the_peer_goes_on_sending() {
    serve(daytime, |mut client| {
        client.write_all(&[7; 10_000]).expect("written");
        let mut line = String::new();
        client.read_to_string(&mut line).expect("a line and the end");
        assert!(line.ends_with("-UTC\r\n") && line.lines().count() == 1, "{line:?}");
        client.write_all(&[7; 10_000]).expect("written");
    })
    .expect("an end in order");
}

#[test]
fn a_peer_that_sends_nothing_or_reads_nothing_is_given_up() {
    let (_runtime, server, _silent) = connection();
    assert_eq!(executor(true).block_on(echo(server)).expect_err("a time-out").kind(), ErrorKind::TimedOut);
    let (_runtime, server, _silent) = connection();
    assert_eq!(executor(true).block_on(discard(server)).expect_err("a time-out").kind(), ErrorKind::TimedOut);
    let (_runtime, server, _lazy) = connection();
    assert_eq!(executor(true).block_on(chargen(server)).expect_err("a time-out").kind(), ErrorKind::TimedOut);
}
