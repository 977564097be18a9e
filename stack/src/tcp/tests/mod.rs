//! Tests of whole connections: two connections, or one and a peer whose segments are written by
//! hand, on one virtual clock.

mod bench;
mod buffers;
mod closing;
mod ecn;
mod far;
mod hostile;
mod info;
mod lies;
mod low_water;
mod memory;
mod mtu;
mod opening;
mod options;
mod peer;
mod receiving;
mod records;
mod sending;
mod states;
mod transfer;
mod urgent;
