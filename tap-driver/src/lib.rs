//! Binds a Portolan stack to a Linux TAP device.
//!
//! In the order in which to read it:
//!
//! | module | what it does |
//! |---|---|
//! | [`addresses`] | addresses as people write them, and whether a set of them can work |
//! | [`Tap`], [`TapBuilder`] | the device, and the kernel's side of it |
//! | `vnet` | runs of segments in one piece, and checksums left out |
//! | `netlink` | how the kernel's side is set up |
//! | [`isolate`] | a network of one's own, without privileges |
//! | [`services`] | echo, discard, daytime, chargen, and a status page over HTTP |
//! | [`Error`] | what can go wrong, and what to do about it |
//!
//! A host of one's own, in a network of its own, with a page on port 80:
//!
//! ```no_run
//! use portolan_runtime::Builder;
//! use portolan_tap::{TapBuilder, isolate, services};
//!
//! isolate()?; // before any thread is started; leave it out to be on this host's network, with CAP_NET_ADMIN
//! let tap = TapBuilder::new().host_address("10.0.0.1/24".parse()?).open()?;
//! let name = tap.name().to_owned();
//! let runtime = Builder::new().interface(tap, ["10.0.0.2/24".parse()?]).start()?;
//! services::serve(&runtime, &name, &"http".parse()?)?;
//! std::process::Command::new("curl").arg("http://10.0.0.2/").status()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod addresses;
mod error;
mod namespace;
mod netlink;
pub mod services;
mod tap;
#[cfg(feature = "testing")]
pub mod testing;
mod vnet;

pub use error::Error;
pub use namespace::{Isolation, isolate};
pub use tap::{
    DEFAULT_NAME, MAX_MTU, MAX_QUEUES, MIN_IPV6_MTU, MIN_MTU, Offload, Tap, TapBuilder, check_mtu,
    check_name, check_queues, kernel_addresses,
};
