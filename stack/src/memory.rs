//! The memory account of all sockets: how much they hold together, and how much more each may take.
//!
//! ```text
//!   0        low      pressure      growth      high     full        top
//!   |---------|----------|------------|----------|--------|-----------|
//!    everybody takes what |   shares   |  floors  | floors and records |
//!    its buffers allow    |            |          |        | resets    |
//!             |<- pressure goes on ->| begins
//! ```
//!
//! Under pressure a socket takes no more than its share, and above `growth` no more than its floor:
//! the rest is for the floors and records of new connections. Meanwhile [`relief`](crate::socket)
//! gives memory back, and defines in which order. (Compare Linux's tcp_mem and
//! __sk_mem_raise_allocated; decision 0010 lists the differences.)

use crate::config::Config;

/// The account: the bytes held, and the marks at which the rules change.
#[derive(Debug)]
pub(crate) struct Account {
    bytes: usize,
    is_pressed: bool,
    /// Whether pressure began and the index of holders still exists; see
    /// [`Holdings`](crate::socket).
    is_watched: bool,
    /// How many times pressure began.
    pressures: u64,
    low: usize,
    pressure: usize,
    /// Under pressure, shares may be used up to this mark.
    growth: usize,
    high: usize,
    /// Above this mark connections are reset.
    full: usize,
    top: usize,
    /// The floor: what a socket may hold in each direction when no other memory is left.
    reserve: usize,
}

/// What sockets have to give back. Each step includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shortage {
    /// Nothing.
    None,
    /// Allocated capacity that holds no data.
    Capacity,
    /// Data that arrived out of order: the peer still has it (RFC 2018 §8).
    OutOfOrder,
    /// Buffer sizes that auto-tuning granted beyond the floor.
    Buffers,
    /// Whole connections.
    Connections,
}

