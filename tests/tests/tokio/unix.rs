//! Programs with Unix-domain sockets.

use std::future::poll_fn;
use std::io::IoSlice;
use std::net::Shutdown;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};

use super::{Interest, UnixStream, World, name};
use crate::{Seen, TempPath, outcome, waits};

cases![
    unix_echo,
    nobody_listens,
    a_path_in_use,
    names_of_both_ends,
    a_half_close,
    halves_end_their_direction,
    halves_are_reunited,
    a_cancelled_unix_read_takes_nothing,
    a_cancelled_unix_accept_takes_nothing,
    a_full_stream_waits_for_its_reader,
    the_reader_is_gone,
    unread_data_of_a_peer_that_is_gone,
    slices_and_buffers,
    io_in_a_closure,
    a_listener_is_dropped,
    a_datagram_and_its_answer,
    a_long_datagram_is_cut,
    only_the_peer_is_heard,
    nobody_receives,
    a_sender_waits_for_room,
    a_cancelled_unix_receive_loses_nothing,
    nothing_to_receive,
    the_end_of_receiving,
    datagrams_by_poll,
];

async fn text(stream: &mut UnixStream) -> String {
    let mut text = String::new();
    outcome(stream.read_to_string(&mut text).await.map(|_| text))
}

async fn unix_echo(world: World) -> Seen {
    let path = TempPath::new();
    let listener = world.unix_listen(&path).unwrap();
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await
    });
    let (mut read, mut write) = world.unix_connect(&path).await.unwrap().into_split();
    let data: Vec<u8> = (0..1_000_000u32).map(|i| (i * 7 / 8) as u8).collect();
    let sent = data.clone();
    tokio::spawn(async move { write.write_all(&sent).await });
    let mut back = Vec::new();
    read.read_to_end(&mut back).await.unwrap();
    vec![(back == data).to_string(), outcome(echo.await.unwrap())]
}

async fn nobody_listens(world: World) -> Seen {
    let path = TempPath::new();
    let missing = outcome(world.unix_connect(&path).await.map(|_| ()));
    drop(world.unix_listen(&path).unwrap());
    vec![missing, outcome(world.unix_connect(&path).await.map(|_| ()))]
}

async fn a_path_in_use(world: World) -> Seen {
    let path = TempPath::new();
    let first = world.unix_listen(&path).unwrap();
    let second = outcome(world.unix_listen(&path).map(|_| ()));
    drop(first);
    vec![second, outcome(world.unix_bind(&path).map(|_| ()))]
}

async fn names_of_both_ends(world: World) -> Seen {
    let path = TempPath::new();
    let listener = world.unix_listen(&path).unwrap();
    let near = world.unix_connect(&path).await.unwrap();
    let (far, peer) = listener.accept().await.unwrap();
    let is_path = |name: Option<String>| (name.is_some_and(|name| path.is(&name))).to_string();
    vec![
        is_path(name(&listener.local_addr().unwrap())),
        is_path(name(&near.peer_addr().unwrap())),
        is_path(name(&far.local_addr().unwrap())),
        format!("{:?} {:?}", name(&peer), name(&near.local_addr().unwrap())),
        near.peer_cred().is_ok().to_string(),
    ]
}

async fn a_half_close(world: World) -> Seen {
    let (mut near, mut far) = world.unix_pair();
    near.write_all(b"question").await.unwrap();
    near.shutdown().await.unwrap();
    let question = text(&mut far).await;
    far.write_all(b"answer").await.unwrap();
    let late = outcome(near.write_all(b"more").await);
    let again = outcome(near.shutdown().await);
    drop(far);
    vec![question, late, again, text(&mut near).await]
}

async fn halves_end_their_direction(world: World) -> Seen {
    let (near, mut far) = world.unix_pair();
    let (read, mut write) = near.into_split();
    drop(read);
    write.write_all(b"one").await.unwrap();
    let mut buf = [0; 8];
    let len = far.read(&mut buf).await.unwrap();
    let still_open = waits(far.read(&mut buf)).await;
    drop(write);
    let end = outcome(far.read(&mut buf).await);

    let (near, mut far) = world.unix_pair();
    let (mut read, write) = near.into_split();
    drop(write);
    let first = text(&mut far).await;
    let back = outcome(far.write_all(b"two").await);
    let got = outcome(read.read(&mut buf).await);
    let (near, mut far) = world.unix_pair();
    let (_read, write) = near.into_split();
    write.forget();
    let forgotten = waits(far.read(&mut buf)).await;
    vec![format!("{len} {still_open}"), end, first, back, got, forgotten.to_string()]
}

