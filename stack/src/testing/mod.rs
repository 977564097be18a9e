//! Test benches for the users of the crate and for its own workspace (feature `testing`).
//!
//! - [`Pair`]: two stacks, one virtual clock, and a [`Link`](LinkFaults) between them that loses,
//!   duplicates, reorders and corrupts frames as its seed determines. The same seed gives the same
//!   run.
//! - [`PacketBuilder`], [`TcpSegment`] and related functions: frames byte by byte, valid or with a
//!   chosen [`Fault`], for what a correct stack would never send.
//! - [`sim`]: any number of stacks, joined by links and routers, with programs on them.
//! - [`describe`]: a frame as one line of text.
//!
//! This module is for tests, and may change with any version of the crate.
//!
//! ```
//! use core::time::Duration;
//! use portolan::Domain;
//! use portolan::testing::{LinkFaults, Pair, PairConfig};
//!
//! let faults = LinkFaults { loss: 0.1, ..LinkFaults::default() };
//! let mut pair = Pair::new(PairConfig { faults, ..PairConfig::seeded(7) });
//! let (client, server) = pair.connected_streams(Domain::V4);
//! pair.a.stack.send(pair.now(), client, b"hello")?;
//! let mut buf = [0; 16];
//! let arrived = pair.drive(Duration::from_secs(60), |pair| {
//!     pair.b.stack.recv(pair.now(), server, &mut buf) == Ok(5)
//! });
//! assert!(arrived && &buf[..5] == b"hello");
//! # Ok::<(), portolan::Error>(())
//! ```

mod build;
mod decode;
mod device;
mod link;
mod pair;
mod path;
mod queue;
mod router;
pub mod sim;

pub use build::{
    Fault, PacketBuilder, TcpSegment, arp_reply, arp_request, ethernet, internet_checksum,
    neighbor_advertisement,
};
pub use decode::{describe, describe_packet};
pub use device::cut;
pub use link::LinkFaults;
pub use pair::{Host, Pair, PairConfig, Recorded, Side};
pub use path::{
    GilbertElliott, HoldBack, JitterOrder, Loss, Outage, PathConfig, PathStats, TooBig, bdp_bytes,
};
pub use queue::{Discipline, QueueConfig};
pub use router::{AUTONOMOUS, AdvertisementBuilder, ON_LINK};
