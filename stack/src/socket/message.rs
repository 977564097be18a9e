//! What goes with a datagram beside its data, in both directions: `struct msghdr` and its control messages.

use core::fmt;
use core::net::SocketAddr;

use super::kind::Domain;
use super::scope::present;
use crate::demux::FourTuple;
use crate::interface_id::InterfaceId;
use crate::time::Instant;

/// What is known of a datagram that was received ([`Stack::recv_from`](crate::Stack::recv_from) and its kin).
///
/// Where no datagram was received, it says only who the peer is, and which address is ours: after the end of reading
/// ([`Shutdown::Read`](crate::Shutdown::Read)), and on a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DatagramMeta {
    /// As it stands in the packet. Addresses are made for the program when it asks for them.
    pub(super) flow: FourTuple,
    pub(super) iface: InterfaceId,
    pub(super) hop_limit: u8,
    pub(super) traffic_class: u8,
    pub(super) segment_len: u16,
    /// The family of the socket.
    pub(super) domain: Domain,
    pub(super) at: Instant,
}

impl DatagramMeta {
    /// Of a connection, and of no packet.
    pub(super) fn of_connection(domain: Domain, flow: FourTuple, at: Instant) -> Self {
        let iface = InterfaceId::LOOPBACK;
        DatagramMeta { flow, iface, hop_limit: 0, traffic_class: 0, segment_len: 0, domain, at }
    }

    /// Who sent it.
    pub fn peer(&self) -> SocketAddr {
        present(self.domain, self.flow.remote_addr())
    }

    /// The address and the port that it was sent to (IP_PKTINFO): one of ours, or a group.
    pub fn local(&self) -> SocketAddr {
        present(self.domain, self.flow.local_addr())
    }

    /// The interface that it came in through. [`InterfaceId::LOOPBACK`] for what the stack has sent to itself.
    pub fn iface(&self) -> InterfaceId {
        self.iface
    }

    /// TTL or hop limit, as it arrived (IP_RECVTTL).
    pub fn hop_limit(&self) -> u8 {
        self.hop_limit
    }

    /// TOS or traffic class, as it arrived (IP_RECVTOS). The low two bits are the ECN field.
    pub fn traffic_class(&self) -> u8 {
        self.traffic_class
    }

    /// The ECN field (RFC 3168): 0 not capable, 1 ECT(1), 2 ECT(0), 3 congestion experienced.
    pub fn ecn(&self) -> u8 {
        self.traffic_class & 3
    }

    /// With [`SocketOption::UdpGro`](crate::SocketOption::UdpGro) the data may be several datagrams of one sender: all have
    /// this length but the last, which may be shorter. Otherwise the length of the data.
    pub fn segment_len(&self) -> usize {
        usize::from(self.segment_len)
    }

    /// When it was handed to the stack.
    pub fn at(&self) -> Instant {
        self.at
    }
}

impl fmt::Debug for DatagramMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramMeta")
            .field("peer", &self.peer())
            .field("local", &self.local())
            .field("iface", &self.iface)
            .field("hop_limit", &self.hop_limit)
            .field("traffic_class", &self.traffic_class)
            .field("segment_len", &self.segment_len)
            .field("at", &self.at)
            .finish()
    }
}

/// How a datagram is to be sent ([`Stack::send_msg`](crate::Stack::send_msg)). What is not set is as the socket's options
/// say.
///
/// ```
/// use portolan::SendMeta;
///
/// let voice = SendMeta::to(([10, 0, 0, 2], 5004).into()).traffic_class(0xb8).hop_limit(8);
/// assert_eq!((voice.traffic_class, voice.hop_limit), (Some(0xb8), Some(8)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendMeta {
    /// Who is to get it; `None` for the connected peer.
    pub peer: Option<SocketAddr>,
    /// TTL or hop limit, 1 to 255 (IP_TTL).
    pub hop_limit: Option<u8>,
    /// TOS or traffic class, ECN field included (IP_TOS).
    pub traffic_class: Option<u8>,
    /// The data is several datagrams of this length, the last perhaps shorter (UDP_SEGMENT); 0 for one.
    pub segment_len: Option<u16>,
}

impl SendMeta {
    /// To the connected peer.
    pub fn connected() -> Self {
        SendMeta::default()
    }

    /// To this address.
    pub fn to(peer: SocketAddr) -> Self {
        SendMeta { peer: Some(peer), ..SendMeta::default() }
    }

    /// The same with this TTL or hop limit.
    pub fn hop_limit(mut self, hop_limit: u8) -> Self {
        self.hop_limit = Some(hop_limit);
        self
    }

    /// The same with this TOS or traffic class.
    pub fn traffic_class(mut self, traffic_class: u8) -> Self {
        self.traffic_class = Some(traffic_class);
        self
    }

