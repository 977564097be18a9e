//! The queue in front of a simulated line: tail drop or CoDel.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use crate::time::Instant;

/// The queue in which packets wait for the line. The default is tail drop at 1,000 packets (Linux's
/// `txqueuelen`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// The most bytes in the queue; a packet that would exceed it is dropped. One packet always has
    /// room.
    pub limit_bytes: usize,
    /// The most packets in the queue.
    pub limit_packets: usize,
    /// Which packets are dropped before the queue is full.
    pub discipline: Discipline,
    /// An ECN-capable packet is marked when more bytes than this are queued before it (as the
    /// switches for DCTCP do).
    pub mark_above_bytes: Option<usize>,
}

impl Default for QueueConfig {
    fn default() -> Self {
        QueueConfig {
            limit_bytes: usize::MAX,
            limit_packets: 1000,
            discipline: Discipline::TailDrop,
            mark_above_bytes: None,
        }
    }
}

impl QueueConfig {
    /// A queue with tail drop at this many bytes.
    pub fn bytes(limit_bytes: usize) -> QueueConfig {
        QueueConfig { limit_bytes, limit_packets: usize::MAX, ..QueueConfig::default() }
    }
}

/// Which packet is dropped, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// The newest packet, when there is no room.
    TailDrop,
    /// The oldest packet, when packets have waited longer than `target` for a whole `interval` (RFC
    /// 8289).
    CoDel {
        /// The acceptable waiting time; 5 ms in the RFC.
        target: Duration,
        /// The time after which dropping begins; 100 ms in the RFC.
        interval: Duration,
        /// Whether ECN-capable packets are marked instead of dropped.
        ecn: bool,
    },
}

impl Discipline {
    /// CoDel with the RFC's 5 ms and 100 ms.
    pub const fn codel(ecn: bool) -> Discipline {
        Discipline::CoDel { target: Duration::from_millis(5), interval: Duration::from_millis(100), ecn }
    }
}

/// RFC 8289 §5.2: no packet is dropped while less than one full packet is queued.
const MAX_PACKET_BYTES: usize = 1500;

#[derive(Debug, Default)]
pub(super) struct Queue {
    packets: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    codel: CoDelState,
}

/// The state of CoDel, with the names of RFC 8289 §5.3.
#[derive(Debug, Default)]
struct CoDelState {
    first_above_time: Option<Instant>,
    drop_next: Instant,
    count: u32,
    last_count: u32,
    dropping: bool,
}

/// The result of taking packets from the queue.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) packet: Option<Bytes>,
    pub(super) is_marked: bool,
    pub(super) dropped: Vec<Bytes>,
}

/// The packet at the head, and whether it waited too long.
struct Head {
    packet: Bytes,
    is_late: bool,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub(super) fn len_bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn first_queued_at(&self) -> Option<Instant> {
        self.packets.front().map(|&(at, _)| at)
    }

    /// Appends a packet and returns whether it was marked. Without room it returns the packet.
    pub(super) fn push(&mut self, now: Instant, config: &QueueConfig, packet: Bytes) -> Result<bool, Bytes> {
        let is_full = self.packets.len() >= config.limit_packets
            || self.bytes.saturating_add(packet.len()) > config.limit_bytes;
        if is_full && !self.packets.is_empty() {
            return Err(packet);
        }
        let is_above = config.mark_above_bytes.is_some_and(|threshold| self.bytes >= threshold);
        let marked = if is_above { marked(&packet) } else { None };
        let is_marked = marked.is_some();
        let packet = marked.unwrap_or(packet);
        self.bytes += packet.len();
        self.packets.push_back((now, packet));
        Ok(is_marked)
    }

    /// The next packet for the line. There is none if the queue is empty, or if CoDel dropped all
    /// of it.
    pub(super) fn pop(&mut self, now: Instant, config: &QueueConfig) -> Taken {
        match config.discipline {
            Discipline::TailDrop => {
                let packet = self.pop_head(now, Duration::MAX, Duration::MAX).map(|head| head.packet);
                Taken { packet, ..Taken::default() }
            }
            Discipline::CoDel { target, interval, ecn } => self.pop_codel(now, target, interval, ecn),
        }
    }

