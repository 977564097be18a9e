//! Sending and receiving frames.

use std::io;

use bytes::Bytes;
use portolan::{LinkAddr, PacketMeta};

use crate::engine::direction::Direction;
use crate::socket::calls::Calls;

impl Calls<'_> {
    pub(crate) fn recv_packet(&self) -> io::Result<(Bytes, PacketMeta)> {
        self.call_waiting(Direction::Read, |core, now| core.stack.recv_packet(now, self.descriptor))
    }

    pub(crate) fn send_packet(&self, data: &Bytes, to: Option<&LinkAddr>) -> io::Result<usize> {
        self.call_waiting(Direction::Write, |core, now| {
            core.stack.send_packet(now, self.descriptor, data.clone(), to)
        })
    }
}