    /// The same as datagrams of this length, the last perhaps shorter.
    pub fn segment_len(mut self, segment_len: u16) -> Self {
        self.segment_len = Some(segment_len);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{InterfaceConfig, Medium};
    use crate::testing::PacketBuilder;
    use crate::{Config, Descriptor, Domain, Error, Frame, SocketKind, SocketOption, Stack};
    use bytes::Bytes;
    use std::vec::Vec;

    const IFACE: InterfaceId = InterfaceId(0);
    const NOW: Instant = Instant::from_nanos(5);

    /// A stack that is 10.0.0.1 and fd00::1 on a link without link headers, and a socket on port 7.
    fn stack(domain: Domain) -> (Stack, Descriptor) {
        let mut stack = Stack::new(Config::default(), [1; 32], NOW);
        let interface = InterfaceConfig::new(Medium::Ip)
            .address("10.0.0.1/24".parse().unwrap())
            .address("fd00::1/64".parse().unwrap());
        stack.add_interface(NOW, interface).unwrap();
        let d = stack.socket(domain, SocketKind::Datagram).unwrap();
        let any = if domain == Domain::V4 { "0.0.0.0:7" } else { "[::]:7" };
        stack.bind(d, any.parse().unwrap()).unwrap();
        (stack, d)
    }

    fn frames(stack: &mut Stack) -> Vec<Vec<u8>> {
        core::iter::from_fn(|| stack.poll_transmit(NOW)).map(|frame| frame.to_vec()).collect()
    }

    #[test]
    fn what_a_packet_said_is_known_of_its_datagram() {
        for (domain, src, dst, peer, local) in [
            (Domain::V4, "10.0.0.2", "10.0.0.1", "10.0.0.2:1000", "10.0.0.1:7"),
            (Domain::V4, "10.0.0.2", "10.0.0.255", "10.0.0.2:1000", "10.0.0.255:7"),
            (Domain::V6, "fd00::2", "fd00::1", "[fd00::2]:1000", "[fd00::1]:7"),
            // A socket of both families.
            (Domain::V6, "10.0.0.2", "10.0.0.1", "[::ffff:10.0.0.2]:1000", "[::ffff:10.0.0.1]:7"),
        ] {
            let (mut stack, d) = stack(domain);
            stack.set_option(NOW, d, SocketOption::V6Only(false)).ok();
            let mut builder = PacketBuilder::new(src.parse().unwrap(), dst.parse().unwrap()).hop_limit(3);
            builder.traffic_class = 0xb9;
            stack.handle_frame(NOW, IFACE, Frame::new(builder.udp(1000, 7, b"data")));
            let (data, meta) = stack.recv_msg(NOW, d).unwrap();
            assert_eq!(data, &b"data"[..]);
            assert_eq!((meta.peer(), meta.local()), (peer.parse().unwrap(), local.parse().unwrap()));
            assert_eq!((meta.hop_limit(), meta.traffic_class(), meta.ecn()), (3, 0xb9, 1));
            assert_eq!((meta.iface(), meta.segment_len(), meta.at()), (IFACE, 4, NOW));
            assert_eq!(stack.recv_msg(NOW, d), Err(Error::WouldBlock));
        }
    }

    #[test]
    fn each_datagram_is_sent_as_it_says_and_the_next_as_the_socket_says() {
        let (mut stack, d) = stack(Domain::V4);
        let to = "10.0.0.2:9".parse().unwrap();
        let data = Bytes::from_static(b"0123456789");
        let meta = SendMeta::to(to).hop_limit(3).traffic_class(0xb8).segment_len(4);
        assert_eq!(stack.send_msg(NOW, d, data.clone(), &meta), Ok(10));
        assert_eq!(stack.send_to(NOW, d, &data, to), Ok(10));
        // TOS, TTL, and the data behind the headers.
        let sent: Vec<_> = frames(&mut stack).iter().map(|f| (f[1], f[8], f[28..].to_vec())).collect();
        let expected = [
            (0xb8, 3, b"0123".to_vec()),
            (0xb8, 3, b"4567".to_vec()),
            (0xb8, 3, b"89".to_vec()),
            (0, 64, data.to_vec()),
        ];
        assert_eq!(sent, expected);
        let refused = [
            (SendMeta::to(to).hop_limit(0), Error::InvalidArgument),
            (SendMeta::connected(), Error::DestinationRequired),
        ];
        for (meta, error) in refused {
            assert_eq!(stack.send_msg(NOW, d, data.clone(), &meta), Err(error));
        }
    }

    #[test]
    fn what_goes_round_the_loopback_says_so() {
        let (mut stack, d) = stack(Domain::V6);
        let to: SocketAddr = "[::1]:7".parse().unwrap();
        stack.send_msg(NOW, d, Bytes::from_static(b"x"), &SendMeta::to(to).hop_limit(9)).unwrap();
        while !frames(&mut stack).is_empty() || stack.handle_loopback(NOW) {}
        let (_, meta) = stack.recv_msg(NOW, d).unwrap();
        assert_eq!((meta.peer(), meta.local()), (to, to));
        assert_eq!((meta.iface(), meta.hop_limit()), (InterfaceId::LOOPBACK, 9));
    }
}