async fn halves_are_reunited(world: World) -> Seen {
    let (near, mut far) = world.unix_pair();
    let (other, _peer) = world.unix_pair();
    let ((read, write), (other_read, other_write)) = (near.into_split(), other.into_split());
    let error = read.reunite(other_write).unwrap_err();
    let shown = error.to_string().is_empty().to_string();
    let mut near = error.0.reunite(write).unwrap();
    drop(other_read);
    near.write_all(b"whole").await.unwrap();
    drop(near);
    vec![shown, text(&mut far).await]
}

async fn a_cancelled_unix_read_takes_nothing(world: World) -> Seen {
    let (mut near, mut far) = world.unix_pair();
    let mut buf = [0; 8];
    let waited = waits(near.read(&mut buf)).await;
    far.write_all(b"hello").await.unwrap();
    drop(far);
    vec![waited.to_string(), text(&mut near).await]
}

async fn a_cancelled_unix_accept_takes_nothing(world: World) -> Seen {
    let path = TempPath::new();
    let listener = world.unix_listen(&path).unwrap();
    let waited = waits(listener.accept()).await;
    let mut near = world.unix_connect(&path).await.unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    near.write_all(b"hello").await.unwrap();
    drop(near);
    vec![waited.to_string(), text(&mut far).await]
}

async fn a_full_stream_waits_for_its_reader(world: World) -> Seen {
    let (near, mut far) = world.unix_pair();
    let mut sent = 0;
    let full = loop {
        match near.try_write(&[7; 10_000]) {
            Ok(len) => sent += len,
            Err(error) => break error.kind(),
        }
    };
    let waited = waits(near.writable()).await;
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.map(|_| all)
    });
    near.writable().await.unwrap();
    let mut near = near;
    near.write_all(b"the last").await.unwrap();
    drop(near);
    let all = reader.await.unwrap().unwrap();
    vec![format!("{full:?} {waited}"), (all.len() == sent + 8 && all.ends_with(b"the last")).to_string()]
}

async fn the_reader_is_gone(world: World) -> Seen {
    let (mut near, far) = world.unix_pair();
    drop(far);
    let ready = near.ready(Interest::READABLE).await.unwrap();
    let written = outcome(near.write(b"nobody").await);
    vec![written, ready.is_read_closed().to_string(), text(&mut near).await]
}

async fn unread_data_of_a_peer_that_is_gone(world: World) -> Seen {
    let (mut near, mut far) = world.unix_pair();
    near.write_all(b"never read").await.unwrap();
    far.write_all(b"before").await.unwrap();
    drop(far);
    let mut buf = [0; 16];
    let mut seen = vec![];
    for _ in 0..3 {
        seen.push(outcome(near.read(&mut buf).await));
    }
    seen
}

async fn slices_and_buffers(world: World) -> Seen {
    let (mut near, far) = world.unix_pair();
    let slices = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two")];
    let sent = outcome(near.write_vectored(&slices).await);
    far.readable().await.unwrap();
    let mut buf = Vec::with_capacity(5);
    let len = outcome(far.try_read_buf(&mut buf));
    let mut rest = [0; 9];
    vec![sent, len, format!("{buf:?}"), outcome(far.try_read(&mut rest)), outcome(far.try_read(&mut rest))]
}

async fn io_in_a_closure(world: World) -> Seen {
    let (near, mut far) = world.unix_pair();
    let mut buf = [0; 4];
    let read = near.async_io(Interest::READABLE, || near.try_read(&mut buf));
    let (read, written) = tokio::join!(read, far.write_all(b"word"));
    let not_ready = near.try_io(Interest::READABLE, || near.try_read(&mut [0; 4]));
    vec![outcome(read), outcome(written), outcome(not_ready)]
}

async fn a_listener_is_dropped(world: World) -> Seen {
    let path = TempPath::new();
    let listener = world.unix_listen(&path).unwrap();
    let mut waiting = world.unix_connect(&path).await.unwrap();
    drop(listener);
    let mut buf = [0; 4];
    vec![outcome(waiting.read(&mut buf).await), outcome(waiting.write(b"x").await)]
}

async fn a_datagram_and_its_answer(world: World) -> Seen {
    let (here, there) = (TempPath::new(), TempPath::new());
    let (near, far) = (world.unix_bind(&here).unwrap(), world.unix_bind(&there).unwrap());
    let sent = outcome(near.send_to(b"who?", &there).await);
    let mut buf = [0; 16];
    let (len, from) = far.recv_from(&mut buf).await.unwrap();
    let is_near = name(&from).is_some_and(|name| here.is(&name));
    far.send_to(&buf[..len], &here).await.unwrap();
    let back = outcome(near.recv(&mut buf).await);
    world.unix_unbound().send_to(b"", &there).await.unwrap();
    let (len, from) = far.recv_from(&mut buf).await.unwrap();
    vec![sent, is_near.to_string(), back, format!("{len} {:?}", name(&from))]
}

