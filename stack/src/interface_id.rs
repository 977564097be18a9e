//! The number of an interface.

/// An interface of a stack. Interfaces are numbered in the order in which they are added. The
/// number of one that was removed is not used again before all others were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceId(pub(crate) u16);

impl InterfaceId {
    /// The loopback: the interface of packets from the stack to itself that have no link-local
    /// address of another interface. Where several stacks serve the same interfaces
    /// ([`Stack::with_share`](crate::Stack::with_share)), packets between the stacks also leave and
    /// come in through it.
    // The scope id of the loopback fits 16 bits, too.
    pub const LOOPBACK: InterfaceId = InterfaceId(u16::MAX - 1);

    pub(crate) const LOOPBACK_NAME: &str = "lo";

    /// The interface that was added as number `index`, from 0. A stack ignores interfaces that it
    /// does not have.
    pub const fn from_index(index: u16) -> Self {
        InterfaceId(index)
    }

    /// Its index among the interfaces of the stack, from 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The IPv6 scope id (`sin6_scope_id`) of this interface: its index plus one, because 0 means
    /// "any".
    pub const fn scope_id(self) -> u32 {
        self.0 as u32 + 1
    }
}
