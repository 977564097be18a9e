//! [`Counted`]: a device that counts the runs of datagrams that it is given, and marks some of the
//! frames that it receives.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use bytes::BytesMut;
use portolan::{Medium, Offloads, SegmentKind};
use portolan_runtime::device::{Device, MemoryDevice, Outgoing, Readiness, Received};

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
    fn readiness(&mut self, waker: &Waker) -> Readiness<'_> {
        self.device.readiness(waker)
    }
    fn transmit(&mut self, outgoing: &mut Outgoing<'_>) -> io::Result<()> {
        while let Some(transmit) = outgoing.peek() {
            let is_run = transmit.segments().is_some_and(|segments| segments.kind == SegmentKind::Udp);
            let mut one = outgoing.at_most(1);
            self.device.transmit(&mut one)?;
            if !one.is_empty() {
                break;
            }
            self.counts.runs.fetch_add(u64::from(is_run), Ordering::Relaxed);
        }
        Ok(())
    }
    fn receive(&mut self, received: &mut Received<'_>) -> io::Result<()> {
        let before = received.len();
        self.device.receive(received)?;
        for frame in &mut received.frames_mut()[before..] {
            self.received += 1;
            if self.marks.is_some_and(|marks| self.received.is_multiple_of(marks))
                && frame.bytes[ECN_AT] & CE != 0
            {
                let mut bytes = BytesMut::from(std::mem::take(&mut frame.bytes));
                bytes[ECN_AT] |= CE;
                frame.bytes = bytes.freeze();
            }
        }
        Ok(())
    }
}
