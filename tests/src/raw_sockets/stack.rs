//! Portolan's sockets, in virtual time.

use std::time::Duration;

use portolan::{Config, Descriptor, Domain, Error, SocketKind};

use super::mask::{mask, mask_received};
use super::{Answer, Call, Machine, Reaction};
use crate::RawPeer;

pub(super) struct Portolan {
    peer: RawPeer,
    descriptors: Vec<(Descriptor, Domain, SocketKind)>,
}

impl Portolan {
    pub(super) fn new() -> Self {
        let mut config = Config::default();
        // The kernel has no limit, either (`kernel`).
        config.ip.icmp_errors_per_second = 1_000_000;
        config.ip.icmp_error_burst = 1_000_000;
        config.ip.icmp_peer_burst = 1_000_000;
        Portolan { peer: RawPeer::new(false, config, 7), descriptors: Vec::new() }
    }

    fn make(&mut self, call: &Call) -> Result<Answer, Error> {
        let Portolan { peer, descriptors } = self;
        let (stack, now) = (&mut peer.stack, peer.now);
        let d = |name: &usize| descriptors[*name].0;
        let done = |()| Answer::Done(0);
        match call {
            &Call::Socket(domain, kind) => {
                let opened = stack.socket(domain, kind)?;
                descriptors.push((opened, domain, kind));
                Ok(Answer::Opened)
            }
            Call::Bind(name, addr) => stack.bind(d(name), *addr).map(done),
            Call::Connect(name, addr) => stack.connect(now, d(name), *addr).map(done),
            Call::Send(name, data) => stack.send(now, d(name), data).map(Answer::Done),
            Call::SendTo(name, addr, data) => stack.send_to(now, d(name), data, *addr).map(Answer::Done),
            Call::Recv(name, len) | Call::Peek(name, len) => {
                let (_, domain, kind) = descriptors[*name];
                let mut data = vec![0; *len];
                let (len, meta) = match call {
                    Call::Peek(..) => stack.peek_from(d(name), &mut data)?,
                    _ => stack.recv_from(now, d(name), &mut data)?,
                };
                data.truncate(len);
                mask_received(domain, protocol_of(kind), &mut data);
                Ok(Answer::Received(meta.peer(), data))
            }
            Call::Shutdown(name, how) => stack.shutdown(now, d(name), *how).map(done),
            Call::Close(name) => stack.close(now, d(name)).map(done),
            Call::LocalAddr(name) => stack.local_addr(d(name)).map(Answer::Addr),
            Call::PeerAddr(name) => stack.peer_addr(d(name)).map(Answer::Addr),
            Call::TakeError(name) => {
                let error = stack.take_error(d(name))?;
                Ok(Answer::Done(error.map_or(0, |error| error.errno() as usize)))
            }
            Call::Readiness(name) => stack.readiness(d(name)).map(Answer::Ready),
            Call::Set(name, option) => stack.set_option(now, d(name), *option).map(done),
            Call::Arrive(packets) => {
                for packet in packets {
                    peer.send_packet(packet);
                }
                Ok(Answer::Done(0))
            }
        }
    }
}

/// The protocol of a raw socket.
pub(super) fn protocol_of(kind: SocketKind) -> Option<u8> {
    match kind {
        SocketKind::Raw(protocol) => Some(protocol),
        _ => None,
    }
}

impl Machine for Portolan {
    fn call(&mut self, call: &Call) -> Reaction {
        let answer = self.make(call).unwrap_or_else(|error| Answer::Failed(error.errno()));
        self.peer.pass(Duration::from_millis(1));
        let mut sent = self.peer.take_sent();
        sent.iter_mut().for_each(|packet| mask(packet));
        (answer, sent)
    }
}
