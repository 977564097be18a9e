//! Programs with UDP sockets.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::ReadBuf;

use super::{Interest, UdpSocket, World};
use crate::{SHORT, Seen, outcome, waits};

cases![
    a_question_and_an_answer,
    a_connected_socket_hears_its_peer_only,
    what_does_not_fit_is_lost,
    a_dead_port_refuses,
    peeks_leave_the_datagram,
    try_calls_do_not_wait,
    readable_then_try_recv,
    a_cancelled_receive_loses_nothing,
    several_tasks_receive,
    an_empty_datagram,
    a_datagram_that_is_too_long,
    polls,
    without_a_peer,
    a_fresh_socket_is_writable,
    settings,
];

fn addr(socket: &UdpSocket) -> std::net::SocketAddr {
    socket.local_addr().unwrap()
}

async fn a_question_and_an_answer(world: World) -> Seen {
    let (near, far) = world.datagrams().await;
    let mut buf = [0; 16];
    let sent = near.send_to(b"who?", addr(&far)).await;
    let (len, from) = far.recv_from(&mut buf).await.unwrap();
    far.send_to(&buf[..len], from).await.unwrap();
    let (len, from_far) = near.recv_from(&mut buf).await.unwrap();
    vec![
        outcome(sent),
        format!("{:?}", &buf[..len]),
        format!("{} {}", from == addr(&near), from_far == addr(&far)),
    ]
}

async fn a_connected_socket_hears_its_peer_only(world: World) -> Seen {
    let ((near, far), (other, _)) = (world.datagrams().await, world.datagrams().await);
    near.connect(addr(&far)).await.unwrap();
    other.send_to(b"stranger", addr(&near)).await.unwrap();
    far.send_to(b"friend", addr(&near)).await.unwrap();
    let mut buf = [0; 16];
    let len = near.recv(&mut buf).await.unwrap();
    let sent = outcome(near.send(b"back").await);
    let is_peer = near.peer_addr().unwrap() == addr(&far);
    vec![format!("{:?}", &buf[..len]), sent, is_peer.to_string(), outcome(far.recv(&mut buf).await)]
}

async fn what_does_not_fit_is_lost(world: World) -> Seen {
    let (near, far) = world.datagrams().await;
    near.send_to(b"a long one", addr(&far)).await.unwrap();
    near.send_to(b"next", addr(&far)).await.unwrap();
    let mut buf = [0; 4];
    let first = outcome(far.recv(&mut buf).await);
    let words = format!("{buf:?}");
    vec![first, words, outcome(far.recv(&mut buf).await), format!("{buf:?}")]
}

async fn a_dead_port_refuses(world: World) -> Seen {
    let (near, far) = world.datagrams().await;
    near.connect(addr(&far)).await.unwrap();
    drop(far);
    let sent = outcome(near.send(b"anybody?").await);
    tokio::time::sleep(SHORT).await;
    // The error is reported once, by the next call.
    let refused = outcome(near.send(b"anybody?").await);
    vec![sent, refused]
}

async fn peeks_leave_the_datagram(world: World) -> Seen {
    let (near, far) = world.datagrams().await;
    near.send_to(b"data", addr(&far)).await.unwrap();
    let mut buf = [0; 8];
    let (len, from) = far.peek_from(&mut buf).await.unwrap();
    let short = outcome(far.peek(&mut buf[..2]).await);
    let tried = far.try_peek_from(&mut buf).map(|(len, _)| len);
    let received = outcome(far.recv(&mut buf).await);
    vec![format!("{len} {}", from == addr(&near)), short, outcome(tried), received]
}

async fn try_calls_do_not_wait(world: World) -> Seen {
    let (near, far) = world.datagrams().await;
    let mut buf = [0; 8];
    let nothing = outcome(far.try_recv_from(&mut buf));
    near.writable().await.unwrap();
    let sent = outcome(near.try_send_to(b"data", addr(&far)));
    far.readable().await.unwrap();
    let received = far.try_recv_from(&mut buf).map(|(len, from)| (len, from == addr(&near)));
    vec![nothing, sent, outcome(received), outcome(far.try_recv(&mut buf))]
}

