//! The differences that are meant.

use portolan::{Domain, RecvFlags, SendFlags, SocketKind, SocketOption};

use super::{Place, Sequence, Step};

/// A rule that explains differences.
#[derive(Debug)]
pub struct Rule {
    /// The reason.
    pub why: &'static str,
    /// Whether it explains this difference.
    pub explains: fn(&Case<'_>) -> bool,
}

/// The first difference of a sequence, as rules look at it.
#[derive(Debug)]
pub struct Case<'a> {
    /// The sequence.
    pub sequence: &'a Sequence,
    /// The number of the step.
    pub at: usize,
    /// The kernel's answers.
    pub linux: &'a [String],
    /// Portolan's answers.
    pub portolan: &'a [String],
}

impl Case<'_> {
    /// The kernel's answer to the step.
    fn linux(&self) -> &str {
        &self.linux[self.at]
    }

    /// Portolan's answer to the step.
    fn portolan(&self) -> &str {
        &self.portolan[self.at]
    }

    fn step(&self) -> Step {
        self.sequence.steps[self.at]
    }

    fn kind(&self) -> SocketKind {
        self.sequence.sockets[0].0
    }

    fn domain(&self) -> Domain {
        self.sequence.sockets[0].1
    }

    /// The steps before this one that are about the same socket, or about no socket, newest first.
    fn earlier(&self) -> impl Iterator<Item = Step> + '_ {
        let socket = self.step().socket();
        let steps = self.sequence.steps[..self.at].iter().rev().copied();
        steps.filter(move |step| step.socket().is_none() || socket.is_none() || step.socket() == socket)
    }

    /// Whether a step before this one, about the same socket, satisfies a condition.
    fn was(&self, is_it: fn(Step) -> bool) -> bool {
        self.earlier().any(is_it)
    }

    /// Whether a step that satisfies `is_it` came after the last one that satisfies `since`.
    fn was_since(&self, is_it: fn(Step) -> bool, since: fn(Step) -> bool) -> bool {
        let mut later = self.earlier().take_while(|&step| !since(step));
        later.any(is_it) && self.was(since)
    }

    /// Whether the socket may have begun a datagram with MSG_MORE or UDP_CORK before a step that
    /// satisfies `is_it`.
    fn had_begun(&self, is_it: fn(Step) -> bool) -> bool {
        self.was_since(is_it, begins_datagram)
    }

    /// Whether a step before this one, about any socket, satisfies a condition.
    fn was_anywhere(&self, is_it: fn(Step) -> bool) -> bool {
        self.sequence.steps[..self.at].iter().copied().any(is_it)
    }

    /// Whether a `connect` of the socket has failed.
    fn had_failed_connect(&self) -> bool {
        let steps = self.sequence.steps[..self.at].iter().zip(self.portolan);
        let mut failed = steps.filter(|(step, answer)| connects(**step) && answer.starts_with('E'));
        failed.any(|(step, _)| self.step().socket().is_none() || step.socket() == self.step().socket())
    }

    /// Whether the datagrams of the socket go over IPv4.
    fn is_v4(&self) -> bool {
        self.domain() == Domain::V4 || self.sequence.is_mapped
    }

    /// The numbers that both answered.
    fn numbers(&self) -> Option<(usize, usize)> {
        let number = |answer: &str| answer.split(';').next()?.parse().ok();
        Some((number(self.linux())?, number(self.portolan())?))
    }
}

fn begins_datagram(step: Step) -> bool {
    match step {
        Step::Send(_, _, flags) | Step::SendTo(_, _, _, _, flags) => flags.contains(SendFlags::MORE),
        Step::Set(_, option) => option == SocketOption::UdpCork(true),
        _ => false,
    }
}

fn is_too_big(step: Step) -> bool {
    matches!(step, Step::PeerRefuses(3, 4, _))
}

fn connects(step: Step) -> bool {
    matches!(step, Step::Connect(..))
}

fn disconnects(step: Step) -> bool {
    matches!(step, Step::Disconnect(_))
}

