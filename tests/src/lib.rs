//! The common part of the whole-system tests.
//!
//! - [`check_frame`] is a second opinion: `etherparse` parses what a stack sent, and recomputes its
//!   checksums;
//! - [`Transfer`] is two programs that send each other data and compare it;
//! - [`soak`] simulates random networks by the thousand;
//! - [`differ`] plays random peers against Portolan and the Linux kernel;
//! - [`datagrams`] makes calls on datagram sockets, on Portolan and on the Linux kernel;
//! - [`pollers`] makes random calls on pollers, on Portolan and on the Linux kernel;
//! - [`unix_sockets`] makes random calls on Unix-domain sockets, on both;
//! - [`bpf`] compares random BPF programs on Portolan and the Linux kernel;
//! - [`sockopt`] compares socket options by number and bytes with those of the Linux kernel;
//! - [`packets`] makes random calls on packet sockets, on Portolan and on the Linux kernel;
//! - [`forwarding`] sends random packets through Portolan and the Linux kernel as routers;
//! - [`raw_sockets`] makes random calls on raw and echo sockets, likewise;
//! - [`reuse_port`] compares how sockets that share a port are chosen, by program;
//! - [`seeds`] plays the seeds of the commands that make such comparisons;
//! - [`fuzz`] contains the targets of the fuzzer, and runs their seeds;
//! - [`host`] is Portolan or the kernel, for tests that drive both; [`script`] and [`matrix`] do;
//! - [`RawPeer`] is a peer without a stack: a test that sends bytes.

pub mod bpf;
pub mod call_matrix;
pub mod call_table;
mod check;
pub mod crowd;
pub mod datagrams;
pub mod differ;
mod family;
pub mod forwarding;
pub mod fuzz;
pub mod groups;
pub mod host;
pub mod matrix;
pub mod namespace;
pub mod packet_socket;
pub mod packets;
pub mod pattern;
mod pcap;
pub mod peek_offset;
pub mod pollers;
mod raw_peer;
pub mod raw_sockets;
pub mod reuse_port;
pub mod rfc_table;
pub mod script;
pub mod seeds;
pub mod slaac;
pub mod soak;
pub mod sockopt;
pub mod sources;
pub mod streams;
pub mod transcript;
mod transfer;
pub mod unix_sockets;

pub use check::{check_frame, check_frames};
pub use family::by_family;
pub use pcap::keep_pcap;
pub use raw_peer::{RawConnection, RawPeer, tcp_segment};
pub use transfer::{Transfer, data};

/// The code in `docs/from-tokio.md` is compiled and run as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../docs/from-tokio.md")]
struct FromTokio;

/// The code in `docs/embedding.md` is compiled and run as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
pub struct Embedding;

/// The code in `docs/from-std.md` is compiled and run as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../docs/from-std.md")]
pub struct FromStd;

/// The code in `docs/from-smoltcp.md`, smoltcp's and ours, is compiled and run as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../docs/from-smoltcp.md")]
pub struct FromSmoltcp;

/// The code in `docs/sockets.md` is compiled and run as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../docs/sockets.md")]
pub struct Sockets;

/// The code in `docs/interception.md` is compiled and run as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../docs/interception.md")]
pub struct Interception;

/// The code in `docs/dhcp.md` is compiled as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../docs/dhcp.md")]
pub struct Dhcp;

/// The code in `docs/slaac.md` is compiled and run as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../docs/slaac.md")]
pub struct Slaac;

/// The code in `docs/devices.md` is compiled and run as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../docs/devices.md")]
pub struct DevicesPage;

/// The code in `docs/names.md` is compiled and run as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../docs/names.md")]
pub struct Names;

/// The code in the README is compiled and run as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
