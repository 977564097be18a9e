//! [`MemoryDevice`]: a pair of devices joined by a wire in memory.

use std::io;
use std::sync::Arc;
use std::task::Waker;

use portolan::{Frame, MacAddr, Medium, Offloads, Transmit};

use super::lane::Lane;
use super::{Device, Outgoing, Readiness, Received};

/// Makes two Ethernet devices with an MTU of 1,500, joined by a wire in memory. [`MemoryPair`]
/// offers settings.
pub fn memory_pair() -> io::Result<(MemoryDevice, MemoryDevice)> {
    MemoryPair::new().build()
}

/// The settings of a pair of devices joined by a wire in memory.
///
/// ```
/// use portolan::{Medium, Offloads};
/// use portolan_runtime::Builder;
/// use portolan_runtime::device::MemoryPair;
///
/// // Bare IP with the largest MTU, and nothing to compute: the fastest wire there is.
/// let pair = MemoryPair::new().mediums(Medium::Ip, Medium::Ip).mtu(65535).offloads(Offloads::ALL);
/// let (left, right) = pair.build()?;
/// let a = Builder::new().interface(left, ["10.0.0.1/24".parse()?]).start()?;
/// let b = Builder::new().interface(right, ["10.0.0.2/24".parse()?]).start()?;
/// # drop((a, b));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryPair {
    mediums: [Medium; 2],
    mtu: usize,
    capacity: usize,
    offloads: Offloads,
}

impl MemoryPair {
    /// Settings for Ethernet, an MTU of 1,500, no offloads, and room for 256 frames in each
    /// direction.
    pub fn new() -> Self {
        MemoryPair {
            mediums: [1, 2].map(|last| Medium::Ethernet(MacAddr([2, 0, 0, 0, 0, last]))),
            mtu: 1500,
            capacity: 256,
            offloads: Offloads::NONE,
        }
    }

    /// Sets the kind of link at both ends: Ethernet with these addresses, or bare IP.
    pub fn mediums(mut self, a: Medium, b: Medium) -> Self {
        self.mediums = [a, b];
        self
    }

    /// Sets the size of the largest IP packet in bytes.
    pub fn mtu(mut self, mtu: usize) -> Self {
        self.mtu = mtu;
        self
    }

    /// Sets the offloads of the devices: a run of segments crosses as one frame, and checksums stay
    /// incomplete.
    pub fn offloads(mut self, offloads: Offloads) -> Self {
        self.offloads = offloads;
        self
    }

    /// Sets how many frames fit on the wire in each direction; at least one.
    pub fn capacity(mut self, frames: usize) -> Self {
        self.capacity = frames.max(1);
        self
    }

    /// Makes the two devices.
    pub fn build(self) -> io::Result<(MemoryDevice, MemoryDevice)> {
        let [a_to_b, b_to_a] = [(); 2].map(|()| Arc::new(Lane::new(self.capacity)));
        let [medium_a, medium_b] = self.mediums;
        let end =
            |name: &str, medium, outgoing: &Arc<Lane<Frame>>, incoming: &Arc<Lane<Frame>>| MemoryDevice {
                name: name.to_owned(),
                medium,
                mtu: self.mtu,
                offloads: self.offloads,
                outgoing: outgoing.clone(),
                incoming: incoming.clone(),
                copies: Vec::new(),
            };
        Ok((end("memory-a", medium_a, &a_to_b, &b_to_a), end("memory-b", medium_b, &b_to_a, &a_to_b)))
    }
}

impl Default for MemoryPair {
    fn default() -> Self {
        MemoryPair::new()
    }
}

/// One end of a wire in memory.
///
/// A full wire takes no frames until it is half empty, as with the ring of a network card. When the
/// other end was dropped, frames that are sent are lost, and none are received.
#[derive(Debug)]
pub struct MemoryDevice {
    name: String,
    medium: Medium,
    mtu: usize,
    offloads: Offloads,
    outgoing: Arc<Lane<Frame>>,
    incoming: Arc<Lane<Frame>>,
    /// Frames on their way to the wire; empty between two calls.
    copies: Vec<Frame>,
}