impl Account {
    pub(crate) fn new(config: &Config) -> Account {
        let high = config.socket_limit_bytes();
        let pressure = high / 100 * usize::from(config.memory_pressure_percent.min(100));
        let top = high + config.memory_limit_bytes / 16;
        Account {
            bytes: 0,
            is_pressed: false,
            is_watched: false,
            pressures: 0,
            low: pressure / 4 * 3,
            pressure,
            growth: high - (high - pressure) / 2,
            high,
            full: high + (top - high) / 4,
            top,
            reserve: config.memory_reserve_bytes,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bytes that sockets may hold, without the reserve.
    pub(crate) fn high(&self) -> usize {
        self.high
    }

    pub(crate) fn pressures(&self) -> u64 {
        self.pressures
    }

    pub(crate) fn is_pressed(&self) -> bool {
        self.is_pressed
    }

    /// Whether pressure began and [`stop_watching`](Account::stop_watching) was not called since.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// Notes that the index of holders was removed.
    pub(crate) fn stop_watching(&mut self) {
        self.is_watched = self.is_pressed;
    }

    /// What has to be given back now. The steps divide the range between pressure and the limit
    /// into thirds.
    pub(crate) fn shortage(&self) -> Shortage {
        if !self.is_pressed {
            return Shortage::None;
        }
        let third = (self.high - self.pressure) / 3;
        match self.bytes {
            bytes if bytes > self.full => Shortage::Connections,
            bytes if bytes > self.high - third => Shortage::Buffers,
            bytes if bytes > self.pressure + third => Shortage::OutOfOrder,
            _ => Shortage::Capacity,
        }
    }

    /// Notes that a holder of `before` bytes now holds `after`.
    #[inline]
    pub(crate) fn change(&mut self, before: usize, after: usize) {
        self.bytes = self.bytes + after - before;
        if self.bytes > self.pressure {
            if !self.is_pressed {
                self.is_pressed = true;
                self.is_watched = true;
                self.pressures += 1;
                log::debug!("memory pressure begins at {} bytes", self.bytes);
            }
        } else if self.is_pressed && self.bytes <= self.low {
            self.is_pressed = false;
            log::debug!("memory pressure ends at {} bytes", self.bytes);
        }
    }

    /// Like [`change`](Account::change), and updates the holder's own record.
    pub(crate) fn renew(&mut self, held: &mut usize, now: usize) {
        self.change(*held, now);
        *held = now;
    }

    /// Notes that a holder took this many more bytes.
    #[inline]
    pub(crate) fn add(&mut self, held: &mut usize, bytes: usize) {
        let now = *held + bytes;
        self.renew(held, now);
    }

    /// Notes that a holder gave this many bytes back.
    #[inline]
    pub(crate) fn subtract(&mut self, held: &mut usize, bytes: usize) {
        let now = held.saturating_sub(bytes);
        self.renew(held, now);
    }

    /// Whether there is no room for a record of this size, not even in the reserve.
    pub(crate) fn is_full_for(&self, bytes: usize) -> bool {
        bytes > self.top.saturating_sub(self.bytes)
    }

    /// How many more bytes fit outside the reserve.
    pub(crate) fn room(&self) -> usize {
        self.high.saturating_sub(self.bytes)
    }

    /// How many more bytes a datagram socket may take whose queue in this direction holds `here`:
    /// the free memory, or from the reserve up to the floor, and in any case one datagram of any
    /// size.
    pub(crate) fn room_for_datagram(&self, here: usize) -> usize {
        let reserve = self.top.saturating_sub(self.bytes);
        let of_reserve = if here == 0 { reserve } else { reserve.min(self.reserve.saturating_sub(here)) };
        self.room().max(of_reserve)
    }

    /// The budget of a call on one of `sockets` sockets.
    pub(crate) fn budget(&self, sockets: usize) -> Budget {
        let reserve_room = self.top.saturating_sub(self.bytes);
        let budget = Budget {
            is_pressed: self.is_pressed,
            room: if self.is_pressed { self.growth.saturating_sub(self.bytes) } else { self.room() },
            share: usize::MAX,
            part: usize::MAX,
            reserve: self.reserve.min(reserve_room),
            reserve_room,
        };
        if self.is_pressed { budget.divided(self.high, sockets) } else { budget }
    }
}

/// The memory that one call may take from the account.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    is_pressed: bool,
    room: usize,
    /// The most bytes out of `room` that the socket may hold in all.
    share: usize,
    /// An equal part of `room`.
    part: usize,
    reserve: usize,
    reserve_room: usize,
}

/// The bytes that a socket holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// Bytes in the direction in which it needs more.
    pub(crate) here: usize,
    pub(crate) in_all: usize,
}

impl Budget {
    /// A budget without a limit.
    pub(crate) const UNLIMITED: Budget = Budget {
        is_pressed: false,
        room: usize::MAX,
        share: usize::MAX,
        part: usize::MAX,
        reserve: usize::MAX,
        reserve_room: usize::MAX,
    };

    pub(crate) fn is_pressed(&self) -> bool {
        self.is_pressed
    }

    /// This budget for one of `sockets` sockets that divide `all`.
    pub(crate) fn divided(self, all: usize, sockets: usize) -> Budget {
        let sockets = sockets.max(1);
        Budget { share: all / sockets, part: self.room / sockets, ..self }
    }

    /// Whether any socket may take this many bytes.
    pub(crate) fn is_plenty(&self, bytes: usize) -> bool {
        !self.is_pressed && bytes <= self.room
    }

    /// How many more bytes a socket that holds this much may take.
    pub(crate) fn room(&self, held: Held) -> usize {
        if !self.is_pressed {
            return self.room;
        }
        let share = self.room.min(self.share.saturating_sub(held.in_all));
        share.max(self.reserve.saturating_sub(held.here))
    }

    /// This budget reduced to the reserve.
    pub(crate) fn of_reserve(self) -> Budget {
        Budget { share: 0, part: 0, ..self }
    }

    /// The largest window to offer while memory is short: a part of the free memory, such that it
    /// suffices if each socket uses as much in both directions, with headers and lists; or what the
    /// reserve can hold, headers and lists included.
    pub(crate) fn window(&self) -> usize {
        (self.part / 4).max(self.reserve / 4 * 3)
    }

