//! Interfaces: their addresses, duplicate address detection, the choice of a source address, and
//! the routes through them.

pub(crate) mod address;
pub(crate) mod cidr;
pub(crate) mod config;
pub(crate) mod forwarding;
pub(crate) mod interface;
pub(crate) mod routes;
pub(crate) mod source;
