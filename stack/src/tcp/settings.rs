//! What a connection begins with: what the program has set, and what the socket layer knows.

use core::time::Duration;

use super::SeqNumber;
use crate::Ctx;
use crate::config::CongestionControl;
use crate::copy_on_write::CopyOnWrite;

/// What a program has set on the socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// What the receive buffer has, or begins with.
    pub(crate) receive_buffer_bytes: usize,
    /// What the send buffer has, or begins with.
    pub(crate) send_buffer_bytes: usize,
    /// Whether the receive buffer grows with the path: nobody has set SO_RCVBUF.
    pub(crate) auto_receive_buffer: bool,
    /// Whether the send buffer does: nobody has set SO_SNDBUF.
    pub(crate) auto_send_buffer: bool,
    /// SO_RCVLOWAT: what must wait before it is worth a wake-up.
    pub(crate) receive_low_water: usize,
    /// TCP_NOTSENT_LOWAT: what may wait to be sent.
    pub(crate) unsent_low_water: usize,
    /// TCP_USER_TIMEOUT.
    pub(crate) user_timeout: Option<Duration>,
    /// TCP_CORK: only full segments.
    pub(crate) cork: bool,
    /// SO_OOBINLINE: urgent data is read as the rest.
    pub(crate) oob_inline: bool,
    /// TCP_NODELAY.
    pub(crate) nodelay: bool,
    /// TCP_CONGESTION.
    pub(crate) congestion: CongestionControl,
    /// SO_MAX_PACING_RATE, in bytes a second.
    pub(crate) max_pacing_rate: Option<u64>,
    /// SO_KEEPALIVE.
    pub(crate) keepalive: bool,
    pub(crate) keepalive_idle: Duration,
    pub(crate) keepalive_interval: Duration,
    pub(crate) keepalive_probes: u8,
    /// TCP_SYNCNT, if set.
    pub(crate) syn_retries: Option<u8>,
    /// TCP_LINGER2; none: no wait at all.
    pub(crate) fin_wait_2: Option<Duration>,
}

impl Settings {
    /// The most that a SYN can offer of the receive buffer: its window is never scaled (RFC 7323
    /// §2.2).
    pub(super) fn syn_window(&self) -> u16 {
        u16::try_from(self.receive_buffer_bytes).unwrap_or(u16::MAX)
    }

    /// The window of a SYN-ACK: as much of the buffer as there is memory for.
    pub(super) fn offered_window(&self, ctx: &Ctx<'_>, announced_mss: u16) -> u16 {
        let window = self.syn_window();
        if !ctx.memory.is_pressed() {
            return window;
        }
        let most = ctx.memory.window().max(announced_mss.into());
        u16::try_from(most).map_or(window, |most| window.min(most))
    }
}

/// What the socket layer knows when a connection begins.
#[derive(Clone, Debug)]
pub(crate) struct OpenParams {
    pub(crate) isn: SeqNumber,
    /// Added to the millisecond clock for timestamps (RFC 7323 §5.4): per connection, so that it
    /// tells nothing.
    pub(crate) timestamp_offset: u32,
    /// The MSS that we announce: what our link takes, or TCP_MAXSEG.
    pub(crate) announced_mss: u16,
    /// The MSS of a peer that names none: 536 over IPv4, 1,220 over IPv6 (RFC 9293 §3.7.1,
    /// MUST-15).
    pub(crate) default_mss: u16,
    /// The largest MSS that we send with: the path MTU less the IP and TCP headers without options.
    pub(crate) path_mss: u16,
    pub(crate) settings: CopyOnWrite<Settings>,
}
