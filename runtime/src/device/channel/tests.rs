use std::sync::Barrier;
use std::task::Wake;
use std::thread;

use portolan::{InterfaceId, SegmentKind, Transmit};

use super::*;
use crate::device::Sent;
use crate::device::single::{receive, send};

fn transmit(byte: u8) -> Transmit {
    Transmit::from_frame(InterfaceId::from_index(0), Frame::new(vec![byte; 60]))
}

fn frames(bytes: std::ops::Range<u8>) -> VecDeque<Frame> {
    bytes.map(|byte| Frame::new(vec![byte; 60])).collect()
}

fn channel(capacity: usize) -> (ChannelDevice, PacketSender, PacketReceiver) {
    PacketChannel::new(Medium::Ip).capacity(capacity).head_room(4).tail_room(2).build()
}

fn is_kind<T: std::fmt::Debug>(result: io::Result<T>, kind: io::ErrorKind) -> bool {
    result.unwrap_err().kind() == kind
}

/// Runs a future on this thread, which sleeps while it is pending.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => bell.wait(),
        }
    }
}

#[test]
fn a_packet_has_room_for_a_header_and_a_tag() {
    let (mut device, _sender, mut receiver) = channel(4);
    assert_eq!(send(&mut device, &transmit(7)), Sent::Taken);
    let mut packets = Vec::new();
    assert_eq!(receiver.try_recv(&mut packets, 9).unwrap(), 1);
    let mut packet = packets.pop().unwrap();
    let at = packet.bytes().as_ptr();
    packet.bytes_mut()[0] = 9;
    packet.prepend(&[1, 2, 3]);
    packet.append(&[4, 5]);
    assert_eq!(packet.bytes()[3..].as_ptr(), at, "nothing was copied");
    let expected: Vec<u8> = [1, 2, 3, 9].into_iter().chain([7; 59]).chain([4, 5]).collect();
    assert_eq!(packet.bytes(), expected);
    // More than there is room for.
    packet.prepend(&[6, 6]);
    packet.append(&[8; 100]);
    let expected = [&[6, 6][..], &expected, &[8; 100]].concat();
    assert_eq!(packet.bytes(), expected);
    assert_eq!(packet.into_bytes(), expected);
}

#[test]
fn the_work_that_is_left_to_do_goes_with_the_packet() {
    let (mut device, _sender, mut receiver) = channel(4);
    let checksum = PartialChecksum { start: 20, offset: 16 };
    let segments = Segments { kind: SegmentKind::TcpV4, len: 20 };
    let run =
        Frame::new(vec![1; 60]).with_checksum(ChecksumState::Partial(checksum)).with_segments(Some(segments));
    assert_eq!(send(&mut device, &Transmit::from_frame(InterfaceId::from_index(0), run)), Sent::Taken);
    let mut packets = Vec::new();
    receiver.recv(&mut packets, 1);
    let packet = packets.pop().unwrap();
    assert_eq!((packet.checksum(), packet.segments()), (Some(checksum), Some(segments)));
    let frame = Frame::from(packet);
    assert_eq!((frame.checksum, frame.segments), (ChecksumState::Partial(checksum), Some(segments)));
    assert_eq!(frame.bytes[..], [1; 60]);
}

#[test]
fn what_has_no_room_waits_on_either_side() {
    let (mut device, mut sender, mut receiver) = channel(4);
    let mut queue: VecDeque<Transmit> = (0..6).map(transmit).collect();
    device.transmit(&mut Outgoing::new(&mut queue)).unwrap();
    assert_eq!(queue.len(), 2);
    let mut packets = Vec::new();
    assert_eq!(receiver.try_recv(&mut packets, 3).unwrap(), 3);
    assert_eq!(receiver.try_recv(&mut packets, 3).unwrap(), 1);
    assert!(is_kind(receiver.try_recv(&mut packets, 3), io::ErrorKind::WouldBlock));
    assert!(is_kind(
        receiver.recv_timeout(&mut packets, 3, Duration::from_millis(5)),
        io::ErrorKind::TimedOut
    ));
    assert!(packets.iter().map(|packet| packet.bytes()[0]).eq(0..4));

    let mut waiting = frames(0..6);
    assert_eq!(sender.try_send(&mut waiting).unwrap(), 4);
    assert!(is_kind(sender.try_send(&mut waiting), io::ErrorKind::WouldBlock));
    assert!(is_kind(sender.send_timeout(&mut waiting, Duration::from_millis(5)), io::ErrorKind::TimedOut));
    assert!(waiting.iter().map(|frame| frame.bytes[0]).eq(4..6));
    assert_eq!(receive(&mut device).unwrap().bytes[0], 0);
    assert_eq!(sender.try_send(&mut waiting).unwrap(), 1);
    assert_eq!(sender.try_send(&mut VecDeque::new()).unwrap(), 0);
}

