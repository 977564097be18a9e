//! Sockets: descriptors, options, readiness, and the implementation of the Berkeley calls.
//!
//! Read `table`, `owners` and `credentials` (descriptors and their sockets), then `record` (a
//! socket) and `common` (the shared state of all sockets), then `address`, `state` and `protocol`
//! (what each kind of socket implements), `kind` (the kinds, and the list of the rooms that
//! implement them) and `dispatch` (the choice of the room), `interest` and `pollers` (Linux's
//! epoll), and then the rooms: `tcp`, `udp`, `echo`, `raw`, `packet` and `unix`, of which `udp`,
//! `echo` and `raw` share `datagram_queue`; `udp` has `bound_ports`. `sockopt` has the options in
//! the layout of C. `rare_settings` tells which settings nobody uses, `peek_offset` has one of
//! them, and `saved_syns` keeps headers of SYNs. `interception` has what a program decides about
//! intercepted connections, and `chosen_errors` the ICMP errors among the answers. `memberships`
//! and `groups` have multicast, and `takers` the sockets that datagrams to groups are for. `errors`
//! defines which network errors a program gets; `datagram_errors` and `error_queue` report them to
//! sockets of datagrams. `holdings` and `relief` handle shortages of memory. The public interface
//! is `crate::calls`.
//!
//! A new room is a folder beside `udp`, whose tables implement the two traits of `protocol`, and an
//! entry in the list in `kind`.

mod address;
mod binding;
mod bound_ports;
mod chosen_errors;
mod common;
mod credentials;
mod datagram_calls;
mod datagram_errors;
mod datagram_queue;
mod dispatch;
mod echo;
mod error_queue;
mod errors;
mod filter;
mod groups;
mod holdings;
mod info;
mod interception;
mod interest;
mod kind;
mod memberships;
mod message;
mod multicast_interface;
mod options;
mod owners;
mod packet;
mod peek_offset;
mod pollers;
mod port_selector;
mod protocol;
mod rare_settings;
mod raw;
mod record;
mod relief;
mod saved_syns;
mod scope;
mod shortage;
mod sockopt;
mod state;
mod table;
mod takers;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;
mod unix;
mod walk;

pub use address::{SockAddr, UnixAddr};
pub(crate) use common::{Env, TransmitOutcome};
pub use credentials::Credentials;
pub(crate) use dispatch::{Kinds, Sockets};
pub use error_queue::{ErrorOrigin, QueuedError};
pub(crate) use groups::GroupChange;
pub use info::{SocketInfo, SocketState};
pub use interception::{Cancellation, IgnoreReason, PendingConnection, PendingEvent, Rejection, Unreachable};
pub use interest::{Interest, Ready};
pub use kind::{Domain, Shutdown, SocketKind};
pub use message::{DatagramMeta, Received, SendMeta};
pub use options::{
    ControlData, FastOpenOptions, IcmpFilter, IpOptions, MtuDiscover, MulticastOptions, RawOptions,
    SocketOption, SocketOptions, TcpOptions, UdpOptions,
};
pub use options::{PacketFanout, PacketFanoutMode, PacketMembership, PacketMembershipKind};
pub use packet::{LinkAddr, LinkHeader, PacketMeta, PacketStatistics};
pub use port_selector::PortSelector;
pub(crate) use protocol::{ProtocolCalls, SendData};
pub(crate) use record::Socket;
pub(crate) use scope::iface_of;
pub use sockopt::{OptionName, option_names};
pub(crate) use sockopt::{get as get_raw_option, set as set_raw_option};
pub use table::Descriptor;
pub(crate) use tcp::questions as tcp_questions;
pub use unix::{UnixMessage, UnixSend};
pub use walk::SocketWalk;
