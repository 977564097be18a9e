//! Bulk and latency beside idle connections. Other processes hold these, because one may not have
//! enough descriptors.

use std::io;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use super::{CALL_TIMEOUT, Figures, bulk, latency, percentiles};
use crate::child::{self, Child};
use crate::rows::Direction;
use crate::server::services::{FIRST_IDLE_PORT, idle_shares};
use crate::{CONGESTION, kernel_sockets, link};

/// Measures without idle connections, and then with each number in `counts`, which are ascending.
pub(super) fn measure(counts: &[usize], time: Duration) -> io::Result<Figures> {
    let most = counts.iter().copied().max().unwrap_or(0);
    // The ports, and how many connections each has room for.
    let mut places: Vec<(u16, usize)> = (FIRST_IDLE_PORT..).zip(idle_shares(most)?).collect();
    let mut figures = Figures::new();
    let mut holders = Vec::new();
    let mut open = 0;
    for count in [0].into_iter().chain(counts.iter().copied()) {
        while open < count {
            let (port, room) =
                places.iter_mut().find(|(_, room)| *room > 0).ok_or(io::ErrorKind::OutOfMemory)?;
            let more = (count - open).min(*room);
            holders.push(Child::start(&["holder", &port.to_string(), &more.to_string()])?);
            *room -= more;
            open += more;
        }
        for (part, direction) in [("to", Direction::To), ("from", Direction::From)] {
            let flowed = bulk::measure(direction, 1, time)?;
            figures.insert(format!("{part}/{count}"), flowed.gbits_per_second);
        }
        let percentiles = percentiles(latency::measure(time)?)?;
        for part in ["p50", "p99"] {
            figures.insert(format!("{part}/{count}"), percentiles[part]);
        }
    }
    Ok(figures)
}

/// The process that opens connections and holds them.
pub(crate) fn hold(port: u16, count: usize) -> io::Result<()> {
    crate::raise_descriptor_limit(count)?;
    let mut held = Vec::with_capacity(count);
    for index in 0..count {
        let stream =
            kernel_sockets::connect(link::server(port), CONGESTION, CALL_TIMEOUT).map_err(|error| {
                io::Error::new(error.kind(), format!("idle connection {index} to port {port}: {error}"))
            })?;
        // At the end they are reset, so that they do not outlive the device.
        set_socket_linger(&stream, Some(Duration::ZERO))?;
        held.push(stream);
    }
    child::ready("")
}