    /// Whether a socket that would otherwise wait for ever may take this many bytes.
    pub(crate) fn is_last_resort(&self, bytes: usize) -> bool {
        bytes <= self.reserve_room
    }

    /// Notes that a socket gave back this many bytes during the call.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.room = self.room.saturating_add(bytes);
        self.reserve_room = self.reserve_room.saturating_add(bytes);
    }

    /// Notes that a socket took this many bytes during the call.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.room = self.room.saturating_sub(bytes);
        self.reserve_room = self.reserve_room.saturating_sub(bytes);
        self.reserve = self.reserve.min(self.reserve_room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        let config = Config { memory_limit_bytes: 16 << 20, ..Config::default() };
        Account::new(&config)
    }

    #[test]
    fn pressure_begins_at_two_thirds_and_ends_at_a_half() {
        let mut account = account();
        let high = account.room();
        assert_eq!(high, 10 << 20);
        account.change(0, high / 100 * 66);
        assert!(!account.is_pressed());
        account.change(0, 1);
        assert!(account.is_pressed());
        account.change(high / 100 * 16, 0);
        assert!(account.is_pressed(), "not at once");
        account.change(high / 100, 0);
        assert!(!account.is_pressed());
        assert_eq!(account.pressures(), 1);
    }

    #[test]
    fn under_pressure_everybody_has_an_even_share_and_a_little_for_the_last() {
        let mut account = account();
        let high = account.room();
        let held = |bytes| Held { here: bytes, in_all: bytes };
        assert_eq!(account.budget(10).room(held(high)), high);
        account.change(0, high / 10 * 7);
        let budget = account.budget(10);
        assert!(!budget.is_plenty(1));
        assert_eq!(budget.room(held(0)), high / 10);
        assert_eq!(budget.room(held(high / 10 - 5)), 5);
        assert_eq!(budget.room(held(high)), 0);
        assert_eq!(budget.divided(high, 20).room(held(0)), high / 20);
        // The last part is for the floors of sockets that come later.
        account.change(0, high / 10);
        assert_eq!(account.budget(10).room(held(0)), account.growth - high / 10 * 8);
        account.change(0, high / 10 * 2 + 10);
        let mut budget = account.budget(10);
        assert_eq!((budget.room(held(0)), budget.room(held(4000)), budget.room(held(5000))), (4096, 96, 0));
        budget.give_back(1000);
        assert_eq!(budget.room(held(5000)), 1000);
        // Bytes that were taken during a call count.
        budget.take(600);
        assert_eq!((budget.room(held(5000)), budget.room(held(0))), (400, 4096));
        // The reserve ends, too.
        account.change(0, 1 << 20);
        let budget = account.budget(10);
        assert_eq!(budget.room(held(0)), 0);
        assert!(!budget.is_last_resort(1));
    }

    #[test]
    fn more_is_given_back_as_it_gets_worse_and_newcomers_have_room_until_the_end() {
        let mut account = account();
        let expected = [
            (66, Shortage::None),
            (70, Shortage::Capacity),
            (80, Shortage::OutOfOrder),
            (90, Shortage::Buffers),
            (100, Shortage::Buffers),
            (101, Shortage::Buffers),
            (104, Shortage::Connections),
        ];
        for (percent, shortage) in expected {
            let bytes = account.high() / 100 * percent;
            account.change(account.bytes(), bytes);
            assert_eq!(account.shortage(), shortage, "{percent} %");
            assert!(!account.is_full_for(100_000));
            assert!(account.room_for_datagram(0) > 65_536);
            let of_reserve = account.room_for_datagram(4000);
            assert_eq!(of_reserve, account.room().max(96));
        }
        account.change(0, 2 << 20);
        assert!(account.is_full_for(1));
        assert_eq!(account.room_for_datagram(0), 0);
    }

    #[test]
    fn what_follows_from_pressure_outlives_it() {
        let mut account = account();
        account.change(0, account.high());
        assert!(account.is_watched());
        account.stop_watching();
        assert!(account.is_watched(), "pressure goes on");
        account.change(account.bytes(), 0);
        assert!(account.is_watched() && !account.is_pressed());
        account.stop_watching();
        assert!(!account.is_watched());
    }
}
