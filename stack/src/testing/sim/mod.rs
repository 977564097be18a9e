//! A simulated network: any number of stacks, joined by links and routers, under one virtual clock.
//!
//! A [`SimNet`] is a graph. Its nodes are hosts ([`SimNet::add_host`], each a
//! [`Stack`](crate::Stack) of its own) and routers ([`SimNet::add_router`]); a link
//! ([`SimNet::connect`]) joins two of them and does in each direction what a [`PathConfig`] says:
//! rate, delay, jitter, a queue (tail drop or CoDel), loss by chance and in bursts, reordering,
//! duplication, corruption, an MTU (answered or a black hole), ECN marks, outages. Addresses and
//! routes are chosen by the network; links carry bare IP packets, IPv4 and IPv6.
//!
//! Programs run on the hosts: your own (a [`Program`], or a closure), or those that are here:
//! [`Client`] and [`Server`] do what a [`Talk`] says (send in bulk or in small pieces, stall, ask
//! and answer, echo, shut, close, reset) and compare every byte. The clock moves only inside
//! [`SimNet::run_for`] and its kin, from one happening to the next: a minute takes a fraction of a
//! second. The same seed gives the same run, bit for bit ([`SimNet::digest`]).
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
//! Every run is checked ([`SimNet::set_checks`]). Who watches the packets at a host's door knows
//! what it may say: no number is left out, nothing goes beyond the peer's window but a probe,
//! nothing that was acknowledged is sent again, there is one FIN; only what came is acknowledged or
//! reported in a SACK block, and neither the acknowledgement nor the window's right edge goes back.
//! And while nothing is on its way, whoever waits for an answer has a timer, and who waits for
//! nothing has none.
//!
//! When something goes wrong that must not (an invariant is broken, a byte differs, a program calls
//! [`OnHost::fail`], time stands still) the run panics with the seed, or ends if
//! [`SimNet::on_failure`] says so. With [`SimNet::keep_record`] the last packets are kept, as lines
//! ([`SimNet::transcript`]) and as they were ([`SimNet::sightings`]).
//!
//! Read `agenda` (what happens next), `net` (the network), then `program` and `stream` (who calls
//! the stacks), `topology`, then `observer` and `rest` (what must hold), `record`, `packet`.

mod agenda;
mod ids;
mod net;
mod observer;
mod packet;
mod pattern;
mod program;
mod record;
mod rest;
mod stream;
#[cfg(test)]
mod tests;
mod topology;

pub use ids::{LinkId, NodeId};
pub use net::{Checks, LinkConfig, OnFailure, SimNet, Way};
pub use pattern::Pattern;
pub use program::{Next, OnHost, Program, ProgramId};
pub use record::{Sight, Sighting};
pub use stream::{Client, Ending, Gate, Reading, Sending, Server, StreamPhase, Talk, TestStream};
pub use topology::{Dumbbell, Flow, jain_index};

#[cfg(doc)]
use super::PathConfig;