async fn a_long_datagram_is_cut(world: World) -> Seen {
    let (near, far) = world.unix_datagrams();
    near.send(b"a long one").await.unwrap();
    near.send(b"next").await.unwrap();
    let mut buf = [0; 6];
    vec![outcome(far.recv(&mut buf).await), outcome(far.recv(&mut buf).await), format!("{buf:?}")]
}

async fn only_the_peer_is_heard(world: World) -> Seen {
    let paths = [TempPath::new(), TempPath::new(), TempPath::new()];
    let [near, far, other] = paths.each_ref().map(|path| world.unix_bind(path).unwrap());
    near.connect(&paths[1]).unwrap();
    let stranger = outcome(other.send_to(b"stranger", &paths[0]).await);
    let peer = outcome(far.send_to(b"friend", &paths[0]).await);
    let mut buf = [0; 16];
    let heard = outcome(near.recv(&mut buf).await);
    let is_peer = name(&near.peer_addr().unwrap()).is_some_and(|name| paths[1].is(&name));
    vec![stranger, peer, heard, is_peer.to_string(), outcome(near.send(b"back").await)]
}

async fn nobody_receives(world: World) -> Seen {
    let path = TempPath::new();
    let near = world.unix_unbound();
    let missing = outcome(near.send_to(b"x", &path).await);
    drop(world.unix_bind(&path).unwrap());
    let dead = outcome(near.send_to(b"x", &path).await);
    let without_peer = outcome(near.send(b"x").await);
    let connected = outcome(near.connect(&path));
    let (near, far) = world.unix_datagrams();
    drop(far);
    vec![missing, dead, without_peer, connected, outcome(near.send(b"x").await)]
}

async fn a_sender_waits_for_room(world: World) -> Seen {
    let (near, far) = world.unix_datagrams();
    let mut sent = 0u32;
    let full = loop {
        match near.try_send(&sent.to_be_bytes()) {
            Ok(_) => sent += 1,
            Err(error) => break error.kind(),
        }
    };
    let waited = waits(near.send(&[0; 4])).await;
    let sending = tokio::spawn(async move { near.send(&sent.to_be_bytes()).await });
    let mut in_order = true;
    for number in 0..=sent {
        let mut buf = [0; 8];
        let len = far.recv(&mut buf).await.unwrap();
        in_order &= buf[..len] == number.to_be_bytes();
    }
    vec![format!("{full:?} {waited}"), in_order.to_string(), outcome(sending.await.unwrap())]
}

async fn a_cancelled_unix_receive_loses_nothing(world: World) -> Seen {
    let (near, far) = world.unix_datagrams();
    let mut buf = [0; 8];
    let waited = waits(far.recv(&mut buf)).await;
    near.send(b"one").await.unwrap();
    near.send(b"three").await.unwrap();
    vec![waited.to_string(), outcome(far.recv(&mut buf).await), outcome(far.recv(&mut buf).await)]
}

async fn nothing_to_receive(world: World) -> Seen {
    let (near, far) = world.unix_datagrams();
    let mut buf = [0; 8];
    let nothing = outcome(far.try_recv(&mut buf));
    near.try_send(b"one").unwrap();
    far.readable().await.unwrap();
    let one = outcome(far.try_recv_from(&mut buf).map(|(len, _)| len));
    vec![nothing, one, outcome(far.try_recv(&mut buf)), waits(far.readable()).await.to_string()]
}

async fn the_end_of_receiving(world: World) -> Seen {
    let (near, far) = world.unix_datagrams();
    near.send(b"before").await.unwrap();
    far.shutdown(Shutdown::Read).unwrap();
    let mut buf = [0; 8];
    let queued = outcome(far.recv(&mut buf).await);
    // Another `recv` keeps tokio busy for ever: the socket stays readable, and the kernel has
    // nothing. Ours returns 0.
    let sent = outcome(near.send(b"after").await);
    near.shutdown(Shutdown::Write).unwrap();
    vec![queued, sent, outcome(near.send(b"later").await)]
}

async fn datagrams_by_poll(world: World) -> Seen {
    let (near, far) = world.unix_datagrams();
    let mut space = [0; 8];
    let mut buf = ReadBuf::new(&mut space);
    let received = poll_fn(|cx| far.poll_recv_from(cx, &mut buf));
    let sent = async {
        poll_fn(|cx| near.poll_send_ready(cx)).await.unwrap();
        poll_fn(|cx| near.poll_send(cx, b"polled")).await
    };
    let (received, sent) = tokio::join!(received, sent);
    vec![outcome(received.map(|from| name(&from))), outcome(sent), format!("{:?}", buf.filled())]
}