    /// `dodequeue` of RFC 8289 §5.5.
    fn pop_head(&mut self, now: Instant, target: Duration, interval: Duration) -> Option<Head> {
        let Some((queued_at, packet)) = self.packets.pop_front() else {
            self.codel.first_above_time = None;
            return None;
        };
        self.bytes -= packet.len();
        let is_late = if now - queued_at < target || self.bytes <= MAX_PACKET_BYTES {
            self.codel.first_above_time = None;
            false
        } else {
            now >= *self.codel.first_above_time.get_or_insert(now + interval)
        };
        Some(Head { packet, is_late })
    }

    /// `dequeue` of RFC 8289 §5.4. Marking follows Linux's `codel_dequeue`: a marked packet is not
    /// dropped.
    fn pop_codel(&mut self, now: Instant, target: Duration, interval: Duration, ecn: bool) -> Taken {
        let mut taken = Taken::default();
        let Some(mut head) = self.pop_head(now, target, interval) else {
            self.codel.dropping = false;
            return taken;
        };
        if self.codel.dropping {
            self.codel.dropping = head.is_late;
            while self.codel.dropping && now >= self.codel.drop_next {
                self.codel.count = self.codel.count.saturating_add(1);
                if ecn && let Some(marked) = marked(&head.packet) {
                    self.codel.drop_next = control_law(self.codel.drop_next, interval, self.codel.count);
                    return Taken { packet: Some(marked), is_marked: true, ..taken };
                }
                taken.dropped.push(head.packet);
                let Some(next) = self.pop_head(now, target, interval) else {
                    self.codel.dropping = false;
                    return taken;
                };
                head = next;
                if head.is_late {
                    self.codel.drop_next = control_law(self.codel.drop_next, interval, self.codel.count);
                } else {
                    self.codel.dropping = false;
                }
            }
        } else if head.is_late {
            self.start_dropping(now, interval);
            if ecn && let Some(marked) = marked(&head.packet) {
                return Taken { packet: Some(marked), is_marked: true, ..taken };
            }
            taken.dropped.push(head.packet);
            let Some(next) = self.pop_head(now, target, interval) else {
                self.codel.dropping = false;
                return taken;
            };
            head = next;
        }
        Taken { packet: Some(head.packet), ..taken }
    }

    /// Starts dropping. If dropping ended only recently, the rate continues where it was.
    fn start_dropping(&mut self, now: Instant, interval: Duration) {
        let codel = &mut self.codel;
        codel.dropping = true;
        let delta = codel.count.saturating_sub(codel.last_count);
        let is_recent = now - codel.drop_next < interval * 16;
        codel.count = if delta > 1 && is_recent { delta } else { 1 };
        codel.drop_next = control_law(now, interval, codel.count);
        codel.last_count = codel.count;
    }
}

/// `t + interval / sqrt(count)`.
fn control_law(t: Instant, interval: Duration, count: u32) -> Instant {
    let square = interval.as_nanos() * interval.as_nanos() / u128::from(count.max(1));
    t + Duration::from_nanos(square.isqrt() as u64)
}

/// The IP packet with CE, if it is ECN-capable (RFC 3168 §5). A packet that has CE already counts
/// as marked.
pub(super) fn marked(packet: &Bytes) -> Option<Bytes> {
    let is_v4 = packet.first()? >> 4 == 4;
    let traffic_class = if is_v4 { *packet.get(1)? } else { (packet.first()? << 4) | (packet.get(1)? >> 4) };
    match traffic_class & 3 {
        0 => None,
        3 => Some(packet.clone()),
        _ => {
            let mut bytes = Vec::from(&packet[..]);
            if is_v4 {
                set_v4_byte(&mut bytes, 1, traffic_class | 3)?;
            } else {
                bytes[1] |= 3 << 4;
            }
            Some(bytes.into())
        }
    }
}