impl Device for MemoryDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn medium(&self) -> Medium {
        self.medium
    }

    fn mtu(&self) -> usize {
        self.mtu
    }

    fn offloads(&self) -> Offloads {
        self.offloads
    }

    fn readiness(&mut self, waker: &Waker) -> Readiness<'_> {
        self.incoming.set_receiver(waker);
        self.outgoing.set_sender(waker);
        Readiness::waker()
    }

    fn transmit(&mut self, outgoing: &mut Outgoing<'_>) -> io::Result<()> {
        self.outgoing.transmit(outgoing, &mut self.copies, Transmit::to_frame);
        Ok(())
    }

    fn receive(&mut self, received: &mut Received<'_>) -> io::Result<()> {
        self.incoming.receive(received);
        Ok(())
    }
}

impl Drop for MemoryDevice {
    fn drop(&mut self) {
        self.incoming.close_receiver();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Sent;
    use crate::device::single::{receive, send};
    use portolan::InterfaceId;
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    fn transmit(byte: u8) -> Transmit {
        Transmit::from_frame(InterfaceId::from_index(0), Frame::new(vec![byte; 60]))
    }

    /// Counts how often a device woke.
    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Wakes {
        fn of(device: &mut MemoryDevice) -> Arc<Wakes> {
            let wakes = Arc::new(Wakes::default());
            assert!(device.readiness(&Waker::from(wakes.clone())).receive().is_none());
            wakes
        }

        fn take(&self) -> usize {
            self.0.swap(0, Ordering::SeqCst)
        }
    }

    #[test]
    fn frames_arrive_in_order_and_the_receiver_is_woken() {
        let (mut a, mut b) = memory_pair().unwrap();
        let (wakes_a, wakes_b) = (Wakes::of(&mut a), Wakes::of(&mut b));
        for byte in 0..3 {
            assert_eq!(send(&mut a, &transmit(byte)), Sent::Taken);
        }
        assert_eq!(wakes_b.take(), 1, "it has not yet looked");
        for byte in 0..3 {
            assert_eq!(receive(&mut b).unwrap().bytes[0], byte);
        }
        assert!(receive(&mut b).is_none());
        assert_eq!(send(&mut b, &transmit(9)), Sent::Taken);
        assert_eq!(receive(&mut a).unwrap().bytes[0], 9);
        assert_eq!((wakes_a.take(), wakes_b.take()), (1, 0));
    }

    #[test]
    fn a_burst_is_one_call_and_one_wake_up() {
        let (mut a, mut b) = MemoryPair::new().capacity(100).build().unwrap();
        let wakes = Wakes::of(&mut b);
        let mut queue: VecDeque<Transmit> = (0..120).map(transmit).collect();
        a.transmit(&mut Outgoing::new(&mut queue)).unwrap();
        assert_eq!((queue.len(), wakes.take()), (20, 1));
        let mut frames = Vec::new();
        b.receive(&mut Received::new(&mut frames, 64)).unwrap();
        b.receive(&mut Received::new(&mut frames, 64)).unwrap();
        assert!(frames.iter().map(|frame| frame.bytes[0]).eq(0..100));
    }

    #[test]
    fn the_sender_of_a_full_wire_is_woken_when_that_is_half_empty() {
        let (mut a, mut b) = MemoryPair::new().capacity(4).build().unwrap();
        let wakes = Wakes::of(&mut a);
        for _ in 0..4 {
            assert_eq!(send(&mut a, &transmit(1)), Sent::Taken);
        }
        assert_eq!(send(&mut a, &transmit(2)), Sent::Full);
        receive(&mut b).unwrap();
        assert_eq!(wakes.take(), 0);
        receive(&mut b).unwrap();
        assert_eq!(wakes.take(), 1);
        assert_eq!(send(&mut a, &transmit(2)), Sent::Taken);
        assert_eq!(send(&mut a, &transmit(3)), Sent::Taken);
        assert_eq!(send(&mut a, &transmit(4)), Sent::Full);
        assert_eq!(wakes.take(), 0);
    }

    #[test]
    fn without_its_other_end_a_wire_loses_everything_and_blocks_nobody() {
        let (mut a, mut b) = MemoryPair::new().capacity(1).build().unwrap();
        let wakes = Wakes::of(&mut a);
        assert_eq!(send(&mut a, &transmit(1)), Sent::Taken);
        assert_eq!(send(&mut a, &transmit(1)), Sent::Full);
        assert_eq!(send(&mut b, &transmit(7)), Sent::Taken);
        wakes.take();
        drop(b);
        assert_eq!(wakes.take(), 1);
        for _ in 0..10 {
            assert_eq!(send(&mut a, &transmit(1)), Sent::Taken);
        }
        assert_eq!(receive(&mut a).unwrap().bytes[0], 7);
        assert!(receive(&mut a).is_none());
    }
}
