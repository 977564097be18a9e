//! [`InboxSet`]: the frames that several stacks on one interface hand to each other.
//!
//! Each stack reads a queue of its own. The other side of the interface chooses the queue of each
//! frame, and sometimes chooses a wrong one: it does not know a flow before it has seen an answer,
//! and it forgets flows that pause. So each frame is checked where it is read ([`QueueDevice`]),
//! and goes to the inbox of the stack that it is for. To that stack the inbox is one more device of
//! the interface ([`InboxDevice`]), which only receives.
//!
//! Another set of inboxes carries packets that a stack sends to its own addresses, for sockets on
//! other stacks.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};
use std::task::Waker;

use portolan::steering::{Destination, Steering};
use portolan::{Frame, Instant, Medium, Offloads};

use crate::device::{Device, Outgoing, Readiness, Received};
use crate::policy::{INBOX_BYTES, INBOX_FRAMES, MAX_PASSED_ON};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// One inbox for each stack of an interface.
#[derive(Debug)]
pub(crate) struct InboxSet {
    steering: Steering,
    inboxes: Vec<Inbox>,
    handed_over: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug)]
struct Inbox(Mutex<Queue>);

#[derive(Debug)]
struct Queue {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// Woken when there are frames.
    receiver: Waker,
}

/// Counts of frames that stacks with shared interfaces handed to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handovers {
    /// Frames that came to the queue of a stack that they are not for. A frame that is for all
    /// stacks counts once for each other stack.
    pub frames: u64,
    /// Frames that were lost because the other stack did not take them in time.
    pub lost: u64,
}

