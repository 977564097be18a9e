//! Programs with TCP sockets.

use std::future::{Future, poll_fn};
use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use super::{Interest, OwnedReadHalf, OwnedWriteHalf, TcpListener, TcpStream, World};
use crate::{SHORT, Seen, outcome, waits};

cases![
    echo,
    connect_is_refused,
    half_close,
    reads_after_the_end,
    write_after_shutdown,
    shutdown_twice,
    the_reading_half_is_dropped_first,
    the_writing_half_is_dropped_first,
    a_forgotten_half_ends_nothing,
    reunite,
    halves_in_two_tasks,
    borrowed_halves,
    a_cancelled_read_takes_nothing,
    a_cancelled_write_sends_nothing,
    a_cancelled_accept_takes_nothing,
    two_tasks_accept,
    a_fresh_stream_is_writable,
    readable_then_try_read,
    readable_waits_after_all_was_read,
    the_end_is_readable,
    try_write_until_full,
    zero_linger_resets,
    unread_data_resets,
    write_to_a_reset_stream,
    peek_leaves_the_data,
    vectored_writes_keep_their_order,
    vectored_reads,
    try_read_buf,
    two_tasks_on_one_stream,
    both_directions_wait_in_one_task,
    the_listener_goes_with_a_connection_in_its_queue,
    options,
    nothing_to_write,
    try_io_does_not_call_when_not_ready,
    async_io_repeats,
    poll_read_ready_wakes_the_last_task,
    many_connections,
    a_relay,
    lines,
    a_reader_lets_others_run,
    bind_before_connect,
    an_address_in_use,
    listen_with_a_backlog,
    everything_arrives_before_the_end,
    a_write_waits_for_a_slow_reader,
    shutdown_of_both_halves,
    select_drops_the_slower,
];

fn seen(things: impl IntoIterator<Item = impl ToString>) -> Seen {
    things.into_iter().map(|thing| thing.to_string()).collect()
}

async fn pair(world: &World) -> (TcpStream, TcpStream) {
    let listener = world.listen().await;
    let near = world.connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    (near, far)
}

/// Writes until there is no room. Returns how many bytes were taken.
async fn fill(stream: &TcpStream) -> usize {
    let mut sent = 0;
    loop {
        let before = sent;
        while let Ok(count) = stream.try_write(&[7; 16384]) {
            sent += count;
        }
        // There may be room for a little before the stream counts as writable. A delayed
        // acknowledgement makes some after 40 ms.
        if timeout(2 * SHORT, stream.writable()).await.is_err() && sent == before {
            return sent;
        }
    }
}

async fn read_exactly(stream: &mut TcpStream, mut count: usize) {
    let mut buf = vec![0; 65536];
    while count > 0 {
        let wanted = count.min(buf.len());
        let len = stream.read(&mut buf[..wanted]).await.unwrap();
        assert!(len > 0);
        count -= len;
    }
}

async fn echo(world: World) -> Seen {
    let listener = world.listen().await;
    let mut near = world.connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut far, peer) = listener.accept().await.unwrap();
    near.write_all(b"hello").await.unwrap();
    let mut buf = [0; 5];
    far.read_exact(&mut buf).await.unwrap();
    far.write_all(&buf).await.unwrap();
    near.read_exact(&mut buf).await.unwrap();
    seen([
        format!("{buf:?}"),
        (peer == near.local_addr().unwrap()).to_string(),
        (near.peer_addr().unwrap() == listener.local_addr().unwrap()).to_string(),
        (far.peer_addr().unwrap() == near.local_addr().unwrap()).to_string(),
    ])
}

async fn connect_is_refused(world: World) -> Seen {
    let addr = world.listen().await.local_addr().unwrap();
    seen([outcome(world.connect(addr).await)])
}

async fn half_close(world: World) -> Seen {
    let (mut near, mut far) = pair(&world).await;
    near.write_all(b"question").await.unwrap();
    near.shutdown().await.unwrap();
    let mut question = String::new();
    far.read_to_string(&mut question).await.unwrap();
    far.write_all(b"answer").await.unwrap();
    drop(far);
    let mut answer = String::new();
    near.read_to_string(&mut answer).await.unwrap();
    vec![question, answer]
}

