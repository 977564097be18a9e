//! Sending and receiving frames.

use std::io;

use bytes::Bytes;
use portolan::{LinkAddr, PacketMeta};

use crate::engine::waiters::Direction;
use crate::socket::Socket;

impl Socket {
    pub(crate) fn recv_packet(&self) -> io::Result<(Bytes, PacketMeta)> {
        self.call_blocking(Direction::Read, |core, now| core.stack.recv_packet(now, self.descriptor))
    }

    pub(crate) fn send_packet(&self, data: &Bytes, to: Option<&LinkAddr>) -> io::Result<usize> {
        self.call_blocking(Direction::Write, |core, now| {
            core.stack.send_packet(now, self.descriptor, data.clone(), to)
        })
    }
}
