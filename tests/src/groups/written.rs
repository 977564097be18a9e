//! Sequences written by hand, for states that chance seldom reaches.

use portolan::FilterMode;

use super::{Call, Group, Iface, To, Where};

/// The sequences, each with its name, for both families.
pub(super) fn sequences() -> Vec<(String, Vec<Call>)> {
    let mut all = Vec::new();
    for is_v6 in [false, true] {
        for (name, calls) in of_family(is_v6) {
            all.push((format!("{name}, {}", if is_v6 { "IPv6" } else { "IPv4" }), calls));
        }
    }
    all.push(("a dual-stack socket in groups of both families".into(), dual_stack()));
    all.push(("a connected dual-stack socket sends to an IPv4 group".into(), connected_dual_stack()));
    all
}

/// An open socket, bound to any address.
fn bound(is_v6: bool) -> Vec<Call> {
    vec![Call::Socket { is_v6 }, Call::Bind(0, Where::Any, 0)]
}

fn of_family(is_v6: bool) -> Vec<(&'static str, Vec<Call>)> {
    use Iface::{Any, Number};
    let g = |number| Group { is_v6, number };
    let after = |calls: Vec<Call>| [bound(is_v6), calls].concat();
    let send = |number| Call::Send(0, To::Group(g(number)), 0);
    let off = |socket| Call::All { socket, is_v6, on: false };
    let many_groups = (1..=25).map(|number| Call::Join(0, g(number), Number(0)));
    let limited = if is_v6 { 3 } else { 25 };
    let exclude = FilterMode::Exclude;
    let include = FilterMode::Include;
    vec![
        (
            "the errors of joining",
            after(vec![
                Call::Join(0, g(0), Any),
                Call::Join(0, g(1), Number(9)),
                Call::Join(0, g(1), Any),
                Call::Join(0, g(1), Any),
                Call::Join(0, g(1), Number(0)),
                Call::Join(0, g(1), Number(1)),
                Call::Join(0, Group { is_v6: !is_v6, number: 1 }, Number(0)),
            ]),
        ),
        (
            "the errors of leaving",
            after(vec![
                Call::Leave(0, g(0), Any),
                Call::Leave(0, g(1), Any),
                Call::Leave(0, g(1), Number(9)),
                Call::Join(0, g(1), Number(1)),
                Call::Leave(0, g(1), Number(0)),
                Call::Leave(0, g(1), Any),
                Call::Leave(0, g(1), Number(1)),
                Call::Leave(0, g(1), Number(1)),
            ]),
        ),
        ("the limit of groups", [bound(is_v6), many_groups.take(limited).collect()].concat()),
        (
            "the limit of sources",
            after(
                [
                    vec![Call::Join(0, g(1), Number(0))],
                    (0..66).map(|n| Call::Block(0, g(1), n, Number(0))).collect(),
                    vec![Call::Filter(0, g(1), Number(0))],
                ]
                .concat(),
            ),
        ),
        (
            "a filter with too many sources",
            after(vec![
                Call::Join(0, g(1), Number(0)),
                Call::SetFilter(0, g(1), Number(0), exclude, (0..65).collect()),
                Call::SetFilter(0, g(1), Number(0), exclude, (0..64).collect()),
                Call::Filter(0, g(1), Number(0)),
            ]),
        ),
        (
            "the errors of sources",
            after(vec![
                Call::Block(0, g(1), 0, Any),
                Call::Block(0, g(0), 0, Any),
                Call::Block(0, g(1), 0, Number(9)),
                Call::LeaveSource(0, g(1), 0, Any),
                Call::Join(0, g(1), Number(0)),
                Call::Unblock(0, g(1), 0, Number(0)),
                Call::Block(0, g(1), 0, Number(0)),
                Call::Block(0, g(1), 0, Number(0)),
                Call::JoinSource(0, g(1), 1, Number(0)),
                Call::LeaveSource(0, g(1), 0, Number(0)),
                Call::Unblock(0, g(1), 0, Number(0)),
                // Once there was a list, the mode cannot change by adding a source.
                Call::JoinSource(0, g(1), 1, Number(0)),
                Call::Filter(0, g(1), Number(0)),
            ]),
        ),
        (
            "a membership without a list changes its mode",
            after(vec![
                Call::Join(0, g(1), Number(0)),
                Call::JoinSource(0, g(1), 0, Number(0)),
                Call::Filter(0, g(1), Number(0)),
                send(1),
                Call::Block(0, g(1), 2, Number(0)),
                Call::LeaveSource(0, g(1), 0, Number(0)),
                Call::Filter(0, g(1), Number(0)),
                send(1),
            ]),
        ),
        (
            "the last source of an include filter ends the membership",
            after(vec![
                off(0),
                Call::JoinSource(0, g(1), 0, Number(0)),
                Call::JoinSource(0, g(1), 0, Number(0)),
                Call::JoinSource(0, g(1), 1, Number(0)),
                send(1),
                Call::LeaveSource(0, g(1), 3, Number(0)),
                Call::LeaveSource(0, g(1), 0, Number(0)),
                send(1),
                Call::LeaveSource(0, g(1), 1, Number(0)),
                Call::Filter(0, g(1), Number(0)),
                Call::Leave(0, g(1), Number(0)),
            ]),
        ),
        (
            "whole filters",
            after(vec![
                Call::SetFilter(0, g(1), Number(0), exclude, vec![]),
                Call::SetFilter(0, g(1), Number(0), include, vec![]),
                Call::SetFilter(0, g(0), Number(0), include, vec![]),
                Call::SetFilter(0, g(1), Number(9), include, vec![1]),
                Call::Filter(0, g(1), Number(0)),
                Call::Filter(0, g(0), Number(0)),
                Call::Join(0, g(1), Number(0)),
                Call::SetFilter(0, g(1), Number(0), include, vec![0, 2]),
                Call::Filter(0, g(1), Number(0)),
                send(1),
                Call::SetFilter(0, g(1), Number(0), exclude, vec![0]),
                send(1),
                Call::SetFilter(0, g(1), Number(0), exclude, vec![]),
                Call::JoinSource(0, g(1), 0, Number(0)),
                Call::Filter(0, g(1), Number(0)),
                Call::SetFilter(0, g(1), Number(0), include, vec![]),
                Call::Filter(0, g(1), Number(0)),
            ]),
        ),
        (
            "two links",
            after(vec![
                off(0),
                Call::Join(0, g(1), Number(0)),
                Call::Join(0, g(1), Number(1)),
                Call::Block(0, g(1), 0, Number(0)),
                Call::Block(0, g(1), 2, Number(1)),
                send(1),
                Call::SendThrough { socket: 0, is_v6, iface: Number(1) },
                send(1),
                Call::Leave(0, g(1), Any),
                send(1),
                Call::SendThrough { socket: 0, is_v6, iface: Number(0) },
                send(1),
                Call::Leave(0, g(1), Any),
                Call::Leave(0, g(1), Any),
            ]),
        ),
        (
            "members of many kinds",
            vec![
                Call::Socket { is_v6 },
                Call::Bind(0, Where::Any, 0),
                Call::Socket { is_v6 },
                Call::Bind(1, Where::Group(g(1)), 0),
                Call::Socket { is_v6 },
                Call::Bind(2, Where::Group(g(2)), 0),
                Call::Socket { is_v6 },
                Call::Bind(3, Where::Own(0), 0),
                Call::Socket { is_v6 },
                off(4),
                Call::Bind(4, Where::Any, 0),
                Call::Socket { is_v6 },
                Call::Bind(5, Where::Any, 1),
                Call::Socket { is_v6 },
                Call::Bind(6, Where::Any, 0),
                Call::Connect(6, 1),
                send(1),
                Call::Join(5, g(1), Any),
                send(1),
                Call::Send(0, To::Group(g(1)), 1),
                send(2),
                Call::Join(3, g(2), Any),
                send(2),
                off(1),
                off(2),
                send(1),
                send(2),
                Call::Join(4, g(1), Any),
                Call::Close(5),
                send(1),
                Call::Loop { socket: 0, is_v6, on: false },
                send(1),
                Call::Loop { socket: 0, is_v6, on: true },
                Call::Ttl { socket: 0, is_v6, ttl: 0 },
                send(1),
            ],
        ),
        (
            "raw sockets",
            vec![
                // The memberships of an IPv4 socket filter, those of an IPv6 socket add.
                Call::Raw { is_v6 },
                Call::Raw { is_v6 },
                Call::Bind(1, Where::Own(0), 0),
                Call::Raw { is_v6 },
                Call::Bind(2, Where::Group(g(1)), 0),
                Call::Raw { is_v6 },
                off(3),
                Call::Raw { is_v6 },
                Call::Bind(4, Where::Own(1), 0),
                off(4),
                Call::Socket { is_v6 },
                Call::Send(5, To::Group(g(1)), 0),
                Call::Join(3, g(1), Number(0)),
                Call::Send(5, To::Group(g(1)), 0),
                Call::Join(4, g(1), Number(0)),
                Call::Send(5, To::Group(g(1)), 0),
                Call::Block(0, g(1), 0, Number(0)),
                Call::Join(0, g(1), Number(0)),
                Call::Block(0, g(1), 0, Number(0)),
                Call::Block(3, g(1), 0, Number(0)),
                Call::Send(5, To::Group(g(1)), 0),
                Call::Send(5, To::Group(g(2)), 0),
                Call::Leave(0, g(1), Any),
                Call::Leave(3, g(1), Any),
                Call::Send(5, To::Group(g(1)), 0),
                Call::Close(4),
                Call::Send(5, To::Group(g(1)), 0),
            ],
        ),
        (
            "sockets that were closed",
            after(vec![
                Call::Close(0),
                Call::Join(0, g(1), Any),
                Call::Leave(0, g(1), Any),
                Call::Block(0, g(1), 0, Any),
                Call::SetFilter(0, g(1), Any, exclude, vec![]),
                Call::Filter(0, g(1), Any),
                off(0),
            ]),
        ),
        (
            "streams are no members",
            vec![
                Call::Stream { is_v6 },
                Call::Join(0, g(1), Any),
                Call::Leave(0, g(1), Any),
                Call::Ttl { socket: 0, is_v6, ttl: 1 },
                Call::SendThrough { socket: 0, is_v6, iface: Number(0) },
                Call::Loop { socket: 0, is_v6, on: false },
            ],
        ),
        (
            "the interface to send through",
            after(vec![
                Call::SendThrough { socket: 0, is_v6, iface: Number(9) },
                Call::SendThrough { socket: 0, is_v6, iface: Number(1) },
                Call::Join(0, g(1), Number(1)),
                send(1),
                Call::SendThrough { socket: 0, is_v6, iface: Any },
                send(1),
                Call::SendThrough { socket: 0, is_v6: !is_v6, iface: Number(0) },
            ]),
        ),
        (
            "the broadcast addresses",
            vec![
                Call::Socket { is_v6: false },
                Call::Bind(0, Where::Any, 0),
                Call::Socket { is_v6: false },
                Call::Bind(1, Where::Broadcast, 0),
                Call::Socket { is_v6: false },
                Call::Bind(2, Where::Own(0), 0),
                Call::Socket { is_v6 },
                Call::Bind(3, Where::Any, 0),
                Call::Send(0, To::Broadcast(0), 0),
                Call::Broadcast(0, true),
                Call::Send(0, To::Broadcast(0), 0),
                Call::Send(0, To::Broadcast(1), 0),
                Call::Send(0, To::Everyone, 0),
                Call::Send(0, To::Broadcast(0), 1),
            ],
        ),
    ]
}