async fn reads_after_the_end(world: World) -> Seen {
    let (mut near, far) = pair(&world).await;
    drop(far);
    let mut buf = [0; 8];
    let first = outcome(near.read(&mut buf).await);
    let second = outcome(near.read(&mut buf).await);
    let peeked = outcome(near.peek(&mut buf).await);
    vec![first, second, peeked, outcome(near.try_read(&mut buf))]
}

async fn write_after_shutdown(world: World) -> Seen {
    let (mut near, _far) = pair(&world).await;
    near.shutdown().await.unwrap();
    let written = outcome(near.write(b"late").await);
    vec![written, outcome(near.try_write(b"late")), outcome(near.write(b"").await)]
}

async fn shutdown_twice(world: World) -> Seen {
    let (mut near, far) = pair(&world).await;
    let first = outcome(near.shutdown().await);
    let second = outcome(near.shutdown().await);
    drop(far);
    let end = outcome(near.read(&mut [0; 8]).await);
    vec![first, second, end, outcome(near.shutdown().await)]
}

async fn the_reading_half_is_dropped_first(world: World) -> Seen {
    let (near, mut far) = pair(&world).await;
    let (read, mut write) = near.into_split();
    drop(read);
    write.write_all(b"still").await.unwrap();
    drop(write);
    let mut words = String::new();
    let read = outcome(far.read_to_string(&mut words).await);
    vec![read, words]
}

async fn the_writing_half_is_dropped_first(world: World) -> Seen {
    let (near, mut far) = pair(&world).await;
    let (mut read, mut write) = near.into_split();
    write.write_all(b"question").await.unwrap();
    drop(write);
    let mut question = String::new();
    far.read_to_string(&mut question).await.unwrap();
    far.write_all(b"answer").await.unwrap();
    far.shutdown().await.unwrap();
    let mut answer = String::new();
    read.read_to_string(&mut answer).await.unwrap();
    vec![question, answer]
}

async fn a_forgotten_half_ends_nothing(world: World) -> Seen {
    let (near, mut far) = pair(&world).await;
    let (read, write) = near.into_split();
    write.forget();
    let mut buf = [0; 8];
    let is_open = waits(far.read(&mut buf)).await;
    drop(read);
    vec![is_open.to_string(), outcome(far.read(&mut buf).await)]
}

async fn reunite(world: World) -> Seen {
    let ((one, _one), (two, _two)) = (pair(&world).await, pair(&world).await);
    let addr = one.local_addr().unwrap();
    let (read_one, write_one) = one.into_split();
    let (read_two, write_two) = two.into_split();
    let error = read_one.reunite(write_two).unwrap_err();
    let fails = format!("{}", error.to_string().contains("same"));
    let (read_one, write_two): (OwnedReadHalf, OwnedWriteHalf) = (error.0, error.1);
    let one = write_one.reunite(read_one).unwrap();
    let is_open = outcome(_one.try_read(&mut [0; 1]));
    drop((read_two, write_two));
    vec![fails, (one.local_addr().unwrap() == addr).to_string(), is_open]
}

async fn halves_in_two_tasks(world: World) -> Seen {
    const LEN: usize = 1 << 20;
    let (near, far) = pair(&world).await;
    let ends = [near, far].map(|end| {
        let (mut read, mut write) = end.into_split();
        let writer = tokio::spawn(async move {
            let data: Vec<u8> = (0..LEN).map(|i| i as u8).collect();
            write.write_all(&data).await.unwrap();
        });
        let reader = tokio::spawn(async move {
            let mut data = Vec::new();
            read.read_to_end(&mut data).await.unwrap();
            data.iter().enumerate().all(|(i, byte)| *byte == i as u8) && data.len() == LEN
        });
        (writer, reader)
    });
    let mut results = Vec::new();
    for (writer, reader) in ends {
        writer.await.unwrap();
        results.push(reader.await.unwrap());
    }
    seen(results)
}

