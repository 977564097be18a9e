//! [`Impair`]: a fault injector around a device.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};
use std::task::Waker;

use portolan::{Frame, Instant, Medium, Offloads, Transmit};

use super::{Device, ImpairCounts, ImpairQueue, Impairment, Outgoing, Readiness, Received};
use crate::clock::Clock;
use crate::policy::RECEIVE_BURST;
use crate::sync::Mutex;

/// A device behind a bad network: loss, outages, duplication, reordering, delay, jitter, corruption
/// and a limited rate, in both directions.
///
/// ```
/// use portolan_runtime::device::Impair;
/// use portolan_runtime::{Builder, UdpSocket};
///
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (left, right) = wire.build()?;
/// let right = Impair::new("dup=100%,seed=7".parse()?, right); // every frame arrives twice
/// let counters = right.counters();
/// let a = Builder::new().interface(left, ["10.0.0.1/24".parse()?]).start()?;
/// let b = Builder::new().interface(right, ["10.0.0.2/24".parse()?]).start()?;
///
/// let receiver = UdpSocket::bind(&a, "10.0.0.1:9")?;
/// UdpSocket::bind(&b, "10.0.0.2:0")?.send_to(b"once", "10.0.0.1:9")?;
/// assert_eq!((receiver.recv(&mut [0; 9])?, receiver.recv(&mut [0; 9])?), (4, 4));
/// assert!(counters.outgoing().duplicated > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Impair<D> {
    device: D,
    outgoing: ImpairQueue<Transmit>,
    incoming: ImpairQueue<Frame>,
    /// Frames that are due, but for which the device had no room.
    kept: VecDeque<Transmit>,
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
            kept: VecDeque::new(),
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
        loop {
            if !self.kept.is_empty() {
                self.device.transmit(&mut Outgoing::new(&mut self.kept))?;
            }
            if !self.kept.is_empty() {
                break;
            }
            let Some(transmit) = self.outgoing.pop(now) else { break };
            self.kept.push_back(transmit);
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

    fn readiness(&mut self, waker: &Waker) -> Readiness<'_> {
        self.device.readiness(waker)
    }

    fn transmit(&mut self, outgoing: &mut Outgoing<'_>) -> io::Result<()> {
        if !self.kept.is_empty() {
            self.send_due()?;
        }
        // A full device is not a fault of the network, so the frames wait before it.
        while self.kept.is_empty()
            && let Some(transmit) = outgoing.pop()
        {
            self.outgoing.push(Clock::now(), transmit);
            self.send_due()?;
        }
        Ok(())
    }

    fn receive(&mut self, received: &mut Received<'_>) -> io::Result<()> {
        let now = Clock::now();
        let mut handled = 0;
        loop {
            while received.has_room()
                && let Some(frame) = self.incoming.pop(now)
            {
                received.push(frame);
            }
            // A flood of frames that are all lost must not keep the leader here.
            if !received.has_room() || handled >= RECEIVE_BURST {
                break;
            }
            let before = received.len();
            self.device.receive(received)?;
            if received.len() == before {
                break;
            }
            for frame in received.drain(before) {
                self.incoming.push(now, frame);
                handled += 1;
            }
        }
        self.publish_counts();
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        // A kept frame waits for room and not for a time, and later frames wait behind it.
        let outgoing = if self.kept.is_empty() { self.outgoing.next_at() } else { None };
        [self.device.deadline(), outgoing, self.incoming.next_at()].into_iter().flatten().min()
    }

    fn wants_room(&self) -> bool {
        !self.kept.is_empty() || self.device.wants_room()
    }

    fn service(&mut self) -> io::Result<()> {
        self.device.service()?;
        self.send_due()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::single::{receive, send};
    use crate::device::{MemoryPair, Sent};
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
        assert_eq!(send(&mut a, &transmit(1)), Sent::Taken);
        assert_eq!(send(&mut b, &transmit(2)), Sent::Taken);
        assert!(receive(&mut b).is_none());
        assert!(receive(&mut a).is_none());
        let deadline = a.deadline().unwrap();
        assert!(deadline - start >= Duration::from_millis(20));
        std::thread::sleep(Clock::until(deadline) + Duration::from_millis(5));
        a.service().unwrap();
        assert_eq!(receive(&mut b).unwrap().bytes[0], 1);
        assert_eq!(receive(&mut a).unwrap().bytes[0], 2);
        assert_eq!(a.deadline(), None);
        assert_eq!(counters.outgoing().delivered, 1);
        assert_eq!(counters.incoming().delivered, 1);
    }

    #[test]
    fn a_full_device_is_back_pressure_and_loses_nothing() {
        let (a, mut b) = MemoryPair::new().capacity(2).build().unwrap();
        let mut a = Impair::new(Impairment::default(), a);
        for byte in 0..3 {
            assert_eq!(send(&mut a, &transmit(byte)), Sent::Taken);
        }
        assert!(a.wants_room());
        assert_eq!(send(&mut a, &transmit(3)), Sent::Full);
        let mut received = Vec::new();
        while let Some(frame) = receive(&mut b) {
            received.push(frame.bytes[0]);
            a.service().unwrap();
        }
        assert_eq!(received, [0, 1, 2]);
        assert!(!a.wants_room());
        assert_eq!(send(&mut a, &transmit(3)), Sent::Taken);
        assert_eq!(receive(&mut b).unwrap().bytes[0], 3);
    }

    #[test]
    fn loss_counts_and_a_lost_burst_does_not_hide_what_follows() {
        let (a, mut b) = MemoryPair::new().capacity(1000).build().unwrap();
        let mut a = Impair::new("loss=100%".parse().unwrap(), a);
        for _ in 0..200 {
            assert_eq!(send(&mut b, &transmit(1)), Sent::Taken);
        }
        for _ in 0..4 {
            assert!(receive(&mut a).is_none());
        }
        assert_eq!(a.counters().incoming().lost, 200);
    }
}
