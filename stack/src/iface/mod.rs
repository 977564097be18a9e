//! Interfaces: their addresses, the detection of duplicates, the choice of a source address, and
//! the routes that lead to them.

pub(crate) mod address;
pub(crate) mod cidr;
pub(crate) mod config;
pub(crate) mod interface;
pub(crate) mod routes;
pub(crate) mod source;