async fn borrowed_halves(world: World) -> Seen {
    let (mut near, mut far) = pair(&world).await;
    let (mut read, mut write) = near.split();
    write.write_all(b"ping").await.unwrap();
    let mut buf = [0; 4];
    far.read_exact(&mut buf).await.unwrap();
    far.write_all(b"pong").await.unwrap();
    let mut peeked = [0; 4];
    let len = read.peek(&mut peeked).await.unwrap();
    read.read_exact(&mut buf).await.unwrap();
    let same = read.local_addr().unwrap() == write.local_addr().unwrap();
    _ = (read, write);
    let is_open = waits(far.read(&mut peeked)).await;
    seen([format!("{buf:?} {len}"), same.to_string(), is_open.to_string()])
}

async fn a_cancelled_read_takes_nothing(world: World) -> Seen {
    let (mut near, mut far) = pair(&world).await;
    let mut buf = [0; 16];
    let mut cancelled = 0;
    for _ in 0..3 {
        cancelled += usize::from(waits(near.read(&mut buf)).await);
    }
    far.write_all(b"now").await.unwrap();
    let len = near.read(&mut buf).await.unwrap();
    vec![cancelled.to_string(), format!("{:?}", &buf[..len])]
}

async fn a_cancelled_write_sends_nothing(world: World) -> Seen {
    let (mut near, mut far) = pair(&world).await;
    let mut filled = fill(&near).await;
    // An acknowledgement may make room for a little.
    while let Ok(sent) = timeout(SHORT, near.write(&[8; 1000])).await {
        filled += sent.unwrap();
    }
    drop(tokio::spawn(async move {
        read_exactly(&mut far, filled).await;
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        far.write_all(&rest).await.unwrap();
    }));
    near.write_all(b"only this").await.unwrap();
    near.shutdown().await.unwrap();
    let mut rest = String::new();
    near.read_to_string(&mut rest).await.unwrap();
    vec![rest]
}

async fn a_cancelled_accept_takes_nothing(world: World) -> Seen {
    let listener = world.listen().await;
    let cancelled = waits(listener.accept()).await;
    let near = world.connect(listener.local_addr().unwrap()).await.unwrap();
    let (_, peer) = listener.accept().await.unwrap();
    seen([cancelled, peer == near.local_addr().unwrap()])
}

async fn two_tasks_accept(world: World) -> Seen {
    let listener = Arc::new(world.listen().await);
    let addr = listener.local_addr().unwrap();
    let tasks = [(); 2].map(|()| {
        let listener = listener.clone();
        tokio::spawn(async move { listener.accept().await.map(|_| ()) })
    });
    let streams = [world.connect(addr).await.unwrap(), world.connect(addr).await.unwrap()];
    let mut accepted = Vec::new();
    for task in tasks {
        accepted.push(outcome(task.await.unwrap()));
    }
    drop(streams);
    accepted
}

async fn a_fresh_stream_is_writable(world: World) -> Seen {
    let (near, _far) = pair(&world).await;
    let ready = near.ready(Interest::READABLE | Interest::WRITABLE).await.unwrap();
    near.writable().await.unwrap();
    let not_readable = waits(near.readable()).await;
    seen([
        ready.is_writable(),
        ready.is_readable(),
        ready.is_read_closed(),
        ready.is_write_closed(),
        ready.is_empty(),
        not_readable,
    ])
}

async fn readable_then_try_read(world: World) -> Seen {
    let (near, mut far) = pair(&world).await;
    let mut buf = [0; 8];
    let before = outcome(near.try_read(&mut buf));
    far.write_all(b"data").await.unwrap();
    near.readable().await.unwrap();
    let ready = near.ready(Interest::READABLE).await.unwrap();
    let read = outcome(near.try_read(&mut buf));
    let after = outcome(near.try_read(&mut buf));
    vec![before, ready.is_readable().to_string(), ready.is_writable().to_string(), read, after]
}

async fn readable_waits_after_all_was_read(world: World) -> Seen {
    let (near, mut far) = pair(&world).await;
    far.write_all(b"data").await.unwrap();
    near.readable().await.unwrap();
    let mut buf = [0; 8];
    near.try_read(&mut buf).unwrap();
    // A report that is not true any more ends with WouldBlock.
    let _ = timeout(SHORT, near.readable()).await;
    let error = outcome(near.try_read(&mut buf));
    let still_waits = waits(near.readable()).await;
    far.write_all(b"more").await.unwrap();
    near.readable().await.unwrap();
    vec![error, still_waits.to_string(), outcome(near.try_read(&mut buf))]
}

