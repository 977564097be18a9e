//! The flags of calls that send and receive, under their Berkeley names.

use core::fmt;
use core::ops::BitOr;

macro_rules! message_flags {
    ($(#[$doc:meta])* $name:ident { $($(#[$flag_doc:meta])* $flag:ident = $bits:expr;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $name(u32);

        impl $name {
            /// No flags.
            pub const NONE: $name = $name(0);
            $($(#[$flag_doc])* pub const $flag: $name = $name($bits);)*

            /// From Linux's `MSG_` bits. Bits without a constant here have no effect.
            pub const fn from_bits(bits: u32) -> $name {
                $name(bits)
            }

            /// As Linux's `MSG_` bits.
            pub const fn bits(self) -> u32 {
                self.0
            }

            /// Whether this has all flags of `other`.
            pub const fn contains(self, other: $name) -> bool {
                self.0 & other.0 == other.0
            }
        }

        impl BitOr for $name {
            type Output = $name;

            fn bitor(self, other: $name) -> $name {
                $name(self.0 | other.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let names: &[($name, &str)] = &[$(($name::$flag, stringify!($flag)),)*];
                write!(f, stringify!($name))?;
                f.debug_set().entries(names.iter().filter(|(flag, _)| self.contains(*flag)).map(|(_, name)| name)).finish()
            }
        }
    };
}

message_flags! {
    /// Flags of a call that sends.
    ///
    /// ```
    /// use portolan::SendFlags;
    ///
    /// let flags = SendFlags::MORE | SendFlags::DONT_WAIT;
    /// assert!(flags.contains(SendFlags::MORE) && !flags.contains(SendFlags::OOB));
    /// ```
    SendFlags {
        /// MSG_OOB: the last byte is urgent. `NotSupported` for datagrams.
        OOB = 0x1;
        /// MSG_DONTROUTE: a datagram is sent only to a host on a link of this stack, not through a
        /// gateway (`NetworkUnreachable`). No effect on a stream.
        DONT_ROUTE = 0x4;
        /// MSG_DONTWAIT: do not wait. No effect in the stack, whose calls never wait.
        DONT_WAIT = 0x40;
        /// MSG_EOR: no segment of a stream holds data from both sides of the record's end. As on
        /// Linux, it counts only if all of the data was taken. No effect on datagrams.
        END_OF_RECORD = 0x80;
        /// MSG_CONFIRM: the destination of the datagram has answered, so its neighbour entry needs
        /// no probe. No effect on a stream.
        CONFIRM = 0x800;
        /// MSG_MORE: more data follows at once. On a stream a partial last segment waits for it, as
        /// with TCP_CORK, but only until the peer acknowledges data; this overrides TCP_NODELAY,
        /// and counts only if all of the data was taken. On a UDP socket the data of the following
        /// calls, up to the first without this flag, becomes one datagram. No effect on an echo
        /// socket.
        MORE = 0x8000;
    }
}

message_flags! {
    /// Flags of a call that receives.
    ///
    /// ```
    /// use portolan::RecvFlags;
    ///
    /// let flags = RecvFlags::PEEK | RecvFlags::TRUNCATE;
    /// assert!(flags.contains(RecvFlags::PEEK) && !flags.contains(RecvFlags::OOB));
    /// ```
    RecvFlags {
        /// MSG_OOB: receives the urgent byte of a stream. `InvalidArgument` if there is none, if it
        /// was taken or read past, or with SO_OOBINLINE; [`Readiness::urgent`] says when there is
        /// one. No effect on a UDP socket; `NotSupported` on an echo socket.
        ///
        /// [`Readiness::urgent`]: crate::Readiness::urgent
        OOB = 0x1;
        /// MSG_PEEK: leaves the data in the queue.
        PEEK = 0x2;
        /// MSG_TRUNC: on a UDP socket, returns the length of the whole datagram even if the buffer
        /// is shorter. On a stream, discards the bytes instead of copying them. No effect on an
        /// echo socket.
        TRUNCATE = 0x20;
        /// MSG_DONTWAIT: do not wait. No effect in the stack, whose calls never wait.
        DONT_WAIT = 0x40;
        /// MSG_WAITALL: wait until the whole buffer is full, the stream ends, or there is an error.
        /// No effect in the stack, whose calls never wait.
        WAIT_ALL = 0x100;
        /// MSG_ERRQUEUE: receives the next error of the error queue
        /// ([`SocketOption::ReceiveErrors`](crate::SocketOption::ReceiveErrors)), and the payload
        /// of the packet that it is about. `WouldBlock` if there is none. Other flags have no
        /// effect with this one.
        ERROR_QUEUE = 0x2000;
    }
}

message_flags! {
    /// What a call that received says of the data (`msg_flags` of `struct msghdr`).
    ReceivedFlags {
        /// MSG_OOB: this is the urgent byte.
        OOB = 0x1;
        /// MSG_TRUNC: the datagram was longer than the buffer.
        TRUNCATED = 0x20;
        /// MSG_ERRQUEUE: this is from the error queue.
        ERROR_QUEUE = 0x2000;
    }
}
