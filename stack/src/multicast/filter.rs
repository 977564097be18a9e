//! The sources that a member of a group wants to hear.

use alloc::vec::Vec;
use core::net::IpAddr;

/// How the list of sources in a [`SourceFilter`] is to be read (RFC 9776 §2).
// Exhaustive: RFC 9776 has these two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FilterMode {
    /// MCAST_INCLUDE: packets from the listed sources only.
    Include,
    /// MCAST_EXCLUDE: packets from all sources but the listed ones.
    Exclude,
}

/// The sources that a member of a group wants to hear (`struct group_filter`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceFilter {
    /// How the list is to be read.
    pub mode: FilterMode,
    /// The listed sources.
    pub sources: Vec<IpAddr>,
}

impl SourceFilter {
    /// The filter of a member that asks for every source.
    pub const EVERY_SOURCE: SourceFilter = SourceFilter { mode: FilterMode::Exclude, sources: Vec::new() };

    /// A filter of this mode with these sources.
    pub fn new(mode: FilterMode, sources: Vec<IpAddr>) -> Self {
        SourceFilter { mode, sources }
    }

    /// Whether packets from this source pass.
    pub fn allows(&self, source: IpAddr) -> bool {
        self.sources.contains(&source) == (self.mode == FilterMode::Include)
    }
}
