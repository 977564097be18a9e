//! Connections that are soon over.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::CALL_TIMEOUT;
use crate::link;
use crate::server::services::Service;

/// Each leaves a port of the client in TIME-WAIT for a minute, and the kernel takes ever longer to
/// find another. So there is an end before that is felt; the next measurement has a new namespace
/// with all ports free.
const MAX_CONNECTIONS: u64 = 20_000;

/// Connections a second, one after the other, and how many there were. The client closes first.
pub(super) fn measure(with_byte: bool, time: Duration) -> io::Result<(f64, u64)> {
    let to = link::server(Service::Brief.port());
    // The first may have to be tried again: a link that has just come up is not yet ready for
    // frames.
    drop(TcpStream::connect(to)?);
    let began_at = Instant::now();
    let mut count = 0;
    while count < MAX_CONNECTIONS && began_at.elapsed() < time {
        let mut stream = TcpStream::connect(to)?;
        if with_byte {
            stream.set_read_timeout(Some(CALL_TIMEOUT))?;
            stream.write_all(&[1])?;
            stream.read_exact(&mut [0])?;
        }
        count += 1;
    }
    Ok((count as f64 / began_at.elapsed().as_secs_f64(), count))
}