/// Changes a byte of an IPv4 header and adjusts the checksum (RFC 1624).
pub(super) fn set_v4_byte(packet: &mut [u8], at: usize, value: u8) -> Option<()> {
    let header = packet.first_chunk_mut::<20>()?;
    let word = at & !1;
    let old = u16::from_be_bytes([header[word], header[word + 1]]);
    *header.get_mut(at)? = value;
    let new = u16::from_be_bytes([header[word], header[word + 1]]);
    let checksum = u16::from_be_bytes([header[10], header[11]]);
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    header[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PacketBuilder, TcpSegment, internet_checksum};

    fn packet(traffic_class: u8, v6: bool) -> Bytes {
        let (src, dst) = if v6 { ("fd00::1", "fd00::2") } else { ("10.0.0.1", "10.0.0.2") };
        let mut builder = PacketBuilder::new(src.parse().unwrap(), dst.parse().unwrap());
        builder.traffic_class = traffic_class;
        let payload = alloc::vec![0; 1440];
        builder.tcp(&TcpSegment { payload, ..TcpSegment::new(1, 2) }).into()
    }

    #[test]
    fn only_what_may_be_marked_is() {
        for v6 in [false, true] {
            assert_eq!(marked(&packet(0, v6)), None);
            for ect in [1, 2, 3] {
                let marked = marked(&packet(0xb8 | ect, v6)).unwrap();
                assert_eq!(marked, packet(0xb8 | 3, v6), "class, checksum and all else");
                assert!(v6 || internet_checksum(&[&marked[..20]]) == 0);
            }
        }
    }

    #[test]
    fn tail_drop_counts_bytes_and_packets() {
        let config = QueueConfig { limit_packets: 3, ..QueueConfig::bytes(2 * 1480) };
        let mut queue = Queue::default();
        assert!(queue.push(Instant::ZERO, &config, packet(0, false)).is_ok());
        assert!(queue.push(Instant::ZERO, &config, packet(0, false)).is_ok());
        assert!(queue.push(Instant::ZERO, &config, packet(0, false)).is_err());
        let config = QueueConfig { limit_packets: 3, ..QueueConfig::default() };
        assert!(queue.push(Instant::ZERO, &config, packet(0, false)).is_ok());
        assert!(queue.push(Instant::ZERO, &config, packet(0, false)).is_err());
        // One packet always has room, however large it is.
        let config = QueueConfig::bytes(10);
        let mut queue = Queue::default();
        assert!(queue.push(Instant::ZERO, &config, packet(0, false)).is_ok());
        assert!(queue.push(Instant::ZERO, &config, packet(0, false)).is_err());
    }

    /// The times at which a queue that is always 20 ms long, for two seconds, drops or marks
    /// packets.
    fn codel_moments(ecn: bool, traffic_class: u8) -> Vec<Instant> {
        let config = QueueConfig { discipline: Discipline::codel(ecn), ..QueueConfig::default() };
        let (mut queue, mut moments) = (Queue::default(), Vec::new());
        for ms in 0..2000 {
            let now = Instant::from_millis(ms);
            queue.push(now, &config, packet(traffic_class, false)).unwrap();
            let taken = if ms >= 20 { queue.pop(now, &config) } else { Taken::default() };
            for dropped in &taken.dropped {
                assert_eq!(dropped.len(), 1480);
                // Keeps the queue at the same length.
                queue.packets.push_front((now - Duration::from_millis(20), packet(traffic_class, false)));
                queue.bytes += 1480;
            }
            if taken.is_marked || !taken.dropped.is_empty() {
                moments.push(now);
            }
        }
        moments
    }

    #[test]
    fn codel_drops_after_an_interval_and_then_ever_faster() {
        let moments = codel_moments(false, 0);
        // The first packet leaves after 20 ms, dropping begins 100 ms later; then every 100 /
        // sqrt(n) ms.
        assert_eq!(moments[0], Instant::from_millis(120));
        assert_eq!(moments[1], Instant::from_millis(220));
        assert_eq!(moments[2], Instant::from_millis(291));
        assert_eq!(moments[3], Instant::from_millis(349));
        let gaps: Vec<_> = moments.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.windows(2).all(|pair| pair[1] <= pair[0] + Duration::from_millis(1)), "{gaps:?}");
        assert!(codel_moments(true, 0).len() == moments.len(), "not ECT: dropped as before");
        assert!(codel_moments(true, 2).len().abs_diff(moments.len()) <= 2, "marked as often as dropped");
    }
}
