//! Interfaces: their addresses, duplicate address detection, the choice of a source address, the
//! routes through them, and the packets for other hosts that they take.

pub(crate) mod address;
pub(crate) mod cidr;
pub(crate) mod config;
pub(crate) mod event;
pub(crate) mod forwarding;
pub(crate) mod interception;
pub(crate) mod interface;
pub(crate) mod link_state;
pub(crate) mod routes;
pub(crate) mod slaac_config;
pub(crate) mod source;
pub(crate) mod zone;