impl Handovers {
    pub(crate) fn add(&mut self, inbox_set: &InboxSet) {
        self.frames += inbox_set.handed_over.load(Ordering::Relaxed);
        self.lost += inbox_set.lost.load(Ordering::Relaxed);
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code that holds this lock panics halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InboxSet {
    pub(crate) fn new(steering: Steering) -> InboxSet {
        let queue = || Queue { frames: VecDeque::new(), bytes: 0, receiver: Waker::noop().clone() };
        let inboxes = (0..steering.stacks()).map(|_| Inbox(Mutex::new(queue()))).collect();
        InboxSet { steering, inboxes, handed_over: AtomicU64::new(0), lost: AtomicU64::new(0) }
    }

    fn push(&self, to: u16, frame: Frame) {
        let Some(inbox) = self.inboxes.get(usize::from(to)) else { return };
        let mut queue = inbox.lock();
        let bytes = queue.bytes + frame.bytes.len();
        if queue.frames.len() >= INBOX_FRAMES || bytes > INBOX_BYTES {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return log::debug!(
                "a frame of {} bytes for stack {to} is lost: its inbox is full",
                frame.bytes.len()
            );
        }
        self.handed_over.fetch_add(1, Ordering::Relaxed);
        queue.bytes = bytes;
        queue.frames.push_back(frame);
        let receiver = queue.receiver.clone();
        drop(queue);
        receiver.wake();
    }

    fn take(&self, stack: u16, received: &mut Received<'_>) {
        let Some(inbox) = self.inboxes.get(usize::from(stack)) else { return };
        let mut queue = inbox.lock();
        while received.has_room()
            && let Some(frame) = queue.frames.pop_front()
        {
            queue.bytes -= frame.bytes.len();
            received.push(frame);
        }
    }
}

/// One queue of an interface, for the stack that reads it.
pub(crate) struct QueueDevice {
    device: Box<dyn Device>,
    medium: Medium,
    stack: u16,
    inbox_set: Arc<InboxSet>,
    /// Frames that were just read; empty between two calls.
    read: Vec<Frame>,
}

impl QueueDevice {
    pub(crate) fn new(device: Box<dyn Device>, stack: u16, inbox_set: Arc<InboxSet>) -> Self {
        QueueDevice { medium: device.medium(), device, stack, inbox_set, read: Vec::new() }
    }

    /// Puts a frame into the inboxes of the other stacks that it is for. Returns it if it is for
    /// this stack.
    fn steer(&self, frame: Frame) -> Option<Frame> {
        match self.inbox_set.steering.of_frame(self.medium, &frame.bytes) {
            Destination::One(stack) if stack != self.stack => {
                self.inbox_set.push(stack, frame);
                None
            }
            Destination::One(_) | Destination::Any => Some(frame),
            Destination::All => {
                for other in (0..self.inbox_set.steering.stacks()).filter(|&other| other != self.stack) {
                    self.inbox_set.push(other, frame.clone());
                }
                Some(frame)
            }
        }
    }
}

impl Device for QueueDevice {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn medium(&self) -> Medium {
        self.medium
    }

    fn mtu(&self) -> usize {
        self.device.mtu()
    }

    fn offloads(&self) -> Offloads {
        self.device.offloads()
    }

    fn readiness(&mut self, waker: &Waker) -> Readiness<'_> {
        self.device.readiness(waker)
    }

    fn transmit(&mut self, outgoing: &mut Outgoing<'_>) -> io::Result<()> {
        self.device.transmit(outgoing)
    }

    fn receive(&mut self, received: &mut Received<'_>) -> io::Result<()> {
        let mut passed_on = 0;
        while received.has_room() && passed_on < MAX_PASSED_ON {
            let before = received.len();
            self.device.receive(received)?;
            self.read.extend(received.drain(before));
            if self.read.is_empty() {
                break;
            }
            let mut read = std::mem::take(&mut self.read);
            for frame in read.drain(..) {
                match self.steer(frame) {
                    Some(frame) => received.push(frame),
                    None => passed_on += 1,
                }
            }
            self.read = read;
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.device.deadline()
    }

    fn wants_room(&self) -> bool {
        self.device.wants_room()
    }

    fn service(&mut self) -> io::Result<()> {
        self.device.service()
    }
}

/// The inbox of one stack as a device. A frame that is sent through it goes to the stack that it is
/// for.
pub(crate) struct InboxDevice {
    name: String,
    medium: Medium,
    mtu: usize,
    stack: u16,
    inbox_set: Arc<InboxSet>,
}

impl InboxDevice {
    /// An inbox for frames that come in through the interface of this device.
    pub(crate) fn beside(device: &dyn Device, stack: u16, inbox_set: Arc<InboxSet>) -> Self {
        let name = device.name().to_owned();
        InboxDevice { name, medium: device.medium(), mtu: device.mtu(), stack, inbox_set }
    }

    /// An inbox for packets from one of the host's own addresses to another.
    pub(crate) fn loopback(stack: u16, inbox_set: Arc<InboxSet>) -> Self {
        let mtu = usize::from(u16::MAX);
        InboxDevice { name: "loopback".into(), medium: Medium::Ip, mtu, stack, inbox_set }
    }
}

impl Device for InboxDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn medium(&self) -> Medium {
        self.medium
    }

    fn mtu(&self) -> usize {
        self.mtu
    }

    fn readiness(&mut self, waker: &Waker) -> Readiness<'_> {
        if let Some(inbox) = self.inbox_set.inboxes.get(usize::from(self.stack)) {
            inbox.lock().receiver = waker.clone();
        }
        Readiness::waker()
    }

    fn transmit(&mut self, outgoing: &mut Outgoing<'_>) -> io::Result<()> {
        while let Some(transmit) = outgoing.pop() {
            let frame = transmit.to_frame();
            if let Destination::One(stack) = self.inbox_set.steering.of_frame(self.medium, &frame.bytes) {
                self.inbox_set.push(stack, frame);
            }
        }
        Ok(())
    }