async fn the_end_is_readable(world: World) -> Seen {
    let (near, mut far) = pair(&world).await;
    far.shutdown().await.unwrap();
    near.readable().await.unwrap();
    let ready = near.ready(Interest::READABLE | Interest::WRITABLE).await.unwrap();
    let closed = [ready.is_readable(), ready.is_read_closed(), ready.is_write_closed()];
    let again = near.readable().await.is_ok();
    seen([format!("{closed:?} {again}"), outcome(near.try_read(&mut [0; 8]))])
}

async fn try_write_until_full(world: World) -> Seen {
    let (near, mut far) = pair(&world).await;
    let mut sent = fill(&near).await;
    let still_full = waits(near.writable()).await;
    // An acknowledgement may have made room for a little.
    let full = loop {
        match near.try_write(&[7; 100]) {
            Ok(count) => sent += count,
            full => break outcome(full),
        }
    };
    read_exactly(&mut far, sent).await;
    near.writable().await.unwrap();
    vec![full, still_full.to_string(), outcome(near.try_write(b"room"))]
}

async fn zero_linger_resets(world: World) -> Seen {
    let (near, mut far) = pair(&world).await;
    near.set_zero_linger().unwrap();
    drop(near);
    let mut buf = [0; 8];
    let first = outcome(far.read(&mut buf).await);
    vec![first, outcome(far.read(&mut buf).await)]
}

async fn unread_data_resets(world: World) -> Seen {
    let (near, mut far) = pair(&world).await;
    far.write_all(b"unread").await.unwrap();
    near.readable().await.unwrap();
    drop(near);
    vec![outcome(far.read(&mut [0; 8]).await)]
}

async fn write_to_a_reset_stream(world: World) -> Seen {
    let (near, mut far) = pair(&world).await;
    near.set_zero_linger().unwrap();
    drop(near);
    // The error is reported once, by whichever call comes first.
    tokio::time::sleep(SHORT).await;
    let first = outcome(far.write(b"data").await);
    let second = outcome(far.write(b"data").await);
    let read = outcome(far.read(&mut [0; 8]).await);
    let shutdown = outcome(far.shutdown().await);
    vec![first, second, read, shutdown]
}

async fn peek_leaves_the_data(world: World) -> Seen {
    let (mut near, mut far) = pair(&world).await;
    let mut buf = [0; 8];
    let waits_for_data = waits(near.peek(&mut buf)).await;
    far.write_all(b"data").await.unwrap();
    let first = outcome(near.peek(&mut buf).await);
    let second = outcome(near.peek(&mut buf[..2]).await);
    vec![waits_for_data.to_string(), first, second, outcome(near.read(&mut buf).await)]
}

async fn vectored_writes_keep_their_order(world: World) -> Seen {
    const LEN: usize = 1 << 20;
    let (mut near, mut far) = pair(&world).await;
    let is_vectored = near.is_write_vectored();
    let data: Vec<u8> = (0..LEN).map(|i| (i % 251) as u8).collect();
    let sent = data.clone();
    let writer = tokio::spawn(async move {
        let mut done = 0;
        while done < LEN {
            let pieces: Vec<IoSlice<'_>> = sent[done..].chunks(777).take(500).map(IoSlice::new).collect();
            done += near.write_vectored(&pieces).await.unwrap();
        }
    });
    let mut received = Vec::new();
    far.read_to_end(&mut received).await.unwrap();
    writer.await.unwrap();
    seen([is_vectored, received == data])
}

async fn vectored_reads(world: World) -> Seen {
    let (near, mut far) = pair(&world).await;
    far.write_all(b"abcdefgh").await.unwrap();
    near.readable().await.unwrap();
    let (mut one, mut two) = ([0; 3], [0; 10]);
    let read = near.try_read_vectored(&mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)]);
    let none = near.try_read_vectored(&mut [IoSliceMut::new(&mut one.clone())]);
    vec![outcome(read), format!("{one:?} {two:?}"), outcome(none)]
}

async fn try_read_buf(world: World) -> Seen {
    let (near, mut far) = pair(&world).await;
    far.write_all(b"abcdefgh").await.unwrap();
    near.readable().await.unwrap();
    let mut buf = Vec::with_capacity(100);
    buf.push(b'0');
    let read = outcome(near.try_read_buf(&mut buf));
    vec![read, format!("{buf:?}"), outcome(near.try_read_buf(&mut buf))]
}

