//! The differences between the two hosts, with their reasons.

use portolan::SocketKind;

use super::{Answer, Call, Place, State};

/// A rule that explains differences.
pub struct Rule {
    /// The reason, as it stands in docs/options.md.
    pub why: &'static str,
    /// Whether it explains this one: the place, the call, the kernel's answer, Portolan's.
    pub explains: fn(&Place, &Call, &Answer, &Answer) -> bool,
}

const IP: i32 = 0;
const SOCKET: i32 = 1;
const TCP: i32 = 6;
const IPV6: i32 = 41;

fn is_get(call: &Call) -> bool {
    matches!(call, Call::Get(_))
}

/// Both return a value of the same length.
fn are_values(linux: &Answer, portolan: &Answer) -> bool {
    matches!((linux, portolan), (Ok(linux), Ok(portolan)) if linux.len() == portolan.len())
}

/// All rules.
pub const RULES: &[Rule] = &[
    Rule {
        why: "SO_RCVBUF and SO_SNDBUF are bytes of data.",
        explains: |place, call, linux, portolan| {
            matches!(place.option, (SOCKET, 7 | 8 | 18 | 55)) && is_get(call) && are_values(linux, portolan)
        },
    },
    Rule {
        why: "A time is kept exactly.",
        explains: |place, call, linux, portolan| {
            matches!(place.option, (SOCKET, 20 | 21 | 66 | 67)) && is_get(call) && are_values(linux, portolan)
        },
    },
    Rule {
        why: "SO_LINGER that is off has no time.",
        explains: |place, call, _, portolan| {
            place.option == (SOCKET, 13)
                && is_get(call)
                && portolan.as_ref().is_ok_and(|value| value.iter().all(|&byte| byte == 0))
        },
    },
    Rule {
        why: "SO_MAX_PACING_RATE of 0 is refused.",
        explains: |place, call, linux, portolan| {
            let is_zero = |value: &[u8]| value.iter().take(8).all(|&byte| byte == 0);
            place.option == (SOCKET, 47)
                && match call {
                    Call::Set(value) => is_zero(value) && *portolan == Err(libc::EINVAL),
                    Call::Get(_) => linux.as_ref().is_ok_and(|value| is_zero(value)),
                }
        },
    },
    Rule {
        why: "TCP_QUICKACK has no effect without a connection.",
        explains: |place, call, linux, portolan| {
            place.option == (TCP, 12)
                && matches!(place.state, State::New | State::Bound | State::Listening)
                && is_get(call)
                && are_values(linux, portolan)
        },
    },
    Rule {
        why: "Ports are drawn differently.",
        explains: |place, call, linux, portolan| {
            place.option == (SOCKET, 28) && is_get(call) && are_values(linux, portolan)
        },
    },
    Rule {
        why: "TCP_MAXSEG of a connection is the MSS with which this stack sends.",
        explains: |place, call, linux, portolan| {
            place.option == (TCP, 2)
                && matches!(place.state, State::Connected | State::Accepted)
                && is_get(call)
                && are_values(linux, portolan)
        },
    },
    Rule {
        why: "SO_REUSEADDR of a ping or raw socket is off by default.",
        explains: |place, call, linux, portolan| {
            matches!(place.kind, SocketKind::Echo | SocketKind::Raw(_))
                && place.option == (SOCKET, 2)
                && is_get(call)
                && are_values(linux, portolan)
        },
    },
    Rule {
        why: "IPV6_UNICAST_HOPS of 0 is refused.",
        explains: |place, call, linux, portolan| {
            place.option == (IPV6, 16)
                && match call {
                    Call::Set(value) => value.starts_with(&[0; 4]) && *portolan == Err(libc::EINVAL),
                    Call::Get(_) => linux.as_ref().is_ok_and(|value| value.starts_with(&[0])),
                }
        },
    },
    Rule {
        why: "IPV6_V6ONLY of a socket that is bound to one IPv6 address, or of a ping socket, is what was set.",
        explains: |place, call, linux, portolan| {
            place.option == (IPV6, 26)
                && (place.state != State::New || place.kind == SocketKind::Echo)
                && is_get(call)
                && are_values(linux, portolan)
        },
    },
    Rule {
        why: "The statistics of TCP_INFO are those of this stack.",
        explains: |place, call, linux, portolan| {
            place.option == (TCP, 11) && is_get(call) && are_values(linux, portolan)
        },
    },
    Rule {
        why: "An interface index is at most 65,535.",
        explains: |place, call, linux, portolan| {
            let is_large =
                |value: &[u8]| value.first_chunk().is_some_and(|&index| i32::from_ne_bytes(index) > 65_535);
            place.option == (SOCKET, 62)
                && match call {
                    Call::Set(value) => is_large(value) && *portolan == Err(libc::ENODEV),
                    // Of the number that was kept.
                    Call::Get(0..4) => are_values(linux, portolan),
                    Call::Get(_) => linux.as_ref().is_ok_and(|value| is_large(value)),
                }
        },
    },
    Rule {
        why: "A program of BPF is an array of `struct sock_filter`.",
        explains: |place, _, linux, portolan| {
            matches!(place.option, (SOCKET, 26 | 51)) && (linux.is_err() || portolan.is_err())
        },
    },
    Rule {
        why: "IPV6_MTU is only read.",
        explains: |place, call, _, portolan| {
            place.option == (IPV6, 24) && !is_get(call) && *portolan == Err(libc::ENOPROTOOPT)
        },
    },
    Rule {
        why: "The MTU of the loopback is 65,535",
        explains: |place, call, linux, portolan| {
            matches!(place.option, (IP, 14) | (IPV6, 24)) && is_get(call) && are_values(linux, portolan)
        },
    },
    Rule {
        why: "Interfaces are numbered from 1, and the loopback is the last.",
        explains: |place, call, linux, portolan| {
            matches!(place.option, (IP, 32 | 50) | (IPV6, 17 | 76))
                && match call {
                    Call::Set(_) => {
                        linux.is_ok() && matches!(portolan, Err(libc::EADDRNOTAVAIL | libc::ENODEV))
                    }
                    Call::Get(_) => are_values(linux, portolan),
                }
        },
    },
    Rule {
        why: "Without a route to a group the first interface is used.",
        explains: |place, _, _, portolan| {
            matches!(place.option, (IP, 36) | (IPV6, 20)) && *portolan == Err(libc::ENODEV)
        },
    },
    Rule {
        why: "On a stream every call on multicast memberships is EPROTO.",
        explains: |place, _, linux, portolan| {
            matches!(place.option, (IP, 35..=48) | (IPV6, 42..=48))
                && linux.is_err()
                && *portolan == Err(libc::EPROTO)
        },
    },
    Rule {
        why: "IP_MULTICAST_TTL of an accepted connection is 1.",
        explains: |place, call, linux, portolan| {
            matches!(place.option, (IP, 33) | (IPV6, 18))
                && place.state == State::Accepted
                && is_get(call)
                && are_values(linux, portolan)
        },
    },
    Rule {
        why: "TCP_WINDOW_CLAMP is what was set.",
        explains: |place, call, linux, portolan| {
            place.option == (TCP, 10)
                && is_get(call)
                && matches!(place.state, State::Listening | State::Connected | State::Accepted)
                && are_values(linux, portolan)
        },
    },
    Rule {
        why: "A selector of a ping or raw socket is EINVAL.",
        explains: |place, _, linux, portolan| {
            matches!(place.option, (SOCKET, 51 | 68))
                && matches!(place.kind, SocketKind::Echo | SocketKind::Raw(_))
                && (linux.is_err() || *portolan == Err(libc::EINVAL))
        },
    },
    Rule {
        why: "TCP_SAVE_SYN of 2 is EINVAL.",
        explains: |place, call, linux, portolan| {
            place.option == (TCP, 27)
                && match call {
                    Call::Set(value) => {
                        value.starts_with(&2_i32.to_ne_bytes()) && *portolan == Err(libc::EINVAL)
                    }
                    Call::Get(_) => linux.as_ref().is_ok_and(|value| value.starts_with(&[2])),
                }
        },
    },
    Rule {
        why: "SO_COOKIE counts differently.",
        explains: |place, call, linux, portolan| {
            place.option == (SOCKET, 57) && is_get(call) && are_values(linux, portolan)
        },
    },
];
