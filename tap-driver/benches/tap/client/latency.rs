//! Round trips of one byte.

use std::io::{self, Read as _, Write as _};
use std::time::{Duration, Instant};

use super::connect;
use crate::server::services::Service;

/// Round trips before the measurement, for quick acknowledgements, caches, and clocks of idle CPUs.
const WARM_UP_ROUND_TRIPS: usize = 200;

/// Round trips in nanoseconds.
pub(super) fn measure(time: Duration) -> io::Result<Vec<u64>> {
    let mut stream = connect(Service::Echo)?;
    stream.set_nodelay(true)?;
    let mut round_trip = || -> io::Result<Instant> {
        stream.write_all(&[1])?;
        stream.read_exact(&mut [0])?;
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
