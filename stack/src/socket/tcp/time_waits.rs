//! The TIME-WAIT records: the rest of connections whose four-tuples must not be used again for a
//! while.

use alloc::collections::VecDeque;
use core::net::{IpAddr, Ipv6Addr};

use crate::Ctx;
use crate::demux::{Endpoint, FourTuple};
use crate::ports::Reuse;
use crate::tcp::TimeWait;
use crate::time::Instant;

/// One record of 64 bytes. Beside it a connection in TIME-WAIT takes only an entry in the table of
/// connections (12 bytes, and one control byte).
#[derive(Debug)]
pub(crate) struct TimeWaitEntry {
    pub(super) record: TimeWait,
    /// The addresses. IPv4 addresses are stored as IPv4-mapped ones, which never appear on the wire
    /// and so cannot be confused.
    local: [u8; 16],
    remote: [u8; 16],
    local_port: u16,
    remote_port: u16,
    scope: u16,
    /// The reuse options under which its port is counted. `None` once another connection has taken
    /// its addresses; the record then stays in the queue until its turn.
    reuse: Option<Reuse>,
    /// The TOS or traffic class of its socket.
    pub(super) tos: u8,
}

const _: () = assert!(core::mem::size_of::<TimeWaitEntry>() <= 64);

impl TimeWaitEntry {
    pub(super) fn new(record: TimeWait, tuple: &FourTuple, reuse: Reuse, tos: u8) -> Self {
        TimeWaitEntry {
            record,
            local: octets(tuple.local.addr),
            remote: octets(tuple.remote.addr),
            local_port: tuple.local.port,
            remote_port: tuple.remote.port,
            scope: tuple.scope,
            reuse: Some(reuse),
            tos,
        }
    }

    fn is_gone(&self) -> bool {
        self.reuse.is_none()
    }

    /// The reuse options under which its port is counted.
    pub(super) fn reuse(&self) -> Reuse {
        self.reuse.unwrap_or(Reuse::No)
    }

    /// Whether it has this four-tuple.
    pub(super) fn is_of(&self, tuple: &FourTuple) -> bool {
        self.tuple() == *tuple
    }

    pub(super) fn tuple(&self) -> FourTuple {
        FourTuple {
            local: Endpoint::new(Ipv6Addr::from(self.local).to_canonical(), self.local_port),
            remote: Endpoint::new(Ipv6Addr::from(self.remote).to_canonical(), self.remote_port),
            scope: self.scope,
        }
    }
}

fn octets(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}

/// Identifies a record: its number in order of arrival, which wraps. There are always fewer records
/// than numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeWaitId(pub(super) u32);

/// The result for the record whose turn has come.
#[derive(Debug)]
#[must_use]
pub(super) enum Due {
    /// Its time is over.
    Expired(TimeWaitId, TimeWaitEntry),
    /// It was prolonged, so it was moved to the back of the queue and has a new number.
    Moved { tuple: FourTuple, from: TimeWaitId, to: TimeWaitId },
    /// Another connection has its addresses.
    Gone,
}

/// The queue of records. All records wait equally long, so they expire in order of arrival. A
/// record that was prolonged (by a repeated FIN) goes to the back when its turn comes, and waits
/// for the same time again.
#[derive(Debug)]
pub(super) struct TimeWaits {
    queue: VecDeque<TimeWaitEntry>,
    /// The number of the first record.
    first: u32,
    /// When records were last handled. They store their times in few bits, relative to about this
    /// time.
    looked_at: Instant,
}

/// A queue that has shrunk to this size releases memory.
const SHRINK_BELOW: usize = 4;

impl TimeWaits {
    pub(super) fn new() -> Self {
        TimeWaits { queue: VecDeque::new(), first: 0, looked_at: Instant::ZERO }
    }

    pub(super) fn insert(&mut self, ctx: &Ctx<'_>, entry: TimeWaitEntry) -> TimeWaitId {
        self.looked_at = ctx.now;
        // `max_time_wait` is far below 2^32.
        let id = self.first.wrapping_add(self.queue.len() as u32);
        self.queue.push_back(entry);
        TimeWaitId(id)
    }