#[test]
fn bytes_that_the_program_sends_are_not_copied() {
    let (mut device, mut sender, _receiver) = channel(4);
    let bytes = Bytes::from(vec![5; 1000]);
    sender.send(&mut VecDeque::from([Frame::new(bytes.clone())])).unwrap();
    assert_eq!(receive(&mut device).unwrap().bytes.as_ptr(), bytes.as_ptr());
}

#[test]
fn each_side_learns_that_the_other_is_gone() {
    let (mut device, mut sender, mut receiver) = channel(4);
    assert_eq!(send(&mut device, &transmit(1)), Sent::Taken);
    sender.send(&mut frames(0..4)).unwrap();
    drop(device);
    let mut packets = Vec::new();
    assert_eq!(receiver.recv(&mut packets, 8), 1, "what was sent is received");
    assert_eq!(receiver.recv(&mut packets, 8), 0);
    assert_eq!(receiver.try_recv(&mut packets, 8).unwrap(), 0);
    assert_eq!(block_on(receiver.recv_async(&mut packets, 8)), 0);
    assert!(is_kind(sender.send(&mut frames(0..1)), io::ErrorKind::BrokenPipe));
    assert!(is_kind(block_on(sender.send_async(&mut frames(0..1))), io::ErrorKind::BrokenPipe));

    let (mut device, mut sender, receiver) = channel(1);
    sender.send(&mut frames(3..4)).unwrap();
    drop((sender, receiver));
    for _ in 0..3 {
        assert_eq!(send(&mut device, &transmit(1)), Sent::Taken, "and lost");
    }
    assert_eq!(receive(&mut device).unwrap().bytes[0], 3);
    assert!(receive(&mut device).is_none());
}

/// What one side sends in bursts arrives at the other, which blocks or awaits, whatever the order
/// of the threads.
#[test]
fn no_wake_up_is_lost() {
    const PACKETS: u32 = 20_000;
    for blocks in [true, false] {
        let (mut device, mut sender, mut receiver) = channel(8);
        let stack_woken = Arc::new(Bell::default());
        device.readiness(&Waker::from(stack_woken.clone()));
        let start = Barrier::new(3);
        thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                let mut left = PACKETS;
                let mut waiting = VecDeque::new();
                while left > 0 {
                    let burst = left.min(left % 13 + 1);
                    left -= burst;
                    waiting.extend(frames(0..burst as u8));
                    match blocks {
                        true => sender.send(&mut waiting).unwrap(),
                        false => block_on(sender.send_async(&mut waiting)).unwrap(),
                    }
                }
            });
            scope.spawn(|| {
                start.wait();
                let (mut packets, mut count) = (Vec::new(), 0);
                while count < PACKETS {
                    count += match blocks {
                        true => receiver.recv(&mut packets, 5),
                        false => block_on(receiver.recv_async(&mut packets, 5)),
                    } as u32;
                    packets.clear();
                }
            });
            // The stack: it returns each packet.
            start.wait();
            let (mut came, mut went) = (Vec::new(), VecDeque::new());
            let mut returned = 0;
            while returned < PACKETS {
                device.receive(&mut Received::new(&mut came, 32)).unwrap();
                let is_full = came.len() >= 32;
                went.extend(came.drain(..).map(|f| Transmit::from_frame(InterfaceId::from_index(0), f)));
                let before = went.len();
                device.transmit(&mut Outgoing::new(&mut went)).unwrap();
                returned += (before - went.len()) as u32;
                if !is_full && returned < PACKETS {
                    stack_woken.wait();
                }
            }
        });
    }
}

/// What devices and futures wake in these tests.
#[derive(Default)]
struct Bell {
    is_rung: std::sync::Mutex<bool>,
    rung: std::sync::Condvar,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.is_rung.lock().unwrap() = true;
        self.rung.notify_one();
    }
}

impl Bell {
    fn wait(&self) {
        let is_rung = self.is_rung.lock().unwrap();
        let (mut is_rung, waited) =
            self.rung.wait_timeout_while(is_rung, Duration::from_secs(10), |is_rung| !*is_rung).unwrap();
        assert!(!waited.timed_out(), "a wake-up is lost");
        *is_rung = false;
    }
}