async fn readable_then_try_recv(world: World) -> Seen {
    let (near, far) = world.datagrams().await;
    let _ = far.try_recv(&mut [0; 8]);
    let waited = waits(far.readable()).await;
    near.send_to(b"data", addr(&far)).await.unwrap();
    let ready = far.ready(Interest::READABLE).await.unwrap();
    vec![waited.to_string(), ready.is_readable().to_string(), outcome(far.try_recv(&mut [0; 8]))]
}

async fn a_cancelled_receive_loses_nothing(world: World) -> Seen {
    let (near, far) = world.datagrams().await;
    let mut buf = [0; 8];
    let waited = waits(far.recv_from(&mut buf)).await;
    near.send_to(b"one", addr(&far)).await.unwrap();
    let first = outcome(far.recv(&mut buf).await);
    vec![waited.to_string(), first, waits(far.recv(&mut buf)).await.to_string()]
}

async fn several_tasks_receive(world: World) -> Seen {
    let (near, far) = world.datagrams().await;
    let far = Arc::new(far);
    let tasks = [(); 3].map(|()| {
        let far = far.clone();
        tokio::spawn(async move { far.recv_from(&mut [0; 8]).await.map(|(len, _)| len) })
    });
    tokio::time::sleep(Duration::from_millis(5)).await;
    for _ in 0..3 {
        near.send_to(b"data", addr(&far)).await.unwrap();
    }
    let mut received = Vec::new();
    for task in tasks {
        received.push(outcome(task.await.unwrap()));
    }
    received
}

async fn an_empty_datagram(world: World) -> Seen {
    let (near, far) = world.datagrams().await;
    let sent = outcome(near.send_to(b"", addr(&far)).await);
    vec![sent, outcome(far.recv(&mut [0; 8]).await)]
}

async fn a_datagram_that_is_too_long(world: World) -> Seen {
    let (near, far) = world.datagrams().await;
    match near.send_to(&[0; 65_508], addr(&far)).await {
        Ok(len) => vec![len.to_string()],
        Err(error) => {
            vec![format!("{:?}", error.raw_os_error()), (error.kind() == ErrorKind::WouldBlock).to_string()]
        }
    }
}

async fn polls(world: World) -> Seen {
    let (near, far) = world.datagrams().await;
    let to = addr(&far);
    let task = tokio::spawn(async move {
        let (mut peeked, mut received) = ([0; 8], [0; 3]);
        let (mut peek, mut cut) = (ReadBuf::new(&mut peeked), ReadBuf::new(&mut received));
        let from = poll_fn(|cx| far.poll_peek_from(cx, &mut peek)).await.unwrap();
        poll_fn(|cx| far.poll_recv_ready(cx)).await.unwrap();
        let is_same = poll_fn(|cx| far.poll_recv_from(cx, &mut cut)).await.unwrap() == from;
        poll_fn(|cx| far.poll_send_to(cx, b"back", from)).await.unwrap();
        format!("{:?} {:?} {is_same}", peek.filled(), cut.filled())
    });
    poll_fn(|cx| near.poll_send_ready(cx)).await.unwrap();
    near.send_to(b"data", to).await.unwrap();
    let mut back = [0; 8];
    let mut buf = ReadBuf::new(&mut back);
    poll_fn(|cx| near.poll_recv(cx, &mut buf)).await.unwrap();
    vec![task.await.unwrap(), format!("{:?}", buf.filled())]
}

async fn without_a_peer(world: World) -> Seen {
    let (near, _far) = world.datagrams().await;
    let sent = near.send(b"to whom?").await.map_err(|error| error.raw_os_error());
    vec![format!("{sent:?}"), outcome(near.peer_addr())]
}

async fn a_fresh_socket_is_writable(world: World) -> Seen {
    let (near, _far) = world.datagrams().await;
    let ready = near.ready(Interest::READABLE | Interest::WRITABLE).await.unwrap();
    vec![format!("{} {} {}", ready.is_writable(), ready.is_readable(), ready.is_empty())]
}

async fn settings(world: World) -> Seen {
    let (near, _far) = world.datagrams().await;
    let before = format!("{} {}", outcome(near.ttl()), outcome(near.broadcast()));
    near.set_ttl(9).unwrap();
    near.set_broadcast(true).unwrap();
    vec![before, outcome(near.ttl()), outcome(near.broadcast()), outcome(near.take_error())]
}
