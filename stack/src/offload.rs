//! Offloads: a device computes checksums, and cuts a run of segments into packets.
//!
//! ```text
//!            stack                                    device
//!   out      one header, up to 64 KiB of payload  ->  cut into packets, headers copied, checksums filled in
//!   in       one header, up to 64 KiB of payload  <-  joined from packets of one flow, checksums verified
//! ```
//!
//! A TAP device with virtio-net headers supports all of them. Packets that never leave the machine
//! are neither cut nor checksummed.

use core::fmt;

/// The offloads of a device for frames that are sent to it. The stack does the remaining work.
///
/// For received frames no offloads are declared: each [`Frame`](crate::Frame) says what was done to
/// it.
///
/// ```
/// use portolan::Offloads;
///
/// let of_device = Offloads::NONE.checksum(true).tcp4(true);
/// assert!(of_device.tcp4 && !of_device.udp);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offloads {
    /// The device completes the checksums of TCP and UDP.
    pub checksum: bool,
    /// The device cuts runs of TCP segments over IPv4 (TSO). Needs `checksum`.
    pub tcp4: bool,
    /// The device cuts runs of TCP segments over IPv6 (TSO6). Needs `checksum`.
    pub tcp6: bool,
    /// The device cuts runs of UDP datagrams over both families (USO). Needs `checksum`.
    pub udp: bool,
}

impl Offloads {
    /// No offloads: the device sends frames as they are.
    pub const NONE: Offloads = Offloads { checksum: false, tcp4: false, tcp6: false, udp: false };
    /// All offloads.
    pub const ALL: Offloads = Offloads { checksum: true, tcp4: true, tcp6: true, udp: true };

    /// The same with or without the checksums of TCP and UDP.
    pub const fn checksum(mut self, checksum: bool) -> Offloads {
        self.checksum = checksum;
        self
    }

    /// The same with or without TSO.
    pub const fn tcp4(mut self, tcp4: bool) -> Offloads {
        self.tcp4 = tcp4;
        self
    }

    /// The same with or without TSO6.
    pub const fn tcp6(mut self, tcp6: bool) -> Offloads {
        self.tcp6 = tcp6;
        self
    }

    /// The same with or without USO.
    pub const fn udp(mut self, udp: bool) -> Offloads {
        self.udp = udp;
        self
    }

    /// Whether the device cuts runs of this kind.
    pub const fn cuts(self, kind: SegmentKind) -> bool {
        self.checksum
            && match kind {
                SegmentKind::TcpV4 => self.tcp4,
                SegmentKind::TcpV6 => self.tcp6,
                SegmentKind::Udp => self.udp,
            }
    }
}

/// Writes `checksums, TSO, TSO6, USO`, or `none`.
impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [(self.checksum, "checksums"), (self.tcp4, "TSO"), (self.tcp6, "TSO6"), (self.udp, "USO")];
        let mut names = all.iter().filter(|(has, _)| *has).map(|(_, name)| name);
        f.write_str(names.next().unwrap_or(&"none"))?;
        names.try_for_each(|name| write!(f, ", {name}"))
    }
}

/// A checksum that remains to be computed over everything from `start` on, and stored in the two
/// bytes at `start + offset`. Until then these bytes hold the sum of the pseudo-header, so the
/// device need not know the protocol.
// Exhaustive: a device must know all fields to complete the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Where the transport header begins, in bytes from the start of the frame.
    pub start: u16,
    /// Where the checksum is in the transport header: 16 in TCP's, 6 in UDP's.
    pub offset: u16,
}

/// The state of the transport checksum of a received frame.
// Exhaustive: a device must choose one of these for each frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumState {
    /// Not verified: the stack verifies it.
    #[default]
    Unknown,
    /// The device has verified it.
    Verified,
    /// Not computed, because the frame was never on a wire that could have damaged it.
    Partial(PartialChecksum),
}

/// How a run of segments is cut, or how it was joined.
// Exhaustive: a device must know all fields to cut the segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// The protocol of the segments.
    pub kind: SegmentKind,
    /// The payload length of each segment but the last, which may be shorter: 1 to 65,535 bytes.
    pub len: u16,
}

/// The protocol of the segments in a run.
// Exhaustive: a device that cuts segments must know how each kind is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP datagrams over either family.
    Udp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn offloads_are_named() {
        assert_eq!(Offloads::ALL.to_string(), "checksums, TSO, TSO6, USO");
        assert_eq!(Offloads { tcp6: false, ..Offloads::ALL }.to_string(), "checksums, TSO, USO");
        assert_eq!(Offloads { checksum: true, ..Offloads::NONE }.to_string(), "checksums");
        assert_eq!(Offloads::NONE.to_string(), "none");
    }
}
