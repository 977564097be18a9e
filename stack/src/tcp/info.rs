//! Statistics of a connection: Linux's `tcp_info`.

use core::time::Duration;

use super::congestion::Phase;
use super::counters::DataCounters;
use super::ecn_handshake::EcnMode;
use super::{Connection, Settings, State};
use crate::config::Config;
use crate::config::CongestionControl;
use crate::time::Instant;

/// The state of loss recovery and congestion control (tcpi_ca_state).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CongestionState {
    /// No loss or reordering is known.
    #[default]
    Open,
    /// Data arrived after a gap: a loss, or reordering.
    Disorder,
    /// The window is being reduced because of ECN.
    Cwr,
    /// Losses are being repaired.
    Recovery,
    /// The retransmission timer has fired.
    Loss,
}

/// Statistics of a connection. Fields have the names of Linux's `tcp_info` without `tcpi_`, and its
/// meanings and units (segments, bytes), except that times are [`Duration`]s. Where Linux counts
/// segments and the stack counts bytes, the value is the number of full segments that hold those
/// bytes; windows are rounded down.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TcpInfo {
    /// `ESTABLISHED`, `FIN-WAIT-1`, ...; `LISTEN` of a listener, which has only the fields that
    /// name it and its options.
    pub state: State,
    /// The state of loss recovery and congestion control.
    pub ca_state: CongestionState,
    /// TCP_CONGESTION.
    pub congestion: CongestionControl,
    /// Time-outs in a row.
    pub retransmits: u8,
    /// Probes of a closed window or of a silent peer that were not answered.
    pub probes: u8,
    /// How often the RTO was doubled.
    pub backoff: u8,
    /// Both ends use timestamps (RFC 7323).
    pub timestamps: bool,
    /// Both ends use selective acknowledgements (RFC 2018).
    pub sack: bool,
    /// Shift of the windows that the peer sends, if windows are scaled.
    pub snd_wscale: Option<u8>,
    /// Shift of the windows that we send, if windows are scaled.
    pub rcv_wscale: Option<u8>,
    /// ECN was negotiated, as of RFC 3168 or RFC 9768.
    pub ecn: bool,
    /// An ECN-capable packet has arrived.
    pub ecn_seen: bool,
    /// Data in a SYN was accepted: ours by the peer, or the peer's by us (RFC 7413).
    pub syn_data: bool,
    /// The last sample of the delivery rate was limited by the program.
    pub delivery_rate_app_limited: bool,
    /// The retransmission time-out, back-off included.
    pub rto: Duration,
    /// How long an acknowledgement may be delayed.
    pub ato: Duration,
    /// The payload of a full segment that we send.
    pub snd_mss: u32,
    /// The largest payload that has arrived.
    pub rcv_mss: u32,
    /// The MSS that we announced.
    pub advmss: u32,
    /// The path MTU that the MSS comes from.
    pub pmtu: u32,
    /// Segments in flight. Of a listener: connections that wait to be accepted.
    pub unacked: u32,
    /// Of these, those that the peer has SACKed. Of a listener: its backlog.
    pub sacked: u32,
    /// Of these, those that count as lost, retransmitted or not.
    pub lost: u32,
    /// Of these, those that were retransmitted and are in flight.
    pub retrans: u32,
    /// The time since data was last sent.
    pub last_data_sent: Duration,
    /// The time since data last arrived.
    pub last_data_recv: Duration,
    /// The time since an acceptable segment, and with it an acknowledgement, last arrived.
    pub last_ack_recv: Duration,
    /// The largest receive window that is offered now.
    pub rcv_ssthresh: u32,
    /// The smoothed round trip; zero before it is measured.
    pub rtt: Duration,
    /// Its mean deviation.
    pub rttvar: Duration,
    /// The shortest round trip of the last minutes; zero before it is measured.
    pub min_rtt: Duration,
    /// The slow-start threshold in segments; `u32::MAX` before there was a loss.
    pub snd_ssthresh: u32,
    /// The congestion window in segments.
    pub snd_cwnd: u32,
    /// The same in bytes, as the stack counts it.
    pub snd_cwnd_bytes: u32,
    /// The peer's window.
    pub snd_wnd: u32,
    /// What the peer may still send.
    pub rcv_wnd: u32,
    /// RACK's reordering window: how long a segment may be overtaken before it counts as lost (RFC
    /// 8985). Linux does not report it.
    pub reordering_window: Duration,
    /// The most segments that have overtaken another one; 3 before any has.
    pub reordering: u32,
    /// How often reordering was detected.
    pub reord_seen: u32,
    /// The round trip that the receiver measures; zero until the peer has sent ten segments or more
    /// at once.
    pub rcv_rtt: Duration,
    /// The most bytes that the program has read in one such round trip, at least ten segments.
    pub rcv_space: u32,
    /// Retransmitted segments since the connection was opened, SYNs included.
    pub total_retrans: u32,
    /// The pacing rate in bytes a second; `u64::MAX` without pacing.
    pub pacing_rate: u64,
    /// Bytes of data acknowledged.
    pub bytes_acked: u64,
    /// Bytes of data that were received in order.
    pub bytes_received: u64,
    /// Segments sent.
    pub segs_out: u32,
    /// Segments received.
    pub segs_in: u32,
    /// Bytes that wait to be sent for the first time.
    pub notsent_bytes: u32,
    /// Segments with data received.
    pub data_segs_in: u32,
    /// Segments with data sent, retransmissions included.
    pub data_segs_out: u32,
    /// The last measured delivery rate in bytes a second.
    pub delivery_rate: u64,
    /// The time in which data waited to be sent or acknowledged.
    pub busy_time: Duration,
    /// Of this, the time in which the peer's window was the limit.
    pub rwnd_limited: Duration,
    /// Of this, the time in which all data was sent and the send buffer was full.
    pub sndbuf_limited: Duration,
    /// Segments delivered.
    pub delivered: u32,
    /// Of these, marked CE.
    pub delivered_ce: u32,
    /// Bytes of data sent, retransmissions included.
    pub bytes_sent: u64,
    /// Of these, retransmissions.
    pub bytes_retrans: u64,
    /// Duplicates that the peer has reported (RFC 2883).
    pub dsack_dups: u32,
    /// Segments received out of order.
    pub rcv_ooopack: u32,
    /// Time-outs of data.
    pub total_rto: u32,
}

