//! Round trips of datagrams of 64 bytes.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;

use super::CALL_TIMEOUT;
use crate::link;
use crate::server::services::Service;

const DATAGRAM: [u8; 64] = [b'x'; 64];
const WARM_UP_ROUND_TRIPS: usize = 200;
/// The number of datagrams in flight.
const WINDOW: usize = 64;
/// If none comes back for this long, they are lost.
const LOSS_TIMEOUT: Duration = Duration::from_millis(50);

/// A socket connected to the service, which has answered once.
fn socket(read_timeout: Duration) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(link::server(Service::Datagrams.port()))?;
    socket.set_read_timeout(Some(LOSS_TIMEOUT))?;
    // A link that has just come up may not yet carry frames.
    let began_at = Instant::now();
    loop {
        socket.send(&DATAGRAM)?;
        match socket.recv(&mut [0; 2048]) {
            Ok(_) => break,
            Err(error) if began_at.elapsed() > CALL_TIMEOUT => return Err(error),
            Err(_) => {}
        }
    }
    socket.set_read_timeout(Some(read_timeout))?;
    Ok(socket)
}

/// Round trips in nanoseconds, one after the other.
pub(super) fn latency(time: Duration) -> io::Result<Vec<u64>> {
    let socket = socket(CALL_TIMEOUT)?;
    let mut buffer = [0; 2048];
    let mut round_trip = || -> io::Result<Instant> {
        socket.send(&DATAGRAM)?;
        socket.recv(&mut buffer)?;
        Ok(Instant::now())
    };
    for _ in 0..WARM_UP_ROUND_TRIPS {
        round_trip()?;
    }
    let began_at = Instant::now();
    let mut sent_at = began_at;
    let mut round_trips = Vec::new();
    while sent_at - began_at < time {
        let back_at = round_trip()?;
        round_trips.push((back_at - sent_at).as_nanos() as u64);
        sent_at = back_at;
    }
    Ok(round_trips)
}

/// How many datagrams a second come back, with a window of them in flight; and how many came back
/// in all.
pub(super) fn rate(time: Duration) -> io::Result<(f64, u64)> {
    let socket = socket(LOSS_TIMEOUT)?;
    let mut buffer = [0; 2048];
    let mut under_way = 0;
    let mut count = 0u64;
    let began_at = Instant::now();
    let warm_up = time / 4;
    let mut start: Option<(Instant, u64)> = None;
    loop {
        while under_way < WINDOW {
            socket.send(&DATAGRAM)?;
            under_way += 1;
        }
        match socket.recv(&mut buffer) {
            Ok(_) => {
                count += 1;
                under_way -= 1;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => under_way = 0,
            Err(error) => return Err(error),
        }
        // All datagrams that have arrived by now.
        while let Ok((_, len)) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::DONTWAIT)
            && len > 0
        {
            count += 1;
            under_way = under_way.saturating_sub(1);
        }
        let now = Instant::now();
        match start {
            None if now - began_at >= warm_up => start = Some((now, count)),
            Some((started_at, before)) if now - started_at >= time => {
                if count == before {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "no datagram came back"));
                }
                return Ok(((count - before) as f64 / (now - started_at).as_secs_f64(), count));
            }
            _ => {}
        }
    }
}