    pub(super) fn get(&self, id: TimeWaitId) -> Option<&TimeWaitEntry> {
        self.queue.get(self.place(id)).filter(|entry| !entry.is_gone())
    }

    pub(super) fn get_mut(&mut self, id: TimeWaitId) -> Option<&mut TimeWaitEntry> {
        let place = self.place(id);
        self.queue.get_mut(place).filter(|entry| !entry.is_gone())
    }

    fn place(&self, id: TimeWaitId) -> usize {
        id.0.wrapping_sub(self.first) as usize
    }

    /// Gives the record's addresses to another connection.
    pub(super) fn give_up(&mut self, id: TimeWaitId) {
        if let Some(entry) = self.get_mut(id) {
            entry.reuse = None;
        }
    }

    pub(super) fn len(&self) -> usize {
        // Records without addresses count, too: they take memory.
        self.queue.len()
    }

    /// When the first record may expire.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.queue.front().map(|entry| entry.record.expires_at(self.looked_at))
    }

    /// Takes the first record, if its turn has come.
    pub(super) fn pop_due(&mut self, ctx: &Ctx<'_>) -> Option<Due> {
        if self.deadline()? > ctx.now && !self.queue.front()?.is_gone() {
            return None;
        }
        let mut entry = self.queue.pop_front()?;
        let id = TimeWaitId(self.first);
        self.first = self.first.wrapping_add(1);
        if self.queue.len() < self.queue.capacity() / SHRINK_BELOW {
            self.queue.shrink_to(self.queue.len() * 2);
        }
        if entry.is_gone() {
            return Some(Due::Gone);
        }
        if entry.record.take_prolonged(ctx) {
            let tuple = entry.tuple();
            return Some(Due::Moved { tuple, from: id, to: self.insert(ctx, entry) });
        }
        Some(Due::Expired(id, entry))
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &TimeWaitEntry> {
        self.queue.iter().filter(|entry| !entry.is_gone())
    }

    /// The number of the first record, and how many numbers are in use.
    pub(super) fn range(&self) -> (u32, u32) {
        (self.first, self.queue.len() as u32)
    }

    /// When the time of a record is over, unless it is prolonged.
    pub(super) fn expires_at(&self, id: TimeWaitId) -> Option<Instant> {
        self.get(id).map(|entry| entry.record.expires_at(self.looked_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::rng::Rng;
    use crate::stats::Stats;
    use crate::tcp::{Connection, Flags, Header, OpenParams, SeqNumber};
    use core::net::SocketAddr;
    use core::time::Duration;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    struct World {
        config: Config,
        stats: Stats,
        rng: Rng,
        now: Instant,
        free_list: crate::tcp::FreeList,
    }

    impl World {
        fn new() -> World {
            World {
                config: Config::default(),
                stats: Stats::new(),
                rng: Rng::new([4; 32]),
                now: Instant::from_secs(5),
                free_list: crate::tcp::FreeList::default(),
            }
        }

        fn ctx(&mut self) -> Ctx<'_> {
            Ctx {
                now: self.now,
                received_at: self.now,
                config: &self.config,
                stats: &mut self.stats,
                rng: &mut self.rng,
                memory: crate::memory::Budget::UNLIMITED,
                free_list: &mut self.free_list,
                subject: crate::subject::Subject::Stack,
            }
        }

        fn record(&mut self) -> TimeWait {
            let options = crate::socket::SocketOptions::for_streams(&self.config);
            let params = OpenParams {
                isn: SeqNumber(0),
                timestamp_offset: 0,
                announced_mss: 1460,
                default_mss: 536,
                path_mss: 1460,
                settings: options.tcp_settings(),
            };
            let connection = Connection::connect(&mut self.ctx(), params);
            connection.time_wait(&mut self.ctx())
        }
    }

    fn tuple(remote: &str) -> FourTuple {
        let remote: SocketAddr = remote.parse().unwrap();
        let local = if remote.is_ipv4() { "10.0.0.1:80" } else { "[fd00::1]:80" };
        let local: SocketAddr = local.parse().unwrap();
        FourTuple {
            local: Endpoint::new(local.ip(), local.port()),
            remote: Endpoint::new(remote.ip(), remote.port()),
            scope: 3,
        }
    }

    #[test]
    fn the_addresses_come_back_as_they_were() {
        let mut world = World::new();
        for remote in ["10.0.0.2:5000", "[fd00::2]:5000", "[::1]:1", "[::10.0.0.2]:9"] {
            let entry = TimeWaitEntry::new(world.record(), &tuple(remote), Reuse::Addr, 0);
            assert_eq!(entry.tuple(), tuple(remote));
        }
    }

    /// Compares with a map: records are added, replaced by connections and prolonged, and time
    /// passes, for longer than the 32-bit clock takes to wrap.
    #[test]
    fn each_expires_in_its_time_and_none_gets_lost() {
        let mut world = World::new();
        let mut dice = Rng::new([8; 32]);
        let mut records = TimeWaits::new();
        let mut model: BTreeMap<u16, (TimeWaitId, Instant, bool)> = BTreeMap::new();
        let wait = world.config.tcp.time_wait;
        let fin =
            Header { flags: Flags::FIN.with(Flags::ACK), seq: SeqNumber(u32::MAX), ..Header::default() };
        for step in 0..30_000u32 {
            let port = (dice.below(500) + 1) as u16;
            match dice.below(10) {
                0..5 if !model.contains_key(&port) => {
                    let mut of = tuple("10.0.0.2:1");
                    of.remote.port = port;
                    let entry = TimeWaitEntry::new(world.record(), &of, Reuse::No, 0);
                    let id = records.insert(&world.ctx(), entry);
                    model.insert(port, (id, world.now + wait, false));
                }
                5 => {
                    if let Some((id, ..)) = model.remove(&port) {
                        records.give_up(id);
                        assert!(records.get_mut(id).is_none());
                    }
                }
                6 => {
                    if let Some((id, _, prolonged)) = model.get_mut(&port) {
                        let entry = records.get_mut(*id).expect("it waits");
                        assert_eq!(entry.tuple().remote.port, port);
                        let _ = entry.record.handle_segment(&mut world.ctx(), &fin, 0, 0);
                        *prolonged = true;
                    }
                }
                _ => world.now += Duration::from_millis(dice.below(600)),
            }
            if step % 5_000 == 4_999 {
                world.now += Duration::from_secs(20 * 24 * 3600);
            }
            let now = world.now;
            while let Some(due) = records.pop_due(&world.ctx()) {
                match due {
                    Due::Expired(_, entry) => {
                        let (_, at, prolonged) = model.remove(&entry.tuple().remote.port).expect("it waited");
                        assert!(at <= now && !prolonged);
                    }
                    Due::Moved { tuple: of, from, to } => {
                        let waiting = model.get_mut(&of.remote.port).expect("it waited");
                        assert!(waiting.0 == from && waiting.1 <= now && waiting.2);
                        *waiting = (to, now + wait, false);
                    }
                    Due::Gone => {}
                }
            }
            assert!(model.values().all(|&(_, at, _)| at > now), "{step}: an end is overdue");
            assert_eq!(records.iter().count(), model.len());
            assert!(
                records.deadline().is_none_or(|at| at > now && at <= now + wait + Duration::from_millis(1))
            );
        }
        world.now += wait * 3;
        let left: Vec<Due> = core::iter::from_fn(|| records.pop_due(&world.ctx())).collect();
        assert!(left.len() >= model.len());
    }

    #[test]
    fn a_flood_that_is_over_gives_its_memory_back() {
        let mut world = World::new();
        let mut records = TimeWaits::new();
        for _ in 0..10_000 {
            let entry = TimeWaitEntry::new(world.record(), &tuple("10.0.0.2:1"), Reuse::No, 0);
            let _ = records.insert(&world.ctx(), entry);
        }
        world.now += Duration::from_secs(61);
        while records.pop_due(&world.ctx()).is_some() {}
        assert!(records.queue.capacity() < 100, "{}", records.queue.capacity());
    }
}
