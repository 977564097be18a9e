//! UDP and ping between two runtimes.

mod common;

use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bytes::Bytes;
use common::{addr, pair, pattern, within_time};
use portolan::{
    Error, ErrorOrigin, FilterMode, InterfaceId, ReceivedFlags, RecvFlags, SendFlags, SendMeta, SourceFilter,
};
use portolan_runtime::{EchoSocket, Handle, UdpSocket};

/// A socket on port 7 of the server, and one on any port of the client.
fn sockets(server: &Handle, client: &Handle) -> (UdpSocket, UdpSocket) {
    (UdpSocket::bind(server, addr(1, 7)).unwrap(), UdpSocket::bind(client, addr(2, 0)).unwrap())
}

#[test]
fn datagrams_go_there_and_back_whole_or_in_fragments() {
    within_time(|| {
        let (server, client) = pair();
        let far = UdpSocket::bind(&server, (Ipv6Addr::UNSPECIFIED, 7)).unwrap();
        let near = UdpSocket::bind(&client, addr(2, 0)).unwrap();
        let mut buf = vec![0; 70_000];
        for len in [0, 1, 1472, 1473, 20_000, 65_507] {
            let data = pattern(len, 1);
            assert_eq!(near.send_to(&data, addr(1, 7)).unwrap(), len);
            let (received, sender) = far.recv_from(&mut buf).unwrap();
            assert!(buf[..received] == data);
            assert_eq!(sender.ip(), IpAddr::V6(std::net::Ipv4Addr::new(10, 0, 0, 2).to_ipv6_mapped()));
            far.send_to(&data, sender).unwrap();
            assert_eq!(near.peek_from(&mut buf).unwrap(), (len, addr(1, 7)));
            assert_eq!(near.recv_from(&mut buf).unwrap(), (len, addr(1, 7)));
        }
        assert_eq!(near.send_to(&vec![0; 65_508], addr(1, 7)).unwrap_err().raw_os_error(), Some(90));
    });
}

#[test]
fn datagrams_are_lent_in_both_directions() {
    within_time(|| {
        let (server, client) = pair();
        let (far, near) = sockets(server.handle(), client.handle());
        for len in [0, 1, 1472, 20_000] {
            let data = Bytes::from(pattern(len, 2));
            assert_eq!(near.send_msg(data.clone(), &SendMeta::to(addr(1, 7))).unwrap(), len);
            let (received, meta) = far.recv_msg().unwrap();
            assert!(received == data);
            assert_eq!(meta.peer(), near.local_addr().map(|local| addr(2, local.port())).unwrap());
        }
    });
}

#[test]
fn a_message_is_sent_as_it_says_and_comes_with_what_is_known_of_it() {
    within_time(|| {
        let (server, client) = pair();
        let (far, near) = sockets(server.handle(), client.handle());
        let meta = SendMeta::to(addr(1, 7)).hop_limit(3).traffic_class(0xb8);
        assert_eq!(near.send_msg(Bytes::from_static(b"data"), &meta).unwrap(), 4);
        let (data, known) = far.recv_msg().unwrap();
        assert_eq!((&data[..], known.segment_len()), (&b"data"[..], 4));
        assert_eq!((known.peer().ip(), known.local()), (addr(2, 0).ip(), addr(1, 7)));
        assert_eq!((known.hop_limit(), known.traffic_class(), known.iface().index()), (3, 0xb8, 0));
        let nobody = near.send_msg(data, &SendMeta::connected()).unwrap_err();
        assert_eq!(nobody.raw_os_error(), Some(89), "EDESTADDRREQ: {nobody}");
    });
}

#[test]
fn batches_go_there_and_back_in_order() {
    within_time(|| {
        let (server, client) = pair();
        let (far, near) = sockets(server.handle(), client.handle());
        for socket in [&far, &near] {
            socket.set_option(portolan::SocketOption::ReceiveBuffer(4 << 20)).unwrap();
        }
        // More than the send buffer takes at once, with various lengths. The first datagram
        // resolves the neighbour.
        near.send_to(b"first", addr(1, 7)).unwrap();
        assert_eq!(far.recv_msg().unwrap().0, "first");
        let data: Vec<Bytes> = (0..300).map(|n| Bytes::from(pattern(n * 7, n as u8))).collect();
        let batch: Vec<_> = data.iter().map(|data| (data.clone(), SendMeta::to(addr(1, 7)))).collect();
        let echo = std::thread::spawn(move || {
            let (mut batch, mut count) = (Vec::new(), 0);
            while count < 300 {
                let received = far.recv_batch(&mut batch, 50).unwrap();
                assert!((1..=50).contains(&received) && batch.len() == received);
                let answers: Vec<_> =
                    batch.drain(..).map(|(data, meta)| (data, SendMeta::to(meta.peer()))).collect();
                assert_eq!(far.send_batch(&answers).unwrap(), received);
                count += received;
            }
        });
        assert_eq!(near.send_batch(&batch).unwrap(), 300);
        let mut answers = Vec::new();
        while answers.len() < 300 {
            near.recv_batch(&mut answers, usize::MAX).unwrap();
        }
        let answers: Vec<_> =
            answers.into_iter().map(|(data, meta)| (data, SendMeta::to(meta.peer()))).collect();
        assert!(answers == batch);
        echo.join().unwrap();
    });
}

