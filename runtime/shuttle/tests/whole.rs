//! Whole runtimes under many schedules: no thread waits for ever, and all data arrives.

#[path = "../../tests/common/hooked.rs"]
mod hooked;

use std::future::Future;
use std::io::{self, Read, Write};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use hooked::{Hook, Hooked};
use portolan::{Config, Interest, Medium, NetworkEvent, Transmit};
use portolan_shuttle::device::{self, Device, MemoryDevice, MemoryPair};
use portolan_shuttle::model::{check, random, sleep, thread};
use portolan_shuttle::{Builder, Poller, Runtime, TcpListener, TcpStream, UdpSocket, task};

/// The number of schedules for each of twenty-one models: 7,014 in all.
const SCHEDULES: usize = 334;

fn config() -> Config {
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    // Threads are to wait for each other, and not for timers of TCP.
    config.tcp.delayed_ack = Duration::ZERO;
    config
}

/// A runtime with the address 10.0.0.`last`. Half of them spin before they sleep.
fn host(last: u8, device: impl Device + 'static) -> Runtime {
    host_with(config(), last, device)
}

fn host_with(config: Config, last: u8, device: impl Device + 'static) -> Runtime {
    let address = format!("10.0.0.{last}/24").parse().unwrap();
    let builder = Builder::new().config(config).seed([last; 32]).interface(device, [address]);
    builder.busy_poll(Duration::from_micros(random() % 2 * 50)).start().unwrap()
}

fn wire() -> (MemoryDevice, MemoryDevice) {
    wire_with_room(256)
}

fn wire_with_room(frames: usize) -> (MemoryDevice, MemoryDevice) {
    MemoryPair::new().mediums(Medium::Ip, Medium::Ip).capacity(frames).build().unwrap()
}

fn is_over<R>(result: io::Result<R>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::NetworkDown)
}

/// Sends a word and reads it back.
fn ask(stream: &mut TcpStream, word: &[u8; 5]) {
    stream.write_all(word).unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, word);
}

fn answer(stream: &mut TcpStream) {
    let mut word = [0; 5];
    stream.read_exact(&mut word).unwrap();
    stream.write_all(&word).unwrap();
}

/// Two callers, each with a connection: a leader and a follower, and the driver thread when both
/// are away.
#[test]
fn requests_and_answers_of_two_callers() {
    check(SCHEDULES, || {
        let (near, far) = wire();
        let (server, client) = (host(1, near), host(2, far));
        let listener = TcpListener::bind(&server, ([10, 0, 0, 1], 7)).unwrap();
        let handle = client.handle();
        let caller = |word: &'static [u8; 5]| {
            let handle = handle.clone();
            thread::spawn(move || {
                let mut stream = TcpStream::connect(&handle, ([10, 0, 0, 1], 7)).unwrap();
                ask(&mut stream, word);
                ask(&mut stream, word);
            })
        };
        let callers = [caller(b"hello"), caller(b"world")];
        let (mut one, _) = listener.accept().unwrap();
        let other = thread::spawn(move || {
            let (mut two, _) = listener.accept().unwrap();
            answer(&mut two);
            answer(&mut two);
        });
        answer(&mut one);
        answer(&mut one);
        other.join().unwrap();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
    });
}

/// Wakes a task by waking the thread that runs it.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread.
fn block_on<R>(future: impl Future<Output = R>) -> R {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::park(),
        }
    }
}

/// Sends this word, or sends back one that comes.
async fn exchange(stream: &task::TcpStream, word: Option<&'static [u8; 5]>) {
    if let Some(word) = word {
        assert_eq!(stream.send_bytes(Bytes::from_static(word)).await.unwrap(), 5);
    }
    let mut received = Vec::new();
    while received.len() < 5 {
        received.extend(stream.recv_bytes(5 - received.len()).await.unwrap());
    }
    match word {
        Some(word) => assert_eq!(received, word),
        None => assert_eq!(stream.send_bytes(received.into()).await.unwrap(), 5),
    }
}