async fn two_tasks_on_one_stream(world: World) -> Seen {
    let (near, mut far) = pair(&world).await;
    let near = Arc::new(near);
    let tasks = [(); 2].map(|()| {
        let near = near.clone();
        tokio::spawn(async move {
            loop {
                near.readable().await.unwrap();
                match near.try_read(&mut [0; 1]) {
                    Ok(count) => return count,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
        })
    });
    let mut counts = Vec::new();
    for task in tasks {
        far.write_all(b"x").await.unwrap();
        // Either of the tasks may read this byte.
        tokio::time::sleep(Duration::from_millis(2)).await;
        counts.push(task);
    }
    let mut sum = 0;
    for task in counts {
        sum += task.await.unwrap();
    }
    seen([sum])
}

async fn both_directions_wait_in_one_task(world: World) -> Seen {
    let (mut near, mut far) = pair(&world).await;
    let sent = fill(&near).await;
    let (mut read, mut write) = near.split();
    let mut buf = [0; 3];
    let task = tokio::spawn(async move {
        read_exactly(&mut far, sent).await;
        let mut more = [0; 4];
        far.read_exact(&mut more).await.unwrap();
        far.write_all(b"yes").await.unwrap();
        far
    });
    let both = async {
        let mut reading = pin!(read.read_exact(&mut buf));
        let mut writing = pin!(write.write_all(b"more"));
        let (mut has_read, mut has_written) = (false, false);
        poll_fn(|cx| {
            has_read = has_read || reading.as_mut().poll(cx).is_ready();
            has_written = has_written || writing.as_mut().poll(cx).is_ready();
            if has_read && has_written { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    };
    both.await;
    drop(task.await.unwrap());
    seen([format!("{buf:?}")])
}

async fn the_listener_goes_with_a_connection_in_its_queue(world: World) -> Seen {
    let listener = world.listen().await;
    let mut near = world.connect(listener.local_addr().unwrap()).await.unwrap();
    drop(listener);
    vec![outcome(near.read(&mut [0; 8]).await)]
}

async fn options(world: World) -> Seen {
    let listener = world.listen().await;
    listener.set_ttl(9).unwrap();
    let near = world.connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    let before = format!("{:?} {:?}", outcome(near.nodelay()), outcome(near.linger()));
    near.set_nodelay(true).unwrap();
    near.set_zero_linger().unwrap();
    near.set_ttl(33).unwrap();
    let after = [outcome(near.nodelay()), outcome(near.linger()), outcome(near.ttl())];
    let ttls = [outcome(listener.ttl()), outcome(far.ttl())];
    let errors = [outcome(near.take_error()), outcome(near.set_ttl(0))];
    seen([before, format!("{after:?} {ttls:?} {errors:?}")])
}

async fn nothing_to_write(world: World) -> Seen {
    let (mut near, _far) = pair(&world).await;
    let written = outcome(near.write(&[]).await);
    let vectored = outcome(near.write_vectored(&[IoSlice::new(&[]), IoSlice::new(&[])]).await);
    vec![written, vectored]
}

async fn try_io_does_not_call_when_not_ready(world: World) -> Seen {
    let (near, mut far) = pair(&world).await;
    // Until something was tried, tokio does not know.
    let _ = near.try_read(&mut [0; 1]);
    let calls = AtomicUsize::new(0);
    let count = || {
        calls.fetch_add(1, Ordering::Relaxed);
        Ok(5)
    };
    let before = outcome(near.try_io(Interest::READABLE, count));
    far.write_all(b"data").await.unwrap();
    near.readable().await.unwrap();
    let after = outcome(near.try_io(Interest::READABLE, count));
    vec![before, after, calls.load(Ordering::Relaxed).to_string()]
}

async fn async_io_repeats(world: World) -> Seen {
    let (near, mut far) = pair(&world).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let task = tokio::spawn(async move {
        let io = || match counted.fetch_add(1, Ordering::Relaxed) {
            0 => Err(ErrorKind::WouldBlock.into()),
            call => Ok(call),
        };
        near.async_io(Interest::READABLE, io).await
    });
    far.write_all(b"one").await.unwrap();
    tokio::time::sleep(SHORT).await;
    // It waits for the next event, although there is data.
    let calls_before = calls.load(Ordering::Relaxed);
    far.write_all(b"two").await.unwrap();
    vec![calls_before.to_string(), outcome(task.await.unwrap())]
}

async fn poll_read_ready_wakes_the_last_task(world: World) -> Seen {
    let (near, mut far) = pair(&world).await;
    // A task that polled and was forgotten.
    let first = near.poll_read_ready(&mut Context::from_waker(Waker::noop())).is_ready();
    let writable = near.poll_write_ready(&mut Context::from_waker(Waker::noop())).is_ready();
    let near = Arc::new(near);
    let waiter = near.clone();
    let task = tokio::spawn(async move { poll_fn(|cx| waiter.poll_read_ready(cx)).await });
    tokio::time::sleep(Duration::from_millis(5)).await;
    far.write_all(b"data").await.unwrap();
    vec![first.to_string(), writable.to_string(), outcome(task.await.unwrap())]
}

async fn many_connections(world: World) -> Seen {
    const COUNT: usize = 100;
    let listener = world.listen().await;
    let addr = listener.local_addr().unwrap();
    let clients: Vec<_> = (0..COUNT)
        .map(|number| {
            let world = world.clone();
            tokio::spawn(async move {
                let mut stream = world.connect(addr).await.unwrap();
                stream.write_all(&number.to_be_bytes()).await.unwrap();
                let mut buf = [0; 8];
                stream.read_exact(&mut buf).await.unwrap();
                usize::from_be_bytes(buf) == number
            })
        })
        .collect();
    for _ in 0..COUNT {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await
        });
    }
    let mut right = 0;
    for client in clients {
        right += usize::from(client.await.unwrap());
    }
    seen([right])
}

async fn a_relay(world: World) -> Seen {
    const LEN: usize = 300_000;
    let ((mut one, mut relay_one), (mut relay_two, mut two)) = (pair(&world).await, pair(&world).await);
    let relay =
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut relay_one, &mut relay_two).await });
    let writer = tokio::spawn(async move {
        one.write_all(&vec![1; LEN]).await.unwrap();
        one.shutdown().await.unwrap();
        let mut back = Vec::new();
        one.read_to_end(&mut back).await.unwrap();
        back.len()
    });
    let mut there = Vec::new();
    two.read_to_end(&mut there).await.unwrap();
    two.write_all(&there[..1000]).await.unwrap();
    drop(two);
    vec![there.len().to_string(), writer.await.unwrap().to_string(), outcome(relay.await.unwrap())]
}

