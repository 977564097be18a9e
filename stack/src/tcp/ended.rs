//! What is left of a connection that has ended: the answers that its program can still ask for.

use core::time::Duration;

use super::connection::CloseStatus;
use super::receiver::clamp_buffer;
use super::sender::clamp_send_buffer;
use super::{Connection, Settings, State, TcpInfo};
use crate::config::Config;
use crate::error::{CloseReason, Error, Result};
use crate::event::Readiness;
use crate::time::Instant;

/// A connection that is CLOSED, with nothing to send and nothing to read.
#[derive(Debug)]
pub(crate) struct Ended {
    ending: CloseStatus,
    is_fin_received: bool,
    /// TCP_QUICKACK as it was.
    is_quick_ack: bool,
    /// SO_RCVBUF and SO_SNDBUF.
    buffers: (usize, usize),
    info: TcpInfo,
    /// When `info` was taken.
    taken_at: Instant,
}

impl Connection {
    /// What to keep instead of the connection; none while there is more to do than to answer its
    /// program.
    pub(crate) fn as_ended(&self, now: Instant, config: &Config, header_bytes: u32) -> Option<Ended> {
        let is_done = self.state == State::Closed
            && self.pending.is_empty()
            && self.rcv.queue().is_empty()
            && self.rcv.urgent.is_none();
        is_done.then(|| Ended {
            ending: self.ending,
            is_fin_received: self.rcv.is_fin_received(),
            is_quick_ack: self.is_quick_ack(),
            buffers: self.buffers(),
            info: self.info(now, config, header_bytes),
            taken_at: now,
        })
    }
}

impl Ended {
    /// As [`Connection::readiness`].
    pub(crate) fn readiness(&self) -> Readiness {
        let is_end_of_input =
            !self.ending.is_opening_given_up() || self.is_fin_received || self.ending.read_shut;
        Readiness {
            readable: is_end_of_input,
            writable: true,
            peer_closed: is_end_of_input,
            hung_up: true,
            error: self.ending.error.is_some(),
            urgent: false,
        }
    }

    /// SO_ERROR: returned once.
    pub(crate) fn take_error(&mut self) -> Option<Error> {
        self.ending.take_error()
    }

    /// What `send` returns: SO_ERROR first, then EPIPE.
    pub(crate) fn send(&mut self) -> Error {
        self.ending.error.take().unwrap_or(Error::BrokenPipe)
    }

    /// What `recv` returns: an end of the stream that was received, the error, once, or the end.
    pub(crate) fn recv(&mut self) -> Result<()> {
        let result = self.read_nothing();
        if !self.is_fin_received {
            self.ending.error = None;
        }
        result
    }

    fn read_nothing(&self) -> Result<()> {
        match self.ending.error {
            Some(error) if !self.is_fin_received => Err(error),
            _ if self.is_fin_received => Ok(()),
            _ => self.ending.read_after_end(),
        }
    }

    /// The program has changed an option.
    pub(crate) fn set_settings(&mut self, settings: &Settings) {
        if !settings.auto_receive_buffer {
            self.buffers.0 = clamp_buffer(settings.receive_buffer_bytes) as usize;
        }
        if !settings.auto_send_buffer {
            self.buffers.1 = clamp_send_buffer(settings.send_buffer_bytes) as usize;
        }
        self.info.congestion = settings.congestion;
    }

    pub(crate) fn set_quick_ack(&mut self, on: bool) {
        self.is_quick_ack = on;
    }

    pub(crate) fn is_quick_ack(&self) -> bool {
        self.is_quick_ack
    }

    /// SO_RCVBUF and SO_SNDBUF.
    pub(crate) fn buffers(&self) -> (usize, usize) {
        self.buffers
    }

    /// As it was at the end, but for the times since something last came or went.
    pub(crate) fn info(&self, now: Instant) -> TcpInfo {
        let mut info = self.info.clone();
        for since in [&mut info.last_data_sent, &mut info.last_data_recv, &mut info.last_ack_recv] {
            *since += now.duration_since(self.taken_at);
        }
        info
    }

    /// The smoothed round trip, if it was measured.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        Some(self.info.rtt).filter(|rtt| !rtt.is_zero())
    }

    /// As [`Connection::disconnect`].
    pub(crate) fn disconnect(&mut self) {
        self.ending = CloseStatus::disconnected(self.ending.error);
        self.is_fin_received = false;
    }

    /// Why the connection ended.
    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        self.ending.reason
    }

    /// What the next `connect` returns, if not success.
    pub(crate) fn connect_again(&mut self) -> Result<()> {
        self.ending.connect_again()
    }
}
