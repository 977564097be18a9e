//! The table: two calls, one after the other, on a socket in every state.

use portolan::{Domain, MtuDiscover, RecvFlags, SendFlags, SocketKind, SocketOption};

use super::{Place, Sequence, Step};

/// The port to which the table's sockets are bound.
const PORT: u16 = 7000;
/// The peer's port.
const PEER: u16 = 9;

/// The states of a socket, each with the steps that lead to it.
const STATES: &[(&str, &[Step])] = {
    use Step::*;
    const BOUND: Step = Bind(0, Place::Any, PORT);
    const CONNECTED: Step = Connect(0, Place::Peer, PEER);
    const SENT: Step = Send(0, 20, SendFlags::NONE);
    const REFUSED: Step = PeerRefuses(3, 3, 0);
    const ARRIVED: Step = PeerSends(0, PEER, 12);
    const QUEUES: Step = Set(0, SocketOption::ReceiveErrors(true));
    &[
        ("new", &[]),
        ("bound", &[BOUND]),
        ("bound to an address", &[Bind(0, Place::Host, PORT)]),
        ("connected", &[CONNECTED]),
        ("bound and connected", &[BOUND, CONNECTED]),
        ("disconnected", &[CONNECTED, Disconnect(0)]),
        ("unread", &[BOUND, ARRIVED, ARRIVED]),
        ("connected, unread", &[CONNECTED, ARRIVED]),
        ("refused", &[CONNECTED, SENT, REFUSED]),
        ("refused, unread", &[CONNECTED, SENT, ARRIVED, REFUSED]),
        ("error queued", &[QUEUES, CONNECTED, SENT, REFUSED]),
        (
            "errors queued",
            &[
                QUEUES,
                BOUND,
                SendTo(0, [20, 0], Place::Peer, PEER, SendFlags::NONE),
                REFUSED,
                PeerRefuses(11, 0, 0),
            ],
        ),
        ("does not fragment", &[QUEUES, Set(0, SocketOption::MtuDiscover(MtuDiscover::Do)), CONNECTED]),
        ("corked", &[CONNECTED, Send(0, 20, SendFlags::MORE)]),
        ("read shut", &[CONNECTED, Shutdown(0, portolan::Shutdown::Read)]),
        ("write shut", &[CONNECTED, Shutdown(0, portolan::Shutdown::Write)]),
        ("shut", &[CONNECTED, Shutdown(0, portolan::Shutdown::Both)]),
    ]
};

/// The calls.
const CALLS: &[Step] = {
    use Step::*;
    &[
        Bind(0, Place::Any, PORT),
        Bind(0, Place::Host, 0),
        Bind(0, Place::Nowhere, 0),
        Connect(0, Place::Peer, PEER),
        Connect(0, Place::Peer, 10),
        Connect(0, Place::Nowhere, PEER),
        Connect(0, Place::OtherFamily, PEER),
        Connect(0, Place::Peer, 0),
        Disconnect(0),
        Send(0, 12, SendFlags::NONE),
        Send(0, 0, SendFlags::NONE),
        Send(0, 2000, SendFlags::NONE),
        Send(0, 66_000, SendFlags::NONE),
        Send(0, 12, SendFlags::OOB),
        Send(0, 12, SendFlags::MORE),
        Send(0, 12, SendFlags::DONT_ROUTE),
        SendTo(0, [8, 4], Place::Peer, PEER, SendFlags::NONE),
        SendTo(0, [8, 4], Place::Peer, 0, SendFlags::NONE),
        SendTo(0, [8, 4], Place::Nowhere, PEER, SendFlags::NONE),
        SendTo(0, [8, 4], Place::OtherFamily, PEER, SendFlags::NONE),
        Recv(0, [10, 0], RecvFlags::NONE),
        Recv(0, [3, 20], RecvFlags::NONE),
        Recv(0, [5, 0], RecvFlags::PEEK),
        Recv(0, [0, 0], RecvFlags::TRUNCATE),
        Recv(0, [5, 0], RecvFlags::from_bits(RecvFlags::PEEK.bits() | RecvFlags::TRUNCATE.bits())),
        Recv(0, [10, 0], RecvFlags::OOB),
        Recv(0, [10, 0], RecvFlags::WAIT_ALL),
        Recv(0, [10, 30], RecvFlags::ERROR_QUEUE),
        Recv(0, [4, 0], RecvFlags::ERROR_QUEUE),
        Unread(0),
        OfStreams(0),
        PathMtu(0),
        TakeError(0),
        LocalAddr(0),
        PeerAddr(0),
        Listen(0),
        Set(0, SocketOption::ReceiveErrors(false)),
        Set(0, SocketOption::UdpCork(true)),
        Set(0, SocketOption::UdpCork(false)),
        Shutdown(0, portolan::Shutdown::Read),
        Shutdown(0, portolan::Shutdown::Write),
        Shutdown(0, portolan::Shutdown::Both),
        PeerSends(0, PEER, 12),
        PeerRefuses(3, 3, 0),
        PeerRefuses(11, 0, 0),
        PeerRefuses(3, 4, 1400),
    ]
};

/// Two calls in every state, of each kind and family. After them SO_ERROR and the addresses are
/// asked for.
pub fn table() -> Vec<Sequence> {
    let mut sequences = Vec::new();
    for (kind, domain, is_mapped) in [
        (SocketKind::Datagram, Domain::V4, false),
        (SocketKind::Datagram, Domain::V6, false),
        (SocketKind::Datagram, Domain::V6, true),
        (SocketKind::Echo, Domain::V4, false),
        (SocketKind::Echo, Domain::V6, false),
    ] {
        let is_fit = |step: &&Step| {
            kind == SocketKind::Datagram || !matches!(step, Step::Set(_, SocketOption::UdpCork(_)))
        };
        for (state, prologue) in STATES {
            for first in CALLS.iter().filter(is_fit) {
                for second in CALLS.iter().filter(is_fit) {
                    let calls = [*first, *second, Step::TakeError(0), Step::LocalAddr(0), Step::PeerAddr(0)];
                    let steps = prologue.iter().copied().chain(calls).collect();
                    let name = format!("{state}: {first:?}, {second:?}");
                    sequences.push(Sequence { name, sockets: [(kind, domain); 2], is_mapped, steps });
                }
            }
        }
    }
    sequences
}
