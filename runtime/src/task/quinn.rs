//! quinn's `AsyncUdpSocket`, so that QUIC runs on the stack.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use portolan::{DatagramMeta, MtuDiscover, SendMeta, SocketOption};
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use crate::task::UdpSocket;
use crate::task::wait::poll_call;

/// The most datagrams of a run. Linux joins no more than 64 when it receives, and a run of more
/// than 44 full Ethernet frames is longer than an IP packet may be.
const RUN_DATAGRAMS: usize = 64;

/// A datagram socket for QUIC: the `AsyncUdpSocket` of quinn, for
/// `quinn::Endpoint::new_with_abstract_socket`. Datagrams leave and arrive in runs (UDP_SEGMENT,
/// UDP_GRO) with their ECN fields, and are never fragmented.
///
/// quinn's own `TokioRuntime` (its feature `runtime-tokio`) provides timers and tasks.
///
/// ```
/// use std::sync::Arc;
///
/// use portolan_runtime::{Builder, device::memory_pair};
/// use portolan_runtime::task::{QuinnSocket, UdpSocket};
/// use quinn::{Endpoint, EndpointConfig, TokioRuntime};
///
/// # let executor = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// # executor.block_on(async {
/// let (device, _other_end) = memory_pair()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
/// let socket = UdpSocket::bind(&runtime, ([10, 0, 0, 1], 4433)).await?;
/// let socket = Arc::new(QuinnSocket::new(socket)?);
/// let endpoint = Endpoint::new_with_abstract_socket(
///     EndpointConfig::default(),
///     None, // or the configuration of a server
///     socket,
///     Arc::new(TokioRuntime),
/// )?;
/// assert_eq!(endpoint.local_addr()?.port(), 4433);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct QuinnSocket {
    socket: UdpSocket,
}

impl QuinnSocket {
    /// Takes a bound socket and sets the options that QUIC needs: runs of datagrams, and packets
    /// that are never fragmented. Larger buffers are set before.
    pub fn new(socket: UdpSocket) -> io::Result<QuinnSocket> {
        socket.set_option(SocketOption::UdpGro(true))?;
        socket.set_option(SocketOption::MtuDiscover(MtuDiscover::Probe))?;
        Ok(QuinnSocket { socket })
    }

    /// Returns the socket.
    pub fn get_ref(&self) -> &UdpSocket {
        &self.socket
    }
}

impl AsyncUdpSocket for QuinnSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(RoomPoller { socket: self, waiting: None })
    }

    /// Sends a run of datagrams, or returns `WouldBlock`. What cannot be sent for another reason is
    /// lost, as anywhere on the way: an error would end the connection, and QUIC probes the path
    /// with datagrams that are too long. When the runtime is over, `poll_recv` says so.
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut meta = SendMeta::to(transmit.destination);
        meta.traffic_class = transmit.ecn.map(|ecn| ecn as u8);
        // 0 also takes precedence over an option of the socket.
        meta.segment_len = Some(transmit.segment_size.unwrap_or(0).try_into().unwrap_or(u16::MAX));
        meta.source = transmit.src_ip;
        match self.socket.socket().calls_at_once().send_copy(transmit.contents, &meta) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(error) => {
                log::debug!("a datagram to {} is not sent: {error}", transmit.destination);
                Ok(())
            }
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (max, mut batch) = (bufs.len().min(meta.len()), Vec::new());
        let count = loop {
            match ready!(poll_call(cx, self.socket.socket(), |calls| calls.recv_batch(&mut batch, max))) {
                // An ICMP error, which anybody may have sent. It must not end the endpoint.
                Err(error) if is_of_the_path(&error) => log::debug!("not passed on to quinn: {error}"),
                result => break result?,
            }
        };
        for ((received, buf), meta) in batch.into_iter().zip(bufs).zip(meta) {
            *meta = fill(received, buf);
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        RUN_DATAGRAMS
    }

    fn max_receive_segments(&self) -> usize {
        RUN_DATAGRAMS
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

fn is_of_the_path(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
}

/// Copies a run of datagrams into a buffer, which quinn makes large enough for one.
fn fill((data, from): (Bytes, DatagramMeta), buf: &mut [u8]) -> RecvMeta {
    let len = data.len().min(buf.len());
    buf[..len].copy_from_slice(&data[..len]);
    let stride = match from.segment_len() {
        0 => len,
        segment_len => segment_len,
    };
    let ecn = EcnCodepoint::from_bits(from.ecn());
    RecvMeta { addr: from.peer(), len, stride, ecn, dst_ip: Some(from.local().ip()) }
}

type RoomFuture = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// Waits for room on behalf of one task.
struct RoomPoller {
    socket: Arc<QuinnSocket>,
    waiting: Option<RoomFuture>,
}

impl UdpPoller for RoomPoller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let RoomPoller { socket, waiting } = &mut *self;
        let future = waiting.get_or_insert_with(|| {
            let socket = socket.clone();
            Box::pin(async move { socket.socket.writable().await })
        });
        let result = ready!(future.as_mut().poll(cx));
        *waiting = None;
        Poll::Ready(result)
    }
}

