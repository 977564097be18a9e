//! The stacks that are measured.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use ipstack::{IpStack, IpStackConfig, IpStackStream};
use netstack_smoltcp::StackBuilder;
use portolan::{Frame, Interception, Medium};
use portolan_runtime::device::{Packet, PacketChannel, PacketReceiver, PacketSender};
use portolan_runtime::task::TcpInterceptor;
use portolan_runtime::{Builder, Runtime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinSet;

use crate::{Load, answer};

/// Packets that move together.
const BATCH: usize = 64;
const MTU: usize = 1500;

/// A stack that makes streams of IP packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Portolan,
    IpStack,
    NetstackSmoltcp,
}

/// What serves while it is kept.
pub(crate) struct Serving {
    _tasks: JoinSet<()>,
    _runtime: Option<Runtime>,
}

impl Peer {
    pub(crate) const ALL: [Peer; 3] = [Peer::Portolan, Peer::IpStack, Peer::NetstackSmoltcp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Portolan => "Portolan",
            Peer::IpStack => "ipstack",
            Peer::NetstackSmoltcp => "netstack-smoltcp",
        }
    }

    /// Accepts the connections in the client's packets, and answers on each.
    pub(crate) fn serve(self, client: PacketSender, from: PacketReceiver, load: Load) -> io::Result<Serving> {
        match self {
            Peer::Portolan => portolan(client, from, load),
            Peer::IpStack => Ok(ipstack(client, from, load)),
            Peer::NetstackSmoltcp => netstack_smoltcp(client, from, load),
        }
    }
}

fn portolan(client: PacketSender, from_client: PacketReceiver, load: Load) -> io::Result<Serving> {
    let (device, to_server, from_server) = PacketChannel::new(Medium::Ip).capacity(1024).build();
    let server = Builder::new()
        .interface(device, ["10.0.0.1/24".parse().expect("an address")])
        .intercept(Interception::all())
        .start()?;
    let interceptor = TcpInterceptor::new(&server)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(forward(from_client, to_server));
    tasks.spawn(forward(from_server, client));
    tasks.spawn(async move {
        let mut flows = JoinSet::new();
        while let Ok(pending) = interceptor.next().await {
            flows.spawn(async move { answer(pending.accept().await?, load).await });
        }
    });
    Ok(Serving { _tasks: tasks, _runtime: Some(server) })
}

/// Moves packets from one stack to the other.
async fn forward(mut from: PacketReceiver, mut to: PacketSender) {
    let (mut packets, mut frames) = (Vec::new(), VecDeque::new());
    while from.recv_async(&mut packets, BATCH).await > 0 {
        frames.extend(packets.drain(..).map(Frame::from));
        if to.send_async(&mut frames).await.is_err() {
            return;
        }
    }
}

fn ipstack(client: PacketSender, from_client: PacketReceiver, load: Load) -> Serving {
    let mut config = IpStackConfig::default();
    config.mtu_unchecked(MTU as u16);
    let device = PacketFile { from: from_client, received: Vec::new(), to: client, unsent: VecDeque::new() };
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut stack = IpStack::new(config, device);
        let mut flows = JoinSet::new();
        while let Ok(stream) = stack.accept().await {
            if let IpStackStream::Tcp(stream) = stream {
                flows.spawn(answer(stream, load));
            }
        }
    });
    Serving { _tasks: tasks, _runtime: None }
}

/// A channel of packets in the shape of a TUN device: each call reads or writes one.
struct PacketFile {
    from: PacketReceiver,
    /// The next one is the last.
    received: Vec<Packet>,
    to: PacketSender,
    unsent: VecDeque<Frame>,
}

impl AsyncRead for PacketFile {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let PacketFile { from, received, .. } = self.get_mut();
        if received.is_empty() {
            ready!(from.poll_recv(cx, received, BATCH));
            received.reverse();
        }
        if let Some(packet) = received.pop() {
            buf.put_slice(packet.bytes());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PacketFile {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let PacketFile { to, unsent, .. } = self.get_mut();
        while !unsent.is_empty() {
            ready!(to.poll_send(cx, unsent))?;
        }
        unsent.push_back(Frame::new(Bytes::copy_from_slice(data)));
        let _ = to.poll_send(cx, unsent)?;
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let PacketFile { to, unsent, .. } = self.get_mut();
        while !unsent.is_empty() {
            ready!(to.poll_send(cx, unsent))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

fn netstack_smoltcp(
    mut client: PacketSender,
    mut from_client: PacketReceiver,
    load: Load,
) -> io::Result<Serving> {
    let (stack, runner, _, listener) =
        StackBuilder::default().enable_tcp(true).mtu(MTU).stack_buffer_size(1024).build()?;
    let (mut sink, mut stream) = stack.split();
    let mut tasks = JoinSet::new();
    let runner = runner.ok_or(io::ErrorKind::Unsupported)?;
    let mut listener = listener.ok_or(io::ErrorKind::Unsupported)?;
    tasks.spawn(async move {
        let _ = runner.await;
    });
    tasks.spawn(async move {
        let mut packets = Vec::new();
        while from_client.recv_async(&mut packets, BATCH).await > 0 {
            for packet in packets.drain(..) {
                if sink.feed(packet.bytes().to_vec()).await.is_err() {
                    return;
                }
            }
            if sink.flush().await.is_err() {
                return;
            }
        }
    });
    tasks.spawn(async move {
        let mut chunks = (&mut stream).ready_chunks(BATCH);
        while let Some(packets) = chunks.next().await {
            let mut frames: VecDeque<Frame> = packets.into_iter().flatten().map(Frame::new).collect();
            if client.send_async(&mut frames).await.is_err() {
                return;
            }
        }
    });
    tasks.spawn(async move {
        let mut flows = JoinSet::new();
        while let Some((stream, _, _)) = listener.next().await {
            flows.spawn(answer(stream, load));
        }
    });
    Ok(Serving { _tasks: tasks, _runtime: None })
}
