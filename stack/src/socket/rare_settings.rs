//! [`RareSettings`]: which settings were ever used that arriving packets or calls would have to ask
//! for.

/// Settings that hardly any socket has, and that each arriving packet or call would have to ask
/// for. While none was ever used, one test tells so.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RareSettings(u8);

impl RareSettings {
    /// A filter, or a least TTL.
    pub(super) const FILTERS: RareSettings = RareSettings(1);
    /// SO_BINDTODEVICE.
    pub(super) const DEVICES: RareSettings = RareSettings(1 << 1);
    /// TCP_SAVE_SYN.
    pub(super) const SAVED_SYNS: RareSettings = RareSettings(1 << 2);
    /// SO_PEEK_OFF. Calls ask for it, and arriving packets do not.
    pub(super) const PEEK_OFFSETS: RareSettings = RareSettings(1 << 3);
    /// Those that arriving packets depend on.
    const OF_PACKETS: RareSettings = RareSettings(0b111);

    /// Notes that some socket uses this setting.
    pub(super) fn add(&mut self, setting: RareSettings) {
        self.0 |= setting.0;
    }

    /// Whether any setting was ever used that arriving packets depend on.
    #[inline]
    pub(super) fn concern_packets(self) -> bool {
        self.uses(RareSettings::OF_PACKETS)
    }

    /// Whether any socket ever used this setting, or one of several.
    #[inline]
    pub(super) fn uses(self, setting: RareSettings) -> bool {
        self.0 & setting.0 != 0
    }
}
