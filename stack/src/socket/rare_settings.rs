//! [`RareSettings`]: which settings that arriving packets depend on were ever used.

/// Settings that hardly any socket has, and that each arriving packet would have to ask for. While
/// none was ever used, one test tells so.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RareSettings(u8);

impl RareSettings {
    /// A filter, or a least TTL.
    pub(super) const FILTERS: RareSettings = RareSettings(1);
    /// SO_BINDTODEVICE.
    pub(super) const DEVICES: RareSettings = RareSettings(1 << 1);
    /// TCP_SAVE_SYN.
    pub(super) const SAVED_SYNS: RareSettings = RareSettings(1 << 2);

    /// Notes that some socket uses this setting.
    pub(super) fn add(&mut self, setting: RareSettings) {
        self.0 |= setting.0;
    }

    /// Whether any of them was ever used.
    #[inline]
    pub(super) fn is_any_used(self) -> bool {
        self.0 != 0
    }

    /// Whether any socket ever used this setting.
    #[inline]
    pub(super) fn uses(self, setting: RareSettings) -> bool {
        self.0 & setting.0 != 0
    }
}
