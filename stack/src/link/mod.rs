//! The link layer: Ethernet frames, ARP and NDP messages, and the neighbour cache that both update.
//!
//! Read `ethernet` first, then `neighbor` (the states of RFC 4861), then `arp` and `ndp` (the
//! messages). None of them sends anything: they return what is to be sent, and
//! [`Network`](crate::network::Network) sends it.

pub(crate) mod arp;
pub(crate) mod ethernet;
pub(crate) mod mac;
pub(crate) mod medium;
pub(crate) mod ndp;
pub(crate) mod neighbor;
pub(crate) mod packet_type;
pub(crate) mod router_advertisement;
