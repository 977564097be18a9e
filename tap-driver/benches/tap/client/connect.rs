//! Short connections.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::CALL_TIMEOUT;
use crate::link;
use crate::server::services::Service;

/// Each connection leaves a port of the client in TIME-WAIT for a minute, and the kernel takes
/// longer and longer to find another. This limit ends the measurement before that matters; the next
/// measurement has a new namespace in which all ports are free.
const MAX_CONNECTIONS: u64 = 20_000;

/// Connections a second, one after the other, and their number. The client closes first.
pub(super) fn measure(with_byte: bool, time: Duration) -> io::Result<(f64, u64)> {
    let to = link::server(Service::Brief.port());
    // The first one may have to be repeated: a link that has just come up may not yet carry frames.
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
