//! The blind matrix: one segment in every state, with every combination of flags, sequence numbers
//! and acknowledgements, sent to the kernel and to Portolan. Both must give the same kind of answer
//! and be in the same state afterwards, unless a rule explains the difference.
//!
//! Read this file (the cases), then `drive` (how a host is brought into a state, and its answers),
//! `rules` (known differences) and `compare`.

mod compare;
mod drive;
mod rules;

use std::fmt;

use portolan::Domain;
use portolan::testing::TcpSegment;

pub use compare::{Report, compare};
pub use drive::{Answer, Packet};
pub use rules::{RULES, Rule};

/// A segment in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// The family.
    pub domain: Domain,
    /// The state of the host.
    pub state: State,
    /// The flags of the segment.
    pub flags: u8,
    /// Its sequence number.
    pub seq: Seq,
    /// Its acknowledgement; ignored without the ACK flag.
    pub ack: Ack,
    /// The length of its data in bytes.
    pub len: u32,
}

/// The state of the host before the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no listener.
    Closed,
    /// There is a listener.
    Listen,
    /// The program has connected.
    SynSent,
    /// The SYN-ACK was sent.
    SynReceived,
    /// Nothing is in flight.
    Established,
    /// The program has sent data that is not acknowledged.
    EstablishedData,
    /// The program has shut down its sending half.
    FinWait1,
    /// The program has closed.
    FinWait1Closed,
    /// Like `FinWait1`, and the FIN is acknowledged.
    FinWait2,
    /// Like `FinWait1Closed`, and the FIN is acknowledged.
    FinWait2Closed,
    /// The FINs have crossed.
    Closing,
    /// Both FINs are acknowledged.
    TimeWait,
    /// The peer's FIN was received.
    CloseWait,
    /// The peer's FIN was received, and the program has closed.
    LastAck,
}

/// The sequence number of the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seq {
    /// RCV.NXT - 1000.
    Old,
    /// RCV.NXT - 1.
    OneBefore,
    /// RCV.NXT.
    Next,
    /// RCV.NXT + 10.
    InWindow,
    /// The last number of the window.
    LastInWindow,
    /// The first number after the window.
    Edge,
    /// A thousand after the window.
    Beyond,
}

/// The acknowledgement number of the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// Before SND.UNA by more than the largest window.
    TooOld,
    /// SND.UNA - 1.
    OneBefore,
    /// SND.UNA.
    Una,
    /// Between SND.UNA and SND.NXT, if there is room.
    Within,
    /// SND.NXT.
    Next,
    /// SND.NXT + 1.
    Future,
}

/// All states.
pub const STATES: [State; 14] = [
    State::Closed,
    State::Listen,
    State::SynSent,
    State::SynReceived,
    State::Established,
    State::EstablishedData,
    State::FinWait1,
    State::FinWait1Closed,
    State::FinWait2,
    State::FinWait2Closed,
    State::Closing,
    State::TimeWait,
    State::CloseWait,
    State::LastAck,
];

const SEQS: [Seq; 7] =
    [Seq::Old, Seq::OneBefore, Seq::Next, Seq::InWindow, Seq::LastInWindow, Seq::Edge, Seq::Beyond];
const ACKS: [Ack; 6] = [Ack::TooOld, Ack::OneBefore, Ack::Una, Ack::Within, Ack::Next, Ack::Future];
const LENGTHS: [u32; 2] = [0, 20];
/// FIN, SYN, RST, PSH, ACK and URG.
const FLAG_COMBINATIONS: u8 = 64;

/// Every case, in a fixed order.
pub fn cases() -> impl Iterator<Item = Case> {
    let acks = |flags: u8| if flags & TcpSegment::ACK == 0 { &[Ack::Una][..] } else { &ACKS[..] };
    let domains = [Domain::V4, Domain::V6].into_iter();
    domains.flat_map(move |domain| {
        STATES.into_iter().flat_map(move |state| {
            (0..FLAG_COMBINATIONS).flat_map(move |flags| {
                SEQS.into_iter().flat_map(move |seq| {
                    acks(flags).iter().flat_map(move |&ack| {
                        LENGTHS.into_iter().map(move |len| Case { domain, state, flags, seq, ack, len })
                    })
                })
            })
        })
    })
}

/// This many of the cases, chosen by a seed.
pub fn sample(count: usize, seed: u64) -> Vec<Case> {
    let mut cases: Vec<(u64, Case)> =
        (0u64..).zip(cases()).map(|(index, case)| (mix(seed ^ mix(index)), case)).collect();
    cases.sort_by_key(|&(order, _)| order);
    cases.into_iter().take(count).map(|(_, case)| case).collect()
}

/// SplitMix64.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Case {
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { domain, state, flags, seq, ack, len } = self;
        write!(f, "{domain:?} {state:?}: {} seq {seq:?}", flag_names(*flags))?;
        if self.has(TcpSegment::ACK) {
            write!(f, " ack {ack:?}")?;
        }
        if *len > 0 { write!(f, " len {len}") } else { Ok(()) }
    }
}

/// `SYN ACK`.
fn flag_names(flags: u8) -> String {
    let names = [
        ("FIN", TcpSegment::FIN),
        ("SYN", TcpSegment::SYN),
        ("RST", TcpSegment::RST),
        ("PSH", TcpSegment::PSH),
        ("ACK", TcpSegment::ACK),
        ("URG", TcpSegment::URG),
    ];
    let set: Vec<&str> =
        names.into_iter().filter(|(_, bit)| flags & bit != 0).map(|(name, _)| name).collect();
    if set.is_empty() { "no flags".into() } else { set.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_is_there_once() {
        let all: Vec<Case> = cases().collect();
        // 32 combinations of flags with ACK and 32 without.
        assert_eq!(all.len(), 2 * 14 * 7 * 2 * (32 * 6 + 32));
        let mut told: Vec<String> = all.iter().map(Case::to_string).collect();
        told.sort_unstable();
        told.dedup();
        assert_eq!(told.len(), all.len());
    }

    #[test]
    fn a_sample_is_that_of_its_seed() {
        assert_eq!(sample(500, 1), sample(500, 1));
        assert_ne!(sample(500, 1), sample(500, 2));
        assert!(STATES.iter().all(|state| sample(500, 1).iter().any(|case| case.state == *state)));
    }
}
