//! Portolan as a host under test: [`RawPeer`], which has a stack and virtual time.

use std::net::SocketAddr;

use portolan::{
    Descriptor, Domain, DropReason, Error, ErrorOrigin, Instant, Readiness, RecvFlags, SendFlags, SendMeta,
    Shutdown, SockAddr, SocketKind, SocketOption,
};

use super::{CallResult, Control, Found, Host, Message, error_text, timer_text};
use crate::RawPeer;

impl Host for RawPeer {
    type Descriptor = Descriptor;

    const REAL_TIME: bool = false;

    fn now(&self) -> Instant {
        self.now
    }

    fn wait(&mut self, end: Instant) {
        let next = self.stack.poll_timeout().map(|deadline| deadline.at).filter(|&at| at <= end);
        let step = next.unwrap_or(end).duration_since(self.now);
        self.pass(step);
    }

    fn take_sent(&mut self) -> Vec<(Instant, Vec<u8>)> {
        let now = self.now;
        RawPeer::take_sent(self).into_iter().map(|frame| (now, frame)).collect()
    }

    fn send_packet(&mut self, packet: &[u8]) {
        RawPeer::send_packet(self, packet);
    }

    fn socket_of(&mut self, domain: Domain, kind: SocketKind) -> CallResult<Descriptor> {
        self.after(|peer| peer.stack.socket(domain, kind))
    }

    fn bind(&mut self, d: Descriptor, addr: SocketAddr) -> CallResult<()> {
        self.after(|peer| peer.stack.bind(d, addr))
    }

    fn local_addr(&mut self, d: Descriptor) -> CallResult<SocketAddr> {
        self.after(|peer| peer.stack.local_addr(d))
    }

    fn peer_addr(&mut self, d: Descriptor) -> CallResult<SocketAddr> {
        self.after(|peer| peer.stack.peer_addr(d))
    }

    fn listen(&mut self, d: Descriptor, backlog: usize) -> CallResult<()> {
        self.after(|peer| peer.stack.listen(d, backlog))
    }

    fn accept(&mut self, d: Descriptor) -> CallResult<Descriptor> {
        self.after(|peer| peer.stack.accept(d).map(|(descriptor, _)| descriptor))
    }

    fn connect(&mut self, d: Descriptor, addr: SocketAddr) -> CallResult<()> {
        self.after(|peer| peer.stack.connect(peer.now, d, addr))
    }

    fn disconnect(&mut self, d: Descriptor) -> CallResult<()> {
        self.after(|peer| peer.stack.disconnect(peer.now, d))
    }

    fn connect_with_data(&mut self, d: Descriptor, addr: SocketAddr, data: &[u8]) -> CallResult<usize> {
        self.after(|peer| peer.stack.connect_with_data(peer.now, d, addr, data))
    }

    fn send_with(&mut self, d: Descriptor, data: &[u8], flags: SendFlags) -> CallResult<usize> {
        self.after(|peer| peer.stack.send_with(peer.now, d, data, flags))
    }

    fn recv(&mut self, d: Descriptor, buf: &mut [u8]) -> CallResult<usize> {
        self.after(|peer| peer.stack.recv(peer.now, d, buf))
    }

    fn send_message(
        &mut self,
        d: Descriptor,
        data: &[&[u8]],
        to: Option<SocketAddr>,
        flags: SendFlags,
    ) -> CallResult<usize> {
        let meta = to.map_or(SendMeta::connected(), SendMeta::to);
        self.after(|peer| peer.stack.send_message(peer.now, d, data, &meta, flags))
    }

    fn recv_message(&mut self, d: Descriptor, lens: &[usize], flags: RecvFlags) -> CallResult<Message> {
        let mut bufs: Vec<Vec<u8>> = lens.iter().map(|&len| vec![0; len]).collect();
        let mut slices: Vec<&mut [u8]> = bufs.iter_mut().map(|buf| &mut buf[..]).collect();
        let received = self.after(|peer| peer.stack.recv_message(peer.now, d, &mut slices, flags))?;
        let of_datagram = received.meta.filter(|meta| meta.hop_limit() > 0);
        Ok(Message {
            len: received.len,
            data: bufs.concat(),
            flags: received.flags,
            from: of_datagram.map(|meta| meta.peer()).or(received.error.map(|error| error.destination)),
            control: of_datagram.map(|meta| Control {
                to: meta.local().ip(),
                hop_limit: meta.hop_limit(),
                traffic_class: meta.traffic_class(),
            }),
            error: received.error.map(|error| {
                let origin = match error.origin {
                    ErrorOrigin::Local => "local".into(),
                    ErrorOrigin::Icmp { kind, code } => format!("icmp {kind} {code}"),
                    ErrorOrigin::Icmp6 { kind, code } => format!("icmp6 {kind} {code}"),
                    other => format!("{other:?}"),
                };
                error_text(error.error.name(), &origin, error.info, error.offender.map(|addr| addr.ip()))
            }),
        })
    }