fn connected_dual_stack() -> Vec<Call> {
    let v4 = Group { is_v6: false, number: 1 };
    let send = Call::Send(0, To::Group(v4), 0);
    vec![
        Call::Socket { is_v6: true },
        Call::Bind(0, Where::Any, 0),
        Call::Connect(0, 0),
        Call::Socket { is_v6: false },
        Call::Bind(1, Where::Any, 0),
        Call::Join(1, v4, Iface::Number(0)),
        send.clone(),
        Call::SendThrough { socket: 0, is_v6: true, iface: Iface::Number(1) },
        send.clone(),
        Call::SendThrough { socket: 0, is_v6: false, iface: Iface::Number(0) },
        send,
    ]
}

fn dual_stack() -> Vec<Call> {
    let v4 = Group { is_v6: false, number: 1 };
    let v6 = Group { is_v6: true, number: 1 };
    vec![
        Call::Socket { is_v6: true },
        Call::Bind(0, Where::Any, 0),
        Call::Socket { is_v6: false },
        Call::All { socket: 0, is_v6: false, on: false },
        Call::All { socket: 0, is_v6: true, on: false },
        Call::Join(0, v4, Iface::Any),
        Call::Send(1, To::Group(v4), 0),
        Call::Send(0, To::Group(v4), 0),
        Call::Send(0, To::Group(v6), 0),
        Call::Join(0, v6, Iface::Any),
        Call::Send(0, To::Group(v6), 0),
        Call::Block(0, v4, 0, Iface::Number(0)),
        Call::Send(1, To::Group(v4), 0),
        Call::SendThrough { socket: 1, is_v6: false, iface: Iface::Address(1) },
        Call::Send(1, To::Group(v4), 0),
        Call::Leave(0, v4, Iface::Address(1)),
        Call::Send(1, To::Group(v4), 0),
    ]
}
