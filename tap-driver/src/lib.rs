//! Binds a Portolan stack to a Linux TAP device.
//!
//! In the order in which to read it:
//!
//! | module | what it does |
//! |---|---|
//! | [`addresses`] | addresses as people write them, and whether a set of them can work |
//! | [`Tap`], [`TapBuilder`] | the device, and the kernel's side of it |
//! | `netlink` | how the kernel's side is set up |
//! | [`isolate`] | a network of one's own, without privileges |
//! | [`services`] | echo, discard, daytime, chargen, and a status page over HTTP |
//! | [`Error`] | what can go wrong, and what to do about it |

pub mod addresses;
mod error;
mod namespace;
mod netlink;
pub mod services;
mod tap;

pub use error::Error;
pub use namespace::{Isolation, isolate};
pub use tap::{
    DEFAULT_NAME, MAX_MTU, MIN_IPV6_MTU, MIN_MTU, Tap, TapBuilder, check_mtu, check_name, kernel_addresses,
};
