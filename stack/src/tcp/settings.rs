//! The options of a socket, and the parameters with which a connection opens.

use core::time::Duration;

use super::SeqNumber;
use crate::Ctx;
use crate::config::CongestionControl;
use crate::copy_on_write::CopyOnWrite;

/// The options of a socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The size of the receive buffer, or its initial size.
    pub(crate) receive_buffer_bytes: usize,
    /// The size of the send buffer, or its initial size.
    pub(crate) send_buffer_bytes: usize,
    /// Whether the receive buffer is auto-tuned, because SO_RCVBUF was not set.
    pub(crate) auto_receive_buffer: bool,
    /// Whether the send buffer is auto-tuned, because SO_SNDBUF was not set.
    pub(crate) auto_send_buffer: bool,
    /// SO_RCVLOWAT: the bytes that must wait before a reader is woken.
    pub(crate) receive_low_water: usize,
    /// TCP_NOTSENT_LOWAT: the limit of unsent bytes.
    pub(crate) unsent_low_water: usize,
    /// TCP_USER_TIMEOUT.
    pub(crate) user_timeout: Option<Duration>,
    /// TCP_CORK: only full segments are sent.
    pub(crate) cork: bool,
    /// SO_OOBINLINE: urgent data is read in line with other data.
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
    /// TCP_WINDOW_CLAMP; 0 for none.
    pub(crate) window_clamp: u32,
    /// TCP_THIN_LINEAR_TIMEOUTS.
    pub(crate) thin_linear_timeouts: bool,
    /// TCP_SYNCNT, if set.
    pub(crate) syn_retries: Option<u8>,
    /// TCP_LINGER2; `None` for no wait at all.
    pub(crate) fin_wait_2: Option<Duration>,
    /// IP_RECVERR: ICMP errors are reported at once.
    pub(crate) reports_soft_errors: bool,
}

impl Settings {
    /// The window of a SYN: as much of the receive buffer as a window without scaling can offer
    /// (RFC 7323 §2.2).
    pub(super) fn syn_window(&self) -> u16 {
        let window = u16::try_from(self.receive_buffer_bytes).unwrap_or(u16::MAX);
        u16::try_from(self.window_clamp()).map_or(window, |clamp| window.min(clamp))
    }

    /// The largest window that the receiver offers.
    pub(super) fn window_clamp(&self) -> u32 {
        if self.window_clamp == 0 { u32::MAX } else { self.window_clamp }
    }

    /// The window of a SYN-ACK: the same, but not more than there is memory for.
    pub(super) fn offered_window(&self, ctx: &Ctx<'_>, announced_mss: u16) -> u16 {
        let window = self.syn_window();
        if !ctx.memory.is_pressed() {
            return window;
        }
        let most = ctx.memory.window().max(announced_mss.into());
        u16::try_from(most).map_or(window, |most| window.min(most))
    }
}

/// The parameters of a new connection.
#[derive(Clone, Debug)]
pub(crate) struct OpenParams {
    pub(crate) isn: SeqNumber,
    /// The offset of the timestamp clock (RFC 7323 §5.4), which hides the time since the stack
    /// started.
    pub(crate) timestamp_offset: u32,
    /// The MSS that we announce: that of our link, or TCP_MAXSEG.
    pub(crate) announced_mss: u16,
    /// The MSS of a peer that announces none: 536 over IPv4, 1,220 over IPv6 (RFC 9293 §3.7.1,
    /// MUST-15).
    pub(crate) default_mss: u16,
    /// The largest MSS that we send with: the path MTU less the IP and TCP headers without options.
    pub(crate) path_mss: u16,
    pub(crate) settings: CopyOnWrite<Settings>,
}
