//! Binds a Portolan stack to a Linux TAP device.
//!
//! The modules in reading order:
//!
//! | module | what it does |
//! |---|---|
//! | [`Tap`], [`TapBuilder`] | the device, and the kernel's side of it |
//! | `tun` | `/dev/net/tun` and its ioctls |
//! | [`PacketDevice`] | any interface of Linux, through a packet socket |
//! | `veth` | a veth pair, where there is no TAP device ([`TapBuilder::open_veth`]) |
//! | `netlink` | sets up the kernel's side |
//! | [`isolate`] | moves the process into a new network namespace, without privileges |
//! | [`Error`] | the errors, each with advice on what to do |
//!
//! The crate is for Linux. A device of another system (utun, Wintun) is another implementation of
//! [`Device`](portolan_runtime::Device) in another crate; the runtime needs no change for it.
//!
//! A host in a new network namespace that sends a greeting to each client of port 80:
//!
//! ```no_run
//! use std::io::Write;
//!
//! use portolan_runtime::{Builder, TcpListener};
//! use portolan_tap::{TapBuilder, isolate};
//!
//! isolate()?; // before any thread is started; leave it out to be on this host's network, with CAP_NET_ADMIN
//! let tap = TapBuilder::new().host_address("10.0.0.1/24".parse()?).open()?;
//! let runtime = Builder::new().interface(tap, ["10.0.0.2/24".parse()?]).start()?;
//! for stream in TcpListener::bind(&runtime, ([10, 0, 0, 2], 80))?.incoming() {
//!     stream?.write_all(b"hello\n")?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `testing` | `portolan_tap::testing`: reads and writes virtio-net headers without a device, for tests of this workspace; off by default, and any version may change it |
#![warn(missing_debug_implementations)]

mod error;
mod limits;
mod mac;
mod namespace;
mod netlink;
mod packet;
mod tap;
#[cfg(feature = "testing")]
pub mod testing;
mod tun;
mod veth;

pub use error::Error;
pub use limits::{MAX_MTU, MAX_QUEUES, MIN_IPV6_MTU, MIN_MTU};
pub use namespace::{Isolation, isolate};
pub use packet::PacketDevice;
pub use tap::{
    DEFAULT_NAME, Offload, Tap, TapBuilder, check_mtu, check_name, check_queues, kernel_addresses,
};

/// The example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
