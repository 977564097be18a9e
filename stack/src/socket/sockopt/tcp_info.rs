//! TCP_INFO as `struct tcp_info` of Linux 6.18.

use alloc::vec::Vec;
use core::time::Duration;

use super::row::OptionTarget;
use crate::error::Result;
use crate::socket::tcp::questions;
use crate::tcp::{CongestionState, State, TcpInfo};

/// The length of the struct.
const LEN: usize = 280;

/// The statistics of a socket that never had a connection are those of one that is CLOSED.
pub(super) fn tcp_info(target: &OptionTarget<'_>) -> Result<Vec<u8>> {
    let info = questions::info(target.socket, target.now, target.config).unwrap_or_default();
    let max_pacing_rate = target.socket.options.max_pacing_rate.unwrap_or(u64::MAX);
    Ok(layout(&info, max_pacing_rate))
}

/// Fields of the struct that are not here are 0: `tcpi_fackets` and `tcpi_last_ack_sent`, which are
/// 0 on Linux, too, `tcpi_rehash`, and what `tcpi_total_rto` is followed by.
fn layout(info: &TcpInfo, max_pacing_rate: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(LEN);
    out.extend([
        state_number(info.state),
        congestion_number(info.ca_state),
        info.retransmits,
        info.probes,
        info.backoff,
        option_bits(info),
        info.snd_wscale.unwrap_or(0) & 15 | info.rcv_wscale.unwrap_or(0) << 4,
        info.delivery_rate_app_limited.into(),
    ]);
    put_ints(&mut out, &[micros(info.rto), micros(info.ato), info.snd_mss, info.rcv_mss]);
    put_ints(&mut out, &[info.unacked, info.sacked, info.lost, info.retrans, 0]);
    put_ints(
        &mut out,
        &[millis(info.last_data_sent), 0, millis(info.last_data_recv), millis(info.last_ack_recv)],
    );
    put_ints(&mut out, &[info.pmtu, info.rcv_ssthresh, micros(info.rtt), micros(info.rttvar)]);
    put_ints(&mut out, &[info.snd_ssthresh, info.snd_cwnd, info.advmss, info.reordering]);
    put_ints(&mut out, &[micros(info.rcv_rtt), info.rcv_space, info.total_retrans]);
    put_longs(&mut out, &[info.pacing_rate, max_pacing_rate, info.bytes_acked, info.bytes_received]);
    let min_rtt = if info.min_rtt.is_zero() { u32::MAX } else { micros(info.min_rtt) };
    put_ints(&mut out, &[info.segs_out, info.segs_in, info.notsent_bytes, min_rtt]);
    put_ints(&mut out, &[info.data_segs_in, info.data_segs_out]);
    let [busy, peer_limited, buffer_limited] =
        [info.busy_time, info.rwnd_limited, info.sndbuf_limited].map(|time| time.as_micros() as u64);
    put_longs(&mut out, &[info.delivery_rate, busy, peer_limited, buffer_limited]);
    put_ints(&mut out, &[info.delivered, info.delivered_ce]);
    put_longs(&mut out, &[info.bytes_sent, info.bytes_retrans]);
    put_ints(&mut out, &[info.dsack_dups, info.reord_seen, info.rcv_ooopack, info.snd_wnd, info.rcv_wnd, 0]);
    out.extend(u16::try_from(info.total_rto).unwrap_or(u16::MAX).to_ne_bytes());
    out.resize(LEN, 0);
    out
}

fn put_ints(out: &mut Vec<u8>, words: &[u32]) {
    out.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
}

fn put_longs(out: &mut Vec<u8>, words: &[u64]) {
    out.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// Linux's TCP_ESTABLISHED and so on.
fn state_number(state: State) -> u8 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Listen => 10,
        State::Closing => 11,
    }
}

/// Linux's TCP_CA_Open and so on.
fn congestion_number(state: CongestionState) -> u8 {
    match state {
        CongestionState::Open => 0,
        CongestionState::Disorder => 1,
        CongestionState::Cwr => 2,
        CongestionState::Recovery => 3,
        CongestionState::Loss => 4,
    }
}

/// Linux's TCPI_OPT_TIMESTAMPS and so on.
fn option_bits(info: &TcpInfo) -> u8 {
    let is_scaled = info.snd_wscale.is_some();
    let bits = [info.timestamps, info.sack, is_scaled, info.ecn, info.ecn_seen, info.syn_data];
    (0..).zip(bits).map(|(shift, bit)| u8::from(bit) << shift).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The offsets are those of Linux's header linux/tcp.h.
    #[test]
    fn fields_are_where_linux_has_them() {
        let info = TcpInfo {
            state: State::CloseWait,
            snd_wscale: Some(7),
            rcv_wscale: Some(9),
            sack: true,
            rto: Duration::from_millis(201),
            snd_mss: 1448,
            pmtu: 1500,
            rtt: Duration::from_micros(333),
            snd_cwnd: 12,
            total_retrans: 5,
            bytes_acked: 0x1_0000_0002,
            segs_out: 17,
            min_rtt: Duration::from_micros(99),
            delivery_rate: 123_456,
            bytes_sent: 77,
            snd_wnd: 65_000,
            total_rto: 3,
            ..TcpInfo::default()
        };
        let bytes = layout(&info, u64::MAX);
        assert_eq!(bytes.len(), LEN);
        assert_eq!((bytes[0], bytes[5], bytes[6]), (8, 2 | 4, 7 | 9 << 4));
        let int = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
        for (at, expected) in [
            (8, 201_000),
            (16, 1448),
            (60, 1500),
            (68, 333),
            (80, 12),
            (100, 5),
            (136, 17),
            (148, 99),
            (228, 65_000),
            (240, 3),
        ] {
            assert_eq!(int(at), expected, "at {at}");
        }
        for (at, expected) in [(112, u64::MAX), (120, 0x1_0000_0002), (160, 123_456), (200, 77)] {
            assert_eq!(long(at), expected, "at {at}");
        }
    }
}
