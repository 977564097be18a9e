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

use portolan::steering::{Destination, Steering};
use portolan::{Frame, Instant, Medium, Offloads, Transmit};

use crate::device::{Device, Room, Sent};
use crate::platform::poll::BorrowedFd;
use crate::platform::signal::Signal;
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
struct Inbox {
    queue: Mutex<Queue>,
    /// Readable while there are frames, and sometimes a moment longer.
    signal: Signal,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Frame>,
    bytes: usize,
    is_raised: bool,
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
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InboxSet {
    pub(crate) fn new(steering: Steering) -> io::Result<InboxSet> {
        let inbox = |_| Ok(Inbox { queue: Mutex::default(), signal: Signal::new()? });
        let inboxes = (0..steering.stacks()).map(inbox).collect::<io::Result<_>>()?;
        Ok(InboxSet { steering, inboxes, handed_over: AtomicU64::new(0), lost: AtomicU64::new(0) })
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
        if !queue.is_raised {
            queue.is_raised = true;
            inbox.signal.raise();
        }
    }

    fn pop(&self, stack: u16) -> Option<Frame> {
        let inbox = self.inboxes.get(usize::from(stack))?;
        let mut queue = inbox.lock();
        let frame = queue.frames.pop_front();
        match &frame {
            Some(frame) => queue.bytes -= frame.bytes.len(),
            None if queue.is_raised => {
                queue.is_raised = false;
                inbox.signal.clear();
            }
            None => {}
        }
        frame
    }
}

/// One queue of an interface, for the stack that reads it.
pub(crate) struct QueueDevice {
    device: Box<dyn Device>,
    medium: Medium,
    stack: u16,
    inbox_set: Arc<InboxSet>,
}

impl QueueDevice {
    pub(crate) fn new(device: Box<dyn Device>, stack: u16, inbox_set: Arc<InboxSet>) -> Self {
        QueueDevice { medium: device.medium(), device, stack, inbox_set }
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

    fn send(&mut self, transmit: &Transmit) -> io::Result<Sent> {
        self.device.send(transmit)
    }

    fn recv(&mut self) -> io::Result<Option<Frame>> {
        for _ in 0..MAX_PASSED_ON {
            let Some(frame) = self.device.recv()? else { return Ok(None) };
            if let Some(frame) = self.steer(frame) {
                return Ok(Some(frame));
            }
        }
        // If there are more, the descriptor is still readable.
        Ok(None)
    }

    fn receive_fd(&self) -> BorrowedFd<'_> {
        self.device.receive_fd()
    }

    fn room(&self) -> Room<'_> {
        self.device.room()
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

    fn send(&mut self, transmit: &Transmit) -> io::Result<Sent> {
        let frame = transmit.to_frame();
        if let Destination::One(stack) = self.inbox_set.steering.of_frame(self.medium, &frame.bytes) {
            self.inbox_set.push(stack, frame);
        }
        Ok(Sent::Taken)
    }

    fn recv(&mut self) -> io::Result<Option<Frame>> {
        Ok(self.inbox_set.pop(self.stack))
    }

    fn receive_fd(&self) -> BorrowedFd<'_> {
        match self.inbox_set.inboxes.get(usize::from(self.stack)) {
            Some(inbox) => inbox.signal.as_fd(),
            None => unreachable!("a set has an inbox for each of its stacks"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::memory_pair;
    use crate::platform::poll::{PollFd, PollFlags, poll};
    use portolan::InterfaceId;
    use portolan::testing::{PacketBuilder, TcpSegment, arp_request, ethernet};
    use std::time::Duration;

    fn is_readable(device: &dyn Device) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(device.receive_fd(), PollFlags::IN)];
        poll(&mut fds, Some(Duration::ZERO)).unwrap() == 1
    }

    fn transmit(bytes: &[u8]) -> Transmit {
        Transmit::from_frame(InterfaceId::from_index(0), Frame::new(bytes.to_vec()))
    }

    #[test]
    fn a_frame_comes_to_the_stack_that_it_is_for_and_wakes_it() {
        let steering = Steering::new(2, [3; 16]);
        let inbox_set = Arc::new(InboxSet::new(steering.clone()).unwrap());
        let (queue, mut wire) = memory_pair().unwrap();
        let Medium::Ethernet(own) = queue.medium() else { panic!("an Ethernet") };
        let Medium::Ethernet(theirs) = wire.medium() else { panic!("an Ethernet") };
        let mut inbox = InboxDevice::beside(&queue, 1, inbox_set.clone());
        let mut queue = QueueDevice::new(Box::new(queue), 0, inbox_set.clone());
        let builder = PacketBuilder::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let owner = |port| steering.of_tcp(([10, 0, 0, 2], 80).into(), ([10, 0, 0, 1], port).into());
        let frame = |port| ethernet(theirs, own, &builder.tcp(&TcpSegment::new(port, 80)));
        let (ours, others) =
            ((1..).find(|&p| owner(p) == 0).unwrap(), (1..).find(|&p| owner(p) == 1).unwrap());
        for port in [others, ours, others] {
            assert_eq!(wire.send(&transmit(&frame(port))).unwrap(), Sent::Taken);
        }
        assert!(!is_readable(&inbox));
        assert_eq!(queue.recv().unwrap().unwrap().bytes, frame(ours));
        assert!(is_readable(&inbox));
        assert!(queue.recv().unwrap().is_none());
        for _ in 0..2 {
            assert_eq!(inbox.recv().unwrap().unwrap().bytes, frame(others));
        }
        assert!(inbox.recv().unwrap().is_none());
        assert!(!is_readable(&inbox));
        // ARP is for both stacks.
        let arp = arp_request(theirs, [10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        assert_eq!(wire.send(&transmit(&arp)).unwrap(), Sent::Taken);
        assert!(queue.recv().unwrap().is_some() && is_readable(&inbox));
        assert!(inbox.recv().unwrap().is_some());
        let mut counts = Handovers::default();
        counts.add(&inbox_set);
        assert_eq!(counts, Handovers { frames: 3, lost: 0 });
    }

    #[test]
    fn an_inbox_that_nobody_empties_loses_frames_and_counts_them() {
        let inbox_set = Arc::new(InboxSet::new(Steering::new(2, [3; 16])).unwrap());
        for _ in 0..INBOX_FRAMES + 5 {
            inbox_set.push(1, Frame::new(vec![0; 60]));
        }
        inbox_set.push(0, Frame::new(vec![0; INBOX_BYTES + 1]));
        let mut counts = Handovers::default();
        counts.add(&inbox_set);
        assert_eq!(counts, Handovers { frames: INBOX_FRAMES as u64, lost: 6 });
        assert_eq!(std::iter::from_fn(|| inbox_set.pop(1)).count(), INBOX_FRAMES);
        inbox_set.push(1, Frame::new(vec![0; 60]));
        assert!(inbox_set.pop(1).is_some());
    }

    #[test]
    fn what_a_stack_sends_to_itself_goes_to_the_stack_with_the_socket() {
        let inbox_set = Arc::new(InboxSet::new(Steering::new(3, [3; 16])).unwrap());
        let mut devices: Vec<_> =
            (0..3).map(|stack| InboxDevice::loopback(stack, inbox_set.clone())).collect();
        let packet = PacketBuilder::new([127, 0, 0, 1].into(), [127, 0, 0, 1].into()).udp(7, 3002, b"x");
        assert_eq!(devices[0].send(&transmit(&packet)).unwrap(), Sent::Taken);
        assert!(devices[0].recv().unwrap().is_none());
        assert_eq!(devices[3002 % 3].recv().unwrap().unwrap().bytes, packet);
    }
}
