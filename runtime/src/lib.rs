//! Runs a Portolan stack in an ordinary std program.
//!
//! The modules in reading order:
//!
//! | module | what it does |
//! |---|---|
//! | `builder` | [`Builder`]: makes a running stack from devices and addresses |
//! | `runtime`, `handle` | [`Runtime`], [`Handle`] and [`Owner`]: the threads of a running stack, and access to it |
//! | `interfaces` | interfaces and devices while the runtime runs |
//! | `plan` | checks the settings of a builder |
//! | `engine` | a stack and its devices behind two locks, and the threads that drive them |
//! | `socket` | the common part of all blocking sockets: waiting, time-outs, closing |
//! | `future` | futures that wait for several sockets and for time; running one in a thread |
//! | `listening` | a listener on all stacks of a runtime |
//! | `interceptor` | [`TcpInterceptor`], [`UdpInterceptor`]: connections and flows to any address |
//! | `relay` | [`relay()`]: joins two connections |
//! | `tcp`, `udp`, `echo`, `raw`, `packet` | [`TcpListener`], [`TcpStream`], [`TcpSocket`], [`UdpSocket`], [`EchoSocket`], [`RawSocket`], [`PacketSocket`] |
//! | `unix` | [`UnixListener`], [`UnixStream`], [`UnixDatagram`]: communication inside one host |
//! | `passed` | [`PassedSocket`]: sockets that messages of Unix-domain sockets pass on |
//! | `addrs` | [`ToAddrs`]: what a program may bind or connect to: addresses, and names |
//! | `names`, `resolver` | looks names up (feature `resolver`): without I/O, and over the stack's own sockets |
//! | `dhcp` | an address from the network (feature `dhcp`) |
//! | `poller` | [`Poller`]: waits for many sockets at once |
//! | [`task`] | sockets for tasks of async programs, modelled on `tokio::net` |
//! | [`device`] | devices: the trait, a pair in memory, a pcap writer, a fault injector |
//! | `policy` | every tuned constant, with the measurement behind it |
//! | `pool` | reusable memory |
//! | `platform` | what depends on the operating system |
//! | `sync` | locks, condition variables, atomics, threads and `poll` |
//! | `clock` | real time as an instant of the stack |
//!
//! ```
//! use std::io::{Read, Write};
//! use portolan_runtime::{Builder, TcpListener, TcpStream, device::memory_pair};
//!
//! let (left, right) = memory_pair()?;
//! let server = Builder::new().interface(left, ["10.0.0.1/24".parse()?]).start()?;
//! let client = Builder::new().interface(right, ["10.0.0.2/24".parse()?]).start()?;
//!
//! let listener = TcpListener::bind(&server, ([10, 0, 0, 1], 7))?;
//! let echo = std::thread::spawn(move || {
//!     let (mut stream, _peer) = listener.accept()?;
//!     let mut word = [0; 5];
//!     stream.read_exact(&mut word)?;
//!     stream.write_all(&word)
//! });
//! let mut stream = TcpStream::connect(&client, ([10, 0, 0, 1], 7))?;
//! stream.write_all(b"hello")?;
//! let mut word = [0; 5];
//! stream.read_exact(&mut word)?;
//! assert_eq!(&word, b"hello");
//! echo.join().unwrap()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![warn(missing_debug_implementations)]

mod addrs;
mod builder;
mod clock;
pub mod device;
#[cfg(feature = "dhcp")]
mod dhcp;
mod echo;
mod engine;
mod future;
mod handle;
mod interceptor;
mod interfaces;
mod listening;
#[cfg(feature = "resolver")]
mod names;
mod packet;
mod passed;
mod plan;
mod platform;
mod policy;
mod poller;
mod pool;
mod raw;
mod relay;
#[cfg(feature = "resolver")]
mod resolver;
mod runtime;
mod socket;
#[cfg_attr(loom, path = "../loom/sync.rs")]
#[cfg_attr(shuttle, path = "../shuttle/sync.rs")]
mod sync;
pub mod task;
mod tcp;
mod udp;
mod unix;

pub use addrs::ToAddrs;
pub use builder::Builder;
pub use clock::Clock;
pub use device::{Device, Sent};
#[cfg(feature = "dhcp")]
pub use dhcp::{
    client::{DhcpClient, DhcpConfig, DhcpEvent},
    lease::{DhcpLease, DhcpRoute},
};
pub use echo::{EchoReply, EchoSocket};
pub use engine::delivery::Undelivered;
pub use engine::inbox::Handovers;
pub use handle::{Handle, Owner};
pub use interceptor::{PendingStream, TcpInterceptor, UdpInterceptor};
#[cfg(feature = "resolver")]
pub use names::{ResolverStats, config::ResolverConfig, hosts::Hosts};
pub use packet::PacketSocket;
pub use passed::{PassedSocket, UnixReceived};
pub use poller::{Poller, Source};
pub use raw::RawSocket;
pub use relay::config::{RelayConfig, RelayEnd, Relayed};
pub use relay::{RelayStream, relay, relay_with};
#[cfg(feature = "resolver")]
pub use resolver::Resolver;
pub use runtime::Runtime;
#[cfg(any(loom, shuttle))]
pub use sync::model;
pub use tcp::{Incoming, IntoIncoming, Keepalive, TcpListener, TcpSocket, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixDatagram, UnixIncoming, UnixListener, UnixStream};

/// The example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
