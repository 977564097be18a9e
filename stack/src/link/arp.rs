//! ARP messages (RFC 826) for IPv4 over Ethernet.

use core::net::Ipv4Addr;

use smoltcp::wire::{ArpOperation, ArpPacket as WirePacket, ArpRepr, EthernetAddress};

use super::mac::MacAddr;
use crate::drop_reason::DropReason;
use crate::frame::HeaderBuf;

/// Whether a message is a request or a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Request,
    Reply,
}

/// An ARP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArpPacket {
    pub(crate) operation: Operation,
    pub(crate) sender_mac: MacAddr,
    /// The sender's address; 0.0.0.0 in a probe (RFC 5227 §1.1).
    pub(crate) sender_ip: Ipv4Addr,
    pub(crate) target_mac: MacAddr,
    pub(crate) target_ip: Ipv4Addr,
}

impl ArpPacket {
    /// A request: who has `target`? With the sender 0.0.0.0 it is a probe for duplicates.
    pub(crate) fn request(sender_mac: MacAddr, sender_ip: Ipv4Addr, target: Ipv4Addr) -> Self {
        ArpPacket {
            operation: Operation::Request,
            sender_mac,
            sender_ip,
            target_mac: MacAddr([0; 6]),
            target_ip: target,
        }
    }

    /// An announcement: a request for one's own address (RFC 5227 §2.3).
    pub(crate) fn announcement(mac: MacAddr, addr: Ipv4Addr) -> Self {
        ArpPacket::request(mac, addr, addr)
    }

    /// The answer to this request.
    pub(crate) fn reply(&self, own: MacAddr) -> Self {
        ArpPacket {
            operation: Operation::Reply,
            sender_mac: own,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let packet = WirePacket::new_checked(bytes).map_err(|_| DropReason::BadArp)?;
        let repr = ArpRepr::parse(&packet).map_err(|_| DropReason::BadArp)?;
        let ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr,
            target_hardware_addr,
            target_protocol_addr,
        } = repr
        else {
            return Err(DropReason::BadArp);
        };
        let operation = match operation {
            ArpOperation::Request => Operation::Request,
            ArpOperation::Reply => Operation::Reply,
            ArpOperation::Unknown(_) => return Err(DropReason::BadArp),
        };
        let sender_mac = MacAddr(source_hardware_addr.0);
        let sender_ip = source_protocol_addr;
        // The sender must be one station: not a group, nor a loopback address.
        let is_station = sender_mac.is_station()
            && !sender_ip.is_multicast()
            && !sender_ip.is_loopback()
            && !sender_ip.is_broadcast();
        // A reply needs a sender address.
        if !is_station || (operation == Operation::Reply && sender_ip.is_unspecified()) {
            return Err(DropReason::BadArp);
        }
        Ok(ArpPacket {
            operation,
            sender_mac,
            sender_ip,
            target_mac: MacAddr(target_hardware_addr.0),
            target_ip: target_protocol_addr,
        })
    }

    /// The bytes of the message, without an Ethernet header.
    pub(crate) fn emit(&self) -> HeaderBuf {
        let repr = ArpRepr::EthernetIpv4 {
            operation: match self.operation {
                Operation::Request => ArpOperation::Request,
                Operation::Reply => ArpOperation::Reply,
            },
            source_hardware_addr: EthernetAddress(self.sender_mac.0),
            source_protocol_addr: self.sender_ip,
            target_hardware_addr: EthernetAddress(self.target_mac.0),
            target_protocol_addr: self.target_ip,
        };
        let mut header = HeaderBuf::new();
        let mut packet = WirePacket::new_unchecked(header.prepend(repr.buffer_len()));
        repr.emit(&mut packet);
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> ArpPacket {
        let own = MacAddr([2, 0, 0, 0, 0, 1]);
        ArpPacket::request(own, Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2))
    }

    #[test]
    fn parses_what_it_emits_and_another_parser_agrees() {
        let emitted = request().emit();
        assert_eq!(ArpPacket::parse(emitted.as_slice()), Ok(request()));
        let other = etherparse::ArpPacket::from_slice(emitted.as_slice()).unwrap();
        assert_eq!(other.operation, etherparse::ArpOperation::REQUEST);
        assert_eq!(other.sender_protocol_addr(), [10, 0, 0, 1]);
        assert_eq!(other.target_protocol_addr(), [10, 0, 0, 2]);
        assert_eq!(other.target_hw_addr(), [0; 6]);

        let own = MacAddr([2, 0, 0, 0, 0, 2]);
        let reply = request().reply(own);
        assert_eq!(ArpPacket::parse(reply.emit().as_slice()), Ok(reply));
        assert_eq!((reply.sender_mac, reply.target_mac), (own, request().sender_mac));
        assert_eq!((reply.sender_ip, reply.target_ip), (request().target_ip, request().sender_ip));
    }

    #[test]
    fn malformed_messages_are_refused() {
        let good = request().emit().as_slice().to_vec();
        for (at, value) in
            [(1, 6), (2, 0x86), (4, 8), (5, 16), (7, 3), (7, 0), (8, 0x01), (14, 224), (14, 127)]
        {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(ArpPacket::parse(&bad), Err(DropReason::BadArp), "byte {at} = {value}");
        }
        assert_eq!(ArpPacket::parse(&good[..27]), Err(DropReason::BadArp));
        assert_eq!(ArpPacket::parse(&[]), Err(DropReason::BadArp));
        // A reply from 0.0.0.0, which only a probe may come from.
        let mut reply = request();
        reply.operation = Operation::Reply;
        reply.sender_ip = Ipv4Addr::UNSPECIFIED;
        assert_eq!(ArpPacket::parse(reply.emit().as_slice()), Err(DropReason::BadArp));
    }
}