    fn shutdown(&mut self, d: Descriptor, how: Shutdown) -> CallResult<()> {
        self.after(|peer| peer.stack.shutdown(peer.now, d, how))
    }

    fn close(&mut self, d: Descriptor) -> CallResult<()> {
        self.after(|peer| peer.stack.close(peer.now, d))
    }

    fn set_option(&mut self, d: Descriptor, option: SocketOption) -> CallResult<()> {
        self.after(|peer| peer.stack.set_option(peer.now, d, option))
    }

    fn take_error(&mut self, d: Descriptor) -> CallResult<Option<&'static str>> {
        named(self.stack.take_error(d)).map(|error| error.map(Error::name))
    }

    fn readiness(&mut self, d: Descriptor) -> CallResult<Readiness> {
        named(self.stack.readiness(d))
    }

    fn queued_bytes(&mut self, d: Descriptor) -> CallResult<(usize, usize)> {
        named(self.stack.queued_bytes(d))
    }

    fn unread_bytes(&mut self, d: Descriptor) -> CallResult<usize> {
        named(self.stack.unread_bytes(d))
    }

    fn unacknowledged_bytes(&mut self, d: Descriptor) -> CallResult<usize> {
        named(self.stack.unacknowledged_bytes(d))
    }

    fn unsent_bytes(&mut self, d: Descriptor) -> CallResult<usize> {
        named(self.stack.unsent_bytes(d))
    }

    fn at_mark(&mut self, d: Descriptor) -> CallResult<bool> {
        named(self.stack.at_mark(d))
    }

    fn path_mtu(&mut self, d: Descriptor) -> CallResult<usize> {
        named(self.stack.path_mtu(self.now, d))
    }

    fn info(&mut self, d: Descriptor, field: &str) -> CallResult<Found> {
        // `TcpInfo { state: ESTABLISHED, ..., rtt: 100ms, ... }`: this finds fields that are added
        // later, too.
        let told = format!("{:?}", named(self.stack.info(self.now, d))?);
        let Some((_, after)) = told.split_once(&format!(" {field}: ")) else { return Ok(Found::Unknown) };
        let end = after.find([',', '}']).unwrap_or(after.len());
        Ok(Found::Value(after[..end].trim().trim_matches('"').into()))
    }

    fn states(&mut self) -> Vec<(u16, u16, String)> {
        let port = |name: Option<SockAddr>| Some(name?.ip()?.port());
        let infos = self.stack.sockets();
        infos.filter_map(|info| Some((port(info.local)?, port(info.peer)?, info.state.to_string()))).collect()
    }

    fn close_reason(&mut self, d: Descriptor) -> CallResult<Found> {
        let reason = named(self.stack.close_reason(d))?;
        Ok(Found::Value(reason.map_or("none".into(), |reason| format!("{reason:?}"))))
    }

    fn counter(&mut self, name: &str) -> Found {
        let found = self.stack.stats().iter().find(|&(known, _)| known == name);
        found.map_or(Found::Unknown, |(_, count)| Found::Value(count.to_string()))
    }

    fn drops(&mut self, reason: &str) -> Found {
        let known = DropReason::ALL.iter().find(|known| format!("{known:?}") == reason);
        known.map_or(Found::Unknown, |&reason| Found::Value(self.stack.stats().drops(reason).to_string()))
    }

    fn timer(&mut self) -> Found {
        // This is not the stack's deadline, which may be early and have nothing to do.
        let sockets = self.stack.sockets().filter(|socket| socket.id.is_some());
        let next = sockets.filter_map(|socket| socket.timer).min_by_key(|&(at, _)| at);
        Found::Value(next.map_or("none".into(), |(at, kind)| {
            timer_text(&format!("{kind:?}"), Some(at.duration_since(self.now)))
        }))
    }
}

impl RawPeer {
    /// Makes a call, and then lets the stack send.
    fn after<T>(&mut self, call: impl FnOnce(&mut RawPeer) -> portolan::Result<T>) -> CallResult<T> {
        let result = call(self);
        self.settle();
        named(result)
    }
}

fn named<T>(result: portolan::Result<T>) -> CallResult<T> {
    result.map_err(Error::name)
}
