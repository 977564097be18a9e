//! `send_bytes` and `recv_bytes`: streams without a copy of the data.

mod common;

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use common::hooked::{Hook, Hooked};
use common::{addr, connection, pair, pattern, start, within_time};
use portolan::{Frame, Transmit};
use portolan_runtime::device::memory_pair;
use portolan_runtime::{TcpListener, TcpStream};

/// Reads everything up to the end of the stream, at most `max` bytes at once.
fn recv_all(stream: &TcpStream, max: usize) -> Vec<u8> {
    let mut received = Vec::new();
    loop {
        let slice = stream.recv_bytes(max).unwrap();
        assert!(slice.len() <= max);
        if slice.is_empty() {
            return received;
        }
        received.extend_from_slice(&slice);
    }
}

#[test]
fn what_is_lent_arrives_whole() {
    within_time(|| {
        let (server, client) = pair();
        for (len, max) in
            [(1, 1), (511, 7), (512, 100), (1460, 1 << 20), (3_000_000, 1000), (9_000_000, usize::MAX)]
        {
            let (far, near) = connection(&server, &client);
            let data = Bytes::from(pattern(len, 1));
            let sending = std::thread::spawn({
                let data = data.clone();
                move || {
                    // More than any send buffer holds at first, and it takes everything.
                    assert_eq!(near.send_bytes(data).unwrap(), len);
                    near.shutdown(Shutdown::Write).unwrap();
                    near
                }
            });
            assert!(recv_all(&far, max) == data, "{len} by {max}");
            sending.join().unwrap();
            // The end of the stream stays.
            assert!(far.recv_bytes(max).unwrap().is_empty());
        }
    });
}

