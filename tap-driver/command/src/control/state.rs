//! The states of sockets, as `ss` names them.

use portolan::{SocketState, TcpState};

/// A state. The number of a state is its bit in a [`StateSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Established,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Unconnected,
    CloseWait,
    LastAck,
    Listen,
    Closing,
}

/// Each state with its name in the table and its name in a filter.
const NAMES: [(State, &str, &str); 11] = [
    (State::Established, "ESTAB", "established"),
    (State::SynSent, "SYN-SENT", "syn-sent"),
    (State::SynRecv, "SYN-RECV", "syn-recv"),
    (State::FinWait1, "FIN-WAIT-1", "fin-wait-1"),
    (State::FinWait2, "FIN-WAIT-2", "fin-wait-2"),
    (State::TimeWait, "TIME-WAIT", "time-wait"),
    (State::Unconnected, "UNCONN", "closed"),
    (State::CloseWait, "CLOSE-WAIT", "close-wait"),
    (State::LastAck, "LAST-ACK", "last-ack"),
    (State::Listen, "LISTEN", "listening"),
    (State::Closing, "CLOSING", "closing"),
];

impl State {
    pub(crate) fn of(state: SocketState) -> State {
        match state {
            SocketState::Tcp(TcpState::Established) | SocketState::Connected => State::Established,
            SocketState::Tcp(TcpState::SynSent) => State::SynSent,
            SocketState::Tcp(TcpState::SynReceived) => State::SynRecv,
            SocketState::Tcp(TcpState::FinWait1) => State::FinWait1,
            SocketState::Tcp(TcpState::FinWait2) => State::FinWait2,
            SocketState::Tcp(TcpState::TimeWait) => State::TimeWait,
            SocketState::Tcp(TcpState::CloseWait) => State::CloseWait,
            SocketState::Tcp(TcpState::LastAck) => State::LastAck,
            SocketState::Tcp(TcpState::Listen) => State::Listen,
            SocketState::Tcp(TcpState::Closing) => State::Closing,
            _ => State::Unconnected,
        }
    }

    /// The name in the table.
    pub(crate) fn name(self) -> &'static str {
        NAMES[self as usize].1
    }

    /// The state with this name in the table.
    pub(crate) fn named(name: &str) -> Option<State> {
        NAMES.iter().find(|(_, shown, _)| *shown == name).map(|&(state, ..)| state)
    }
}

/// A set of states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateSet(u16);

impl StateSet {
    pub(crate) const NONE: StateSet = StateSet(0);
    pub(crate) const ALL: StateSet = StateSet((1 << NAMES.len()) - 1);

    pub(crate) const fn of(states: &[State]) -> StateSet {
        let (mut bits, mut index) = (0, 0);
        while index < states.len() {
            bits |= 1 << states[index] as u16;
            index += 1;
        }
        StateSet(bits)
    }

    pub(crate) const fn with(self, other: StateSet) -> StateSet {
        StateSet(self.0 | other.0)
    }

    pub(crate) const fn without(self, other: StateSet) -> StateSet {
        StateSet(self.0 & !other.0)
    }

    pub(crate) const fn contains(self, state: State) -> bool {
        self.0 & 1 << state as u16 != 0
    }

    pub(crate) const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// What is shown if nothing else is asked for.
    pub(crate) const OPEN: StateSet = StateSet::ALL.without(StateSet::of(&[
        State::Listen,
        State::Unconnected,
        State::TimeWait,
        State::SynRecv,
    ]));
    /// What `--listening` shows.
    pub(crate) const LISTENING: StateSet = StateSet::of(&[State::Listen, State::Unconnected]);

    /// The states that a filter names: one of them, or a group.
    pub(crate) fn parse(word: &str) -> Result<StateSet, String> {
        let connected = StateSet::ALL.without(StateSet::LISTENING);
        let bucket = StateSet::of(&[State::SynRecv, State::TimeWait]);
        Ok(match word {
            "all" => StateSet::ALL,
            "connected" => connected,
            "synchronized" => connected.without(StateSet::of(&[State::SynSent])),
            "bucket" => bucket,
            "big" => StateSet::ALL.without(bucket),
            "listen" => StateSet::of(&[State::Listen]),
            "unconnected" | "close" => StateSet::of(&[State::Unconnected]),
            "syn-rcv" => StateSet::of(&[State::SynRecv]),
            "estab" => StateSet::of(&[State::Established]),
            word => match NAMES.iter().find(|(.., name)| *name == word) {
                Some(&(state, ..)) => StateSet::of(&[state]),
                None => {
                    let names = NAMES.map(|(.., name)| name).join(", ");
                    return Err(format!(
                        "`{word}` is not a state; write all, connected, synchronized, bucket, big, or one of {names}"
                    ));
                }
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_at_the_number_of_its_state() {
        for (index, (state, shown, name)) in NAMES.into_iter().enumerate() {
            assert_eq!((state as usize, State::named(shown)), (index, Some(state)));
            assert_eq!(StateSet::parse(name), Ok(StateSet::of(&[state])));
        }
        assert_eq!(StateSet::parse("synchronized").map(StateSet::len), Ok(8));
        assert!(StateSet::parse("open").is_err_and(|message| message.contains("`open` is not a state")));
    }
}
