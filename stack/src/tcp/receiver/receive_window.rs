//! The state of the receive window and of the receive buffer.

use crate::tcp::window::WindowScale;
use crate::tcp::{SeqNumber, Settings};

/// The largest receive window before data has arrived, whatever the buffer: the largest that a SYN
/// can offer.
const INITIAL_SSTHRESH: u32 = 65_535;

/// The window that the peer knows, and its limits.
#[derive(Debug)]
pub(in crate::tcp) struct ReceiveWindow {
    /// The right edge of the window that the peer knows. It never moves left (RFC 9293 §3.8.6,
    /// SHLD-14), unless data was refused for lack of memory.
    pub(super) edge: SeqNumber,
    /// The rightmost edge that the buffer has allowed. Because of rounding, `edge` may be a little
    /// further right.
    pub(super) opened_to: SeqNumber,
    /// The scale of the windows that we send.
    pub(in crate::tcp) scale: WindowScale,
    /// SO_RCVBUF as it is now.
    pub(super) buffer_bytes: u32,
    /// Whether `buffer_bytes` is auto-tuned.
    auto: bool,
    /// Linux's rcv_ssthresh: the largest window that is offered now, however large the buffer is.
    pub(super) ssthresh: u32,
    /// TCP_WINDOW_CLAMP: `ssthresh` never exceeds it.
    clamp: u32,
    /// The window of our SYN or SYN-ACK, which is never scaled (RFC 7323 §2.2); repetitions offer
    /// the same.
    pub(super) syn_window: u16,
}

impl ReceiveWindow {
    pub(super) fn new(settings: &Settings) -> ReceiveWindow {
        let (buffer_bytes, auto) =
            (clamp_buffer(settings.receive_buffer_bytes), settings.auto_receive_buffer);
        ReceiveWindow {
            edge: SeqNumber(0),
            opened_to: SeqNumber(0),
            scale: WindowScale::NONE,
            buffer_bytes,
            auto,
            // A size that the program has set is offered at once.
            ssthresh: if auto { buffer_bytes.min(INITIAL_SSTHRESH) } else { buffer_bytes }
                .min(settings.window_clamp()),
            clamp: settings.window_clamp(),
            syn_window: settings.syn_window(),
        }
    }

    /// The program has set an option, perhaps SO_RCVBUF.
    pub(in crate::tcp) fn set_buffer(&mut self, settings: &Settings) {
        self.auto = settings.auto_receive_buffer;
        self.clamp = settings.window_clamp();
        if !self.auto {
            self.buffer_bytes = clamp_buffer(settings.receive_buffer_bytes);
            self.ssthresh = self.buffer_bytes;
        }
        self.ssthresh = self.ssthresh.min(self.clamp);
    }

    /// RCV.NXT has moved to `nxt`, perhaps beyond the window.
    pub(super) fn make_room_to(&mut self, nxt: SeqNumber) {
        self.edge = self.edge.max(nxt);
        self.opened_to = self.opened_to.max(nxt);
    }

    /// Whether [`narrow_window`](super::Receiver::narrow_window) has left less than a new
    /// connection offers.
    pub(super) fn is_narrow(&self) -> bool {
        self.ssthresh < self.buffer_bytes.min(INITIAL_SSTHRESH).min(self.clamp)
    }

    pub(super) fn grow_buffer(&mut self, wanted: u64, max_bytes: usize) {
        if self.auto {
            let wanted = usize::try_from(wanted).unwrap_or(usize::MAX).min(max_bytes);
            self.buffer_bytes = self.buffer_bytes.max(clamp_buffer(wanted));
        }
    }

    /// SO_RCVBUF, but at least two units of the scaled window.
    pub(super) fn buffer(&self) -> u32 {
        self.buffer_bytes.max(2 << self.scale.shift())
    }

    /// The largest window that is ever offered.
    pub(super) fn limit(&self) -> u32 {
        self.buffer().min(self.clamp)
    }

    /// The largest window that is offered now.
    pub(super) fn most(&self) -> u32 {
        self.buffer().min(self.ssthresh.max(2 << self.scale.shift()))
    }
}

/// Limits a buffer to at least one byte and at most the largest window (RFC 7323 §2.3).
pub(in crate::tcp) fn clamp_buffer(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, 1 << 30)
}
