//! Bulk: the data that one end sends and the other receives.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use super::connect;
use crate::rows::Direction;
use crate::server::services::{CHUNK_BYTES, Service};

/// The result of all streams together.
pub(super) struct Flowed {
    pub(super) gbits_per_second: f64,
    /// The number of bytes in all, from the start.
    pub(super) bytes: u64,
}

pub(super) fn measure(direction: Direction, streams: usize, time: Duration) -> io::Result<Flowed> {
    let barrier = Barrier::new(streams);
    let flows: io::Result<Vec<(f64, u64)>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..streams)
            .map(|_| {
                scope.spawn(|| {
                    let stream = open(direction);
                    barrier.wait();
                    flow(&stream?, direction, time)
                })
            })
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, io::Result<(f64, u64)>>| {
            thread.join().map_err(|_| io::Error::other("a stream's thread panicked"))?
        };
        threads.into_iter().map(join).collect()
    });
    let flows = flows?;
    Ok(Flowed {
        gbits_per_second: flows.iter().map(|(rate, _)| rate).sum::<f64>() / 1e9,
        bytes: flows.iter().map(|(_, bytes)| bytes).sum(),
    })
}

fn open(direction: Direction) -> io::Result<TcpStream> {
    let stream = connect(match direction {
        Direction::To => Service::Discard,
        Direction::From => Service::Chargen,
    })?;
    // Data in the buffers at the end is not needed.
    set_socket_linger(&stream, Some(Duration::ZERO))?;
    Ok(stream)
}

/// Returns the rate in bits a second, without the first part of the transfer, and the number of
/// bytes with it.
fn flow(mut stream: &TcpStream, direction: Direction, time: Duration) -> io::Result<(f64, u64)> {
    let mut buffer = vec![b'x'; CHUNK_BYTES];
    let mut total = 0u64;
    let began_at = Instant::now();
    let warm_up = time / 4;
    let mut start: Option<(Instant, u64)> = None;
    loop {
        total += match direction {
            Direction::To => stream.write(&buffer)?,
            Direction::From => stream.read(&mut buffer)?,
        } as u64;
        let now = Instant::now();
        match start {
            None if now - began_at >= warm_up => start = Some((now, delivered(stream, direction, total)?)),
            Some((started_at, before)) if now - started_at >= time => {
                let bytes = delivered(stream, direction, total)?;
                let rate = bytes.saturating_sub(before) as f64 * 8.0 / (now - started_at).as_secs_f64();
                return Ok((rate, bytes));
            }
            _ => {}
        }
    }
}

/// How much of the written data the peer has acknowledged (SIOCOUTQ is the rest).
fn delivered(stream: &TcpStream, direction: Direction, total: u64) -> io::Result<u64> {
    if direction == Direction::From {
        return Ok(total);
    }
    let mut queued: libc::c_int = 0;
    // SAFETY: the kernel writes an int.
    #[allow(unsafe_code)]
    let status = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut queued) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(total.saturating_sub(queued.max(0) as u64))
}