/// Tasks on three threads: two ask and one answers. The driver threads wake them.
#[test]
fn requests_and_answers_of_tasks() {
    check(SCHEDULES, || {
        let (near, far) = wire();
        let (server, client) = (host(1, near), host(2, far));
        let listener = block_on(task::TcpListener::bind(&server, ([10, 0, 0, 1], 7))).unwrap();
        let handle = client.handle();
        let callers = [b"hello", b"world"].map(|word| {
            let handle = handle.clone();
            thread::spawn(move || {
                block_on(async {
                    let stream = task::TcpStream::connect(&handle, ([10, 0, 0, 1], 7)).await.unwrap();
                    exchange(&stream, Some(word)).await;
                    exchange(&stream, Some(word)).await;
                });
            })
        });
        block_on(async {
            let (one, _) = listener.accept().await.unwrap();
            let (two, _) = listener.accept().await.unwrap();
            for _ in 0..2 {
                exchange(&one, None).await;
                exchange(&two, None).await;
            }
        });
        callers.into_iter().for_each(|caller| caller.join().unwrap());
    });
}

/// A task and a thread on one host: the thread leads, and wakes the task.
#[test]
fn a_task_beside_a_caller() {
    check(SCHEDULES, || {
        let (near, far) = wire();
        let (server, client) = (host(1, near), host(2, far));
        let listener = TcpListener::bind(&server, ([10, 0, 0, 1], 7)).unwrap();
        let handle = client.handle().clone();
        let asks = thread::spawn({
            let handle = handle.clone();
            move || {
                let stream = TcpStream::connect(&handle, ([10, 0, 0, 1], 7)).unwrap();
                block_on(exchange(&task::TcpStream::from_blocking(stream), Some(b"hello")));
            }
        });
        let calls = thread::spawn(move || {
            ask(&mut TcpStream::connect(&handle, ([10, 0, 0, 1], 7)).unwrap(), b"world");
        });
        let (mut one, mut two) = (listener.accept().unwrap().0, listener.accept().unwrap().0);
        let other = thread::spawn(move || answer(&mut two));
        answer(&mut one);
        [asks, calls, other].into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Two callers read from one socket, and their data arrives at the same time.
#[test]
fn two_callers_at_one_socket() {
    check(SCHEDULES, || {
        let (near, far) = wire();
        let (server, client) = (host(1, near), host(2, far));
        let socket = Arc::new(UdpSocket::bind(&server, ([10, 0, 0, 1], 7)).unwrap());
        let reader = || {
            let socket = socket.clone();
            thread::spawn(move || socket.recv_from(&mut [0; 8]).unwrap().0)
        };
        let readers = [reader(), reader(), reader()];
        let sender = UdpSocket::bind(&client, ([10, 0, 0, 2], 0)).unwrap();
        for _ in 0..3 {
            sender.send_to(b"word", ([10, 0, 0, 1], 7)).unwrap();
        }
        readers.into_iter().for_each(|reader| assert_eq!(reader.join().unwrap(), 4));
    });
}

/// One caller leads, and two others send at the same time: the frame of a caller that cannot get
/// the devices must not be left there while the leader sleeps.
#[test]
fn two_send_beside_a_leader() {
    check(SCHEDULES, || {
        let (near, far) = wire();
        let (server, client) = (host(1, near), host(2, far));
        let server = UdpSocket::bind(&server, ([10, 0, 0, 1], 7)).unwrap();
        let waiting = UdpSocket::bind(&client, ([10, 0, 0, 2], 1)).unwrap();
        let leader = thread::spawn(move || waiting.recv_from(&mut [0; 8]).unwrap().0);
        let senders = [2, 3].map(|port| {
            let socket = UdpSocket::bind(&client, ([10, 0, 0, 2], port)).unwrap();
            thread::spawn(move || socket.send_to(b"word", ([10, 0, 0, 1], 7)).unwrap())
        });
        for _ in 0..2 {
            assert_eq!(server.recv_from(&mut [0; 8]).unwrap().0, 4);
        }
        server.send_to(b"done", ([10, 0, 0, 2], 1)).unwrap();
        assert_eq!(leader.join().unwrap(), 4);
        senders.into_iter().for_each(|sender| assert_eq!(sender.join().unwrap(), 4));
    });
}

/// A caller leads for so long that the driver thread sleeps without a time-out, and then does not
/// come back: the driver thread has to serve new connections.
#[test]
fn the_driver_leads_when_the_leader_is_gone() {
    check(SCHEDULES, || {
        let (near, far) = wire();
        let (server, client) = (host(1, near), host(2, far));
        let _listener = TcpListener::bind(&server, ([10, 0, 0, 1], 7)).unwrap();
        let socket = UdpSocket::bind(&server, ([10, 0, 0, 1], 1)).unwrap();
        let leader = thread::spawn(move || {
            assert_eq!(socket.recv_from(&mut [0; 8]).unwrap().0, 4);
            // Closing it would be a call.
            socket
        });
        sleep(Duration::from_millis(20));
        let sender = UdpSocket::bind(&client, ([10, 0, 0, 2], 0)).unwrap();
        sender.send_to(b"word", ([10, 0, 0, 1], 1)).unwrap();
        let _socket = leader.join().unwrap();
        TcpStream::connect(&client, ([10, 0, 0, 1], 7)).unwrap();
    });
}

/// One caller leads and one follows when the runtime ends, and a third one waits for room in the
/// device.
#[test]
fn everybody_learns_of_the_end() {
    check(SCHEDULES, || {
        let (near, _far) = wire_with_room(1);
        let server = host(1, near);
        let caller = |port| {
            let socket = UdpSocket::bind(&server, ([10, 0, 0, 1], port)).unwrap();
            thread::spawn(move || assert!(is_over(socket.recv_from(&mut [0; 8]))))
        };
        let callers = [caller(1), caller(2)];
        let sender = UdpSocket::bind(&server, ([10, 0, 0, 1], 3)).unwrap();
        let sender = thread::spawn(move || while sender.send_to(b"word", ([10, 0, 0, 2], 7)).is_ok() {});
        server.shutdown(Duration::ZERO).unwrap();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        sender.join().unwrap();
    });
}

/// Two callers wait for a listener that a third one closes.
#[test]
fn closing_wakes_who_waits() {
    check(SCHEDULES, || {
        let (near, _far) = wire();
        let server = host(1, near);
        let listener = Arc::new(TcpListener::bind(&server, ([10, 0, 0, 1], 7)).unwrap());
        let callers = [(); 2].map(|()| {
            let listener = listener.clone();
            thread::spawn(move || assert!(listener.accept().is_err()))
        });
        listener.close().unwrap();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
    });
}

/// A device fails before it is called this many times.
const MOST_CALLS: u64 = 12;

/// Lets the device fail after a number of calls, once the runtime has started.
struct Breaking {
    has_started: Arc<AtomicBool>,
    calls_left: u64,
}

impl Breaking {
    fn on_call(&mut self) -> io::Result<()> {
        if !self.has_started.load(Ordering::Relaxed) {
            return Ok(());
        }
        let left = self.calls_left.checked_sub(1);
        self.calls_left = left.ok_or_else(|| io::Error::other("broken"))?;
        Ok(())
    }
}

impl Hook for Breaking {
    fn on_send(&mut self, _: &Transmit) -> io::Result<()> {
        self.on_call()
    }
    fn on_recv(&mut self) -> io::Result<()> {
        self.on_call()
    }
}

/// The device breaks while one thread leads and another follows, and is replaced. Whoever leads
/// must poll the new one.
#[test]
fn a_device_that_broke_is_replaced() {
    check(SCHEDULES, || {
        let (near, far) = wire();
        let has_started = Arc::new(AtomicBool::new(false));
        let hook = Breaking { has_started: has_started.clone(), calls_left: random() % MOST_CALLS };
        let server = host(1, Hooked { device: near, hook });
        has_started.store(true, Ordering::Relaxed);
        let client = host(2, far);
        let peer = UdpSocket::bind(&client, ([10, 0, 0, 2], 7)).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let peers_view = is_over.clone();
        let peer = thread::spawn(move || {
            // The device may take several frames in one call.
            while !peers_view.load(Ordering::Relaxed) {
                for port in [1, 2] {
                    peer.send_to(b"word", ([10, 0, 0, 1], port)).unwrap();
                }
                sleep(Duration::from_millis(1));
            }
        });
        let is_replaced = Arc::new(AtomicBool::new(false));
        let callers = [1, 2].map(|port| {
            let socket = UdpSocket::bind(&server, ([10, 0, 0, 1], port)).unwrap();
            let is_replaced = is_replaced.clone();
            thread::spawn(move || {
                // One datagram that came after the change.
                while !is_replaced.load(Ordering::Relaxed) {
                    socket.recv_from(&mut [0; 8]).unwrap();
                }
                socket.recv_from(&mut [0; 8]).unwrap();
            })
        });
        let iface = loop {
            if let Some(NetworkEvent::LinkDown { iface }) = server.handle().wait_network_event(None).unwrap()
            {
                break iface;
            }
        };
        assert_eq!(server.handle().device_error(iface).unwrap().to_string(), "cable0: broken");
        let (near, far) = wire();
        server.handle().replace_device(iface, near).unwrap();
        client.handle().replace_device(iface, far).unwrap();
        is_replaced.store(true, Ordering::Relaxed);
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        is_over.store(true, Ordering::Relaxed);
        peer.join().unwrap();
        server.shutdown(Duration::ZERO).unwrap();
    });
}

/// The wire holds one frame: a sender must learn when it has room again.
#[test]
fn a_full_device_gets_room() {
    check(SCHEDULES, || {
        let (near, far) = wire_with_room(1);
        let (server, client) = (host(1, near), host(2, far));
        let socket = UdpSocket::bind(&server, ([10, 0, 0, 1], 7)).unwrap();
        let handle = client.handle();
        let senders = [(); 2].map(|()| {
            let handle = handle.clone();
            thread::spawn(move || {
                let socket = UdpSocket::bind(&handle, ([10, 0, 0, 2], 0)).unwrap();
                for _ in 0..3 {
                    socket.send_to(b"word", ([10, 0, 0, 1], 7)).unwrap();
                }
            })
        });
        for _ in 0..6 {
            assert_eq!(socket.recv_from(&mut [0; 8]).unwrap().0, 4);
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

/// Two stacks form one host: a listener is on both, and data that one sends to the host goes to the
/// other.
#[test]
fn two_stacks_hand_over() {
    check(SCHEDULES, || {
        let queues = [wire(), wire()];
        let [(near, _far), (other_near, _other_far)] = queues;
        let address = "10.0.0.1/24".parse().unwrap();
        let runtime = Builder::new()
            .config(config())
            .seed([1; 32])
            .interface_with_queues([near, other_near], [address])
            .start()
            .unwrap();
        let listener = TcpListener::bind(&runtime, ([10, 0, 0, 1], 7)).unwrap();
        let handle = runtime.handle();
        let callers = [b"hello", b"world"].map(|word| {
            let handle = handle.clone();
            thread::spawn(move || {
                ask(&mut TcpStream::connect(&handle, ([10, 0, 0, 1], 7)).unwrap(), word);
            })
        });
        for _ in 0..2 {
            answer(&mut listener.accept().unwrap().0);
        }
        callers.into_iter().for_each(|caller| caller.join().unwrap());
    });
}

/// A leader gives up while another caller follows, and the data that comes then is for the
/// follower.
#[test]
fn who_gives_up_leaves_the_lead() {
    check(SCHEDULES, || {
        let (near, far) = wire();
        let (server, client) = (host(1, near), host(2, far));
        let callers =
            [(1, Some(Duration::from_micros(random() % 3000 + 1))), (2, None)].map(|(port, limit)| {
                let socket = UdpSocket::bind(&server, ([10, 0, 0, 1], port)).unwrap();
                socket.set_read_timeout(limit).unwrap();
                thread::spawn(move || {
                    let received = socket.recv_from(&mut [0; 8]);
                    assert!(
                        received
                            .map_or_else(|error| limit.is_some() && would_block(&error), |_| limit.is_none())
                    );
                })
            });
        let [gives_up, stays] = callers;
        let sender = UdpSocket::bind(&client, ([10, 0, 0, 2], 0)).unwrap();
        if random().is_multiple_of(2) {
            gives_up.join().unwrap();
            sender.send_to(b"word", ([10, 0, 0, 1], 2)).unwrap();
        } else {
            sender.send_to(b"word", ([10, 0, 0, 1], 2)).unwrap();
            gives_up.join().unwrap();
        }
        stays.join().unwrap();
    });
}

fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// One thread reads from a connection, another writes and ends it, and closing waits until
/// everything is acknowledged.
#[test]
fn a_connection_ends_in_order() {
    check(SCHEDULES, || {
        let (near, far) = wire();
        let (server, client) = (host(1, near), host(2, far));
        let listener = TcpListener::bind(&server, ([10, 0, 0, 1], 7)).unwrap();
        let peer = thread::spawn(move || {
            let mut all = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut all).unwrap();
            assert_eq!(all, b"word");
        });
        let stream = Arc::new(TcpStream::connect(&client, ([10, 0, 0, 1], 7)).unwrap());
        stream.set_linger(Some(Duration::from_secs(5))).unwrap();
        let reader = thread::spawn({
            let stream = stream.clone();
            move || assert_eq!((&*stream).read(&mut [0; 8]).unwrap(), 0)
        });
        (&*stream).write_all(b"word").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        reader.join().unwrap();
        drop(stream);
        peer.join().unwrap();
    });
}

/// Closing waits until the peer has acknowledged everything, while only the driver thread drives
/// the stack.
#[test]
fn closing_lingers() {
    check(SCHEDULES, || {
        let (near, far) = wire();
        let (server, client) = (host(1, near), host(2, far));
        let listener = TcpListener::bind(&server, ([10, 0, 0, 1], 7)).unwrap();
        let mut stream = TcpStream::connect(&client, ([10, 0, 0, 1], 7)).unwrap();
        stream.set_linger(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(b"word").unwrap();
        drop(stream);
        let mut all = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"word");
    });
}

/// Makes the device slow to send. Meanwhile no other thread can use it.
struct SlowToSend;

impl Hook for SlowToSend {
    fn on_send(&mut self, _: &Transmit) -> io::Result<()> {
        sleep(Duration::from_micros(random() % 100));
        Ok(())
    }
}

/// Makes the device sometimes wait before it is read.
struct SlowToRead;

impl Hook for SlowToRead {
    fn on_recv(&mut self) -> io::Result<()> {
        sleep(Duration::from_micros(random() % 2 * (random() % 1000)));
        Ok(())
    }
}

/// A caller takes the lead while the driver thread reads, and others fill the device: the new
/// leader must learn of that.
#[test]
fn a_caller_takes_the_lead_from_the_driver() {
    check(SCHEDULES, || {
        let (near, far) = wire_with_room(1);
        let server = host(1, Hooked { device: near, hook: SlowToRead });
        let client = host(2, Hooked { device: far, hook: SlowToSend });
        let server = UdpSocket::bind(&server, ([10, 0, 0, 1], 7)).unwrap();
        let _unread = UdpSocket::bind(&client, ([10, 0, 0, 2], 9)).unwrap();
        let waiting = UdpSocket::bind(&client, ([10, 0, 0, 2], 1)).unwrap();
        let sender = UdpSocket::bind(&client, ([10, 0, 0, 2], 2)).unwrap();
        // Meanwhile the driver thread takes the lead.
        sleep(Duration::from_millis(3));
        server.send_to(b"news", ([10, 0, 0, 2], 9)).unwrap();
        let caller = thread::spawn(move || waiting.recv_from(&mut [0; 8]).unwrap().0);
        let sender = thread::spawn(move || {
            for _ in 0..3 {
                sender.send_to(b"word", ([10, 0, 0, 1], 7)).unwrap();
            }
        });
        for _ in 0..3 {
            assert_eq!(server.recv_from(&mut [0; 8]).unwrap().0, 4);
        }
        server.send_to(b"done", ([10, 0, 0, 2], 1)).unwrap();
        assert_eq!(caller.join().unwrap(), 4);
        sender.join().unwrap();
    });
}

/// A caller takes the lead while the driver thread runs a timer: before it does, it releases `core`
/// and reads the device. When the caller is gone, the driver thread runs the timers again.
#[test]
fn a_caller_takes_the_lead_while_a_timer_is_due() {
    check(SCHEDULES, || {
        let (near, far) = wire();
        let server = host(1, near);
        let mut late = config();
        late.tcp.delayed_ack = Duration::from_millis(1);
        late.tcp.quick_acks = 0;
        let client = host_with(late, 2, Hooked { device: far, hook: SlowToRead });
        let listener = TcpListener::bind(&server, ([10, 0, 0, 1], 7)).unwrap();
        let _unread = TcpStream::connect(&client, ([10, 0, 0, 1], 7)).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let server = UdpSocket::bind(&server, ([10, 0, 0, 1], 1)).unwrap();
        let waiting = UdpSocket::bind(&client, ([10, 0, 0, 2], 1)).unwrap();
        // Meanwhile the driver thread takes the lead.
        sleep(Duration::from_millis(3));
        peer.write_all(b"word").unwrap();
        let caller = thread::spawn(move || {
            sleep(Duration::from_micros(random() % 4000));
            assert_eq!(waiting.recv_from(&mut [0; 8]).unwrap().0, 4);
        });
        sleep(Duration::from_micros(random() % 4000));
        peer.write_all(b"more").unwrap();
        server.send_to(b"done", ([10, 0, 0, 2], 1)).unwrap();
        caller.join().unwrap();
        sleep(Duration::from_millis(20));
        assert_eq!(peer.info().unwrap().unacked, 0, "a timer was not run");
    });
}

/// Counts what the device sends.
struct Counting(Arc<AtomicUsize>);

impl Hook for Counting {
    fn on_send(&mut self, _: &Transmit) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A caller takes the lead from the driver thread while that sleeps without end, and gives up.
/// Then a call sets a timer, and no frame comes in: the driver thread has to run it.
#[test]
fn the_driver_runs_timers_after_a_caller_gave_up() {
    check(SCHEDULES, || {
        let (near, _silent) = MemoryPair::new().build().unwrap();
        let mut config = config();
        config.neighbor.retransmit_delay = Duration::from_millis(10);
        let sent = Arc::new(AtomicUsize::new(0));
        let runtime = host_with(config, 1, Hooked { device: near, hook: Counting(sent.clone()) });
        let socket = UdpSocket::bind(&runtime, ([10, 0, 0, 1], 1)).unwrap();
        // Meanwhile the driver thread takes the lead.
        sleep(Duration::from_millis(3));
        socket.set_read_timeout(Some(Duration::from_micros(1 + random() % 1000))).unwrap();
        assert!(would_block(&socket.recv_from(&mut [0; 8]).unwrap_err()));
        // Nobody has this address. It is asked for at once, and by timers twice more.
        socket.send_to(b"word", ([10, 0, 0, 2], 1)).unwrap();
        let before = sent.load(Ordering::Relaxed);
        sleep(Duration::from_millis(50));
        assert_eq!(sent.load(Ordering::Relaxed), before + 2, "a timer was not run");
    });
}

/// A thread waits at a poller for two sockets, beside a caller that blocks: whoever leads serves
/// the other.
#[test]
fn a_poller_beside_a_blocking_call() {
    check(SCHEDULES, || {
        let (near, far) = wire();
        let (server, client) = (host(1, near), host(2, far));
        let poller = Poller::new(&server).unwrap();
        let sockets = [1, 2].map(|port| UdpSocket::bind(&server, ([10, 0, 0, 1], port)).unwrap());
        for (socket, token) in sockets.iter().zip(0..) {
            socket.set_nonblocking(true).unwrap();
            poller.add(socket, Interest::READABLE | Interest::EDGE_TRIGGERED, token).unwrap();
        }
        let blocking = UdpSocket::bind(&server, ([10, 0, 0, 1], 3)).unwrap();
        let polling = thread::spawn(move || {
            let (mut left, mut ready) = (4, Vec::new());
            while left > 0 {
                ready.clear();
                assert!(poller.wait(&mut ready, 8, None).unwrap() > 0);
                for ready in &ready {
                    while sockets[ready.token as usize].recv_from(&mut [0; 8]).is_ok() {
                        left -= 1;
                    }
                }
            }
        });
        let blocked = thread::spawn(move || {
            for _ in 0..2 {
                assert_eq!(blocking.recv_from(&mut [0; 8]).unwrap().0, 4);
            }
        });
        let sender = UdpSocket::bind(&client, ([10, 0, 0, 2], 0)).unwrap();
        for port in [1, 2, 3, 2, 1, 3] {
            sender.send_to(b"word", ([10, 0, 0, 1], port)).unwrap();
        }
        polling.join().unwrap();
        blocked.join().unwrap();
    });
}

/// Two threads wait at one poller, and each takes one of two datagrams, which may come together.
#[test]
fn two_threads_at_one_poller() {
    check(SCHEDULES, || {
        let (near, far) = wire();
        let (server, client) = (host(1, near), host(2, far));
        let poller = Arc::new(Poller::new(&server).unwrap());
        let socket = Arc::new(UdpSocket::bind(&server, ([10, 0, 0, 1], 1)).unwrap());
        socket.set_nonblocking(true).unwrap();
        let interest = if random().is_multiple_of(2) { Interest::NONE } else { Interest::EXCLUSIVE };
        poller.add(&*socket, Interest::READABLE | interest, 1).unwrap();
        let takers = [(); 2].map(|()| {
            let (poller, socket) = (poller.clone(), socket.clone());
            thread::spawn(move || {
                loop {
                    assert_eq!(poller.wait(&mut Vec::new(), 1, None).unwrap(), 1);
                    if socket.recv_from(&mut [0; 8]).is_ok() {
                        return;
                    }
                }
            })
        });
        let sender = UdpSocket::bind(&client, ([10, 0, 0, 2], 0)).unwrap();
        for _ in 0..2 {
            sender.send_to(b"word", ([10, 0, 0, 1], 1)).unwrap();
        }
        takers.into_iter().for_each(|taker| taker.join().unwrap());
    });
}

/// A notification ends a wait, whether the thread leads, follows or is about to wait; and the end
/// of the runtime ends all waits.
#[test]
fn notifications_and_the_end_of_the_runtime_end_waits() {
    check(SCHEDULES, || {
        let (near, _far) = wire();
        let server = host(1, near);
        let poller = Arc::new(Poller::new(&server).unwrap());
        let blocking = UdpSocket::bind(&server, ([10, 0, 0, 1], 3)).unwrap();
        let leader = thread::spawn(move || assert!(is_over(blocking.recv_from(&mut [0; 8]))));
        for _ in 0..2 {
            let notified = {
                let poller = poller.clone();
                thread::spawn(move || assert_eq!(poller.wait(&mut Vec::new(), 1, None).unwrap(), 0))
            };
            poller.notify();
            notified.join().unwrap();
        }
        let waiting = [(); 2].map(|()| {
            let poller = poller.clone();
            thread::spawn(move || assert!(is_over(poller.wait(&mut Vec::new(), 1, None))))
        });
        server.shutdown(Duration::ZERO).unwrap();
        leader.join().unwrap();
        waiting.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// A shutdown delivers what was written, while another caller waits for the same connection, leads,
/// and is refused.
#[test]
fn a_shutdown_delivers_what_was_written() {
    check(SCHEDULES, || {
        let (near, far) = wire();
        let (server, client) = (host(1, near), host(2, far));
        let listener = TcpListener::bind(&server, ([10, 0, 0, 1], 7)).unwrap();
        let mut stream = TcpStream::connect(&client, ([10, 0, 0, 1], 7)).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        let mut reader = stream.try_clone().unwrap();
        let reader = thread::spawn(move || assert!(is_over(reader.read(&mut [0; 8]))));
        let peer = thread::spawn(move || {
            let mut word = Vec::new();
            accepted.read_to_end(&mut word).unwrap();
            assert_eq!(word, b"word");
        });
        stream.write_all(b"word").unwrap();
        assert!(client.shutdown(Duration::from_secs(5)).unwrap().is_empty());
        reader.join().unwrap();
        peer.join().unwrap();
    });
}
