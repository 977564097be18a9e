//! [`Impair`]: a fault injector around a device.

use std::io;
use std::sync::{Arc, PoisonError};

use portolan::{Frame, Instant, Medium, Offloads, Transmit};

use super::{Device, ImpairCounts, ImpairQueue, Impairment, Room, Sent};
use crate::clock::Clock;
use crate::platform::poll::BorrowedFd;
use crate::policy::RECEIVE_BURST;
use crate::sync::Mutex;

/// A device behind a bad network: loss, outages, duplication, reordering, delay, jitter, corruption
/// and a limited rate, in both directions.
#[derive(Debug)]
pub struct Impair<D> {
    device: D,
    outgoing: ImpairQueue<Transmit>,
    incoming: ImpairQueue<Frame>,
    /// A frame that is due, but for which the device had no room.
    kept: Option<Transmit>,
    counters: ImpairCounters,
}

/// The counters of an [`Impair`], which can be read while a runtime owns the device.
#[derive(Clone, Debug, Default)]
pub struct ImpairCounters(Arc<Mutex<[ImpairCounts; 2]>>);

impl ImpairCounters {
    /// Counts frames from the stack to the device.
    pub fn outgoing(&self) -> ImpairCounts {
        self.read()[0]
    }

    /// Counts frames from the device to the stack.
    pub fn incoming(&self) -> ImpairCounts {
        self.read()[1]
    }

    fn read(&self) -> [ImpairCounts; 2] {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, counts: [ImpairCounts; 2]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }
}

impl<D: Device> Impair<D> {
    /// Puts a bad network between the stack and `device`.
    pub fn new(impairment: Impairment, device: D) -> Self {
        let now = Clock::now();
        Impair {
            device,
            outgoing: ImpairQueue::new(impairment, 0, now),
            incoming: ImpairQueue::new(impairment, 1, now),
            kept: None,
            counters: ImpairCounters::default(),
        }
    }

    /// Returns the counters. Call this before the device is given to a runtime.
    pub fn counters(&self) -> ImpairCounters {
        self.counters.clone()
    }

    /// Sends the frames that are due, as long as the device has room.
    fn send_due(&mut self) -> io::Result<()> {
        let now = Clock::now();
        while let Some(transmit) = self.kept.take().or_else(|| self.outgoing.pop(now)) {
            if self.device.send(&transmit)? == Sent::Full {
                self.kept = Some(transmit);
                break;
            }
        }
        self.publish_counts();
        Ok(())
    }

    fn publish_counts(&self) {
        self.counters.write([self.outgoing.counts(), self.incoming.counts()]);
    }
}

impl<D: Device> Device for Impair<D> {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn medium(&self) -> Medium {
        self.device.medium()
    }

    fn mtu(&self) -> usize {
        self.device.mtu()
    }

    /// The offloads of the device; none if frames are corrupted, because nobody would notice
    /// without a checksum.
    fn offloads(&self) -> Offloads {
        if self.outgoing.damages() { Offloads::NONE } else { self.device.offloads() }
    }

    fn send(&mut self, transmit: &Transmit) -> io::Result<Sent> {
        if self.kept.is_some() {
            self.send_due()?;
            if self.kept.is_some() {
                // The device is full. A full device is not a fault of the network.
                return Ok(Sent::Full);
            }
        }
        self.outgoing.push(Clock::now(), transmit.clone());
        self.send_due()?;
        Ok(Sent::Taken)
    }

    fn recv(&mut self) -> io::Result<Option<Frame>> {
        let now = Clock::now();
        // A flood of frames that are all lost must not keep the leader here. The descriptor stays
        // readable, so the rest is read in the next turn.
        for _ in 0..RECEIVE_BURST {
            if let Some(frame) = self.incoming.pop(now) {
                self.publish_counts();
                return Ok(Some(frame));
            }
            match self.device.recv()? {
                Some(frame) => self.incoming.push(now, frame),
                None => break,
            }
        }
        let frame = self.incoming.pop(now);
        self.publish_counts();
        Ok(frame)
    }

    fn receive_fd(&self) -> BorrowedFd<'_> {
        self.device.receive_fd()
    }

    fn room(&self) -> Room<'_> {
        self.device.room()
    }

    fn deadline(&self) -> Option<Instant> {
        // The kept frame waits for room and not for a time, and later frames wait behind it.
        let outgoing = if self.kept.is_some() { None } else { self.outgoing.next_at() };
        [self.device.deadline(), outgoing, self.incoming.next_at()].into_iter().flatten().min()
    }

    fn wants_room(&self) -> bool {
        self.kept.is_some() || self.device.wants_room()
    }

    fn service(&mut self) -> io::Result<()> {
        self.device.service()?;
        self.send_due()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::MemoryPair;
    use portolan::InterfaceId;
    use std::time::Duration;

    fn transmit(byte: u8) -> Transmit {
        Transmit::from_frame(InterfaceId::from_index(0), Frame::new(vec![byte; 60]))
    }

    #[test]
    fn delayed_frames_leave_at_the_deadline_in_both_directions() {
        let (a, mut b) = MemoryPair::new().build().unwrap();
        let mut a = Impair::new("delay=20ms".parse().unwrap(), a);
        let counters = a.counters();
        let start = Clock::now();
        assert_eq!(a.send(&transmit(1)).unwrap(), Sent::Taken);
        assert_eq!(b.send(&transmit(2)).unwrap(), Sent::Taken);
        assert!(b.recv().unwrap().is_none());
        assert!(a.recv().unwrap().is_none());
        let deadline = a.deadline().unwrap();
        assert!(deadline - start >= Duration::from_millis(20));
        std::thread::sleep(Clock::until(deadline) + Duration::from_millis(5));
        a.service().unwrap();
        assert_eq!(b.recv().unwrap().unwrap().bytes[0], 1);
        assert_eq!(a.recv().unwrap().unwrap().bytes[0], 2);
        assert_eq!(a.deadline(), None);
        assert_eq!(counters.outgoing().delivered, 1);
        assert_eq!(counters.incoming().delivered, 1);
    }

    #[test]
    fn a_full_device_is_back_pressure_and_loses_nothing() {
        let (a, mut b) = MemoryPair::new().capacity(2).build().unwrap();
        let mut a = Impair::new(Impairment::default(), a);
        for byte in 0..3 {
            assert_eq!(a.send(&transmit(byte)).unwrap(), Sent::Taken);
        }
        assert!(a.wants_room());
        assert_eq!(a.send(&transmit(3)).unwrap(), Sent::Full);
        let mut received = Vec::new();
        while let Some(frame) = b.recv().unwrap() {
            received.push(frame.bytes[0]);
            a.service().unwrap();
        }
        assert_eq!(received, [0, 1, 2]);
        assert!(!a.wants_room());
        assert_eq!(a.send(&transmit(3)).unwrap(), Sent::Taken);
        assert_eq!(b.recv().unwrap().unwrap().bytes[0], 3);
    }

    #[test]
    fn loss_counts_and_a_lost_burst_does_not_hide_what_follows() {
        let (a, mut b) = MemoryPair::new().capacity(1000).build().unwrap();
        let mut a = Impair::new("loss=100%".parse().unwrap(), a);
        for _ in 0..200 {
            assert_eq!(b.send(&transmit(1)).unwrap(), Sent::Taken);
        }
        for _ in 0..4 {
            assert!(a.recv().unwrap().is_none());
        }
        assert_eq!(a.counters().incoming().lost, 200);
    }
}
