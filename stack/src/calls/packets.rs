//! The calls on packet sockets.

use bytes::Bytes;

use super::{Caller as _, Owner, call, socket_of};
use crate::bpf::Filter;
use crate::error::Result;
use crate::socket::{Descriptor, LinkAddr, PacketFanout, PacketMeta, PacketStatistics};
use crate::stack::Stack;
use crate::time::Instant;

macro_rules! calls {
    ($($calls:tt)*) => {
        /// Packet sockets ([`SocketKind::Packet`](crate::SocketKind::Packet)), which receive and
        /// send frames of an interface.
        ///
        /// [`bind`](Stack::bind) with a [`LinkAddr`] names an interface, or all, and an EtherType.
        /// From then on the socket receives; it may be bound again. The EtherType 0 keeps the one
        /// that it has, and a socket that never had another receives nothing. `NoDevice`;
        /// `InvalidArgument` for an address of another family; `NoBufferSpace` beyond
        /// [`Config::max_packet_taps`](crate::Config::max_packet_taps).
        /// [`local_name`](Stack::local_name) returns the address.
        ///
        /// A packet socket gets a copy of each frame that comes in, also of frames that the stack
        /// drops later, and with [`ETH_P_ALL`](LinkAddr::ETH_P_ALL) of each frame that goes out,
        /// but for those that it sent itself. What is received stays whole for everybody else. A
        /// [filter](Stack::attach_filter) chooses frames: it sees the link header first, or the
        /// network header of a cooked packet. Frames for other stations are shown only in
        /// promiscuous mode
        /// ([`PacketAddMembership`](crate::SocketOption::PacketAddMembership)).
        ///
        /// `recv`, `recv_bytes`, `peek`, `send` and `send_to` work on packet sockets, too.
        /// `connect`, `listen`, `shutdown` and `recv_from` do not (`NotSupported`).
        ///
        /// ```
        /// use portolan::{
        ///     Config, Domain, Instant, InterfaceId, LinkAddr, LinkHeader, PacketType, SocketKind, Stack,
        /// };
        ///
        /// let now = Instant::ZERO;
        /// let mut stack = Stack::new(Config::default(), [7; 32], now);
        /// let sniffer = stack.socket(Domain::V4, SocketKind::Packet(LinkHeader::Cooked))?;
        /// stack.bind(sniffer, LinkAddr::new(InterfaceId::LOOPBACK, LinkAddr::ETH_P_IP))?;
        ///
        /// let client = stack.socket(Domain::V4, SocketKind::Datagram)?;
        /// stack.send_to(now, client, b"hello", ([127, 0, 0, 1], 9))?;
        /// while stack.poll_transmit(now).is_some() || stack.handle_loopback(now) {}
        ///
        /// let (packet, meta) = stack.recv_packet(now, sniffer)?;
        /// assert_eq!((packet[0], &packet[28..]), (0x45, &b"hello"[..])); // behind IP and UDP
        /// assert_eq!(meta.from.packet_type, PacketType::Host);
        /// # Ok::<(), portolan::Error>(())
        /// ```
        impl Stack {
            $($calls)*
        }

        /// The calls on packet sockets of [`Stack`], for this owner.
        impl Owner<'_> {
            $($calls)*
        }
    };
}

calls! {
    /// Receives a frame without a copy (`recvmsg`), and what is known of it.
    pub fn recv_packet(&mut self, now: Instant, d: Descriptor) -> Result<(Bytes, PacketMeta)> {
        let (stack, caller) = self.caller_mut();
        stack.core.advance(now);
        let id = stack.sockets.common.socket(caller, d)?.0;
        let (mut env, kinds) = stack.parts();
        kinds.packet.receive_packet(&mut env, id)
    }

    /// Sends a frame, without a copy. `to` names the interface and the EtherType, instead of those
    /// that the socket is bound to, and for a cooked packet the destination. `NoSuchInterface`;
    /// `MessageTooLong` for a packet longer than the interface's MTU; `InvalidArgument` for a frame
    /// shorter than its link header, and for a cooked packet without `to` on a link with MAC
    /// addresses.
    pub fn send_packet(
        &mut self,
        now: Instant,
        d: Descriptor,
        data: Bytes,
        to: Option<&LinkAddr>,
    ) -> Result<usize> {
        let (stack, caller) = self.caller_mut();
        stack.core.advance(now);
        let id = stack.sockets.common.socket(caller, d)?.0;
        let (mut env, kinds) = stack.parts();
        kinds.packet.send_packet(&mut env, id, data, to)
    }

    /// Sets the program that chooses among the members of the socket's group (PACKET_FANOUT_DATA).
    /// `InvalidArgument` unless it is a packet socket in a group of the mode
    /// [`PacketFanoutMode::Program`](crate::PacketFanoutMode::Program).
    pub fn set_fanout_program(&mut self, d: Descriptor, program: Filter) -> Result<()> {
        call(self, d, |kind, _, id| kind.set_fanout_program(id, program))
    }

    /// The group of PACKET_FANOUT that the socket is a member of.
    pub fn packet_fanout(&self, d: Descriptor) -> Result<Option<PacketFanout>> {
        Ok(socket_of(self, d)?.1.packets()?.fanout)
    }

    /// Returns the counts of a packet socket and resets them (PACKET_STATISTICS).
    pub fn take_packet_statistics(&mut self, d: Descriptor) -> Result<PacketStatistics> {
        let (stack, caller) = self.caller_mut();
        let id = stack.sockets.common.socket(caller, d)?.0;
        let (mut env, kinds) = stack.parts();
        kinds.packet.take_statistics(&mut env, id)
    }
}