impl TcpInfo {
    /// The statistics of a listener: `waiting` connections to be accepted, and its backlog. The
    /// fields are those that Linux's tcp_get_info fills in for a listener.
    pub(crate) fn of_listener(
        settings: &Settings,
        config: &Config,
        waiting: usize,
        backlog: usize,
    ) -> TcpInfo {
        TcpInfo {
            state: State::Listen,
            congestion: settings.congestion,
            unacked: u32::try_from(waiting).unwrap_or(u32::MAX),
            sacked: u32::try_from(backlog).unwrap_or(u32::MAX),
            snd_cwnd: config.tcp.initial_window_segs,
            pacing_rate: settings.max_pacing_rate.unwrap_or(u64::MAX),
            ..TcpInfo::default()
        }
    }
}

impl Connection {
    /// The current statistics. `header_bytes` is the size of the IP and TCP headers without
    /// options.
    pub(crate) fn info(&self, now: Instant, config: &Config, header_bytes: u32) -> TcpInfo {
        let none = DataCounters::default();
        let flow = self.counters.flow.as_deref().unwrap_or(&none);
        let losses = flow.rare();
        let mss = self.congestion.mss().max(1);
        let flight = if self.state == State::Closed { 0 } else { self.snd.flight() };
        let segs = |bytes: u32| bytes.div_ceil(mss);
        // Data that a loss probe retransmits does not count as lost.
        let probed = self.flight.recovery.probe.is_some_and(|probe| probe.is_repeated);
        let repeated = self.flight.scoreboard.repeated().saturating_sub(if probed { mss } else { 0 });
        let ssthresh = self.congestion.ssthresh();
        let is_scaled = self.snd.is_scaled() && self.state != State::SynSent;
        let (busy_time, rwnd_limited, sndbuf_limited) = flow.activity_times(now);
        let sizing = self.rcv.sizing.as_deref();
        let (reord_seen, reordering_segs) = self.flight.rack.reordering();
        let (retransmits, probes) = self.unanswered();
        TcpInfo {
            state: self.state,
            ca_state: self.congestion_state(),
            congestion: self.congestion.kind(),
            retransmits,
            probes,
            backoff: self.rtt.backed_off().max(self.retries.probes),
            timestamps: self.timestamps.is_enabled(),
            sack: self.syn.sack_permitted,
            snd_wscale: is_scaled.then(|| self.snd.scale().shift()),
            rcv_wscale: is_scaled.then(|| self.rcv.wnd.scale.shift()),
            ecn: self.ecn.mode() != EcnMode::Off,
            ecn_seen: self.ecn.has_seen_ect(),
            syn_data: self.syn.data_taken,
            delivery_rate_app_limited: flow.delivery_rate.is_application_limited(),
            rto: self.rtt.rto(),
            ato: config.tcp.delayed_ack,
            snd_mss: mss,
            rcv_mss: u32::from(self.rcv.acks.mss()),
            advmss: u32::from(self.syn.announced_mss),
            pmtu: u32::from(self.path.mss) + header_bytes,
            unacked: segs(flight),
            sacked: segs(self.flight.scoreboard.sacked()),
            lost: segs(self.flight.scoreboard.lost() + repeated),
            retrans: segs(repeated),
            last_data_sent: now.duration_since(self.last.data_sent_at),
            last_data_recv: now.duration_since(if flow.data_segs_in > 0 {
                self.rcv.acks.last_data_at()
            } else {
                self.last.heard_at
            }),
            last_ack_recv: now.duration_since(self.last.heard_at),
            rcv_ssthresh: self.rcv.ssthresh(),
            rtt: self.rtt.srtt().unwrap_or_default(),
            rttvar: self.rtt.rttvar().unwrap_or_default(),
            min_rtt: self.rtt.min_rtt().unwrap_or_default(),
            snd_ssthresh: if ssthresh == u32::MAX { ssthresh } else { ssthresh / mss },
            snd_cwnd: self.congestion.cwnd() / mss,
            snd_cwnd_bytes: self.congestion.cwnd(),
            snd_wnd: self.snd.wnd,
            rcv_wnd: self.rcv.window(),
            reordering_window: self.reordering_window(&config.tcp),
            reordering: u32::from(reordering_segs),
            reord_seen: u32::from(reord_seen),
            rcv_rtt: sizing.map_or(Duration::ZERO, |sizing| Duration::from_nanos(sizing.rtt)),
            rcv_space: sizing.map_or(self.rcv.first_space(), |sizing| sizing.space()),
            total_retrans: losses.total_retrans + u32::from(self.syn.repeats),
            pacing_rate: self.pacing_rate(config).unwrap_or(u64::MAX),
            bytes_acked: flow.bytes_acked,
            bytes_received: flow.bytes_received,
            segs_out: self.counters.segs_out,
            segs_in: self.counters.segs_in,
            notsent_bytes: u32::try_from(self.snd.unsent()).unwrap_or(u32::MAX),
            data_segs_in: flow.data_segs_in,
            data_segs_out: flow.data_segs_out,
            delivery_rate: flow.delivery_rate.bytes_per_second(),
            busy_time,
            rwnd_limited,
            sndbuf_limited,
            delivered: u32::try_from(self.flight.rate.delivered().div_ceil(u64::from(mss)))
                .unwrap_or(u32::MAX),
            delivered_ce: segs(self.flight.rate.delivered_ce()),
            bytes_sent: flow.bytes_sent,
            bytes_retrans: losses.bytes_retrans,
            dsack_dups: losses.dsack_dups,
            rcv_ooopack: losses.rcv_ooopack,
            total_rto: losses.total_rto,
        }
    }

    /// The smoothed round trip, once measured, and the congestion window in bytes, while the
    /// connection is open.
    pub(crate) fn path(&self) -> (Option<Duration>, Option<u32>) {
        (self.rtt.srtt(), self.is_connected().then(|| self.congestion.cwnd()))
    }

    /// The time-outs in a row, and the probes that were not answered, as in [`TcpInfo`].
    pub(crate) fn unanswered(&self) -> (u8, u8) {
        (self.retries.timeouts, self.retries.unanswered_probes.max(self.retries.keepalives))
    }

    fn congestion_state(&self) -> CongestionState {
        match self.flight.recovery.phase() {
            Phase::Open if self.flight.scoreboard.sacked() > 0 => CongestionState::Disorder,
            Phase::Open => CongestionState::Open,
            Phase::Cwr => CongestionState::Cwr,
            Phase::Recovery => CongestionState::Recovery,
            Phase::Loss => CongestionState::Loss,
        }
    }
}
