//! Sockets: descriptors, options, readiness, and the Berkeley calls.
//!
//! Read `table` and `owners` (what a descriptor leads to), then `record` (a socket) and
//! `common` (what all sockets share), then `state` and `protocol` (what each kind of socket
//! answers) and `dispatch` (where the kinds are told apart), and then the kinds: `tcp`, `udp` and
//! `echo`, the latter two with `datagram_queue`. `errors` tells what a program hears of errors that
//! the network reports, `holdings` and `relief` what happens when memory is short. `calls` is the
//! public face.

mod binding;
mod calls;
mod common;
mod datagram_calls;
mod datagram_queue;
mod dispatch;
mod echo;
mod errors;
mod holdings;
mod info;
mod kind;
mod message;
mod options;
mod owners;
mod protocol;
mod record;
mod relief;
mod scope;
mod shortage;
mod state;
mod table;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

pub use calls::Owner;
pub(crate) use common::{Env, TransmitOutcome};
pub(crate) use dispatch::{Kinds, Sockets};
pub use info::{SocketInfo, SocketState};
pub use kind::{Domain, Shutdown, SocketKind};
pub use message::{DatagramMeta, SendMeta};
pub use options::{FastOpenOptions, IpOptions, SocketOption, SocketOptions, TcpOptions, UdpOptions};
pub use table::Descriptor;
