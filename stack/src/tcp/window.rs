//! Scaled and unscaled windows as different types (RFC 7323 §2), so that they cannot be confused.

/// The shift count of the window scale option, at most 14.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct WindowScale(u8);

impl WindowScale {
    /// No scaling: for the window of a SYN, and for every window if the peer did not send the
    /// option.
    pub(crate) const NONE: WindowScale = WindowScale(0);
    /// RFC 7323 §2.3: the largest scale, for windows of 1 GiB.
    pub(crate) const MAX: WindowScale = WindowScale(14);

    /// RFC 7323 §2.3 (RFC7323-2.3-a): a shift count above 14 is used as 14.
    pub(crate) const fn new(shift: u8) -> WindowScale {
        if shift > Self::MAX.0 { Self::MAX } else { WindowScale(shift) }
    }

    /// The smallest that can announce this many bytes, as Linux chooses it: the buffer may grow to
    /// that size later, and the scale is fixed by the SYN.
    pub(crate) const fn for_buffer(max_buffer_bytes: usize) -> WindowScale {
        let mut shift = 0;
        while shift < Self::MAX.0 && max_buffer_bytes >> shift > u16::MAX as usize {
            shift += 1;
        }
        WindowScale(shift)
    }

    /// The shift count, as the option carries it.
    pub(crate) const fn shift(self) -> u8 {
        self.0
    }
}

/// A window as a header carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct UnscaledWindow(pub(crate) u16);

impl UnscaledWindow {
    /// The window in bytes. Use [`WindowScale::NONE`] for a SYN (RFC 7323 §2.2).
    pub(crate) const fn scale(self, scale: WindowScale) -> Window {
        Window((self.0 as u32) << scale.0)
    }
}

/// A window in bytes: 32 bits (RFC 9293 §3.1, REC-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Window(pub(crate) u32);

impl Window {
    /// The window as a header carries it: rounded up to a whole unit, and at most 16 bits.
    ///
    /// Rounding down would move the right edge of the window to the left each time a segment whose
    /// length is no multiple of the unit arrives (RFC 7323 §2.4); Linux rounds up too. The window
    /// that the peer sees is `window.unscale(scale).scale(scale)`: accept that many bytes.
    pub(crate) const fn unscale(self, scale: WindowScale) -> UnscaledWindow {
        let units = self.0.div_ceil(1 << scale.0);
        UnscaledWindow(if units > u16::MAX as u32 { u16::MAX } else { units as u16 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_scale_is_the_one_linux_chooses() {
        let cases =
            [(0, 0), (65535, 0), (65536, 1), (1 << 20, 5), (6 << 20, 7), (1 << 30, 14), (usize::MAX, 14)];
        for (buffer, shift) in cases {
            assert_eq!(WindowScale::for_buffer(buffer).shift(), shift, "{buffer}");
        }
        assert_eq!(WindowScale::new(200), WindowScale::MAX);
    }

    proptest! {
        #[test]
        fn what_is_offered_is_never_less_than_meant_and_less_than_a_unit_more(bytes: u32, shift in 0u8..=14) {
            let scale = WindowScale::new(shift);
            let offered = Window(bytes).unscale(scale).scale(scale);
            let largest = UnscaledWindow(u16::MAX).scale(scale);
            if Window(bytes) <= largest {
                prop_assert!(offered.0 >= bytes && offered.0 - bytes < 1 << shift);
            } else {
                prop_assert_eq!(offered, largest);
            }
        }

        #[test]
        fn what_a_header_carries_comes_back(units: u16, shift in 0u8..=14) {
            let scale = WindowScale::new(shift);
            prop_assert_eq!(UnscaledWindow(units).scale(scale).unscale(scale), UnscaledWindow(units));
        }
    }
}