#[test]
fn nothing_is_sent_and_received_at_once() {
    within_time(|| {
        let (server, client) = pair();
        let (far, near) = connection(&server, &client);
        assert_eq!(near.send_bytes(Bytes::new()).unwrap(), 0);
        assert!(far.recv_bytes(0).unwrap().is_empty());
        near.shutdown(Shutdown::Write).unwrap();
        assert_eq!(near.send_bytes(Bytes::from_static(b"x")).unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn lending_mixes_with_copying() {
    within_time(|| {
        let (server, client) = pair();
        let (mut far, mut near) = connection(&server, &client);
        near.write_all(b"one ").unwrap();
        near.send_bytes(Bytes::from_static(b"two ")).unwrap();
        near.write_all(b"three").unwrap();
        let mut received = vec![0; 3];
        far.read_exact(&mut received).unwrap();
        while received.len() < 13 {
            received.extend_from_slice(&far.recv_bytes(2).unwrap());
        }
        assert_eq!(received, b"one two three");
    });
}

#[test]
fn time_outs_nonblocking_and_the_low_water_mark_are_those_of_read() {
    within_time(|| {
        let (server, client) = pair();
        let (far, near) = connection(&server, &client);
        far.set_nonblocking(true).unwrap();
        assert_eq!(far.recv_bytes(10).unwrap_err().kind(), ErrorKind::WouldBlock);
        far.set_nonblocking(false).unwrap();
        let patience = Duration::from_millis(60);
        far.set_read_timeout(Some(patience)).unwrap();
        let begin = Instant::now();
        assert_eq!(far.recv_bytes(10).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(begin.elapsed() >= patience);
        // It waits for the low-water mark, and takes what there is if that is not reached in time.
        far.set_receive_low_water(20).unwrap();
        near.send_bytes(Bytes::from_static(b"little")).unwrap();
        let begin = Instant::now();
        assert_eq!(far.recv_bytes(100).unwrap(), &b"little"[..]);
        assert!(begin.elapsed() >= patience);

        // A sender whose peer does not read.
        near.set_write_timeout(Some(patience)).unwrap();
        let mut data = Bytes::from(pattern(40_000_000, 3));
        let begin = Instant::now();
        let mut sent = near.send_bytes(data.clone()).unwrap();
        assert!(begin.elapsed() >= patience);
        assert!(sent > 0 && sent < data.len(), "both buffers together are smaller");
        near.set_nonblocking(true).unwrap();
        loop {
            match near.send_bytes(data.slice(sent..)) {
                Ok(count) => sent += count,
                Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        near.shutdown(Shutdown::Write).unwrap();
        data.truncate(sent);
        far.set_receive_low_water(1).unwrap();
        far.set_read_timeout(None).unwrap();
        assert!(recv_all(&far, usize::MAX) == data);
    });
}

#[test]
fn an_error_behind_data_is_told_by_the_next_call() {
    within_time(|| {
        let (server, client) = pair();
        let (mut far, near) = connection(&server, &client);
        // Because of unread data the close of the other end is a reset.
        near.send_bytes(Bytes::from_static(b"never read")).unwrap();
        far.peek(&mut [0; 1]).unwrap();
        far.write_all(b"x").unwrap();
        drop(far);
        let mut received = Vec::new();
        let error = loop {
            match near.recv_bytes(100) {
                Ok(slice) => received.extend_from_slice(&slice),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(received.is_empty() || received == b"x");
        assert!(near.send_bytes(Bytes::from_static(b"x")).is_err());
    });
}

/// The addresses of payload in memory: of what a device was given, and of what it received.
#[derive(Debug, Default)]
struct Places {
    sent: Vec<(usize, usize)>,
    received: Vec<Bytes>,
}

/// Stores the addresses of payload.
struct Noting(Arc<Mutex<Places>>);

impl Hook for Noting {
    fn on_send(&mut self, transmit: &Transmit) -> io::Result<()> {
        // Ethernet, IPv4, TCP. A host also reports its groups (MLD).
        let header = transmit.header();
        if header[12..14] == [0x08, 0x00] && header[23] == 6 {
            let slices = transmit.payload().iter().map(|slice| (slice.as_ptr() as usize, slice.len()));
            self.0.lock().unwrap().sent.extend(slices);
        }
        Ok(())
    }
    fn on_received(&mut self, frame: &Frame) -> io::Result<()> {
        // The clone keeps the memory alive, so that it is not used for other data.
        self.0.lock().unwrap().received.push(frame.bytes.clone());
        Ok(())
    }
}

#[test]
fn payload_is_copied_neither_on_its_way_out_nor_on_its_way_in() {
    within_time(|| {
        let (a, b) = memory_pair().unwrap();
        let [sender, receiver] = [(); 2].map(|()| Arc::new(Mutex::new(Places::default())));
        let server = start(1, Hooked { device: a, hook: Noting(receiver.clone()) });
        let client = start(2, Hooked { device: b, hook: Noting(sender.clone()) });
        let listener = TcpListener::bind(&server, addr(1, 7)).unwrap();
        let near = TcpStream::connect(&client, addr(1, 7)).unwrap();
        let (far, _) = listener.accept().unwrap();

        let data = Bytes::from(pattern(200_000, 4));
        let sending = std::thread::spawn({
            let data = data.clone();
            move || {
                near.send_bytes(data).unwrap();
                near.shutdown(Shutdown::Write).unwrap();
                near
            }
        });
        let is_within = |outer: &[u8], start: usize, len: usize| {
            let range = outer.as_ptr_range();
            start >= range.start as usize && start + len <= range.end as usize
        };
        let mut left = data.clone();
        loop {
            let slice = far.recv_bytes(usize::MAX).unwrap();
            if slice.is_empty() {
                break;
            }
            assert!(left.starts_with(&slice));
            left.advance(slice.len());
            // Only small data is copied, so that a few bytes do not keep a frame in memory.
            if slice.len() >= 512 {
                let places = receiver.lock().unwrap();
                let start = slice.as_ptr() as usize;
                assert!(places.received.iter().any(|frame| is_within(frame, start, slice.len())));
            }
        }
        assert!(left.is_empty());
        sending.join().unwrap();
        let places = sender.lock().unwrap();
        assert!(places.sent.iter().all(|&(start, len)| is_within(&data, start, len)));
        // More if segments were retransmitted.
        assert!(places.sent.iter().map(|(_, len)| len).sum::<usize>() >= data.len());
    });
}
