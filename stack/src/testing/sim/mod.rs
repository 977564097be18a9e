//! A simulated network: any number of stacks, joined by links and routers, under one virtual clock.
//!
//! A [`SimNet`] is a graph. Its nodes are hosts ([`SimNet::add_host`], each with a
//! [`Stack`](crate::Stack)) and routers ([`SimNet::add_router`]). A link ([`SimNet::connect`])
//! joins two nodes and has a [`PathConfig`] for each direction: rate, delay, jitter, a queue (tail
//! drop or CoDel), random loss and loss in bursts, reordering, duplication, corruption, an MTU
//! (with ICMP errors or as a black hole), ECN marks, outages. The network assigns addresses and
//! routes; links carry bare IP packets, IPv4 and IPv6.
//!
//! Programs run on the hosts: your own (a [`Program`], or a closure), or [`Client`] and [`Server`].
//! Each of those does what its [`StreamScript`] says (send in bulk or in small pieces, stall,
//! request and respond, echo, shut down, close, reset) and compares every byte. The clock moves
//! only inside [`SimNet::run_for`] and similar functions and jumps from one event to the next: a
//! minute takes a fraction of a second. The same seed gives the same run, bit for bit
//! ([`SimNet::digest`]).
//!
//! One flow over a bad path:
//!
//! ```
//! use core::time::Duration;
//! use portolan::Config;
//! use portolan::testing::sim::{Dumbbell, Flow, SimNet};
//! use portolan::testing::{PathConfig, bdp_bytes};
//! use portolan::Domain;
//!
//! let mut net = SimNet::new(7);
//! let (a, b) = (net.add_host(Config::default()), net.add_host(Config::default()));
//! let rtt = Duration::from_millis(50);
//! let path = PathConfig::rated(100_000_000, rtt / 2, bdp_bytes(100_000_000, rtt));
//! net.connect(a, b, PathConfig { loss: 0.001, ..path });
//! let flow = Flow::start(&mut net, a, b, Domain::V4, 5001, 1_000_000);
//! let goodput = flow.run(&mut net, Duration::from_secs(60));
//! assert!(goodput > 1e6, "{goodput} bit/s");
//! ```
//!
//! Several flows through one bottleneck:
//!
//! ```
//! # use core::time::Duration;
//! # use portolan::Config;
//! # use portolan::testing::sim::{Dumbbell, jain_index};
//! # use portolan::testing::PathConfig;
//! let bottleneck = PathConfig::rated(10_000_000, Duration::from_millis(10), 50_000);
//! let mut bell = Dumbbell::new(1, &Config::default(), &[Duration::from_millis(1); 2], bottleneck);
//! let flows = [bell.start_bulk(0, u64::MAX), bell.start_bulk(1, u64::MAX)];
//! bell.net.run_for(Duration::from_secs(10));
//! let shares = flows.map(|flow| flow.bytes(&bell.net) as f64);
//! assert!(jain_index(&shares) > 0.6, "{shares:?}");
//! ```
//!
//! Every run is checked ([`SimNet::set_checks`]). An observer sees all packets of a host and thus
//! knows what the host may send: sequence numbers have no gaps; nothing but a probe goes beyond the
//! peer's window; acknowledged data are not sent again; there is one FIN. Only received data are
//! acknowledged or reported in a SACK block, and neither the acknowledgement nor the right edge of
//! the window goes back. While no packet is in flight, every connection that waits for an answer
//! has a timer, and one that waits for nothing has none.
//!
//! When an error is found (an invariant is broken, a byte differs, a program calls
//! [`OnHost::fail`], time stands still), the run panics with the seed, or ends if
//! [`SimNet::on_failure`] says so. With [`SimNet::keep_record`] the last packets are kept, as text
//! ([`SimNet::transcript`]) and as bytes ([`SimNet::sightings`]).
//!
//! Read `schedule` (which event comes next), `net` (the network), then `program` and `stream`
//! (which call the stacks), `topology`, then `observer` and `rest` (the checks), `record`,
//! `packet`.

mod ids;
mod net;
mod observer;
mod packet;
mod pattern;
mod program;
mod record;
mod rest;
mod schedule;
mod stream;
#[cfg(test)]
mod tests;
mod topology;

pub use ids::{LinkId, NodeId};
pub use net::{Checks, LinkConfig, OnFailure, SimNet, Way};
pub use pattern::Pattern;
pub use program::{Next, OnHost, Program, ProgramId};
pub use record::{Sight, Sighting};
pub use stream::{Client, Ending, Gate, Reading, Sending, Server, StreamPhase, StreamScript, TestStream};
pub use topology::{Dumbbell, Flow, jain_index};

#[cfg(doc)]
use super::PathConfig;
