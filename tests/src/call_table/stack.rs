//! Portolan, whose packets to itself are received at once.

use portolan::{
    Config, Descriptor, Domain, Error, Instant, InterfaceId, LinkAddr, LinkHeader, RecvFlags, SockAddr,
    SocketKind, Stack, UnixAddr,
};

use super::{Answer, Call, Kind, MESSAGE, Machine, Place, RAW_PROTOCOL, done, events, name_of};

/// A stack without interfaces.
#[derive(Debug)]
pub struct OwnStack {
    stack: Stack,
    now: Instant,
    open: Vec<Descriptor>,
}

impl Default for OwnStack {
    fn default() -> OwnStack {
        OwnStack::new()
    }
}

impl OwnStack {
    /// A new stack.
    pub fn new() -> OwnStack {
        let now = Instant::from_secs(1);
        OwnStack { stack: Stack::new(Config::default(), [5; 32], now), now, open: Vec::new() }
    }

    /// A descriptor that is closed, and one that belongs to another owner.
    ///
    /// # Errors
    ///
    /// The error of `socket`.
    pub fn strangers(&mut self, kind: Kind) -> portolan::Result<[Descriptor; 2]> {
        let (domain, kind) = numbers_of(kind);
        let closed = self.stack.socket(domain, kind)?;
        self.stack.close(self.now, closed)?;
        self.settle();
        let owner = self.stack.add_owner();
        let foreign = self.stack.owner(owner).ok_or(Error::InvalidArgument)?.socket(domain, kind)?;
        Ok([closed, foreign])
    }

    /// The bytes that the stack holds.
    pub fn memory_bytes(&self) -> usize {
        self.stack.memory_bytes()
    }

    /// Sends and receives what waits.
    fn settle(&mut self) {
        while self.stack.poll_transmit(self.now).is_some() || self.stack.handle_loopback(self.now) {}
    }

    fn make(&mut self, d: Descriptor, call: &Call) -> portolan::Result<String> {
        let (stack, now) = (&mut self.stack, self.now);
        let mut buf = [0; 100];
        let bytes = |len: usize| len.to_string();
        match call {
            Call::Bind(place) => stack.bind(d, addr_of(place)?).map(done),
            Call::Listen => stack.listen(d, 5).map(done),
            Call::Accept => {
                let (accepted, _) = stack.accept(d)?;
                self.open.push(accepted);
                Ok(done(()))
            }
            Call::Connect(place) => stack.connect(now, d, addr_of(place)?).map(done),
            Call::Disconnect => stack.disconnect(now, d).map(done),
            Call::Send(flags) => stack.send_with(now, d, &MESSAGE, *flags).map(bytes),
            Call::SendTo(place) => stack.send_to(now, d, &MESSAGE, addr_of(place)?).map(bytes),
            Call::Recv => stack.recv(now, d, &mut buf).map(bytes),
            Call::Peek => stack.recv_with(now, d, &mut buf, RecvFlags::PEEK).map(bytes),
            Call::RecvUrgent => stack.recv_with(now, d, &mut buf[..1], RecvFlags::OOB).map(bytes),
            Call::RecvError => stack.recv_with(now, d, &mut buf, RecvFlags::ERROR_QUEUE).map(bytes),
            Call::Shutdown(how) => stack.shutdown(now, d, *how).map(done),
            Call::LocalName => stack.local_name(d).map(|name| name_of(is_name(&name))),
            Call::PeerName => stack.peer_name(d).map(|name| name_of(is_name(&name))),
            Call::TakeError => {
                let error = stack.take_error(d)?;
                Ok(error.map_or("none", Error::name).into())
            }
            Call::Unread => stack.unread_bytes(d).map(bytes),
            Call::Unsent => stack.unsent_bytes(d).map(bytes),
            Call::AtMark => stack.at_mark(d).map(|is_at_mark| bytes(is_at_mark.into())),
            Call::Poll => stack.readiness(d).map(events),
        }
    }
}

impl Machine for OwnStack {
    type Socket = Descriptor;

    fn open(&mut self, kind: Kind) -> Result<Descriptor, &'static str> {
        let (domain, kind) = numbers_of(kind);
        let d = self.stack.socket(domain, kind).map_err(Error::name)?;
        self.open.push(d);
        Ok(d)
    }

    fn accept(&mut self, socket: Descriptor) -> Result<Descriptor, &'static str> {
        let (accepted, _) = self.stack.accept(socket).map_err(Error::name)?;
        self.open.push(accepted);
        Ok(accepted)
    }

    fn call(&mut self, socket: Descriptor, call: &Call) -> Answer {
        let answer = self.make(socket, call).map_err(Error::name);
        self.settle();
        answer
    }

    fn close(&mut self, socket: Descriptor) {
        self.open.retain(|&open| open != socket);
        let _ = self.stack.close(self.now, socket);
        self.settle();
    }

    fn close_all(&mut self) {
        for socket in std::mem::take(&mut self.open) {
            self.close(socket);
        }
    }
}

/// The arguments of `socket`.
fn numbers_of(kind: Kind) -> (Domain, SocketKind) {
    match kind {
        Kind::Tcp => (Domain::V4, SocketKind::Stream),
        Kind::Udp => (Domain::V4, SocketKind::Datagram),
        Kind::Ping => (Domain::V4, SocketKind::Echo),
        Kind::Raw => (Domain::V4, SocketKind::Raw(RAW_PROTOCOL)),
        Kind::Packet => (Domain::V4, SocketKind::Packet(LinkHeader::Cooked)),
        Kind::UnixStream => (Domain::Unix, SocketKind::Stream),
        Kind::UnixSeqPacket => (Domain::Unix, SocketKind::SeqPacket),
        Kind::UnixDatagram => (Domain::Unix, SocketKind::Datagram),
    }
}

fn addr_of(place: &Place) -> portolan::Result<SockAddr> {
    Ok(match place {
        Place::Ip(addr) => (*addr).into(),
        Place::Loopback(protocol) => LinkAddr::new(InterfaceId::LOOPBACK, *protocol).into(),
        Place::Name(name) => UnixAddr::abstract_name(name)?.into(),
    })
}

/// Whether an address is more than the unspecified one.
fn is_name(addr: &SockAddr) -> bool {
    match addr {
        SockAddr::Ip(addr) => !addr.ip().is_unspecified() || addr.port() != 0,
        SockAddr::Unix(addr) => !addr.is_unnamed(),
        _ => true,
    }
}
