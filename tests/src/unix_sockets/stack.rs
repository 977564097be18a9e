//! Portolan's sockets.

use portolan::{Config, Descriptor, Domain, Error, Instant, Readiness, SockAddr, Stack, UnixAddr, UnixSend};

use super::{Answer, Call, Machine, NAMES, Name, Readinesses, Shown};

const NOW: Instant = Instant::ZERO;

pub(super) struct Portolan {
    stack: Stack,
    descriptors: Vec<Descriptor>,
    sent: u8,
}

fn addr(name: Name) -> UnixAddr {
    match name {
        Name::Path(number) => UnixAddr::path(format!("n{number}")),
        Name::Abstract(number) => UnixAddr::abstract_name(format!("n{number}")),
    }
    .expect("a short name")
}

fn shown(name: &UnixAddr) -> Shown {
    if name.is_unnamed() {
        return Shown::Unnamed;
    }
    let names = (0..NAMES).flat_map(|number| [Name::Path(number), Name::Abstract(number)]);
    names.filter(|given| addr(*given) == *name).map(Shown::Given).next().unwrap_or(Shown::Chosen)
}

fn named(name: SockAddr) -> Answer {
    Answer::Named(name.unix().map_or(Shown::Unnamed, shown))
}

impl Portolan {
    pub(super) fn new() -> Self {
        let stack = Stack::new(Config::default(), [7; 32], NOW);
        Portolan { stack, descriptors: Vec::new(), sent: 0 }
    }

    fn make(&mut self, call: Call) -> Result<Answer, Error> {
        let Portolan { stack, descriptors, sent } = self;
        let d = |name: usize| descriptors[name];
        let done = |()| Answer::Done(0);
        let opened = match call {
            Call::Socket(kind) => vec![stack.socket(Domain::Unix, kind)?],
            Call::Pair(kind) => stack.socket_pair(Domain::Unix, kind)?.to_vec(),
            Call::Accept(listener) => vec![stack.accept(d(listener))?.0],
            Call::Duplicate(other) => vec![stack.duplicate(d(other))?],
            Call::Bind(name, to) => {
                return stack.bind(d(name), to.map_or(UnixAddr::UNNAMED, addr)).map(done);
            }
            Call::Unlink(number) => return stack.unlink(&addr(Name::Path(number))).map(done),
            Call::Listen(name, backlog) => return stack.listen(d(name), backlog).map(done),
            Call::Connect(name, to) => {
                let connected = match to {
                    Some(to) => stack.connect(NOW, d(name), addr(to)),
                    None => stack.disconnect(NOW, d(name)),
                };
                return connected.map(done);
            }
            Call::Send(name, len, passed) => {
                let rights: Vec<Descriptor> = passed.map(d).into_iter().collect();
                let message = UnixSend::default().rights(&rights);
                *sent = sent.wrapping_add(1);
                return stack.send_unix(NOW, d(name), &vec![*sent; len], &message).map(Answer::Done);
            }
            Call::SendTo(name, len, to) => {
                *sent = sent.wrapping_add(1);
                return stack.send_to(NOW, d(name), &vec![*sent; len], addr(to)).map(Answer::Done);
            }
            Call::Recv(name, len, max_rights) => {
                let mut buf = vec![0; len];
                let message = stack.recv_unix(NOW, d(name), &mut buf, max_rights)?;
                buf.truncate(message.len);
                descriptors.extend(&message.rights);
                let (rights, truncated) = (message.rights.len(), message.is_control_truncated);
                return Ok(Answer::Received(buf, Some(shown(&message.from)), rights, truncated));
            }
            Call::Peek(name, len) => return stack.peek(d(name), &mut vec![0; len]).map(Answer::Done),
            Call::Shutdown(name, how) => return stack.shutdown(NOW, d(name), how).map(done),
            Call::Close(name) => return stack.close(NOW, d(name)).map(done),
            Call::TakeError(name) => {
                let error = stack.take_error(d(name))?;
                return Ok(Answer::Done(error.map_or(0, |error| error.errno() as usize)));
            }
            Call::LocalName(name) => return stack.local_name(d(name)).map(named),
            Call::PeerName(name) => return stack.peer_name(d(name)).map(named),
            Call::Queued(name) => return stack.unread_bytes(d(name)).map(Answer::Done),
        };
        let count = opened.len();
        descriptors.extend(opened);
        Ok(Answer::Opened(count))
    }
}

impl Machine for Portolan {
    fn call(&mut self, call: Call) -> Answer {
        let answer = self.make(call).unwrap_or_else(|error| Answer::Failed(error.errno()));
        self.stack.handle_timeout(NOW);
        answer
    }

    fn readinesses(&self) -> Readinesses {
        let bits = |readiness: Readiness| {
            let Readiness { readable, writable, peer_closed, hung_up, error, .. } = readiness;
            u16::from(readable)
                | u16::from(writable) << 2
                | u16::from(error) << 3
                | u16::from(hung_up) << 4
                | u16::from(peer_closed) << 13
        };
        self.descriptors.iter().map(|d| self.stack.readiness(*d).ok().map(bits)).collect()
    }
}
