//! Sequence numbers (RFC 9293 §3.4).

use core::fmt;
use core::ops::{Add, AddAssign, Sub};

/// A TCP sequence number. Sequence numbers wrap, so there is no `Ord`, but
/// [`before`](SeqNumber::before) and similar methods, which are correct for numbers less than 2^31
/// apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct SeqNumber(pub(crate) u32);

impl SeqNumber {
    /// `self < other`.
    pub(crate) fn before(self, other: SeqNumber) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// `self <= other`.
    pub(crate) fn before_eq(self, other: SeqNumber) -> bool {
        !other.before(self)
    }

    /// `self > other`.
    pub(crate) fn after(self, other: SeqNumber) -> bool {
        other.before(self)
    }

    /// `self >= other`.
    pub(crate) fn after_eq(self, other: SeqNumber) -> bool {
        !self.before(other)
    }

    /// `start <= self < end`.
    pub(crate) fn within(self, start: SeqNumber, end: SeqNumber) -> bool {
        self.0.wrapping_sub(start.0) < end.0.wrapping_sub(start.0)
    }

    /// Whether both are in the same quarter of the sequence space. A stored number that is updated
    /// each time the connection enters another quarter is never so old that it seems to be in the
    /// future.
    pub(crate) fn is_in_quarter_of(self, other: SeqNumber) -> bool {
        (self.0 ^ other.0) >> 30 == 0
    }

    /// The later of the two.
    pub(crate) fn max(self, other: SeqNumber) -> SeqNumber {
        if self.before(other) { other } else { self }
    }

    /// The earlier of the two.
    pub(crate) fn min(self, other: SeqNumber) -> SeqNumber {
        if self.before(other) { self } else { other }
    }
}

impl Add<u32> for SeqNumber {
    type Output = SeqNumber;
    fn add(self, rhs: u32) -> SeqNumber {
        SeqNumber(self.0.wrapping_add(rhs))
    }
}

impl AddAssign<u32> for SeqNumber {
    fn add_assign(&mut self, rhs: u32) {
        *self = *self + rhs;
    }
}

impl Sub<u32> for SeqNumber {
    type Output = SeqNumber;
    fn sub(self, rhs: u32) -> SeqNumber {
        SeqNumber(self.0.wrapping_sub(rhs))
    }
}

/// The distance from `rhs` to `self`, which must not be before it.
impl Sub for SeqNumber {
    type Output = u32;
    fn sub(self, rhs: SeqNumber) -> u32 {
        self.0.wrapping_sub(rhs.0)
    }
}

impl fmt::Debug for SeqNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quarters_begin_at_multiples_of_a_quarter() {
        let quarter = 1 << 30;
        for start in [0, quarter, 2 * quarter, 3 * quarter] {
            let is_together = |number: u32| SeqNumber(number).is_in_quarter_of(SeqNumber(start));
            assert!(is_together(start) && is_together(start + (quarter - 1)));
            assert!(!is_together(start.wrapping_sub(1)) && !is_together(start.wrapping_add(quarter)));
        }
    }

    proptest! {
        #[test]
        fn order_holds_across_the_wrap(start: u32, distance in 1u32..0x7fff_ffff) {
            let (a, b) = (SeqNumber(start), SeqNumber(start) + distance);
            prop_assert!(a.before(b) && b.after(a) && a.before_eq(b) && !b.before(a));
            prop_assert!(a.within(a, b) && !b.within(a, b));
            prop_assert_eq!(b - a, distance);
            prop_assert_eq!((a.max(b), a.min(b)), (b, a));
        }
    }
}
