use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use bytes::Bytes;
use smallvec::smallvec;

use super::*;

/// A stream whose peer is the test.
#[derive(Debug, Default)]
struct Peer {
    /// What it sends next. An empty slice is the end of its half.
    sends: VecDeque<io::Result<&'static [u8]>>,
    /// How many bytes it still takes.
    room: usize,
    received: Vec<u8>,
    saw_end: bool,
    was_reset: bool,
    unacknowledged: usize,
    /// An error of the connection that no call was made to find.
    failure: Option<io::Error>,
}

#[derive(Debug)]
struct FakeEnd(Rc<RefCell<Peer>>);

impl End for FakeEnd {
    fn poll_recv(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Slices>> {
        match self.0.borrow_mut().sends.pop_front() {
            None => Poll::Pending,
            Some(Ok([])) => Poll::Ready(Ok(Slices::new())),
            Some(sent) => {
                // Two slices, so that some are cut.
                let slices = |sent: &'static [u8]| -> Slices {
                    let (first, second) = sent.split_at(sent.len() / 2);
                    [first, second]
                        .into_iter()
                        .filter(|part| !part.is_empty())
                        .map(Bytes::from_static)
                        .collect()
                };
                Poll::Ready(sent.map(slices))
            }
        }
    }

    fn poll_send(&mut self, _: &mut Context<'_>, data: &mut Slices) -> Poll<io::Result<usize>> {
        let mut peer = self.0.borrow_mut();
        let bytes = data.concat();
        let count = peer.room.min(bytes.len());
        if count == 0 {
            return Poll::Pending;
        }
        peer.room -= count;
        peer.received.extend(&bytes[..count]);
        advance(data, count);
        Poll::Ready(Ok(count))
    }

    fn poll_failed(&mut self, _: &mut Context<'_>) -> Poll<io::Error> {
        self.0.borrow_mut().failure.take().map_or(Poll::Pending, Poll::Ready)
    }

    fn end_sending(&mut self) -> io::Result<()> {
        assert!(!std::mem::replace(&mut self.0.borrow_mut().saw_end, true), "an end is told once");
        Ok(())
    }

    fn unacknowledged(&self) -> io::Result<usize> {
        Ok(self.0.borrow().unacknowledged)
    }

    fn reset(&mut self) {
        self.0.borrow_mut().was_reset = true;
    }
}

/// A relay at a time that the test moves, and its peers.
struct Bench {
    machine: RelayMachine<FakeEnd, FakeEnd>,
    a: Rc<RefCell<Peer>>,
    b: Rc<RefCell<Peer>>,
    now: Instant,
}

const IDLE: Duration = Duration::from_secs(10);
const HALF_CLOSED: Duration = Duration::from_secs(3);

impl Bench {
    fn new() -> Bench {
        let peer = || Rc::new(RefCell::new(Peer { room: usize::MAX, ..Peer::default() }));
        let (a, b, now) = (peer(), peer(), Instant::ZERO);
        let config = RelayConfig { idle_timeout: Some(IDLE), half_closed_timeout: Some(HALF_CLOSED) };
        let machine = RelayMachine::new(FakeEnd(a.clone()), FakeEnd(b.clone()), &config, now);
        Bench { machine, a, b, now }
    }

    fn poll(&mut self) -> Option<Relayed> {
        match self.machine.poll(&mut Context::from_waker(Waker::noop()), self.now) {
            Poll::Ready(relayed) => Some(relayed),
            Poll::Pending => None,
        }
    }

    /// Polls it later by this time.
    fn poll_after(&mut self, time: Duration) -> Option<Relayed> {
        self.now += time;
        self.poll()
    }

