//! The choice of a packet socket: with or without link headers.

/// Whether a program reads and writes link headers.
// Exhaustive: Linux has SOCK_RAW and SOCK_DGRAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkHeader {
    /// SOCK_RAW: frames begin with their link header, in both directions.
    Included,
    /// SOCK_DGRAM: the stack removes the link header, and makes one from a
    /// [`LinkAddr`](crate::LinkAddr).
    Cooked,
}