    fn receive(&mut self, received: &mut Received<'_>) -> io::Result<()> {
        self.inbox_set.take(self.stack, received);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::single::{receive, send};
    use crate::device::{Sent, memory_pair};
    use crate::engine::device_signal::DeviceSignal;
    use portolan::testing::{PacketBuilder, TcpSegment, arp_request, ethernet};
    use portolan::{InterfaceId, Transmit};

    /// Receives up to 32 frames.
    fn receive_all(device: &mut dyn Device) -> Vec<Frame> {
        let mut frames = Vec::new();
        device.receive(&mut Received::new(&mut frames, 32)).unwrap();
        frames
    }

    fn transmit(bytes: &[u8]) -> Transmit {
        Transmit::from_frame(InterfaceId::from_index(0), Frame::new(bytes.to_vec()))
    }

    #[test]
    fn a_frame_comes_to_the_stack_that_it_is_for_and_wakes_it() {
        let steering = Steering::new(2, [3; 16]);
        let inbox_set = Arc::new(InboxSet::new(steering.clone()));
        let (queue, mut wire) = memory_pair().unwrap();
        let Medium::Ethernet(own) = queue.medium() else { panic!("an Ethernet") };
        let Medium::Ethernet(theirs) = wire.medium() else { panic!("an Ethernet") };
        let mut inbox = InboxDevice::beside(&queue, 1, inbox_set.clone());
        let signal = DeviceSignal::new().unwrap();
        inbox.readiness(&Waker::from(signal.clone()));
        signal.clear(true);
        let mut queue = QueueDevice::new(Box::new(queue), 0, inbox_set.clone());
        let builder = PacketBuilder::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let owner = |port| steering.of_tcp(([10, 0, 0, 2], 80).into(), ([10, 0, 0, 1], port).into());
        let frame = |port| ethernet(theirs, own, &builder.tcp(&TcpSegment::new(port, 80)));
        let (ours, others) =
            ((1..).find(|&p| owner(p) == 0).unwrap(), (1..).find(|&p| owner(p) == 1).unwrap());
        for port in [others, ours, others] {
            assert_eq!(send(&mut wire, &transmit(&frame(port))), Sent::Taken);
        }
        assert!(!signal.is_raised());
        assert_eq!(receive(&mut queue).unwrap().bytes, frame(ours));
        assert!(signal.is_raised());
        assert!(receive(&mut queue).is_none());
        signal.clear(false);
        let handed_over = receive_all(&mut inbox);
        assert!(handed_over.len() == 2 && handed_over.iter().all(|other| other.bytes == frame(others)));
        assert!(receive_all(&mut inbox).is_empty() && !signal.is_raised());
        // ARP is for both stacks.
        let arp = arp_request(theirs, [10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        assert_eq!(send(&mut wire, &transmit(&arp)), Sent::Taken);
        assert!(receive(&mut queue).is_some() && signal.is_raised());
        assert!(receive(&mut inbox).is_some());
        let mut counts = Handovers::default();
        counts.add(&inbox_set);
        assert_eq!(counts, Handovers { frames: 3, lost: 0 });
    }

    #[test]
    fn an_inbox_that_nobody_empties_loses_frames_and_counts_them() {
        let inbox_set = Arc::new(InboxSet::new(Steering::new(2, [3; 16])));
        for _ in 0..INBOX_FRAMES + 5 {
            inbox_set.push(1, Frame::new(vec![0; 60]));
        }
        inbox_set.push(0, Frame::new(vec![0; INBOX_BYTES + 1]));
        let mut counts = Handovers::default();
        counts.add(&inbox_set);
        assert_eq!(counts, Handovers { frames: INBOX_FRAMES as u64, lost: 6 });
        let mut frames = Vec::new();
        inbox_set.take(1, &mut Received::new(&mut frames, usize::MAX));
        assert_eq!(frames.len(), INBOX_FRAMES);
        inbox_set.push(1, Frame::new(vec![0; 60]));
        inbox_set.take(1, &mut Received::new(&mut frames, 1));
        assert_eq!(frames.len(), INBOX_FRAMES + 1);
    }

    #[test]
    fn what_a_stack_sends_to_itself_goes_to_the_stack_with_the_socket() {
        let inbox_set = Arc::new(InboxSet::new(Steering::new(3, [3; 16])));
        let mut devices: Vec<_> =
            (0..3).map(|stack| InboxDevice::loopback(stack, inbox_set.clone())).collect();
        let packet = PacketBuilder::new([127, 0, 0, 1].into(), [127, 0, 0, 1].into()).udp(7, 3002, b"x");
        assert_eq!(send(&mut devices[0], &transmit(&packet)), Sent::Taken);
        assert!(receive(&mut devices[0]).is_none());
        assert_eq!(receive(&mut devices[3002 % 3]).unwrap().bytes, packet);
    }
}