#[test]
fn a_batch_ends_before_what_cannot_be_sent() {
    within_time(|| {
        let (server, client) = pair();
        let (far, near) = sockets(server.handle(), client.handle());
        let too_long = Bytes::from(vec![0; 65_508]);
        let batch = ["a", "b"].map(|text| (Bytes::from(text), SendMeta::to(addr(1, 7))));
        let batch =
            [&batch[..], &[(too_long, SendMeta::to(addr(1, 7))), ("c".into(), SendMeta::to(addr(1, 7)))]]
                .concat();
        assert_eq!(near.send_batch(&batch).unwrap(), 2);
        assert_eq!(near.send_batch(&batch[2..]).unwrap_err().raw_os_error(), Some(90));
        assert_eq!(near.send_batch(&batch[3..]).unwrap(), 1);
        assert_eq!(near.send_batch(&[]).unwrap(), 0);
        let mut received = Vec::new();
        while received.len() < 3 {
            far.recv_batch(&mut received, 8).unwrap();
        }
        assert_eq!(received.iter().map(|(data, _)| &data[..]).collect::<Vec<_>>(), [b"a", b"b", b"c"]);
        assert_eq!(far.recv_batch(&mut received, 0).unwrap(), 0);
        far.set_nonblocking(true).unwrap();
        assert_eq!(far.recv_batch(&mut received, 8).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(received.len(), 3);
    });
}

#[test]
fn a_datagram_is_cut_to_the_buffer() {
    within_time(|| {
        let (server, client) = pair();
        let (far, near) = sockets(server.handle(), client.handle());
        near.send_to(b"abcdef", addr(1, 7)).unwrap();
        near.send_to(b"next", addr(1, 7)).unwrap();
        let mut buf = [0; 3];
        assert_eq!(far.recv_from(&mut buf).unwrap().0, 3);
        assert_eq!(&buf, b"abc");
        assert_eq!(far.recv_msg().unwrap().0, "next");
    });
}

#[test]
fn a_connected_socket_hears_that_nobody_is_there() {
    within_time(|| {
        let (_server, client) = pair();
        let near = UdpSocket::bind(&client, addr(2, 0)).unwrap();
        assert_eq!(near.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(near.send(b"x").unwrap_err().raw_os_error(), Some(89));
        near.connect(addr(1, 9)).unwrap();
        near.send(b"anybody?").unwrap();
        assert_eq!(near.recv(&mut [0; 10]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn timeouts_and_nonblocking_calls() {
    within_time(|| {
        let (_server, client) = pair();
        let near = UdpSocket::bind(&client, addr(2, 0)).unwrap();
        near.set_read_timeout(Some(Duration::from_millis(30))).unwrap();
        assert_eq!(near.recv_from(&mut [0; 10]).unwrap_err().kind(), ErrorKind::WouldBlock);
        near.set_read_timeout(None).unwrap();
        near.set_nonblocking(true).unwrap();
        assert_eq!(near.recv_from(&mut [0; 10]).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn broadcast_needs_permission_and_reaches_everybody() {
    within_time(|| {
        let (server, client) = pair();
        let far = UdpSocket::bind(&server, ([0, 0, 0, 0], 67)).unwrap();
        let near = UdpSocket::bind(&client, ([0, 0, 0, 0], 68)).unwrap();
        let everybody = addr(255, 67);
        assert_eq!(near.send_to(b"hello", everybody).unwrap_err().kind(), ErrorKind::PermissionDenied);
        near.set_broadcast(true).unwrap();
        assert!(near.broadcast().unwrap());
        near.send_to(b"hello", everybody).unwrap();
        let (data, meta) = far.recv_msg().unwrap();
        assert_eq!((&data[..], meta.peer()), (&b"hello"[..], addr(2, 68)));
    });
}

#[test]
fn a_burst_of_datagrams_waits_for_room_and_loses_nothing_on_the_way_out() {
    within_time(|| {
        let (server, client) = pair();
        let (far, near) = sockets(server.handle(), client.handle());
        far.set_option(portolan::SocketOption::ReceiveBuffer(4 << 20)).unwrap();
        // The first datagram resolves the neighbour, because only a few packets may wait for that.
        near.send_to(b"first", addr(1, 7)).unwrap();
        far.recv_msg().unwrap();
        // The peer's announcements may not have been read yet, and are not needed.
        let lost = |client: &portolan_runtime::Runtime| {
            let stats = client.handle().stats();
            stats.all_drops() - stats.drops(portolan::DropReason::UnneededNeighbor)
        };
        let before = lost(&client);
        let sending = std::thread::spawn(move || {
            for number in 0..2000u32 {
                near.send_to(&[&number.to_be_bytes()[..], &[0; 1000]].concat(), addr(1, 7)).unwrap();
            }
        });
        for number in 0..2000u32 {
            let (datagram, _) = far.recv_msg().unwrap();
            assert_eq!(datagram[..4], number.to_be_bytes());
        }
        sending.join().unwrap();
        assert_eq!(lost(&client), before);
    });
}

#[test]
fn ping_over_both_families() {
    within_time(|| {
        let (_server, client) = pair();
        for target in ["10.0.0.1", "fd00::1", "127.0.0.1", "::1"] {
            let target: IpAddr = target.parse().unwrap();
            let socket = EchoSocket::for_addr(&client, target).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            for sequence in [1, 2, 65_535] {
                let payload = pattern(3000, sequence as u8);
                socket.send_request(target, sequence, &payload).unwrap();
                let reply = socket.recv_reply().unwrap();
                assert_eq!((reply.from, reply.sequence), (target, sequence));
                assert!(reply.payload == payload);
            }
        }
    });
}

#[test]
fn messages_are_sent_and_received_in_pieces_and_with_flags() {
    within_time(|| {
        let (server, client) = pair();
        let (far, near) = sockets(server.handle(), client.handle());
        let meta = SendMeta::to(addr(1, 7)).hop_limit(9);
        let parts = [IoSlice::new(b"head"), IoSlice::new(b"body")];
        assert_eq!(near.send_message(&parts, &meta, SendFlags::MORE).unwrap(), 8);
        assert_eq!(near.send_message(&[IoSlice::new(b"!")], &meta, SendFlags::NONE).unwrap(), 1);
        let (mut first, mut second) = ([0; 4], [0; 2]);
        for (flags, len) in [(RecvFlags::PEEK | RecvFlags::TRUNCATE, 9), (RecvFlags::NONE, 6)] {
            let mut bufs = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
            let received = far.recv_message(&mut bufs, flags).unwrap();
            assert_eq!((received.len, received.flags), (len, ReceivedFlags::TRUNCATED));
            assert_eq!(received.meta.map(|meta| meta.hop_limit()), Some(9));
            assert_eq!((&first, &second), (b"head", b"bo"));
        }
        let nothing = far.recv_message(&mut [], RecvFlags::DONT_WAIT).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn errors_come_with_what_they_are_about() {
    within_time(|| {
        let (_server, client) = pair();
        let near = UdpSocket::bind(&client, addr(2, 0)).unwrap();
        near.set_receive_errors(true).unwrap();
        assert_eq!(near.recv_error().unwrap_err().kind(), ErrorKind::WouldBlock);
        near.send_to(b"nobody", addr(1, 9)).unwrap();
        // A reader is woken by the error.
        assert_eq!(near.recv_from(&mut [0; 9]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let (error, payload) = near.recv_error().unwrap();
        assert_eq!((error.error, error.destination), (Error::ConnectionRefused, addr(1, 9)));
        assert_eq!(error.origin, ErrorOrigin::Icmp { kind: 3, code: 3 });
        assert_eq!(&payload[..], b"nobody");
        // A peer that is gone again: the socket hears from everybody.
        near.connect(addr(1, 9)).unwrap();
        near.disconnect().unwrap();
        assert_eq!(near.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn members_of_a_group_receive_what_is_sent_to_it() {
    within_time(|| {
        let (server, client) = pair();
        let member = UdpSocket::bind(&server, (Ipv6Addr::UNSPECIFIED, 7)).unwrap();
        let near = UdpSocket::bind(&client, (Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        let (any, v4, v6) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(239, 1, 2, 3), "ff05::7".parse().unwrap());
        let mut buf = [0; 16];
        let mut receive = || member.recv_from(&mut buf).map(|(len, _)| buf[..len].to_vec());
        member.join_multicast_v4(&v4, &any).unwrap();
        member.join_multicast_v6(&v6, 0).unwrap();
        assert_eq!(member.join_multicast_v6(&v6, 1).unwrap_err().kind(), ErrorKind::AddrInUse);
        near.send_to(b"four", (v4.to_ipv6_mapped(), 7)).unwrap();
        assert_eq!(receive().unwrap(), b"four");
        near.send_to(b"six", (v6, 7)).unwrap();
        assert_eq!(receive().unwrap(), b"six");
        member.leave_multicast_v4(&v4, &any).unwrap();
        member.leave_multicast_v6(&v6, 1).unwrap();
        // Only one source.
        member.join_ssm_v4(&[10, 0, 0, 9].into(), &v4, &[10, 0, 0, 1].into()).unwrap();
        member.join_ssm_v6(&"fd00::2".parse().unwrap(), &v6, 1).unwrap();
        near.send_to(b"not heard", (v4.to_ipv6_mapped(), 7)).unwrap();
        near.send_to(b"heard", (v6, 7)).unwrap();
        assert_eq!(receive().unwrap(), b"heard");
        member.leave_ssm_v4(&[10, 0, 0, 9].into(), &v4, &[10, 0, 0, 1].into()).unwrap();
        member.leave_ssm_v6(&"fd00::2".parse().unwrap(), &v6, 1).unwrap();
        let gone = member.leave_multicast_v6(&v6, 0).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::AddrNotAvailable);
        // All sources but one.
        let (near4, near6) = ([10, 0, 0, 2].into(), "fd00::2".parse().unwrap());
        member.join_multicast_v4(&v4, &any).unwrap();
        member.join_multicast_v6(&v6, 0).unwrap();
        member.block_source_v4(&near4, &v4, &any).unwrap();
        member.block_source_v6(&near6, &v6, 0).unwrap();
        let iface = InterfaceId::from_index(0);
        for (group, source) in [(v4.into(), IpAddr::from(near4)), (v6.into(), near6.into())] {
            let filter = member.source_filter(group, iface).unwrap();
            assert_eq!(filter, SourceFilter::new(FilterMode::Exclude, vec![source]));
        }
        near.send_to(b"not heard", (v4.to_ipv6_mapped(), 7)).unwrap();
        near.send_to(b"not heard", (v6, 7)).unwrap();
        near.send_to(b"heard", (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1), 7)).unwrap();
        assert_eq!(receive().unwrap(), b"heard");
        member.unblock_source_v4(&near4, &v4, &any).unwrap();
        near.send_to(b"four", (v4.to_ipv6_mapped(), 7)).unwrap();
        assert_eq!(receive().unwrap(), b"four");
        member.unblock_source_v6(&near6, &v6, 0).unwrap();
        let include = SourceFilter::new(FilterMode::Include, vec![near6.into()]);
        member.set_source_filter(v6.into(), iface, &include).unwrap();
        near.send_to(b"six", (v6, 7)).unwrap();
        assert_eq!(receive().unwrap(), b"six");

        assert_eq!((near.multicast_ttl_v4().unwrap(), near.multicast_hops_v6().unwrap()), (1, 1));
        near.set_multicast_ttl_v4(9).unwrap();
        near.set_multicast_hops_v6(8).unwrap();
        assert_eq!((near.multicast_ttl_v4().unwrap(), near.multicast_hops_v6().unwrap()), (9, 8));
        assert_eq!(near.set_multicast_ttl_v4(256).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(near.multicast_loop_v4().unwrap() && near.multicast_loop_v6().unwrap());
        near.set_multicast_loop_v4(false).unwrap();
        near.set_multicast_loop_v6(false).unwrap();
        assert!(!near.multicast_loop_v4().unwrap() && !near.multicast_loop_v6().unwrap());
        assert_eq!((near.multicast_if_v4().unwrap(), near.multicast_if_v6().unwrap()), (any, 0));
        near.set_multicast_if_v4(&[10, 0, 0, 2].into()).unwrap();
        assert!(near.set_multicast_if_v4(&[10, 0, 0, 77].into()).is_err());
        near.set_multicast_if_v6(1).unwrap();
        assert!(near.set_multicast_if_v6(7).is_err());
        assert_eq!((near.multicast_if_v4().unwrap(), near.multicast_if_v6().unwrap()), (near4, 1));
        // As on Linux, an IPv6 socket hears only those IPv4 groups that it has joined.
        assert_eq!((near.multicast_all_v4().unwrap(), near.multicast_all_v6().unwrap()), (false, true));
        near.set_multicast_all_v4(true).unwrap();
        near.set_multicast_all_v6(false).unwrap();
        assert_eq!((near.multicast_all_v4().unwrap(), near.multicast_all_v6().unwrap()), (true, false));
        let of_v4 = UdpSocket::bind(&client, (any, 0)).unwrap();
        assert!(of_v4.multicast_all_v4().unwrap());
    });
}
