//! The beginning of an input of the machine: the features of both ends, and the state of the first
//! connection.

use portolan::testing::TcpSegment;
use portolan::{CongestionControl, Domain, Ecn, MtuProbing, SynCookieMode};

use super::host::{Bounds, Host, small_config};

/// The configuration of the stack and the options of the peer, as bits of two bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features(pub(super) u16);

impl Features {
    pub(super) const V6: u16 = 1;
    pub(super) const ETHERNET: u16 = 1 << 1;
    pub(super) const TIMESTAMPS: u16 = 1 << 2;
    pub(super) const SACK: u16 = 1 << 3;
    pub(super) const SCALE: u16 = 1 << 4;
    pub(super) const ECN_REQUEST: u16 = 1 << 5;
    pub(super) const ECN_ACCURATE: u16 = 1 << 6;
    pub(super) const FAST_OPEN: u16 = 1 << 7;
    pub(super) const COOKIES: u16 = 1 << 8;
    pub(super) const SMALL_BACKLOG: u16 = 1 << 9;
    pub(super) const PACING: u16 = 1 << 10;
    pub(super) const BBR_OR_RENO: u16 = 1 << 11;
    pub(super) const MTU_PROBING: u16 = 1 << 12;
    pub(super) const LITTLE_MEMORY: u16 = 1 << 13;
    pub(super) const DEFER_ACCEPT: u16 = 1 << 14;

    pub(super) fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }

    pub(super) fn domain(self) -> Domain {
        if self.has(Features::V6) { Domain::V6 } else { Domain::V4 }
    }

    pub(super) fn host(self) -> Host {
        let mut config = small_config();
        config.tcp.ecn = match (self.has(Features::ECN_REQUEST), self.has(Features::ECN_ACCURATE)) {
            (false, false) => Ecn::Accept,
            (true, false) => Ecn::Request,
            (_, true) => Ecn::RequestAccurate,
        };
        if self.has(Features::COOKIES) {
            config.tcp.syn_cookies = SynCookieMode::Always;
        }
        config.tcp.pacing = self.has(Features::PACING);
        if self.has(Features::BBR_OR_RENO) {
            config.tcp.congestion = CongestionControl::Reno;
        }
        if self.has(Features::MTU_PROBING) {
            config.tcp.mtu_probing = MtuProbing::Always;
        }
        if self.has(Features::LITTLE_MEMORY) {
            config.memory_limit_bytes = 256 << 10;
        }
        Host::new(self.has(Features::ETHERNET), config, Bounds::STREAMS)
    }

    /// The flags of a SYN of the peer.
    pub(super) fn syn_flags(self) -> u8 {
        TcpSegment::SYN | if self.has(Features::ECN_REQUEST) { ECE | CWR } else { 0 }
    }

    /// The options of a SYN of the peer.
    pub(super) fn syn_options(self, clock: u32) -> Vec<u8> {
        let mut options = vec![2, 4, 0x05, 0xb4];
        if self.has(Features::SACK) {
            options.extend([4, 2]);
        }
        if self.has(Features::TIMESTAMPS) {
            options.extend([8, 10]);
            options.extend(clock.to_be_bytes());
            options.extend([0; 4]);
        }
        if self.has(Features::SCALE) {
            options.extend([3, 3, 7]);
        }
        if self.has(Features::FAST_OPEN) {
            options.extend([34, 2]);
        }
        options
    }
}

const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

/// The state in which an input begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    Nothing,
    Listen,
    SynReceived,
    SynSent,
    Accepted,
    Connected,
    InFlight,
    OutOfOrder,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Backlog,
}

impl Beginning {
    pub(super) const ALL: [Beginning; 15] = [
        Beginning::Nothing,
        Beginning::Listen,
        Beginning::SynReceived,
        Beginning::SynSent,
        Beginning::Accepted,
        Beginning::Connected,
        Beginning::InFlight,
        Beginning::OutOfOrder,
        Beginning::FinWait1,
        Beginning::FinWait2,
        Beginning::CloseWait,
        Beginning::Closing,
        Beginning::LastAck,
        Beginning::TimeWait,
        Beginning::Backlog,
    ];
}
