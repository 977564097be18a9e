//! [`MemoryDevice`]: a pair of devices joined by a wire in memory.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};

use portolan::{Frame, MacAddr, Medium, Offloads, Transmit};

use super::{Device, Interest, Room, Sent};
use crate::platform::poll::BorrowedFd;
use crate::platform::signal::Signal;
use crate::sync::{Mutex, MutexGuard};

/// Makes two Ethernet devices with an MTU of 1,500, joined by a wire in memory. [`MemoryPair`]
/// offers settings.
pub fn memory_pair() -> io::Result<(MemoryDevice, MemoryDevice)> {
    MemoryPair::new().build()
}

/// The settings of a pair of devices joined by a wire in memory.
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

    /// Makes the two devices. Fails if no descriptors are left.
    pub fn build(self) -> io::Result<(MemoryDevice, MemoryDevice)> {
        let [a_to_b, b_to_a] = [Wire::new(self.capacity)?, Wire::new(self.capacity)?].map(Arc::new);
        let [medium_a, medium_b] = self.mediums;
        let end = |name: &str, medium, outgoing: &Arc<Wire>, incoming: &Arc<Wire>| MemoryDevice {
            name: name.to_owned(),
            medium,
            mtu: self.mtu,
            offloads: self.offloads,
            outgoing: outgoing.clone(),
            incoming: incoming.clone(),
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
/// When the wire is full, [`send`](Device::send) returns [`Sent::Full`], as with the ring of a
/// network card. When the other end was dropped, frames that are sent are lost, and none are
/// received.
#[derive(Debug)]
pub struct MemoryDevice {
    name: String,
    medium: Medium,
    mtu: usize,
    offloads: Offloads,
    outgoing: Arc<Wire>,
    incoming: Arc<Wire>,
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

    fn send(&mut self, transmit: &Transmit) -> io::Result<Sent> {
        // Only this end puts frames on the wire, so the room that is found here is still there
        // after the copy, which is made with the lock released.
        if !self.outgoing.has_room() {
            return Ok(Sent::Full);
        }
        self.outgoing.push(transmit.to_frame());
        Ok(Sent::Taken)
    }

    fn recv(&mut self) -> io::Result<Option<Frame>> {
        Ok(self.incoming.pop())
    }

    fn receive_fd(&self) -> BorrowedFd<'_> {
        self.incoming.arrived.as_fd()
    }

    fn room(&self) -> Room<'_> {
        Room::new(self.outgoing.emptied.as_fd(), Interest::Readable)
    }
}

impl Drop for MemoryDevice {
    fn drop(&mut self) {
        self.incoming.disconnect();
    }
}

/// One direction of the wire.
#[derive(Debug)]
struct Wire {
    state: Mutex<WireState>,
    capacity: usize,
    /// Raised while there are frames.
    arrived: Signal,
    /// Raised when a wire that was full has become half empty.
    emptied: Signal,
}

#[derive(Debug, Default)]
struct WireState {
    frames: VecDeque<Frame>,
    arrived_raised: bool,
    sender_waits: bool,
    disconnected: bool,
}

impl Wire {
    fn new(capacity: usize) -> io::Result<Self> {
        Ok(Wire { state: Mutex::default(), capacity, arrived: Signal::new()?, emptied: Signal::new()? })
    }

    /// Locks the wire. Its state is consistent between any two statements, so a panic with the lock
    /// held breaks nothing.
    fn lock(&self) -> MutexGuard<'_, WireState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self) -> bool {
        let mut state = self.lock();
        if state.frames.len() < self.capacity {
            return true;
        }
        if !state.sender_waits {
            state.sender_waits = true;
            self.emptied.clear();
        }
        false
    }

    fn push(&self, frame: Frame) {
        let mut state = self.lock();
        if state.disconnected {
            return;
        }
        state.frames.push_back(frame);
        if !state.arrived_raised {
            state.arrived_raised = true;
            self.arrived.raise();
        }
    }

    fn pop(&self) -> Option<Frame> {
        let mut state = self.lock();
        let frame = state.frames.pop_front();
        if frame.is_none() && state.arrived_raised {
            state.arrived_raised = false;
            self.arrived.clear();
        }
        if state.sender_waits && state.frames.len() <= self.capacity / 2 {
            state.sender_waits = false;
            self.emptied.raise();
        }
        frame
    }

    fn disconnect(&self) {
        let mut state = self.lock();
        state.disconnected = true;
        state.frames.clear();
        self.emptied.raise();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan::InterfaceId;
    use std::time::Duration;

    use crate::platform::poll::{PollFd, poll};

    fn transmit(byte: u8) -> Transmit {
        Transmit::from_frame(InterfaceId::from_index(0), Frame::new(vec![byte; 60]))
    }

    fn is_ready(fd: BorrowedFd<'_>, interest: Interest) -> bool {
        poll(&mut [PollFd::from_borrowed_fd(fd, interest.poll_flags())], Some(Duration::ZERO)).unwrap() == 1
    }

    #[test]
    fn frames_arrive_in_order_and_the_descriptor_tells() {
        let (mut a, mut b) = memory_pair().unwrap();
        assert!(!is_ready(b.receive_fd(), Interest::Readable));
        for byte in 0..3 {
            assert_eq!(a.send(&transmit(byte)).unwrap(), Sent::Taken);
        }
        assert!(is_ready(b.receive_fd(), Interest::Readable));
        assert!(!is_ready(a.receive_fd(), Interest::Readable));
        for byte in 0..3 {
            assert_eq!(b.recv().unwrap().unwrap().bytes[0], byte);
        }
        assert!(b.recv().unwrap().is_none());
        assert!(!is_ready(b.receive_fd(), Interest::Readable));
        assert_eq!(b.send(&transmit(9)).unwrap(), Sent::Taken);
        assert_eq!(a.recv().unwrap().unwrap().bytes[0], 9);
    }

    #[test]
    fn a_full_wire_says_so_until_it_is_half_empty() {
        let (mut a, mut b) = MemoryPair::new().capacity(4).build().unwrap();
        for _ in 0..4 {
            assert_eq!(a.send(&transmit(1)).unwrap(), Sent::Taken);
        }
        assert_eq!(a.send(&transmit(2)).unwrap(), Sent::Full);
        assert!(!is_ready(a.room().fd, a.room().interest));
        b.recv().unwrap().unwrap();
        assert!(!is_ready(a.room().fd, a.room().interest));
        b.recv().unwrap().unwrap();
        assert!(is_ready(a.room().fd, a.room().interest));
        assert_eq!(a.send(&transmit(2)).unwrap(), Sent::Taken);
        assert_eq!(a.send(&transmit(3)).unwrap(), Sent::Taken);
        assert_eq!(a.send(&transmit(4)).unwrap(), Sent::Full);
        assert!(!is_ready(a.room().fd, a.room().interest));
    }

    #[test]
    fn without_its_other_end_a_wire_loses_everything_and_blocks_nobody() {
        let (mut a, mut b) = MemoryPair::new().capacity(1).build().unwrap();
        assert_eq!(a.send(&transmit(1)).unwrap(), Sent::Taken);
        assert_eq!(a.send(&transmit(1)).unwrap(), Sent::Full);
        assert_eq!(b.send(&transmit(7)).unwrap(), Sent::Taken);
        drop(b);
        assert!(is_ready(a.room().fd, a.room().interest));
        for _ in 0..10 {
            assert_eq!(a.send(&transmit(1)).unwrap(), Sent::Taken);
        }
        assert_eq!(a.recv().unwrap().unwrap().bytes[0], 7);
        assert!(a.recv().unwrap().is_none());
    }
}
