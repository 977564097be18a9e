//! SYN cookies (RFC 4987 §3.6): when a SYN queue is full, the numbers in the SYN-ACK encode what
//! the queue would have stored.
//!
//! The sequence number is a keyed hash of the connection, the peer's number and the minute, and
//! encodes the peer's MSS, with the layout of Linux:
//!
//! ```text
//!     31          24 23                               0
//!    +--------------+----------------------------------+
//!    |    minute    |   hash(SYN, minute) + the MSS    |   + hash(connection) + the peer's number
//!    +--------------+----------------------------------+
//! ```
//!
//! Window scale, SACK and ECN do not fit there. They are in the lowest bits of our timestamp, which
//! the peer echoes; a peer without timestamps gets none of these options.

use core::hash::BuildHasher;
use core::time::Duration;

use super::{Options, SeqNumber};
use crate::demux::FourTuple;
use crate::hash::Keyed;
use crate::rng::Rng;
use crate::time::Instant;

/// Bits of the hash that covers the minute. The minute's lowest bits are above them.
const HASH_BITS: u32 = 24;
const HASH_MASK: u32 = (1 << HASH_BITS) - 1;

/// A cookie of this minute or the last one is valid: 60 s to 120 s (Linux's MAX_SYNCOOKIE_AGE).
const MAX_AGE_MINUTES: u32 = 2;
const SECONDS_PER_MINUTE: u64 = 60;

/// The values of the MSS that a cookie can encode, the same as Linux's: those that most hosts
/// announce, and the smallest.
const MSS_V4: [u16; 4] = [536, 1300, 1440, 1460];
const MSS_V6: [u16; 4] = [1220, 1420, 1440, 8940];

/// The low bits of the timestamp that encode options.
const OPTION_BITS: u32 = 6;
const OPTION_MASK: u32 = (1 << OPTION_BITS) - 1;
/// The window scale; the largest value, which no peer uses, means none.
const SCALE_MASK: u32 = 0xf;
const SACK_PERMITTED: u32 = 1 << 4;
/// ECN of RFC 3168. Accurate ECN is recognised by the flags of the ACK.
const ECN: u32 = 1 << 5;

/// Makes SYN cookies and checks returned ones.
#[derive(Debug)]
pub(crate) struct SynCookies {
    /// The key for the hash of the connection.
    base_key: Keyed,
    /// The key for the hash of the SYN and the minute.
    minute_key: Keyed,
}

impl SynCookies {
    pub(crate) fn new(rng: &mut Rng) -> SynCookies {
        SynCookies { base_key: Keyed::new(rng), minute_key: Keyed::new(rng) }
    }

    /// The first sequence number of the SYN-ACK for a SYN with number `irs`, whose sender announced
    /// `mss`.
    pub(crate) fn isn(&self, now: Instant, tuple: &FourTuple, irs: SeqNumber, mss: u16) -> SeqNumber {
        let minute = minute(now);
        let table = mss_table(tuple);
        // The largest that is not larger than `mss`, or else the smallest of all.
        let index = table.iter().rposition(|&known| known <= mss).unwrap_or(0) as u32;
        let hidden = self.minute_hash(tuple, irs, minute).wrapping_add(index) & HASH_MASK;
        irs + self.base_hash(tuple) + (minute << HASH_BITS) + hidden
    }

    /// The peer's MSS, if `cookie` is valid for this connection and `irs`, and not too old.
    pub(crate) fn check(
        &self,
        now: Instant,
        tuple: &FourTuple,
        irs: SeqNumber,
        cookie: SeqNumber,
    ) -> Option<u16> {
        let bare = cookie - irs.0 - self.base_hash(tuple);
        let now = minute(now);
        // The difference of the minutes' lowest eight bits.
        let age = now.wrapping_sub(bare.0 >> HASH_BITS) & (u32::MAX >> HASH_BITS);
        if age >= MAX_AGE_MINUTES {
            return None;
        }
        let index = bare.0.wrapping_sub(self.minute_hash(tuple, irs, now.wrapping_sub(age))) & HASH_MASK;
        mss_table(tuple).get(index as usize).copied()
    }

    fn base_hash(&self, tuple: &FourTuple) -> u32 {
        // Sequence numbers keep the low 32 bits.
        self.base_key.hash_one(tuple) as u32
    }

    /// The hash of the SYN and the minute. It includes the peer's number. If that were only added,
    /// as on Linux, the cookie would also be valid for neighbouring numbers (with another MSS), and
    /// a second segment of one byte could be taken for the first.
    fn minute_hash(&self, tuple: &FourTuple, irs: SeqNumber, minute: u32) -> u32 {
        self.minute_key.hash_one((tuple, irs.0, minute)) as u32
    }
}

/// How long a cookie is valid after it was sent.
pub(crate) const VALID_FOR: Duration = Duration::from_secs(MAX_AGE_MINUTES as u64 * SECONDS_PER_MINUTE);

/// The current minute. It wraps after 8,000 years, and a cookie has its low eight bits.
fn minute(now: Instant) -> u32 {
    (now.as_millis() / (1000 * SECONDS_PER_MINUTE)) as u32
}

fn mss_table(tuple: &FourTuple) -> &'static [u16; 4] {
    if tuple.remote.addr.is_ipv4() { &MSS_V4 } else { &MSS_V6 }
}

/// The options of a SYN that are restored from the echoed timestamp of the ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) window_scale: Option<u8>,
    pub(super) sack_permitted: bool,
    pub(super) ecn: bool,
}

