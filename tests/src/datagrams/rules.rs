//! The differences that are meant.

use portolan::{Domain, SendFlags, SocketKind, SocketOption};

use super::{Place, Sequence, Step};

/// A rule that explains differences.
#[derive(Debug)]
pub struct Rule {
    /// The reason.
    pub why: &'static str,
    /// Whether it explains this difference: the sequence, the number of the step, the kernel's
    /// answer, Portolan's.
    pub explains: fn(&Sequence, usize, &str, &str) -> bool,
}

/// Whether a step before this one satisfies a condition.
fn was(sequence: &Sequence, at: usize, is_it: fn(&Step) -> bool) -> bool {
    sequence.steps[..at].iter().any(is_it)
}

fn is_echo(sequence: &Sequence) -> bool {
    sequence.sockets[0].0 == SocketKind::Echo
}

/// All rules.
pub const RULES: &[Rule] = &[
    Rule {
        why: "the peer of an echo socket that was named with port 0 is a peer (ENOTCONN on Linux)",
        explains: |sequence, at, linux, portolan| {
            let is_name = matches!(sequence.steps[at], Step::PeerAddr(_));
            is_echo(sequence) && is_name && linux.starts_with("ENOTCONN") && portolan.contains(" 0;")
        },
    },
    Rule {
        why: "a path MTU is believed only if a socket has the identifier of the packet that was too big; Linux believes \
              any over IPv6",
        explains: |sequence, at, _, _| {
            let is_of_path =
                matches!(sequence.steps[at], Step::Send(..) | Step::SendTo(..) | Step::PathMtu(_));
            let is_v6 = sequence.sockets[0].1 == Domain::V6;
            let has_new_identifier = was(sequence, at, |step| matches!(step, Step::Disconnect(_)));
            let is_too_big = was(sequence, at, |step| matches!(step, Step::PeerRefuses(3, 4, _)));
            is_echo(sequence) && is_v6 && is_of_path && has_new_identifier && is_too_big
        },
    },
    Rule {
        why: "a datagram socket cannot be connected to port 0 (EINVAL); on Linux it can, and has no peer then",
        explains: |sequence, at, _, portolan| {
            matches!(sequence.steps[at], Step::Connect(_, _, 0)) && portolan.starts_with("EINVAL")
        },
    },
    Rule {
        why: "the question of another kind of socket is EOPNOTSUPP; ioctl returns ENOTTY, for all questions on ping sockets",
        explains: |sequence, at, linux, _| {
            let is_question = matches!(sequence.steps[at], Step::OfStreams(_) | Step::Unread(_));
            is_question && linux.starts_with("ENOTTY")
        },
    },
    Rule {
        why: "a call that fails binds no port; on Linux `send` and `connect` bind one before they look at the address",
        explains: |sequence, at, linux, portolan| {
            let is_name =
                matches!(sequence.steps[at], Step::LocalAddr(_) | Step::Bind(..) | Step::PeerSends(..));
            let is_reading = matches!(sequence.steps[at], Step::Recv(..)) && portolan.starts_with("EAGAIN");
            let has_tried = was(sequence, at, |step| {
                matches!(step, Step::Send(..) | Step::SendTo(..) | Step::Connect(..))
            });
            let is_bound_there = linux.contains(" some;") && portolan.contains(" 0;");
            let hears_there = linux.matches("in out").count() > portolan.matches("in out").count();
            let is_told = is_bound_there || hears_there || linux.starts_with("EINVAL");
            !is_echo(sequence)
                && has_tried
                && ((is_name && is_told) || (is_reading && portolan.contains("rdhup")))
        },
    },
    Rule {
        why: "a `shutdown` that fails (ENOTCONN) has no effect; on Linux it shuts the socket",
        explains: |sequence, at, linux, portolan| {
            let is_it = matches!(sequence.steps[at], Step::Shutdown(..));
            let is_later =
                linux.starts_with("EPIPE") && was(sequence, at, |step| matches!(step, Step::Shutdown(..)));
            is_later || (is_it && linux.starts_with("ENOTCONN") && portolan.starts_with("ENOTCONN"))
        },
    },
    Rule {
        why: "after SHUT_WR nothing is added to a datagram that MSG_MORE has begun (EPIPE); on Linux it is",
        explains: |sequence, at, _, portolan| {
            let is_begun = |step: &Step| match step {
                Step::Send(_, _, flags) | Step::SendTo(_, _, _, _, flags) => flags.contains(SendFlags::MORE),
                Step::Set(_, option) => *option == SocketOption::UdpCork(true),
                _ => false,
            };
            portolan.starts_with("EPIPE") && was(sequence, at, is_begun)
        },
    },
    Rule {
        why: "a datagram that is too long is refused before any of it is kept; Linux adds it to what MSG_MORE has \
              begun, and reports that in the error queue",
        explains: |sequence, at, linux, portolan| {
            let is_long = matches!(sequence.steps[at], Step::Send(_, 5000.., _));
            is_long && linux.starts_with("EMSGSIZE") && portolan.starts_with("EMSGSIZE")
        },
    },
    Rule {
        why: "a `connect` that fails leaves the socket connected as before; on Linux IP_MTU is ENOTCONN then",
        explains: |sequence, at, linux, _| {
            let has_tried = was(sequence, at, |step| matches!(step, Step::Connect(..)));
            matches!(sequence.steps[at], Step::PathMtu(_)) && has_tried && linux.starts_with("ENOTCONN")
        },
    },
    Rule {
        why: "an address of the wrong family is EAFNOSUPPORT; the kernel finds some too short (EINVAL)",
        explains: |sequence, at, linux, portolan| {
            let is_it = matches!(
                sequence.steps[at],
                Step::SendTo(_, _, Place::OtherFamily, ..) | Step::Connect(_, Place::OtherFamily, _)
            );
            let is_bound_to_v6 = linux.starts_with("EAFNOSUPPORT") && portolan.starts_with("ENETUNREACH");
            is_it && (linux.starts_with("EINVAL") || is_bound_to_v6)
        },
    },
    Rule {
        why: "`connect` chooses the source address for its peer; Linux keeps that of an earlier `connect`, even if \
              the new peer cannot be reached from it (EINVAL)",
        explains: |sequence, at, linux, _| {
            let is_elsewhere = |step: &Step| matches!(step, Step::Connect(_, place, _) if !matches!(place, Place::Peer | Place::Nowhere));
            let is_between_families = linux.starts_with("EAFNOSUPPORT");
            let is_told = match sequence.steps[at] {
                Step::LocalAddr(_) | Step::PeerSends(..) | Step::PeerRefuses(..) => true,
                Step::SendTo(..) => true,
                Step::Connect(..) | Step::Send(..) => linux.starts_with("EINVAL"),
                _ => false,
            };
            was(sequence, at, is_elsewhere) && (is_told || is_between_families)
        },
    },
    Rule {
        why: "a socket that `disconnect` takes its port from has no address, either; on Linux it keeps that",
        explains: |sequence, at, _, _| {
            let is_name =
                matches!(sequence.steps[at], Step::LocalAddr(_) | Step::PeerSends(..) | Step::Bind(..));
            is_name && was(sequence, at, |step| matches!(step, Step::Disconnect(_)))
        },
    },
    Rule {
        why: "the loopback has an MTU of 65,535; Linux's has 65,536",
        explains: |_, _, linux, portolan| linux.starts_with("65536;") && portolan.starts_with("65535;"),
    },
    Rule {
        why: "MSG_OOB on UDP is EOPNOTSUPP; Linux ignores it over IPv6",
        explains: |sequence, at, _, portolan| {
            let flags = match sequence.steps[at] {
                Step::Send(_, _, flags) | Step::SendTo(_, _, _, _, flags) => flags,
                _ => SendFlags::NONE,
            };
            flags.contains(SendFlags::OOB) && portolan.starts_with("EOPNOTSUPP")
        },
    },
];
