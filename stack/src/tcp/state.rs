//! The states of a connection (RFC 9293 §3.3.2).

/// LISTEN lives in the listener, SYN-RECEIVED of a listener in its SYN queue, and TIME-WAIT in a record of its own;
/// a [`Connection`](super::Connection) passes through the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    Closed,
    Listen,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
}

impl State {
    /// RFC 9293's name: `SYN-SENT`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            State::Closed => "CLOSED",
            State::Listen => "LISTEN",
            State::SynSent => "SYN-SENT",
            State::SynReceived => "SYN-RECEIVED",
            State::Established => "ESTABLISHED",
            State::FinWait1 => "FIN-WAIT-1",
            State::FinWait2 => "FIN-WAIT-2",
            State::CloseWait => "CLOSE-WAIT",
            State::Closing => "CLOSING",
            State::LastAck => "LAST-ACK",
            State::TimeWait => "TIME-WAIT",
        }
    }

    /// Both SYNs are acknowledged (RFC 9293 §3.5.2 calls these states synchronized).
    pub(crate) const fn is_synchronized(self) -> bool {
        !matches!(self, State::Closed | State::Listen | State::SynSent | State::SynReceived)
    }

    /// The program may still send: our FIN is not queued.
    pub(crate) const fn can_send(self) -> bool {
        matches!(self, State::Established | State::CloseWait)
    }

    /// The peer may still send: its FIN has not come (RFC 9293 §3.10.7.4, seventh step).
    pub(crate) const fn can_receive(self) -> bool {
        matches!(self, State::Established | State::FinWait1 | State::FinWait2)
    }

    /// Data or a FIN may wait to be sent or acknowledged.
    pub(crate) const fn may_have_unsent(self) -> bool {
        matches!(
            self,
            State::Established | State::CloseWait | State::FinWait1 | State::Closing | State::LastAck
        )
    }
}
