//! [`Counted`]: a device that counts the runs of datagrams that it is given, and marks some of the
//! frames that it receives.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use portolan::{Frame, Medium, Offloads, SegmentKind, Transmit};
use portolan_runtime::device::{Device, MemoryDevice, Room, Sent};

/// The offset of the flow label's first byte in an Ethernet frame with an IPv6 packet. The ECN
/// field is in bits 5 and 4 (RFC 8200 §3).
const ECN_AT: usize = 14 + 1;
const CE: u8 = 0x30;

/// The frames that a device was given.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    runs: AtomicU64,
}

impl Counts {
    /// The number of runs of UDP datagrams.
    pub(crate) fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }
}

/// One end of a wire in memory, with counters. With `marks` it marks one in so many received frames
/// "congestion experienced"; these must be IPv6.
pub(crate) struct Counted {
    device: MemoryDevice,
    counts: Arc<Counts>,
    marks: Option<u64>,
    received: u64,
}

impl Counted {
    pub(crate) fn new(device: MemoryDevice, marks: Option<u64>) -> (Counted, Arc<Counts>) {
        let counts = Arc::new(Counts::default());
        (Counted { device, counts: counts.clone(), marks, received: 0 }, counts)
    }
}

impl Device for Counted {
    fn name(&self) -> &str {
        self.device.name()
    }
    fn medium(&self) -> Medium {
        self.device.medium()
    }
    fn mtu(&self) -> usize {
        self.device.mtu()
    }
    // The mark is in no header that an offloaded checksum covers.
    fn offloads(&self) -> Offloads {
        self.device.offloads()
    }
    fn send(&mut self, transmit: &Transmit) -> io::Result<Sent> {
        let sent = self.device.send(transmit)?;
        let is_run = transmit.segments().is_some_and(|segments| segments.kind == SegmentKind::Udp);
        if sent == Sent::Taken && is_run {
            self.counts.runs.fetch_add(1, Ordering::Relaxed);
        }
        Ok(sent)
    }
    fn recv(&mut self) -> io::Result<Option<Frame>> {
        let Some(mut frame) = self.device.recv()? else { return Ok(None) };
        self.received += 1;
        if self.marks.is_some_and(|marks| self.received.is_multiple_of(marks))
            && frame.bytes[ECN_AT] & CE != 0
        {
            let mut bytes = BytesMut::from(frame.bytes);
            bytes[ECN_AT] |= CE;
            frame.bytes = bytes.freeze();
        }
        Ok(Some(frame))
    }
    fn receive_fd(&self) -> BorrowedFd<'_> {
        self.device.receive_fd()
    }
    fn room(&self) -> Room<'_> {
        self.device.room()
    }
}
