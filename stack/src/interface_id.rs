//! The number of an interface.

/// An interface of a stack, in the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceId(pub(crate) u16);

impl InterfaceId {
    /// What came round the loopback, and has no link-local address of an interface. Where several
    /// stacks serve the same interfaces ([`Stack::with_share`](crate::Stack::with_share)), packets
    /// between them leave and come through it.
    // Its scope id fits 16 bits, too.
    pub const LOOPBACK: InterfaceId = InterfaceId(u16::MAX - 1);

    /// The interface that was added as number `index`, from 0. A stack ignores one that it does not
    /// have.
    pub const fn from_index(index: u16) -> Self {
        InterfaceId(index)
    }

    /// Its place among the interfaces of the stack, from 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The IPv6 scope id (`sin6_scope_id`) that names this interface: its index plus one, as 0
    /// means "any".
    pub const fn scope_id(self) -> u32 {
        self.0 as u32 + 1
    }
}