/// All rules.
pub const RULES: &[Rule] = &[
    Rule {
        why: "a path MTU is believed only if a socket has the identifier of the packet that was too big; Linux believes \
              any over IPv6",
        explains: |case| {
            let is_of_path = matches!(case.step(), Step::Send(..) | Step::SendTo(..) | Step::PathMtu(_));
            let has_learned = case.numbers().is_none_or(|(linux, portolan)| linux <= portolan);
            let is_v6_echo = case.kind() == SocketKind::Echo && case.domain() == Domain::V6;
            is_v6_echo
                && is_of_path
                && has_learned
                && case.was_anywhere(disconnects)
                && case.was_anywhere(is_too_big)
        },
    },
    Rule {
        why: "IP_MTU is the path MTU as it is known; on Linux it is that of the socket's last `connect` or `send`",
        explains: |case| {
            let uses_path = |step| matches!(step, Step::Connect(..) | Step::Send(..));
            let is_it = matches!(case.step(), Step::PathMtu(_)) && case.was_since(is_too_big, uses_path);
            is_it && case.numbers().is_some_and(|(linux, portolan)| portolan < linux)
        },
    },
    Rule {
        why: "IP_MTU is that of the route to the peer; on Linux it is ENOTCONN from a `connect` that fails, or from \
              IP_TOS, until the next `send`",
        explains: |case| {
            let is_it = matches!(case.step(), Step::PathMtu(_)) && case.linux().starts_with("ENOTCONN");
            let is_reset = case.had_failed_connect()
                || case.was(|step| matches!(step, Step::Set(_, SocketOption::Tos(_))));
            is_it && is_reset && !case.portolan().starts_with('E')
        },
    },
    Rule {
        why: "the question of another kind of socket is EOPNOTSUPP; ioctl returns ENOTTY, for all questions on ping sockets",
        explains: |case| {
            let is_question = matches!(case.step(), Step::OfStreams(_) | Step::Unread(_));
            is_question && case.linux().starts_with("ENOTTY")
        },
    },
    Rule {
        why: "a datagram to the connected peer has the peer's address; on Linux 6.18 that of a `connect` that has \
              failed, or of a datagram that MSG_MORE has begun before",
        explains: |case| {
            let is_later = matches!(
                case.step(),
                Step::Send(..)
                    | Step::SendTo(..)
                    | Step::Recv(..)
                    | Step::PeerRefuses(..)
                    | Step::TakeError(_)
            );
            let may_differ = case.had_failed_connect() || case.was(begins_datagram);
            case.kind() == SocketKind::Datagram
                && case.is_v4()
                && is_later
                && case.was(connects)
                && may_differ
        },
    },
    Rule {
        why: "a datagram that MSG_MORE has begun keeps its destination; on Linux it goes where `connect` says later",
        explains: |case| {
            let redirects = |step| connects(step) || disconnects(step);
            case.kind() == SocketKind::Datagram && case.had_begun(redirects)
        },
    },
    Rule {
        why: "a datagram that MSG_MORE has begun is fragmented for the path MTU at its end; on Linux for that at its \
              beginning",
        explains: |case| case.kind() == SocketKind::Datagram && case.had_begun(is_too_big),
    },
    Rule {
        why: "a socket address has no length, which for IPv6 Linux looks at before the family (EINVAL)",
        explains: |case| {
            let is_it = matches!(
                case.step(),
                Step::SendTo(_, _, Place::OtherFamily, ..) | Step::Connect(_, Place::OtherFamily, _)
            );
            let is_shorter = case.domain() == Domain::V6 && case.kind() == SocketKind::Echo;
            let of_family = case.portolan().starts_with("EAFNOSUPPORT");
            is_it && is_shorter && of_family && case.linux().starts_with("EINVAL")
        },
    },
    Rule {
        why: "::1 is no source for another host (RFC 4291 section 2.5.3; EINVAL); on Linux it is",
        explains: |case| {
            let leaves = matches!(case.step(), Step::Connect(..) | Step::Send(..) | Step::SendTo(..));
            let had_loopback =
                case.was(|step| matches!(step, Step::Connect(_, Place::Any | Place::Loopback, _)));
            let is_refused = case.portolan().starts_with("EINVAL") && !case.linux().starts_with("EINVAL");
            case.domain() == Domain::V6 && leaves && had_loopback && is_refused
        },
    },
    Rule {
        why: "a socket without a peer receives from everybody; on Linux an IPv6 socket that had one receives from \
              its address only",
        explains: |case| {
            let count = |answer: &str, what| answer.matches(what).count();
            let reads_more = case.linux().starts_with("EAGAIN") && !case.portolan().starts_with('E');
            let hears_more = ["in out", " err"]
                .iter()
                .any(|what| count(case.portolan(), what) > count(case.linux(), what));
            let to_loopback = matches!(case.step(), Step::SendTo(_, _, Place::Any, ..));
            let is_v6 = case.domain() == Domain::V6 && (!case.sequence.is_mapped || to_loopback);
            let had_peer = case.was_anywhere(connects) && case.was_anywhere(disconnects);
            is_v6 && case.kind() == SocketKind::Datagram && had_peer && (hears_more || reads_more)
        },
    },
    Rule {
        why: "the error queue of a ping socket of IPv6 names the peer's port after EMSGSIZE; on Linux the number that type \
              and code of the message are",
        explains: |case| {
            let is_v6_echo = case.kind() == SocketKind::Echo && case.domain() == Domain::V6;
            let is_read =
                matches!(case.step(), Step::Recv(_, _, flags) if flags.contains(RecvFlags::ERROR_QUEUE));
            is_v6_echo && is_read && case.linux().contains(" some None Some(\"EMSGSIZE local")
        },
    },
    Rule {
        why: "the loopback has an MTU of 65,535; Linux's has 65,536",
        explains: |case| case.linux().starts_with("65536;") && case.portolan().starts_with("65535;"),
    },
];