impl Remembered {
    /// No options, for a peer without timestamps.
    pub(super) const NONE: Remembered = Remembered { window_scale: None, sack_permitted: false, ecn: false };

    pub(super) fn of_syn(options: &Options, ecn: bool) -> Remembered {
        Remembered { window_scale: options.window_scale, sack_permitted: options.sack_permitted, ecn }
    }

    /// The latest clock value at or before `clock` whose lowest bits encode the options.
    pub(super) fn into_clock(self, clock: u32) -> u32 {
        let scale = self.window_scale.map_or(SCALE_MASK, |shift| u32::from(shift) & SCALE_MASK);
        let sack_permitted = if self.sack_permitted { SACK_PERMITTED } else { 0 };
        let bits = scale | sack_permitted | if self.ecn { ECN } else { 0 };
        let marked = (clock & !OPTION_MASK) | bits;
        if marked > clock { marked.wrapping_sub(1 << OPTION_BITS) } else { marked }
    }

    /// The options that are encoded in a clock value.
    pub(super) fn from_clock(clock: u32) -> Remembered {
        let scale = clock & SCALE_MASK;
        Remembered {
            // At most 14.
            window_scale: (scale != SCALE_MASK).then_some(scale as u8),
            sack_permitted: clock & SACK_PERMITTED != 0,
            ecn: clock & ECN != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demux::Endpoint;
    use proptest::{prop_assert, prop_assert_eq, proptest};

    const START: Instant = Instant::from_secs(3600);

    fn cookies(seed: u8) -> SynCookies {
        SynCookies::new(&mut Rng::new([seed; 32]))
    }

    fn tuple(local: &str, remote: &str) -> FourTuple {
        let end = |text: &str| {
            let addr: core::net::SocketAddr = text.parse().unwrap();
            Endpoint::new(addr.ip(), addr.port())
        };
        FourTuple { local: end(local), remote: end(remote), scope: 0 }
    }

    fn v4() -> FourTuple {
        tuple("10.0.0.1:80", "10.0.0.2:5000")
    }

    #[test]
    fn the_mss_comes_back_rounded_down() {
        let cookies = cookies(1);
        let v6 = tuple("[fd00::1]:80", "[fd00::2]:5000");
        let cases = [
            (v4(), [(100, 536), (536, 536), (1299, 536), (1300, 1300), (1460, 1460), (65_535, 1460)]),
            (v6, [(100, 1220), (1220, 1220), (1419, 1220), (1440, 1440), (8939, 1440), (65_535, 8940)]),
        ];
        for (tuple, sizes) in cases {
            for (announced, remembered) in sizes {
                let irs = SeqNumber(u32::MAX);
                let cookie = cookies.isn(START, &tuple, irs, announced);
                assert_eq!(cookies.check(START, &tuple, irs, cookie), Some(remembered));
            }
        }
    }

    #[test]
    fn a_cookie_lasts_one_minute_at_least_and_two_at_most() {
        let cookies = cookies(1);
        let irs = SeqNumber(7);
        for into_minute in [0, 1, 59] {
            let sent_at = START + Duration::from_secs(into_minute);
            let cookie = cookies.isn(sent_at, &v4(), irs, 1460);
            let is_good =
                |after| cookies.check(sent_at + Duration::from_secs(after), &v4(), irs, cookie).is_some();
            assert!(is_good(0) && is_good(60), "{into_minute}");
            assert!(is_good(119 - into_minute));
            assert!(!is_good(120 - into_minute) && !is_good(600));
        }
    }

    #[test]
    fn it_is_good_for_its_own_connection_and_key_alone() {
        let irs = SeqNumber(7);
        let cookie = cookies(1).isn(START, &v4(), irs, 1460);
        assert_eq!(cookies(1).check(START, &v4(), irs, cookie), Some(1460));
        assert_eq!(cookies(2).check(START, &v4(), irs, cookie), None);
        for other in [irs + 1, irs + 2, irs - 1, irs - 3, irs + (1 << HASH_BITS)] {
            assert_eq!(cookies(1).check(START, &v4(), other, cookie), None);
        }
        for (local, remote) in [
            ("10.0.0.1:81", "10.0.0.2:5000"),
            ("10.0.0.1:80", "10.0.0.2:5001"),
            ("10.0.0.1:80", "10.0.0.3:5000"),
            ("10.0.0.2:5000", "10.0.0.1:80"),
        ] {
            assert_eq!(cookies(1).check(START, &tuple(local, remote), irs, cookie), None);
        }
    }

    /// Of the 2^32 numbers, two minutes times four sizes are valid.
    #[test]
    fn a_guess_is_good_once_in_half_a_billion() {
        let cookies = cookies(3);
        let good = (0..2_000_000u32)
            .filter(|number| {
                let guess = SeqNumber(number.wrapping_mul(0x9e37_79b9));
                cookies.check(START, &v4(), SeqNumber(*number), guess).is_some()
            })
            .count();
        assert_eq!(good, 0);
    }

    proptest! {
        #[test]
        fn options_come_back_from_the_clock(
            clock: u32, shift in 0..=14u8, scales: bool, sack_permitted: bool, ecn: bool,
        ) {
            let sent = Remembered { window_scale: scales.then_some(shift), sack_permitted, ecn };
            let marked = sent.into_clock(clock);
            prop_assert_eq!(Remembered::from_clock(marked), sent);
            // Never later than the clock, because later timestamps must not be smaller.
            prop_assert!(clock.wrapping_sub(marked) < 2 << OPTION_BITS);
        }
    }
}