    fn resets(&self) -> [bool; 2] {
        [self.a.borrow().was_reset, self.b.borrow().was_reset]
    }
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn an_end_is_passed_on_behind_the_data_and_the_other_direction_goes_on() {
    let mut bench = Bench::new();
    bench.b.borrow_mut().room = 5;
    bench.a.borrow_mut().sends = [Ok(&b"hello"[..]), Ok(&b" world"[..]), Ok(&[])].into();
    assert!(bench.poll().is_none() && !bench.b.borrow().saw_end);
    for room in [1, 0, 2] {
        bench.b.borrow_mut().room = room;
        assert!(bench.poll().is_none() && !bench.b.borrow().saw_end);
    }
    assert_eq!(bench.b.borrow().received, b"hello wo");
    bench.b.borrow_mut().room = 100;
    assert!(bench.poll().is_none() && bench.b.borrow().saw_end);
    bench.b.borrow_mut().sends = [Ok(&b"goodbye"[..]), Ok(&[])].into();
    let relayed = bench.poll().unwrap();
    assert!(matches!(relayed.end, RelayEnd::Closed), "{relayed:?}");
    assert_eq!((relayed.a_to_b, relayed.b_to_a), (11, 7));
    assert_eq!(
        (&bench.b.borrow().received[..], &bench.a.borrow().received[..]),
        (&b"hello world"[..], &b"goodbye"[..])
    );
    drop(bench.machine);
    assert!(!bench.a.borrow().was_reset && !bench.b.borrow().was_reset);
}

#[test]
fn a_reset_is_passed_on_when_all_before_it_was_acknowledged() {
    for from_a in [true, false] {
        let mut bench = Bench::new();
        let (from, to) =
            if from_a { (bench.a.clone(), bench.b.clone()) } else { (bench.b.clone(), bench.a.clone()) };
        to.borrow_mut().room = 3;
        to.borrow_mut().unacknowledged = 8;
        from.borrow_mut().sends = [Ok(&b"hello"[..]), Err(reset())].into();
        assert!(bench.poll().is_none());
        to.borrow_mut().room = 3;
        assert!(bench.poll().is_none());
        assert_eq!(to.borrow().received, b"hello");
        assert_eq!(bench.resets(), [false; 2], "not acknowledged");
        let first_look = bench.machine.deadline().unwrap();
        assert!(first_look - bench.now <= MILLISECOND);
        bench.now = first_look;
        assert!(bench.poll().is_none());
        let second_look = bench.machine.deadline().unwrap();
        assert!(second_look - first_look > first_look - Instant::ZERO, "later and later");
        to.borrow_mut().unacknowledged = 0;
        bench.now = second_look;
        let relayed = bench.poll().unwrap();
        match (from_a, relayed.end) {
            (true, RelayEnd::AFailed(error)) | (false, RelayEnd::BFailed(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            }
            (_, end) => panic!("{end:?}"),
        }
        assert_eq!(bench.resets(), [true; 2]);
    }
}

#[test]
fn a_peer_that_acknowledges_nothing_does_not_hold_a_reset_up_for_ever() {
    let mut bench = Bench::new();
    bench.b.borrow_mut().unacknowledged = 8;
    bench.a.borrow_mut().sends = [Err(reset())].into();
    assert!(bench.poll().is_none());
    bench.b.borrow_mut().unacknowledged = 4;
    assert!(bench.poll_after(HALF_CLOSED - MILLISECOND).is_none(), "some was acknowledged");
    assert!(bench.poll_after(HALF_CLOSED - MILLISECOND).is_none());
    let relayed = bench.poll_after(MILLISECOND).unwrap();
    assert!(matches!(relayed.end, RelayEnd::AFailed(_)), "{relayed:?}");
    assert_eq!(bench.resets(), [true; 2]);
}

#[test]
fn what_came_before_a_failure_that_sending_has_found_is_delivered() {
    let mut bench = Bench::new();
    bench.a.borrow_mut().sends = [Ok(&[][..])].into();
    assert!(bench.poll().is_none());
    // B has sent data and then a reset, and the reset is found first.
    bench.b.borrow_mut().sends = [Ok(&b"last words"[..])].into();
    bench.b.borrow_mut().failure = Some(reset());
    bench.a.borrow_mut().room = 0;
    assert!(bench.poll().is_none());
    bench.a.borrow_mut().room = 100;
    let relayed = bench.poll().map(|relayed| relayed.b_to_a);
    assert_eq!((relayed, &bench.a.borrow().received[..]), (None, &b"last words"[..]));
}

#[test]
fn a_reset_of_a_peer_that_has_ended_its_half_is_passed_on() {
    let mut bench = Bench::new();
    bench.a.borrow_mut().sends = [Ok(&[][..])].into();
    assert!(bench.poll().is_none());
    bench.a.borrow_mut().failure = Some(reset());
    let relayed = bench.poll().unwrap();
    assert!(matches!(relayed.end, RelayEnd::AFailed(_)), "{relayed:?}");
    assert_eq!(bench.resets(), [true; 2]);
}

#[test]
fn the_time_without_traffic_is_limited() {
    let mut bench = Bench::new();
    for _ in 0..5 {
        assert!(bench.poll_after(IDLE - MILLISECOND).is_none());
        bench.a.borrow_mut().sends = [Ok(&b"x"[..])].into();
        assert!(bench.poll().is_none());
        assert_eq!(bench.machine.deadline(), Some(bench.now + IDLE));
    }
    assert!(bench.poll_after(IDLE - MILLISECOND).is_none());
    let relayed = bench.poll_after(MILLISECOND).unwrap();
    assert!(matches!(relayed.end, RelayEnd::Idle), "{relayed:?}");
    assert_eq!((relayed.a_to_b, bench.resets()), (5, [true; 2]));
}

#[test]
fn a_half_closed_relay_has_a_limit_of_its_own() {
    let mut bench = Bench::new();
    assert!(bench.poll_after(IDLE - MILLISECOND).is_none());
    bench.b.borrow_mut().sends = [Ok(&[][..])].into();
    assert!(bench.poll().is_none());
    for _ in 0..5 {
        assert!(bench.poll_after(HALF_CLOSED - MILLISECOND).is_none());
        bench.a.borrow_mut().sends = [Ok(&b"x"[..])].into();
        assert!(bench.poll().is_none());
    }
    assert!(bench.poll_after(HALF_CLOSED - MILLISECOND).is_none());
    let relayed = bench.poll_after(MILLISECOND).unwrap();
    assert!(matches!(relayed.end, RelayEnd::HalfClosed), "{relayed:?}");
    assert_eq!(bench.resets(), [true; 2]);
}

#[test]
fn a_relay_that_is_given_up_resets_both() {
    let mut bench = Bench::new();
    assert!(bench.poll().is_none());
    drop(bench.machine);
    assert!(bench.a.borrow().was_reset && bench.b.borrow().was_reset);
}

#[test]
fn slices_are_cut_where_sending_has_ended() {
    let all: Slices =
        smallvec![Bytes::from_static(b"ab"), Bytes::from_static(b"c"), Bytes::from_static(b"def")];
    for count in 0..=6 {
        let mut data = all.clone();
        advance(&mut data, count);
        assert_eq!(data.concat(), b"abcdef"[count..], "{count}");
        assert!(data.iter().all(|slice| !slice.is_empty()));
    }
}
