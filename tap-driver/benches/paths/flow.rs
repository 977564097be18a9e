//! The programs at the two ends of a flow: one writes as fast as it can, the other reads and
//! records its progress.

use std::io::{self, Read, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a socket call waits at most. After it the program checks whether it must stop.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_millis(50);
/// The time between two entries of the record.
const ENTRY_INTERVAL: Duration = Duration::from_millis(5);
/// How much one call reads or writes.
pub(crate) const CHUNK_BYTES: usize = 128 << 10;

/// A time during which the receiving program reads nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stall {
    /// The start, counted from the first byte.
    pub(crate) begins_after: Duration,
    pub(crate) lasts: Duration,
}

impl Stall {
    pub(crate) fn is_now(stall: Option<Stall>, since_first: Option<Duration>) -> bool {
        let (Some(stall), Some(since_first)) = (stall, since_first) else { return false };
        since_first >= stall.begins_after && since_first < stall.begins_after + stall.lasts
    }
}

/// The record of how much had arrived at which time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Diary {
    entries: Vec<(Instant, u64)>,
    total: u64,
}

impl Diary {
    pub(crate) fn note(&mut self, now: Instant, bytes: usize) {
        self.total += bytes as u64;
        match self.entries.last() {
            Some((at, _)) if now - *at < ENTRY_INTERVAL => {}
            _ => self.entries.push((now, self.total)),
        }
    }

    pub(crate) fn first_at(&self) -> Option<Instant> {
        self.entries.first().map(|(at, _)| *at)
    }

    /// How much had arrived by then.
    fn bytes_by(&self, at: Instant) -> u64 {
        let later = self.entries.partition_point(|(entry_at, _)| *entry_at <= at);
        later.checked_sub(1).map_or(0, |last| self.entries[last].1)
    }

    /// Bits a second between two times counted from `start`.
    pub(crate) fn goodput(&self, start: Instant, from: Duration, to: Duration) -> f64 {
        let bytes = self.bytes_by(start + to).saturating_sub(self.bytes_by(start + from));
        bytes as f64 * 8.0 / (to - from).as_secs_f64()
    }
}

/// The state that the threads of a flow share with the benchmark.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) stop: AtomicBool,
    pub(crate) diary: Mutex<Diary>,
}

impl Shared {
    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn note(&self, bytes: usize) {
        self.diary.lock().expect("nobody panics with the diary").note(Instant::now(), bytes);
    }

    pub(crate) fn diary(&self) -> Diary {
        self.diary.lock().expect("nobody panics with the diary").clone()
    }
}

/// Writes until it is told to stop, or until the other end stops.
pub(crate) fn send(mut stream: impl Write, shared: &Shared) -> io::Result<()> {
    let chunk = vec![0x5a; CHUNK_BYTES];
    while !shared.is_over() {
        match stream.write(&chunk) {
            Ok(_) => {}
            Err(error) if is_patience(&error) => {}
            Err(_) if shared.is_over() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads until it is told to stop, with a stall if there is one.
pub(crate) fn receive(mut stream: impl Read, stall: Option<Stall>, shared: &Shared) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut first_at = None;
    while !shared.is_over() {
        if Stall::is_now(stall, first_at.map(|at: Instant| at.elapsed())) {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        match stream.read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                first_at.get_or_insert_with(Instant::now);
                shared.note(count);
            }
            Err(error) if is_patience(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_patience(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
