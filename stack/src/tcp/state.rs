//! The states of a connection (RFC 9293 §3.3.2).

use core::fmt;

// LISTEN is the state of a listener, SYN-RECEIVED after LISTEN that of a record in its SYN queue,
// and TIME-WAIT that of a small record. A `Connection` has the other states.
/// A state of a TCP connection (RFC 9293 §3.3.2). `Display` and `Debug` show the RFC's name, such
/// as `SYN-SENT`.
// Exhaustive: these are all states that RFC 9293 has.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// There is no connection.
    #[default]
    Closed,
    /// Waits for SYNs.
    Listen,
    /// Has sent a SYN.
    SynSent,
    /// Has sent and received a SYN, and waits for the acknowledgement of its own.
    SynReceived,
    /// Data goes both ways.
    Established,
    /// Has closed its half, and waits for the acknowledgement of its FIN.
    FinWait1,
    /// Has closed its half, and waits for the peer's FIN.
    FinWait2,
    /// The peer has closed its half; this one is open.
    CloseWait,
    /// Both ends have closed at the same time; this end waits for the acknowledgement of its FIN.
    Closing,
    /// Has closed its half after the peer, and waits for the acknowledgement of its FIN.
    LastAck,
    /// Has ended, and waits until old segments have left the network.
    TimeWait,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl State {
    /// RFC 9293's name: `SYN-SENT`.
    pub const fn name(self) -> &'static str {
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

    /// The peer may still send: its FIN has not arrived (RFC 9293 §3.10.7.4, seventh step).
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
