//! The rules that explain differences between the kernel and Portolan in the blind matrix.

use portolan::testing::TcpSegment;

use super::{Ack, Answer, Case, Seq, State};

/// A class of differences, and why each host does what it does.
#[derive(Debug)]
pub struct Rule {
    /// A short name.
    pub name: &'static str,
    /// The RFC or the behaviour of the kernel.
    pub why: &'static str,
    /// Whether it explains this difference: the case, the kernel's answer, Portolan's.
    pub explains: fn(&Case, &Answer, &Answer) -> bool,
}

const SYN: u8 = TcpSegment::SYN;
const FIN: u8 = TcpSegment::FIN;
const RST: u8 = TcpSegment::RST;
const ACK: u8 = TcpSegment::ACK;
const URG: u8 = TcpSegment::URG;

/// All rules. The first that explains a difference counts.
pub const RULES: &[Rule] = &[
    Rule {
        name: "reset at the edge",
        why: "RFC 9293 §3.10.7.4: a reset whose SEG.SEQ is outside of the window is dropped; Linux judges where the segment \
              ends, counts the right edge as inside, and answers",
        explains: |case, linux, portolan| {
            case.has(RST)
                && matches!(case.seq, Seq::OneBefore | Seq::Edge)
                && acks(linux)
                && says_nothing(portolan)
                && linux.state == portolan.state
        },
    },
    Rule {
        name: "reset that reaches over the edge",
        why: "RFC 5961 §3.2: a reset inside the window is challenged, whatever it carries; Linux drops it when its end is \
              beyond the edge",
        explains: |case, linux, portolan| {
            case.has(RST)
                && case.seq == Seq::LastInWindow
                && says_nothing(linux)
                && acks(portolan)
                && linux.state == portolan.state
        },
    },
    Rule {
        name: "reset with the number of the FIN",
        why: "Linux (tcp_reset_check) believes a reset one before RCV.NXT when the peer's FIN has come; Portolan believes it \
              when it carries nothing, as those of real peers, and otherwise challenges it or drops it",
        explains: |case, linux, portolan| {
            case.has(RST)
                && case.seq == Seq::OneBefore
                && matches!(case.state, State::CloseWait | State::Closing | State::LastAck)
                && (case.len > 0 || case.has(SYN) || case.has(FIN))
                && says_nothing(linux)
                && is_over(linux)
                && !is_over(portolan)
        },
    },
    Rule {
        name: "FIN-WAIT-2 without a program",
        why: "Linux keeps only a record of TIME-WAIT (tcp_timewait_state_process): it looks at no ACK, a reset or a SYN inside \
              the window ends it, and outside of it all is answered",
        explains: |case, linux, portolan| {
            let is_outside = matches!(case.seq, Seq::Old | Seq::Beyond);
            let is_known = if case.has(RST) && is_outside {
                acks(linux) && linux.state == "FIN-WAIT-2" && says_nothing(portolan)
            } else if case.has(RST) {
                says_nothing(linux) && is_over(linux)
            } else if case.has(SYN) {
                // At RCV.NXT - 1 the SYN is old, and the rest of the segment is new data.
                acks(portolan) && !is_outside && (resets(linux) || case.seq == Seq::OneBefore)
            } else if !case.has(ACK) {
                acks(linux) && linux.state == "FIN-WAIT-2" && says_nothing(portolan)
            } else {
                acks(portolan) && !is_outside && matches!(case.ack, Ack::TooOld | Ack::Future)
            };
            case.state == State::FinWait2Closed && portolan.state == "FIN-WAIT-2" && is_known
        },
    },
    Rule {
        name: "ACK before SEQ in SYN-RECEIVED",
        why: "RFC 9293 §3.10.7.4 judges the sequence number first; Linux (tcp_check_req) answers an unacceptable ACK with a \
              reset before that, as §3.10.7.2 does in LISTEN",
        explains: |case, linux, portolan| {
            case.state == State::SynReceived
                && case.has(ACK)
                && case.ack != Ack::Next
                && !case.has(RST)
                && resets(linux)
                && acks(portolan)
                && portolan.state == "SYN-RECEIVED"
        },
    },
    Rule {
        name: "SYN in SYN-RECEIVED",
        why: "RFC 5961 §4.2 challenges a SYN inside the window, and RFC 9293 §3.10.7.4 lets it end a handshake of a listener: \
              Linux does that, with a reset",
        explains: |case, linux, portolan| {
            case.state == State::SynReceived
                && case.has(SYN)
                && !case.has(RST)
                && matches!(case.seq, Seq::Next | Seq::InWindow | Seq::LastInWindow)
                && resets(linux)
                && acks(portolan)
        },
    },
    Rule {
        name: "ACK of what was never sent",
        why: "Linux takes an old ACK only as far back as bytes were acknowledged (tcp_ack), and challenges the rest; RFC 5961 \
              §5.2 takes those of the largest window",
        explains: |case, linux, portolan| {
            case.has(ACK)
                && case.ack == Ack::OneBefore
                && !case.has(RST)
                && (acks(linux) || (case.state == State::FinWait2Closed && resets(linux)))
                && linux != portolan
                && !matches!(case.state, State::SynReceived | State::SynSent)
        },
    },
    Rule {
        name: "TIME-WAIT and no ACK",
        why: "RFC 9293 §3.10.7.4, fifth step: a segment without ACK is dropped; Linux answers it",
        explains: |case, linux, portolan| {
            case.state == State::TimeWait
                && !case.has(ACK)
                && acks(linux)
                && says_nothing(portolan)
                && linux.state == portolan.state
        },
    },
    Rule {
        name: "TIME-WAIT and SYN with FIN",
        why: "Linux ends TIME-WAIT for the SYN of a new connection, and then drops it for its FIN",
        explains: |case, linux, portolan| {
            case.state == State::TimeWait
                && case.has(SYN)
                && case.has(FIN)
                && !case.has(ACK)
                && says_nothing(linux)
                && is_over(linux)
                && portolan.state == "TIME-WAIT"
        },
    },
    Rule {
        name: "data behind the FIN",
        why: "RFC 9293 §3.10.7.4, seventh step: the text of a segment is ignored once the peer's FIN has come; Linux \
              (tcp_rcv_state_process) resets the connection when bytes follow the FIN",
        explains: |case, linux, portolan| {
            matches!(case.state, State::CloseWait | State::Closing | State::LastAck)
                && case.seq == Seq::OneBefore
                && case.len > 0
                && resets(linux)
                && is_over(linux)
                && !resets(portolan)
        },
    },
    Rule {
        name: "ACK of an old segment",
        why: "RFC 9293 §3.10.7.4: the ACK of a segment that is not acceptable otherwise deserves special allowance; Linux does \
              not look at it",
        explains: |case, linux, portolan| {
            case.has(ACK)
                && case.ack == Ack::Next
                && !case.has(RST)
                && !case.has(SYN)
                && matches!(case.seq, Seq::Old | Seq::OneBefore)
                && acks(linux)
                && linux.state != portolan.state
        },
    },
    Rule {
        name: "FIN again in CLOSING",
        why: "the peer repeats its FIN with the ACK of ours: perhaps our ACK was lost, and Portolan sends another; Linux takes the \
              ACK and says nothing",
        explains: |case, linux, portolan| {
            case.state == State::Closing
                && case.has(FIN)
                && case.ack == Ack::Next
                && says_nothing(linux)
                && acks(portolan)
                && linux.state == "TIME-WAIT"
                && portolan.state == "TIME-WAIT"
        },
    },
    Rule {
        name: "header prediction",
        why: "RFC 5961 §5.2 drops a segment whose ACK is older than the largest window; Linux takes one that is what it expects \
              next before it looks (tcp_rcv_established)",
        explains: |case, linux, portolan| {
            case.flags & !TcpSegment::PSH == ACK
                && case.seq == Seq::Next
                && case.ack == Ack::TooOld
                && case.len > 0
                && acks(linux)
                && queued(linux) > 0
                && acks(portolan)
                && queued(portolan) == 0
        },
    },
    Rule {
        name: "text at the edge",
        why: "RFC 9293 §3.10.7.4 trims a segment to the window, and what begins at its edge is outside; Linux (tcp_sequence) \
              takes one that begins at the edge or before it and ends beyond, if nothing waits to be read, not even a FIN",
        explains: |case, linux, portolan| {
            let is_text =
                (case.len > 0 || case.has(FIN)) && case.has(ACK) && !case.has(SYN) && !case.has(RST);
            let is_taken = match case.state {
                State::FinWait1 => {
                    acks(linux) && linux.state == "FIN-WAIT-2" && portolan.state == "FIN-WAIT-1"
                }
                State::FinWait1Closed => resets(linux) && is_over(linux) && portolan.state == "FIN-WAIT-1",
                State::CloseWait | State::Closing | State::LastAck => says_nothing(linux),
                _ => false,
            };
            let is_refused = matches!(case.state, State::CloseWait | State::Closing)
                && case.len > 0
                && acks(linux)
                && says_nothing(portolan);
            is_text
                && match case.seq {
                    Seq::Edge => is_taken && acks(portolan),
                    Seq::LastInWindow => is_refused,
                    _ => false,
                }
        },
    },
    Rule {
        name: "bytes up to the urgent one",
        why: "SIOCINQ of Linux counts up to the urgent byte (tcp_inq); Portolan counts all that waits",
        explains: |case, linux, portolan| {
            case.has(URG)
                && linux.packets == portolan.packets
                && linux.state == portolan.state
                && queued(linux) < queued(portolan)
        },
    },
    Rule {
        name: "text of a SYN-ACK",
        why: "RFC 9293 §3.10.7.3 keeps the text of a SYN for the time when the connection is open; Linux takes it with Fast Open \
              only, and the peer sends it again",
        explains: |case, linux, portolan| {
            case.state == State::SynSent
                && case.has(SYN)
                && !case.has(RST)
                && (case.len > 0 || case.has(FIN))
                && linux.packets.len() == portolan.packets.len()
                && queued(linux) == 0
        },
    },
];

fn says_nothing(answer: &Answer) -> bool {
    answer.packets.is_empty()
}

/// Whether the answer is a single pure ACK.
fn acks(answer: &Answer) -> bool {
    matches!(&answer.packets[..], [packet] if packet.flags == ACK && packet.len == 0)
}

fn resets(answer: &Answer) -> bool {
    matches!(&answer.packets[..], [packet] if packet.flags & RST != 0)
}

fn is_over(answer: &Answer) -> bool {
    matches!(answer.state.as_str(), "none" | "CLOSED")
}

fn queued(answer: &Answer) -> usize {
    answer.socket.map_or(0, |(_, queued)| queued)
}
