//! TCP (RFC 9293). Read `seq`, `header` and `state` first, then `connection`, then `input` and
//! `output`.
//!
//! [`Connection`] knows nothing of IP, sockets or devices: segments, user calls and time go in;
//! segments and a deadline come out.

mod accecn;
mod ack;
mod assembler;
mod autotune;
mod byte_queue;
mod congestion;
mod connection;
mod counters;
mod ecn;
mod ecn_handshake;
mod ended;
mod fast_open;
mod flight;
mod free_list;
mod handshake;
mod header;
mod info;
mod input;
mod isn;
mod lazy_scoreboard;
mod mtu_probe;
mod options;
mod output;
mod pacer;
mod pacing;
mod passive_open;
mod phases;
mod pressure;
mod prr;
mod rack;
mod rate;
mod receiver;
mod recovery;
mod recv_queue;
mod retransmit;
mod right_sizing;
mod rtt;
mod run;
mod scoreboard;
mod send_flags;
mod send_queue;
mod sender;
mod sent_range;
mod seq;
mod settings;
mod state;
mod syn_cookies;
mod text;
mod time_wait;
mod timer;
mod timestamps;
mod urgent;
mod user;
mod user_timeout;
mod window;

pub(crate) use connection::Connection;
pub(crate) use ended::Ended;
pub use fast_open::FastOpenKey;
pub(crate) use fast_open::{CacheUpdate, CookieCheck, FastOpenEnd, FastOpenKeys, SynOutcome};
pub(crate) use free_list::FreeList;
pub(crate) use handshake::{HandshakeStep, HandshakeTimeout, SynReceived};
pub(crate) use header::{Flags, Header, reset_for};
pub use info::{CongestionState, TcpInfo};
pub(crate) use isn::IsnGenerator;
pub(crate) use options::{FastOpenCookie, Options, SackBlocks, Timestamps};
pub(crate) use run::Run;
pub(crate) use seq::SeqNumber;
pub(crate) use settings::{OpenParams, Settings};
pub use state::State;
pub(crate) use syn_cookies::{SynCookies, VALID_FOR as SYN_COOKIE_VALID_FOR};
pub(crate) use time_wait::{TimeWait, TimeWaitStep};

#[cfg(test)]
mod tests;
