//! A connection's counters for [`TcpInfo`](super::TcpInfo), and the times for which its sender was
//! limited.

use alloc::boxed::Box;
use core::time::Duration;

use super::rate::RateSample;
use super::receiver::Stored;
use super::{Connection, Run, SeqNumber};
use crate::time::Instant;

/// The counters of one connection. Those for data are allocated with the first data.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// These two wrap.
    pub(super) segs_in: u32,
    pub(super) segs_out: u32,
    pub(super) flow: Option<Box<DataCounters>>,
}

/// Counters for connections with data. Names are those of Linux's tcp_sock.
#[derive(Debug, Default)]
pub(super) struct DataCounters {
    pub(super) data_segs_in: u32,
    pub(super) data_segs_out: u32,
    pub(super) bytes_received: u64,
    pub(super) bytes_acked: u64,
    pub(super) bytes_sent: u64,
    pub(super) delivery_rate: DeliveryRate,
    activity: ActivitySince,
    /// In nanoseconds, without those of the activities that are rare.
    busy: u64,
    rare: Option<Box<RareCounters>>,
}

/// What most connections never allocate: counters of losses, duplicates and reordering, and for how
/// long a window or a buffer was the limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RareCounters {
    pub(super) bytes_retrans: u64,
    pub(super) total_retrans: u32,
    pub(super) rcv_ooopack: u32,
    pub(super) dsack_dups: u32,
    pub(super) total_rto: u32,
    /// These in nanoseconds.
    window_limited: u64,
    buffer_limited: u64,
}

impl DataCounters {
    pub(super) fn rare(&self) -> RareCounters {
        self.rare.as_deref().copied().unwrap_or_default()
    }

    fn rare_mut(&mut self) -> &mut RareCounters {
        self.rare.get_or_insert_default()
    }
}

/// The delivery rate of a sample, twice, and in the lowest bit whether the program was its limit:
/// there may be many connections, and a field of its own would take eight bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DeliveryRate(u64);

impl DeliveryRate {
    fn new(bytes_per_second: u64, is_application_limited: bool) -> DeliveryRate {
        DeliveryRate(bytes_per_second.min(u64::MAX >> 1) << 1 | u64::from(is_application_limited))
    }

    pub(super) fn bytes_per_second(self) -> u64 {
        self.0 >> 1
    }

    pub(super) fn is_application_limited(self) -> bool {
        self.0 & 1 != 0
    }
}

/// What the sender is doing, and since when: nanoseconds, of which the lowest two bits are the
/// number of the activity.
#[derive(Clone, Copy, Debug, Default)]
struct ActivitySince(u64);

impl ActivitySince {
    const NUMBER: u64 = 0b11;

    fn new(activity: Activity, now: Instant) -> ActivitySince {
        ActivitySince(now.as_nanos() & !ActivitySince::NUMBER | activity as u64)
    }

    fn activity(self) -> Activity {
        match self.0 & ActivitySince::NUMBER {
            0 => Activity::Idle,
            1 => Activity::Busy,
            2 => Activity::WindowLimited,
            _ => Activity::BufferLimited,
        }
    }

    fn nanos(self, now: Instant) -> u64 {
        now.as_nanos().saturating_sub(self.0 & !ActivitySince::NUMBER)
    }
}

/// What the sender is doing (Linux's tcp_chrono).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    /// Nothing is queued or in flight.
    Idle,
    /// The path, the congestion window or the program is the limit.
    Busy,
    /// The peer's window is the limit.
    WindowLimited,
    /// The send buffer is the limit: everything is sent, and the buffer is full.
    BufferLimited,
}

impl DataCounters {
    fn set_activity(&mut self, now: Instant, activity: Activity) {
        let before = self.activity.activity();
        if activity == before {
            return;
        }
        let elapsed = self.activity.nanos(now);
        match before {
            Activity::Idle => {}
            Activity::Busy => self.busy += elapsed,
            Activity::WindowLimited => self.rare_mut().window_limited += elapsed,
            Activity::BufferLimited => self.rare_mut().buffer_limited += elapsed,
        }
        self.activity = ActivitySince::new(activity, now);
    }

    /// How long the sender was in each activity up to now: busy in any way, limited by the window,
    /// limited by the buffer.
    pub(super) fn activity_times(&self, now: Instant) -> (Duration, Duration, Duration) {
        let elapsed = Duration::from_nanos(self.activity.nanos(now));
        let current = |activity| if self.activity.activity() == activity { elapsed } else { Duration::ZERO };
        let rare = self.rare();
        let window_limited = Duration::from_nanos(rare.window_limited) + current(Activity::WindowLimited);
        let buffer_limited = Duration::from_nanos(rare.buffer_limited) + current(Activity::BufferLimited);
        let busy = Duration::from_nanos(self.busy) + current(Activity::Busy);
        (busy + window_limited + buffer_limited, window_limited, buffer_limited)
    }
}