async fn lines(world: World) -> Seen {
    let (mut near, far) = pair(&world).await;
    let mut lines = BufReader::new(far).lines();
    near.write_all(b"one\ntw").await.unwrap();
    let one = lines.next_line().await.unwrap();
    near.write_all(b"o\nthree").await.unwrap();
    drop(near);
    let rest = [lines.next_line().await, lines.next_line().await, lines.next_line().await];
    seen([format!("{one:?} {:?}", rest.map(Result::unwrap))])
}

async fn a_reader_lets_others_run(world: World) -> Seen {
    const LEN: usize = 20_000;
    let (mut near, mut far) = pair(&world).await;
    far.write_all(&[1; LEN]).await.unwrap();
    let is_over = Arc::new(AtomicUsize::new(0));
    let mut buf = vec![0; LEN];
    while near.peek(&mut buf).await.unwrap() < LEN {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Both futures are in one task, which is why the other one is not run by another thread.
    let counter = is_over.clone();
    let reader = async {
        for _ in 0..LEN {
            near.read_exact(&mut [0; 1]).await.unwrap();
        }
        counter.store(1, Ordering::Relaxed);
    };
    let turns = AtomicUsize::new(0);
    let other = async {
        while is_over.load(Ordering::Relaxed) == 0 {
            turns.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    };
    let (mut reader, mut other) = (pin!(reader), pin!(other));
    let (mut has_read, mut has_ended) = (false, false);
    poll_fn(|cx| {
        has_read = has_read || reader.as_mut().poll(cx).is_ready();
        has_ended = has_ended || other.as_mut().poll(cx).is_ready();
        if has_read && has_ended { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    seen([turns.load(Ordering::Relaxed) > 10])
}

async fn bind_before_connect(world: World) -> Seen {
    let listener = world.listen().await;
    let socket = world.socket();
    socket.set_reuseaddr(true).unwrap();
    socket.set_nodelay(true).unwrap();
    let unbound = socket.local_addr().unwrap().port();
    socket.bind(world.near()).unwrap();
    let bound = socket.local_addr().unwrap();
    let stream = socket.connect(listener.local_addr().unwrap()).await.unwrap();
    let same = stream.local_addr().unwrap() == bound;
    let (_, peer) = listener.accept().await.unwrap();
    seen([unbound.to_string(), format!("{same} {} {}", peer == bound, stream.nodelay().unwrap())])
}

async fn an_address_in_use(world: World) -> Seen {
    let listener = world.listen().await;
    let addr = listener.local_addr().unwrap();
    let second = outcome(world.listen_at(addr).await.map(|_| ()));
    drop(listener);
    let other: SocketAddr = ([192, 0, 2, 1], 7).into();
    let foreign = outcome(world.listen_at(other).await.map(|_| ()));
    vec![second, outcome(world.listen_at(addr).await.map(|_| ())), foreign]
}

async fn listen_with_a_backlog(world: World) -> Seen {
    let socket = world.socket();
    socket.set_reuseport(true).unwrap();
    socket.bind(world.near()).unwrap();
    let listener: TcpListener = socket.listen(5).unwrap();
    let addr = listener.local_addr().unwrap();
    let connects = tokio::spawn(async move { world.connect(addr).await });
    let pinned = Pin::new(&listener);
    let accepted = poll_fn(|cx| pinned.poll_accept(cx)).await;
    let near = connects.await.unwrap().unwrap();
    seen([accepted.unwrap().1 == near.local_addr().unwrap()])
}

async fn everything_arrives_before_the_end(world: World) -> Seen {
    const LEN: usize = 1 << 20;
    let (mut near, mut far) = pair(&world).await;
    let writer = tokio::spawn(async move {
        near.write_all(&vec![3; LEN]).await.unwrap();
        // It is dropped with much of this still to be sent.
    });
    let mut received = Vec::new();
    let read = outcome(far.read_to_end(&mut received).await);
    writer.await.unwrap();
    vec![read, received.len().to_string()]
}

async fn a_write_waits_for_a_slow_reader(world: World) -> Seen {
    let (mut near, mut far) = pair(&world).await;
    let sent = fill(&near).await;
    let writer = tokio::spawn(async move {
        near.write_all(&vec![1; 100_000]).await.unwrap();
        near.flush().await.unwrap();
        near.shutdown().await.unwrap();
    });
    tokio::time::sleep(Duration::from_millis(5)).await;
    let waited = !writer.is_finished();
    let mut rest = Vec::new();
    read_exactly(&mut far, sent).await;
    far.read_to_end(&mut rest).await.unwrap();
    writer.await.unwrap();
    vec![waited.to_string(), rest.len().to_string()]
}

async fn shutdown_of_both_halves(world: World) -> Seen {
    let (near, mut far) = pair(&world).await;
    let (mut read, write) = near.into_split();
    drop(write);
    let end = outcome(far.read(&mut [0; 8]).await);
    far.write_all(b"data").await.unwrap();
    let mut buf = [0; 4];
    let data = outcome(read.read_exact(&mut buf).await);
    far.shutdown().await.unwrap();
    vec![end, data, outcome(read.read(&mut buf).await), format!("{:?}", Shutdown::Both)]
}

async fn select_drops_the_slower(world: World) -> Seen {
    let ((near, mut far), (other, _quiet)) = (pair(&world).await, pair(&world).await);
    far.write_all(b"x").await.unwrap();
    let mut winners = Vec::new();
    for _ in 0..20 {
        let (mut quick, mut slow) = (pin!(near.readable()), pin!(other.readable()));
        let winner = poll_fn(|cx| {
            if slow.as_mut().poll(cx).is_ready() {
                return Poll::Ready("slow");
            }
            quick.as_mut().poll(cx).map(|_| "quick")
        });
        winners.push(winner.await);
    }
    winners.dedup();
    seen(winners)
}
