//! [`LinkState`]: whether a link carries frames.

/// Whether the link of an interface carries frames (the carrier of a Linux device).
///
/// As on Linux, an interface whose link is down keeps its addresses and routes. What is sent
/// through it is lost ([`DropReason::LinkDown`](crate::DropReason::LinkDown)) without an error for
/// the sender, so connections repeat their data until the link is up again, or until they time out.
// Exhaustive: a link carries frames or does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// Frames are sent and received.
    #[default]
    Up,
    /// Nothing is sent.
    Down,
}