impl Counters {
    /// The counters for data, in either direction.
    fn flow(&mut self) -> &mut DataCounters {
        self.flow.get_or_insert_default()
    }

    /// Segments were received.
    pub(super) fn on_segments(&mut self, segs: u32) {
        self.segs_in = self.segs_in.wrapping_add(segs);
    }

    /// Segments are sent.
    pub(super) fn on_sent(&mut self, run: &Run) {
        let bytes = run.payload_len();
        if bytes == 0 {
            self.segs_out = self.segs_out.wrapping_add(1);
            return;
        }
        // A run is at most 64 KiB.
        let segs = bytes.div_ceil(run.segment_len()) as u32;
        self.segs_out = self.segs_out.wrapping_add(segs);
        let flow = self.flow();
        flow.data_segs_out = flow.data_segs_out.wrapping_add(segs);
        flow.bytes_sent += bytes as u64;
    }

    /// Segments were retransmitted.
    pub(super) fn on_resent(&mut self, segs: u32, bytes: u32) {
        let losses = self.flow().rare_mut();
        losses.total_retrans = losses.total_retrans.wrapping_add(segs);
        losses.bytes_retrans += u64::from(bytes);
    }

    /// Data was acknowledged. SYN and FIN do not count.
    pub(super) fn on_acked(&mut self, bytes: u32) {
        if let Some(flow) = &mut self.flow {
            flow.bytes_acked += u64::from(bytes);
        }
    }

    /// Bytes of data that were acknowledged.
    pub(super) fn bytes_acked(&self) -> u64 {
        self.flow.as_ref().map_or(0, |flow| flow.bytes_acked)
    }

    /// Whether a segment with data has arrived.
    pub(super) fn has_received_data(&self) -> bool {
        self.flow.as_ref().is_some_and(|flow| flow.data_segs_in > 0)
    }

    pub(super) fn on_dsack(&mut self) {
        let losses = self.flow().rare_mut();
        losses.dsack_dups = losses.dsack_dups.wrapping_add(1);
    }

    pub(super) fn on_timeout(&mut self) {
        let losses = self.flow().rare_mut();
        losses.total_rto = losses.total_rto.wrapping_add(1);
    }

    /// Whether the peer's window was the limit after the last transmission.
    pub(super) fn has_waited_for_window(&self) -> bool {
        self.flow.as_ref().is_some_and(|flow| flow.activity.activity() == Activity::WindowLimited)
    }

    /// A sample that the program limited counts only if it is higher (Linux's tcp_rate_gen).
    pub(super) fn on_rate(&mut self, sample: &RateSample) {
        let flow = self.flow();
        let rate = sample.bytes_per_second();
        if !sample.is_application_limited || rate >= flow.delivery_rate.bytes_per_second() {
            flow.delivery_rate = DeliveryRate::new(rate, sample.is_application_limited);
        }
    }
}

impl Connection {
    /// Counts received segments with `len` bytes in all; RCV.NXT was `nxt` before.
    pub(super) fn count_data(&mut self, len: usize, segs: u32, nxt: SeqNumber, stored: Stored) {
        if len == 0 {
            return;
        }
        let flow = self.counters.flow();
        flow.data_segs_in = flow.data_segs_in.wrapping_add(segs);
        match stored {
            Stored::InOrder => {
                // The FIN is not a byte.
                let fin = u32::from(self.rcv.is_fin_received());
                flow.bytes_received += u64::from((self.rcv.nxt - nxt).saturating_sub(fin));
            }
            Stored::OutOfOrder => {
                let losses = flow.rare_mut();
                losses.rcv_ooopack = losses.rcv_ooopack.wrapping_add(segs);
            }
            Stored::Duplicate | Stored::Refused | Stored::Full => {}
        }
    }

    /// Called when everything that may be sent is sent. Notes what limits the sender.
    pub(crate) fn note_activity(&mut self, now: Instant) {
        if self.counters.flow.is_none() && self.snd.queue.len() == 0 {
            return;
        }
        let activity = if self.snd.queue.len() == 0 && self.snd.outstanding() == 0 {
            Activity::Idle
        } else if self.snd.unsent() > 0 {
            let is_narrow = self.snd.usable_window() < self.congestion.mss().min(self.snd.unsent() as u32);
            let has_room = self.in_flight() < self.congestion.cwnd();
            if is_narrow && has_room { Activity::WindowLimited } else { Activity::Busy }
        } else if !self.has_send_room() && self.in_flight() < self.congestion.cwnd() {
            Activity::BufferLimited
        } else {
            Activity::Busy
        };
        self.counters.flow().set_activity(now, activity);
    }
}
