//! What a program wants to know of a descriptor, and what a poller tells it.

use core::fmt;
use core::ops::BitOr;

use crate::event::Readiness;

/// What a program wants a poller to report of a descriptor, and how: the flags of `epoll_ctl`.
///
/// [`Readiness::error`] and [`Readiness::hung_up`] are always reported, as on Linux.
///
/// ```
/// use portolan::Interest;
///
/// let interest = Interest::READABLE | Interest::EDGE_TRIGGERED;
/// assert!(interest.contains(Interest::READABLE));
/// assert!(!interest.contains(Interest::WRITABLE));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Interest(u32);

impl Interest {
    /// Nothing but errors and hang-ups.
    pub const NONE: Interest = Interest(0);
    /// EPOLLIN.
    pub const READABLE: Interest = Interest(0x001);
    /// EPOLLPRI.
    pub const URGENT: Interest = Interest(0x002);
    /// EPOLLOUT.
    pub const WRITABLE: Interest = Interest(0x004);
    /// EPOLLERR, which has no effect: errors are always reported.
    pub const ERROR: Interest = Interest(0x008);
    /// EPOLLHUP, which has no effect: hang-ups are always reported.
    pub const HUNG_UP: Interest = Interest(0x010);
    /// EPOLLRDHUP.
    pub const PEER_CLOSED: Interest = Interest(0x2000);
    /// EPOLLEXCLUSIVE: of several pollers that wait for the socket, an arrival wakes one. Allowed
    /// with `READABLE`, `WRITABLE`, `ERROR`, `HUNG_UP` and `EDGE_TRIGGERED` only, and only when the
    /// descriptor is added.
    pub const EXCLUSIVE: Interest = Interest(1 << 28);
    /// EPOLLWAKEUP, which has no effect: a stack has no power management.
    pub const WAKEUP: Interest = Interest(1 << 29);
    /// EPOLLONESHOT: after one report the registration is disabled until it is modified.
    pub const ONE_SHOT: Interest = Interest(1 << 30);
    /// EPOLLET: reports each arrival or change once. Without this flag a descriptor is reported for
    /// as long as it is ready.
    pub const EDGE_TRIGGERED: Interest = Interest(1 << 31);

    const ALLOWED_WITH_EXCLUSIVE: u32 = Interest::READABLE.0
        | Interest::WRITABLE.0
        | Interest::ERROR.0
        | Interest::HUNG_UP.0
        | Interest::WAKEUP.0
        | Interest::EDGE_TRIGGERED.0
        | Interest::EXCLUSIVE.0;

    /// From Linux's `epoll_event.events`. Bits without a constant here are never reported.
    pub const fn from_bits(bits: u32) -> Interest {
        Interest(bits)
    }

    /// As in Linux's `epoll_event.events`.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether this has all flags of `other`.
    pub const fn contains(self, other: Interest) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether `epoll_ctl` takes this with EPOLLEXCLUSIVE.
    pub(super) fn may_be_exclusive(self) -> bool {
        self.0 & !Interest::ALLOWED_WITH_EXCLUSIVE == 0
    }

    /// The bits of [`Readiness`] that are reported.
    pub(super) fn readiness_bits(self) -> u8 {
        let wanted = Readiness {
            readable: self.contains(Interest::READABLE),
            writable: self.contains(Interest::WRITABLE),
            peer_closed: self.contains(Interest::PEER_CLOSED),
            hung_up: true,
            error: true,
            urgent: self.contains(Interest::URGENT),
        };
        wanted.bits()
    }
}

impl BitOr for Interest {
    type Output = Interest;

    fn bitor(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Interest({:#x})", self.0)
    }
}

/// A descriptor that a poller reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ready {
    /// The token under which the program registered the descriptor.
    pub token: u64,
    /// The part of its readiness that is of interest.
    pub readiness: Readiness,
}

impl Ready {
    pub(super) fn new(token: u64, readiness: Readiness) -> Self {
        Ready { token, readiness }
    }

    /// From the token and the bits of Linux's `epoll_event`. Bits that [`bits`](Ready::bits) cannot
    /// return are ignored.
    pub const fn from_bits(token: u64, bits: u32) -> Self {
        let readiness = Readiness {
            readable: bits & Interest::READABLE.0 != 0,
            writable: bits & Interest::WRITABLE.0 != 0,
            peer_closed: bits & Interest::PEER_CLOSED.0 != 0,
            hung_up: bits & Interest::HUNG_UP.0 != 0,
            error: bits & Interest::ERROR.0 != 0,
            urgent: bits & Interest::URGENT.0 != 0,
        };
        Ready { token, readiness }
    }

    /// The readiness as in Linux's `epoll_event.events`.
    pub const fn bits(self) -> u32 {
        let Readiness { readable, writable, peer_closed, hung_up, error, urgent } = self.readiness;
        (readable as u32 * Interest::READABLE.0)
            | (urgent as u32 * Interest::URGENT.0)
            | (writable as u32 * Interest::WRITABLE.0)
            | (error as u32 * Interest::ERROR.0)
            | (hung_up as u32 * Interest::HUNG_UP.0)
            | (peer_closed as u32 * Interest::PEER_CLOSED.0)
    }
}