impl fmt::Debug for RoomPoller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomPoller").field("socket", &self.socket).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;

    use portolan::Medium::Ip;
    use portolan::Offloads;

    use super::*;
    use crate::builder::Builder;
    use crate::device::MemoryPair;
    use crate::task::Interest;

    async fn receive(socket: &QuinnSocket, buf: &mut [u8]) -> RecvMeta {
        let mut meta = [RecvMeta::default()];
        let count = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(buf)], &mut meta)).await;
        assert_eq!(count.unwrap(), 1);
        meta[0]
    }

    #[test]
    fn runs_keep_their_marks_and_errors_of_the_path_are_not_passed_on() {
        let executor = tokio::runtime::Builder::new_current_thread().build().unwrap();
        executor.block_on(async {
            let wire = MemoryPair::new().mediums(Ip, Ip).offloads(Offloads::ALL);
            let (left, right) = wire.build().unwrap();
            let start =
                |device, addr: &str| Builder::new().interface(device, [addr.parse().unwrap()]).start();
            let hosts = [start(left, "10.0.0.1/24").unwrap(), start(right, "10.0.0.2/24").unwrap()];
            let bind = |host: u8| UdpSocket::bind(&hosts[usize::from(host) - 1], ([10, 0, 0, host], 0));
            let dead = bind(1).await.unwrap().local_addr().unwrap();
            let near = bind(1).await.unwrap();
            near.connect(dead).await.unwrap();
            let near = QuinnSocket::new(near).unwrap();
            let far = Arc::new(QuinnSocket::new(bind(2).await.unwrap()).unwrap());
            let transmit = |destination, contents| Transmit {
                destination,
                ecn: Some(EcnCodepoint::Ect0),
                contents,
                segment_size: Some(1000),
                src_ip: None,
            };

            // Neither a datagram that is too long nor an ICMP error ends an endpoint.
            near.try_send(&transmit(dead, &[1; 65536])).unwrap();
            near.try_send(&transmit(dead, &[1])).unwrap();
            assert!(near.get_ref().ready(Interest::READABLE).await.unwrap().is_error());
            let mut buf = [0; 65536];
            let mut cx = Context::from_waker(Waker::noop());
            let bufs = &mut [IoSliceMut::new(&mut buf)];
            assert!(near.poll_recv(&mut cx, bufs, &mut [RecvMeta::default()]).is_pending());

            near.get_ref().connect(far.local_addr().unwrap()).await.unwrap();
            far.try_send(&transmit(near.local_addr().unwrap(), &[2; 2500])).unwrap();
            let meta = receive(&near, &mut buf).await;
            assert_eq!((meta.len, meta.stride, meta.ecn), (2500, 1000, Some(EcnCodepoint::Ect0)));
            assert_eq!((meta.addr, meta.dst_ip), (far.local_addr().unwrap(), Some([10, 0, 0, 1].into())));

            let mut poller = far.clone().create_io_poller();
            for _ in 0..2 {
                poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
            }
        });
    }
}
