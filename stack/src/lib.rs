//! Portolan: a userspace TCP/IP stack.
//!
//! Frames go in, frames come out, and a program uses Berkeley sockets behind descriptors. The crate
//! has no I/O, no clock, no thread, no callback and no randomness of its own: time is an argument,
//! randomness is a seed. The same inputs give the same outputs, bit for bit.
//!
//! Start at [`Stack`], which has the contract of the driving loop and the socket calls.
//!
//! ```
//! use portolan::{Config, Domain, Frame, Instant, InterfaceConfig, MacAddr, Medium, SocketKind, Stack};
//!
//! let now = Instant::ZERO; // your clock
//! let mut stack = Stack::new(Config::default(), [7; 32], now); // your randomness
//! let medium = Medium::Ethernet(MacAddr([2, 0, 0, 0, 0, 2]));
//! let iface = stack.add_interface(now, InterfaceConfig::new(medium).address("10.0.0.2/24".parse()?))?;
//!
//! let listener = stack.socket(Domain::V4, SocketKind::Stream)?;
//! stack.bind(listener, ([0; 4], 80))?;
//! stack.listen(listener, 128)?;
//!
//! stack.handle_frame(now, iface, Frame::new(vec![0xff; 60])); // from your device
//! stack.handle_timeout(now);
//! while let Some(event) = stack.poll_event() {
//!     println!("{event:?}"); // accept, recv and send never block
//! }
//! while let Some(transmit) = stack.poll_transmit(now) {
//!     println!("{} bytes for your device", transmit.len());
//! }
//! println!("call again at {:?}", stack.poll_timeout());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! None is on by default, and none changes existing behaviour.
//!
//! | feature | what it adds |
//! |---|---|
//! | `std` | `From<Error>` for `std::io::Error`; without it the crate needs `alloc` only |
//! | `testing` | `portolan::testing`: segment builders, pairs of stacks, simulated networks, for tests of your own protocol |
//!
//! `portolan-runtime` has no features. `portolan-tap` has one, `testing`, which is for tests of
//! this workspace.
//!
//! ## `std`
//!
//! A call of the stack fails with [`Error`], a POSIX error under its usual name. With `std` the
//! operator `?` turns it into a `std::io::Error` of the kind that `std::net` has for it:
//! `WouldBlock`, `ConnectionReset`, `AddrInUse` and so on.
//!
//! ## `testing`
//!
//! Two stacks and a link between them, in virtual time and from a seed; networks of any number of
//! stacks; frames built byte by byte, right or with a fault. The page of the module `testing` has
//! an example. Any version may change it.
//!
//! # The map of the crate
//!
//! A received frame passes down the first part of this list, from `stack` to `socket`; a sent frame
//! passes up.
//!
//! | room | what it does |
//! |---|---|
//! | `calls` | the Berkeley calls of a stack and of its owners |
//! | `stack` | [`Stack`]: the driving loop, and nothing else |
//! | `network` | the network layer: passes packets between `link`, `iface`, `ip` and `icmp` |
//! | `link` | Ethernet, ARP, NDP, the neighbour cache |
//! | `iface` | interfaces, their addresses, source selection, routes |
//! | `ip` | input, output, fragments, path MTU |
//! | `multicast` | the groups that an interface listens to; IGMP and MLD |
//! | `slaac` | what an interface learns from router advertisements: addresses, routes, name servers |
//! | `icmp` | echo, errors |
//! | `demux`, `ports` | from addresses and ports to a socket; ephemeral ports |
//! | `udp`, `tcp` | the transport protocols; `tcp::Connection` knows nothing of IP or sockets |
//! | `socket` | descriptors, options, readiness, pollers; each kind of socket |
//! | [`bpf`] | programs that filter packets for sockets |
//! | `trace` | every frame that enters or leaves, for programs that ask for it |
//! | [`steering`] | several stacks that are one host: which of them has which flow |
//! | `config` | every tunable, with its default |
//! | `ctx` | what every part borrows during a call: the time, the configuration, the counters |
//! | `memory` | the account of what sockets hold, and how much a call may take |
//! | `timers` | the queue of the sockets' timers |
//! | `rate_limit` | how many answers a peer gets |
//! | `frame`, `offload` | frames, and what a device does of their checksums and segments |
//! | `event` | readiness, and deadlines |
//! | `message_flags` | the flags of calls that send and receive |
//! | `error`, `drop_reason`, `stats` | errors of calls, reasons for drops, counters |
//! | `subject` | the connection or packet that a log line names |
//! | `id`, `interface_id` | the ids of sockets, owners, pollers, handshakes, pending connections and interfaces |
//! | `slab`, `hash`, `copy_on_write` | a table with keys that are never used again, keyed hashes, shared values |
//! | `time`, `rng` | instants, and the random numbers that follow from the seed |
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod bpf;
mod calls;
mod config;
mod copy_on_write;
mod ctx;
mod demux;
mod drop_reason;
mod error;
mod event;
mod frame;
mod hash;
mod icmp;
mod id;
mod iface;
mod interface_id;
mod ip;
mod link;
mod memory;
mod message_flags;
mod multicast;
mod network;
mod offload;
mod ports;
mod rate_limit;
mod rng;
mod slaac;
mod slab;
mod socket;
mod stack;
mod stats;
pub mod steering;
mod subject;
mod tcp;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
mod timers;
mod trace;
mod udp;

