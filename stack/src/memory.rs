//! The account of what all sockets hold together, and how much more one of them may take.
//!
//! ```text
//!   0          low         pressure                  high      top
//!   |-----------|------------|------------------------|---------|
//!        anybody takes what its buffers allow         | a little, for those
//!               |<- pressure goes on ->| begins       | that hold nearly nothing
//! ```
//!
//! Under pressure windows stop growing and shrink, new connections are refused, and nobody takes more than an even share; a
//! connection that holds more first loses what came out of order, then what comes. (Linux's tcp_mem and
//! __sk_mem_raise_allocated.)

use crate::config::Config;

/// What the account stands at, and its marks.
#[derive(Debug)]
pub(crate) struct Account {
    bytes: usize,
    is_pressed: bool,
    /// How often pressure began.
    pressures: u64,
    low: usize,
    pressure: usize,
    high: usize,
    top: usize,
    /// What a socket may hold in each direction although there is no room any more.
    reserve: usize,
}

impl Account {
    pub(crate) fn new(config: &Config) -> Account {
        let high = config.socket_limit_bytes();
        let pressure = high / 100 * usize::from(config.memory_pressure_percent.min(100));
        Account {
            bytes: 0,
            is_pressed: false,
            pressures: 0,
            low: pressure / 4 * 3,
            pressure,
            high,
            top: high + config.memory_limit_bytes / 16,
            reserve: config.memory_reserve_bytes,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn pressures(&self) -> u64 {
        self.pressures
    }

    pub(crate) fn is_pressed(&self) -> bool {
        self.is_pressed
    }

    /// What held `before` bytes holds `after`.
    pub(crate) fn change(&mut self, before: usize, after: usize) {
        self.bytes = self.bytes + after - before;
        if self.bytes > self.pressure {
            if !self.is_pressed {
                self.is_pressed = true;
                self.pressures += 1;
                log::debug!("memory pressure begins at {} bytes", self.bytes);
            }
        } else if self.is_pressed && self.bytes <= self.low {
            self.is_pressed = false;
            log::debug!("memory pressure ends at {} bytes", self.bytes);
        }
    }

    /// The same, where the record of what is held is at hand.
    pub(crate) fn renew(&mut self, held: &mut usize, now: usize) {
        self.change(*held, now);
        *held = now;
    }

    /// How many bytes more there may be at all.
    pub(crate) fn room(&self) -> usize {
        self.high.saturating_sub(self.bytes)
    }

    /// What a call into one of `sockets` sockets may take.
    pub(crate) fn budget(&self, sockets: usize) -> Budget {
        Budget {
            is_pressed: self.is_pressed,
            room: self.room(),
            high: self.high,
            sockets,
            reserve: self.reserve.min(self.top.saturating_sub(self.bytes)),
            reserve_room: self.top.saturating_sub(self.bytes),
        }
    }
}

/// What one call may take from the account.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    is_pressed: bool,
    room: usize,
    /// These make an even share, which is asked for only under pressure.
    high: usize,
    sockets: usize,
    reserve: usize,
    reserve_room: usize,
}

/// What a socket holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// In the direction in which it wants more.
    pub(crate) here: usize,
    pub(crate) in_all: usize,
}

impl Budget {
    /// Where nobody counts.
    pub(crate) const UNLIMITED: Budget = Budget {
        is_pressed: false,
        room: usize::MAX,
        high: usize::MAX,
        sockets: 1,
        reserve: usize::MAX,
        reserve_room: usize::MAX,
    };

    pub(crate) fn is_pressed(&self) -> bool {
        self.is_pressed
    }

    /// Whether this much is there for anybody.
    pub(crate) fn is_plenty(&self, bytes: usize) -> bool {
        !self.is_pressed && bytes <= self.room
    }

    /// How many bytes more somebody who holds this much may take.
    pub(crate) fn room(&self, held: Held) -> usize {
        if !self.is_pressed {
            return self.room;
        }
        let even = self.high / self.sockets.max(1);
        let share = self.room.min(even.saturating_sub(held.in_all));
        share.max(self.reserve.saturating_sub(held.here))
    }

    /// Whether even somebody who would wait for ever without it can have this much.
    pub(crate) fn is_last_resort(&self, bytes: usize) -> bool {
        bytes <= self.reserve_room
    }

    /// Somebody gave this much back.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.room = self.room.saturating_add(bytes);
        self.reserve_room = self.reserve_room.saturating_add(bytes);
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
        account.change(0, high / 10 * 8);
        let budget = account.budget(10);
        assert!(!budget.is_plenty(1));
        assert_eq!(budget.room(held(0)), high / 10);
        assert_eq!(budget.room(held(high / 10 - 5)), 5);
        assert_eq!(budget.room(held(high)), 0);
        account.change(0, high / 10 * 2 + 10);
        let mut budget = account.budget(10);
        assert_eq!((budget.room(held(0)), budget.room(held(4000)), budget.room(held(5000))), (4096, 96, 0));
        budget.give_back(1000);
        assert_eq!(budget.room(held(5000)), 1000);
        // What is kept for the last ends, too.
        account.change(0, 1 << 20);
        let budget = account.budget(10);
        assert_eq!(budget.room(held(0)), 0);
        assert!(!budget.is_last_resort(1));
    }
}
