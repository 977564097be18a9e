//! The traits of futures-io, on an executor that knows nothing of tokio.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, IoSliceMut};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use futures_io::{AsyncRead, AsyncWrite};
use portolan_runtime::task::{TcpListener, TcpStream};

use crate::common::{addr, pair, pattern, within_time};

/// Wakes the only task of a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// An executor for one task.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::park(),
        }
    }
}

async fn read(reader: &mut (impl AsyncRead + Unpin), buf: &mut [u8]) -> io::Result<usize> {
    poll_fn(|cx| Pin::new(&mut *reader).poll_read(cx, buf)).await
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), data: &[u8]) -> io::Result<usize> {
    poll_fn(|cx| Pin::new(&mut *writer).poll_write(cx, data)).await
}

async fn write_all(writer: &mut (impl AsyncWrite + Unpin), mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        data = &data[write(writer, data).await?..];
    }
    poll_fn(|cx| Pin::new(&mut *writer).poll_flush(cx)).await
}

async fn write_vectored(writer: &mut (impl AsyncWrite + Unpin), data: [&[u8]; 2]) -> io::Result<usize> {
    let slices = data.map(IoSlice::new);
    poll_fn(|cx| Pin::new(&mut *writer).poll_write_vectored(cx, &slices)).await
}

async fn close(writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    poll_fn(|cx| Pin::new(&mut *writer).poll_close(cx)).await
}

/// Sends back what comes, and closes after the end. Returns how many bytes came.
async fn echo(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> io::Result<usize> {
    let (mut buf, mut total) = (vec![0; 5000], 0);
    loop {
        let len = read(reader, &mut buf).await?;
        if len == 0 {
            close(writer).await?;
            return Ok(total);
        }
        write_all(writer, &buf[..len]).await?;
        total += len;
    }
}

#[test]
fn traits_of_futures_io_work_on_any_executor() {
    let (server, client) = pair();
    let listener = block_on(TcpListener::bind(&server, addr(1, 7))).unwrap();
    let server_side = thread::spawn(move || {
        block_on(async {
            let (mut stream, _) = listener.accept().await?;
            let (mut reader, mut writer) = stream.split();
            echo(&mut reader, &mut writer).await
        })
    });

    within_time(move || {
        let mut stream = block_on(TcpStream::connect(&client, addr(1, 7))).unwrap();
        // All slices go in one call, and come back into several buffers.
        assert_eq!(block_on(write_vectored(&mut stream, [b"he", b"llo"])).unwrap(), 5);
        let (mut first, mut second) = ([0; 4], [0; 9]);
        let mut bufs = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        let len = block_on(poll_fn(|cx| Pin::new(&mut stream).poll_read_vectored(cx, &mut bufs))).unwrap();
        assert_eq!((len, &first, &second[..1]), (5, b"hell", &b"o"[..]));

        // More than the buffers hold, so both directions wait.
        let data = pattern(3_000_000, 1);
        let (mut reader, mut writer) = stream.into_split();
        let sent = data.clone();
        let writing = thread::spawn(move || {
            block_on(async {
                write_all(&mut writer, &sent).await.unwrap();
                close(&mut writer).await.unwrap();
                // A second time is no error, but nothing can be written any more.
                close(&mut writer).await.unwrap();
                assert_eq!(write(&mut writer, b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
            });
        });
        let (mut received, mut buf) = (Vec::<u8>::new(), vec![0; 7000]);
        loop {
            let len = block_on(read(&mut reader, &mut buf)).unwrap();
            if len == 0 {
                break;
            }
            received.extend(&buf[..len]);
        }
        writing.join().unwrap();
        assert!(received == data, "{} of {} bytes", received.len(), data.len());
    });
    assert_eq!(server_side.join().unwrap().unwrap(), 3_000_005);
}

#[test]
fn a_closed_stream_can_still_read() {
    let (server, client) = pair();
    within_time(move || {
        let listener = block_on(TcpListener::bind(&server, addr(1, 7))).unwrap();
        let mut near = block_on(TcpStream::connect(&client, addr(1, 7))).unwrap();
        let (mut far, _) = block_on(listener.accept()).unwrap();
        block_on(close(&mut near)).unwrap();
        let mut buf = [0; 8];
        assert_eq!(block_on(read(&mut far, &mut buf)).unwrap(), 0);
        block_on(write_all(&mut far, b"bye")).unwrap();
        assert_eq!(block_on(read(&mut near, &mut buf)).unwrap(), 3);
        assert_eq!(&buf[..3], b"bye");
    });
}