pub use calls::Owner;
pub use config::{
    Config, ConfigError, CongestionControl, Ecn, InterceptionConfig, IpConfig, MtuProbing, MulticastConfig,
    NeighborConfig, SynCookieMode, TcpConfig, UdpConfig, UnixConfig,
};
pub use drop_reason::DropReason;
pub use error::{CloseReason, Error, Result};
pub use event::{Deadline, DeadlineKind, Event, Readiness};
pub use frame::{Frame, Transmit};
pub use id::{OwnerId, PendingId, PollerId, SocketId};
pub use message_flags::{ReceivedFlags, RecvFlags, SendFlags};
pub use multicast::{FilterMode, MulticastInterface, SourceFilter};
pub use network::{
    AddressLifetime, AddressState, AdvertisedRoute, AutoAddressInfo, Cidr, Forwarding, InterceptedNetwork,
    Interception, InterfaceConfig, InterfaceId, InterfaceIdentifiers, InterfaceInfo, LinkState, MacAddr,
    Medium, NeighborInfo, NeighborState, NetworkEvent, PacketType, ParseCidrError, ParseMacAddrError,
    ProxyAnswers, Route, RouterPreference, SlaacConfig, SlaacInfo, TemporaryAddresses, Zone,
};
pub use offload::{ChecksumState, Offloads, PartialChecksum, SegmentKind, Segments};
pub use socket::{Cancellation, IgnoreReason, PendingConnection, PendingEvent, Rejection, Unreachable};
pub use socket::{
    ControlData, Credentials, DatagramMeta, Descriptor, Domain, ErrorOrigin, FastOpenOptions, IcmpFilter,
    Interest, IpOptions, LinkAddr, LinkHeader, MtuDiscover, MulticastOptions, PacketFanout, PacketFanoutMode,
    PacketMembership, PacketMembershipKind, PacketMeta, PacketStatistics, QueuedError, RawOptions, Ready,
    Received, SendMeta, Shutdown, SockAddr, SocketInfo, SocketKind, SocketOption, SocketOptions, SocketState,
    SocketWalk, TcpOptions, UdpOptions, UnixAddr, UnixMessage, UnixSend,
};
pub use socket::{OptionName, PortSelector, option_names};
pub use stack::Stack;
pub use stats::{
    CookieStats, Counter, EcnStats, FastOpenStats, IcmpStats, InterceptionStats, IpStats, LinkStats,
    MemoryStats, MtuStats, MulticastStats, RecoveryStats, Stats, TcpStats, UdpStats,
};
pub use steering::Steering;
pub use tcp::{CongestionState, TcpInfo};
pub use tcp::{FastOpenKey, State as TcpState};
pub use time::Instant;
pub use trace::{PacketAddresses, Passage, Traced, Verdict};

pub(crate) use ctx::Ctx;

/// The example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
