//! Portolan's sockets and pollers, in virtual time.

use std::net::Ipv4Addr;
use std::time::Duration;

use portolan::{Config, Descriptor, Domain, Error, Instant, PollerId, SendFlags, Stack};

use super::{Answer, Call, Machine, POLLERS};

/// The time between two calls: a delayed acknowledgement does not wait longer.
const STEP: Duration = Duration::from_millis(50);

pub(super) struct Portolan {
    stack: Stack,
    now: Instant,
    pollers: [PollerId; POLLERS],
    descriptors: Vec<Descriptor>,
}

impl Portolan {
    pub(super) fn new() -> Self {
        let now = Instant::from_secs(1);
        let mut stack = Stack::new(Config::default(), [7; 32], now);
        let pollers = [(); POLLERS].map(|()| stack.add_poller().expect("the first"));
        Portolan { stack, now, pollers, descriptors: Vec::new() }
    }

    /// Delivers all that is sent.
    fn deliver(&mut self) {
        self.stack.handle_timeout(self.now);
        while self.stack.poll_transmit(self.now).is_some() || self.stack.handle_loopback(self.now) {}
        while self.stack.poll_event().is_some() {}
    }

    fn make(&mut self, call: Call) -> Result<Answer, Error> {
        let Portolan { stack, now, pollers, descriptors } = self;
        let (now, d) = (*now, |name: usize| descriptors[name]);
        let done = |()| Answer::Done(0);
        let opened = match call {
            Call::Socket(kind) => stack.socket(Domain::V4, kind)?,
            Call::Accept(listener) => stack.accept(d(listener))?.0,
            Call::Duplicate(other) => stack.duplicate(d(other))?,
            Call::Bind(name) => return stack.bind(d(name), (Ipv4Addr::LOCALHOST, 0)).map(done),
            Call::Listen(name) => return stack.listen(d(name), 8).map(done),
            Call::Connect(name, to) => {
                let to = stack.local_addr(d(to))?;
                return stack.connect(now, d(name), to).map(done);
            }
            Call::Send(name, len) => return stack.send(now, d(name), &[1; 64][..len]).map(Answer::Done),
            Call::SendUrgent(name) => {
                return stack.send_with(now, d(name), &[2], SendFlags::OOB).map(Answer::Done);
            }
            Call::Recv(name, len) => {
                return stack.recv(now, d(name), &mut [0; 64][..len]).map(Answer::Done);
            }
            Call::Shutdown(name, how) => return stack.shutdown(now, d(name), how).map(done),
            Call::Close(name) => return stack.close(now, d(name)).map(done),
            Call::TakeError(name) => {
                let error = stack.take_error(d(name))?;
                return Ok(Answer::Done(error.map_or(0, |error| error.errno() as usize)));
            }
            Call::Add(poller, name, interest, token) => {
                return stack.poller_add(pollers[poller], d(name), interest, token).map(done);
            }
            Call::Modify(poller, name, interest, token) => {
                return stack.poller_modify(pollers[poller], d(name), interest, token).map(done);
            }
            Call::Delete(poller, name) => return stack.poller_delete(pollers[poller], d(name)).map(done),
            Call::Wait(poller, max) => {
                let mut ready = Vec::new();
                stack.poller_wait(pollers[poller], &mut ready, max)?;
                return Ok(Answer::Ready(ready.iter().map(|ready| (ready.token, ready.bits())).collect()));
            }
        };
        descriptors.push(opened);
        Ok(Answer::Opened)
    }
}

impl Machine for Portolan {
    fn call(&mut self, call: Call) -> Answer {
        let answer = self.make(call).unwrap_or_else(|error| Answer::Failed(error.errno()));
        self.deliver();
        self.now += STEP;
        self.deliver();
        answer
    }
}
