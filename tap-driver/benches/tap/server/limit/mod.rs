//! The limit of a TAP device: a program without TCP, the pump, that reads and writes the device
//! with the same offloads as Portolan.
//!
//! It opens and closes connections as far as the kernel's client needs that, and otherwise
//!
//! - acknowledges what it reads, without examining or copying it;
//! - writes the same 64 KiB again and again, as far as the client's window allows;
//! - sends bytes and datagrams back.
//!
//! It has one timer, no queue, no retransmission except going back to what was acknowledged, and a
//! window that is always open. No real stack can be faster on the same device.

mod segment;
mod tap;

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::segment::{ACK, FIN, Headers, MAX_SEGMENTS, MSS, Next, PSH, Packet, RST, SYN, Segment};
use self::tap::RawTap;
use super::services::Service;
use crate::link;

/// Room for a frame of 64 KiB with all headers.
const BUFFER_LEN: usize = 1 << 17;
/// The number of frames that are read before acknowledgements are sent. With more, acknowledgements
/// are delayed longer; with fewer, there are more of them.
const READS_IN_A_ROW: usize = 16;
/// The number of super-segments that a connection writes before acknowledgements are read.
const WRITES_IN_A_ROW: usize = 8;
/// If nothing moves for this long although data is in flight, the data was lost.
const LOSS_TIMEOUT: Duration = Duration::from_millis(20);
const FIRST_SEQ: u32 = 0x1000_0000;

/// Opens the device. The pump runs in its own thread until the process ends.
pub(super) fn start(is_plain: bool) -> io::Result<String> {
    let tap = RawTap::open(link::CLIENT_DEVICE, is_plain)?;
    link::bring_up(link::CLIENT_DEVICE, link::CLIENT)?;
    // The pump answers no ARP.
    let mac = link::SERVER_MAC.map(|byte| format!("{byte:02x}")).join(":");
    let (server, device) = (link::SERVER, link::CLIENT_DEVICE);
    link::ip(&format!("neighbour add {server} lladdr {mac} dev {device} nud permanent"))?;
    let note = tap.note.clone();
    let mut pump = Pump::new(tap);
    std::thread::spawn(move || {
        if let Err(error) = pump.run() {
            eprintln!("the pump: {error}");
            std::process::exit(1);
        }
    });
    Ok(note)
}

struct Connection {
    headers: Headers,
    service: Service,
    snd_una: u32,
    snd_nxt: u32,
    rcv_nxt: u32,
    /// The right edge of the client's window.
    window_end: u32,
    window_scale: u8,
    owes_ack: bool,
}

struct Pump {
    tap: RawTap,
    /// The connections by the client's port, because there is only one client.
    connections: HashMap<u16, Connection>,
    buffer: Vec<u8>,
    payload: Vec<u8>,
    /// The sum of one segment of the payload.
    segment_sum: u32,
}

impl Pump {
    fn new(tap: RawTap) -> Pump {
        let payload = vec![b'x'; MAX_SEGMENTS * MSS];
        let segment_sum = segment::sum(&payload[..MSS]);
        Pump { tap, connections: HashMap::new(), buffer: vec![0; BUFFER_LEN], payload, segment_sum }
    }

    fn run(&mut self) -> io::Result<()> {
        loop {
            let mut is_idle = true;
            for _ in 0..READS_IN_A_ROW {
                let Some(len) = self.tap.read(&mut self.buffer)? else { break };
                self.take(len)?;
                is_idle = false;
                if self.tap.is_blocking() {
                    break;
                }
            }
            self.acknowledge()?;
            is_idle &= self.write_bulk()? == 0;
            if is_idle {
                self.wait()?;
            }
        }
    }

    /// Waits for a frame. If data is in flight for too long, all of it counts as lost.
    fn wait(&mut self) -> io::Result<()> {
        let is_under_way =
            self.connections.values().any(|connection| connection.snd_una != connection.snd_nxt);
        let timeout = Timespec { tv_sec: 0, tv_nsec: LOSS_TIMEOUT.as_nanos() as i64 };
        let mut fds = [PollFd::from_borrowed_fd(self.tap.as_fd(), PollFlags::IN)];
        match poll(&mut fds, is_under_way.then_some(&timeout)) {
            Ok(0) => {
                for connection in self.connections.values_mut() {
                    connection.snd_nxt = connection.snd_una;
                }
                Ok(())
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Handles a frame of this length in the buffer.
    fn take(&mut self, len: usize) -> io::Result<()> {
        let frame = &mut self.buffer[..len];
        match segment::parse(frame, self.tap.vnet_len) {
            Packet::Tcp(segment) if segment.flags & SYN != 0 => self.open(len, segment),
            Packet::Tcp(segment) => self.on_segment(segment),
            Packet::Udp { port } if port == Service::Datagrams.port() => {
                segment::turn_datagram(frame, self.tap.vnet_len);
                self.tap.write(frame, &[])
            }
            Packet::Udp { .. } | Packet::Other => Ok(()),
        }
    }

    fn open(&mut self, len: usize, syn: Segment) -> io::Result<()> {
        let Some(service) = Service::of_port(syn.server_port) else { return Ok(()) };
        let mut headers = Headers::answering(&self.buffer[..len], self.tap.vnet_len);
        let rcv_nxt = syn.seq.wrapping_add(1);
        let answer = Next { seq: FIRST_SEQ, ack: rcv_nxt, flags: SYN | ACK, payload: &[], payload_sum: 0 };
        self.tap.write(headers.make(answer), &[])?;
        let first = FIRST_SEQ.wrapping_add(1);
        let connection = Connection {
            headers,
            service,
            snd_una: first,
            snd_nxt: first,
            rcv_nxt,
            // The handshake's last ACK opens the window.
            window_end: first,
            window_scale: syn.window_scale.unwrap_or(0),
            owes_ack: false,
        };
        self.connections.insert(syn.client_port, connection);
        self.choose_blocking()
    }

    /// Chooses whether reads block. In bulk transfers there is work between two frames; otherwise
    /// two system calls per frame are the least.
    fn choose_blocking(&mut self) -> io::Result<()> {
        let is_bulk = self.connections.values().any(|connection| connection.service.is_bulk());
        self.tap.set_blocking(!is_bulk)
    }

    fn on_segment(&mut self, segment: Segment) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(&segment.client_port) else { return Ok(()) };
        if segment.flags & RST != 0 {
            self.connections.remove(&segment.client_port);
            return self.choose_blocking();
        }
        let is_news = (segment.ack.wrapping_sub(connection.snd_una) as i32) >= 0;
        if is_news {
            connection.snd_una = segment.ack;
            connection.window_end =
                segment.ack.wrapping_add(u32::from(segment.window) << connection.window_scale);
            if (connection.snd_nxt.wrapping_sub(segment.ack) as i32) < 0 {
                // The pump went back, but the data that it had sent arrived nevertheless.
                connection.snd_nxt = segment.ack;
            }
        }
        let is_next = segment.seq == connection.rcv_nxt;
        if is_next {
            connection.rcv_nxt = connection.rcv_nxt.wrapping_add(segment.payload_len as u32);
        }
        if segment.flags & FIN != 0 && is_next {
            connection.rcv_nxt = connection.rcv_nxt.wrapping_add(1);
            let (seq, ack) = (connection.snd_nxt, connection.rcv_nxt);
            let answer = Next { seq, ack, flags: FIN | ACK, payload: &[], payload_sum: 0 };
            self.tap.write(connection.headers.make(answer), &[])?;
            self.connections.remove(&segment.client_port);
            return self.choose_blocking();
        }
        if segment.payload_len == 0 {
            return Ok(());
        }
        if !connection.service.echoes() || !is_next {
            connection.owes_ack = true;
            return Ok(());
        }
        let payload = &self.buffer[segment.payload_at..segment.payload_at + segment.payload_len];
        let (seq, ack) = (connection.snd_nxt, connection.rcv_nxt);
        connection.snd_nxt = seq.wrapping_add(payload.len() as u32);
        let payload_sum = segment::sum(payload);
        let answer = Next { seq, ack, flags: PSH | ACK, payload, payload_sum };
        self.tap.write(connection.headers.make(answer), payload)
    }

    fn acknowledge(&mut self) -> io::Result<()> {
        for connection in self.connections.values_mut().filter(|connection| connection.owes_ack) {
            connection.owes_ack = false;
            let (seq, ack) = (connection.snd_nxt, connection.rcv_nxt);
            let answer = Next { seq, ack, flags: ACK, payload: &[], payload_sum: 0 };
            self.tap.write(connection.headers.make(answer), &[])?;
        }
        Ok(())
    }

    /// Writes what the windows allow, and returns the number of frames.
    fn write_bulk(&mut self) -> io::Result<usize> {
        let segments_at_once = if self.tap.vnet_len > 0 { MAX_SEGMENTS } else { 1 };
        let in_a_row = WRITES_IN_A_ROW * MAX_SEGMENTS / segments_at_once;
        let mut written = 0;
        for connection in self.connections.values_mut() {
            if connection.service != Service::Chargen {
                continue;
            }
            for _ in 0..in_a_row {
                let room = connection.window_end.wrapping_sub(connection.snd_nxt) as i32;
                let segments = (room.max(0) as usize / MSS).min(segments_at_once);
                if segments == 0 {
                    break;
                }
                let payload = &self.payload[..segments * MSS];
                let (seq, ack) = (connection.snd_nxt, connection.rcv_nxt);
                let next = Next { seq, ack, flags: ACK, payload, payload_sum: self.segment_sum };
                self.tap.write(connection.headers.make(next), payload)?;
                connection.snd_nxt = seq.wrapping_add(payload.len() as u32);
                written += 1;
            }
        }
        Ok(written)
    }
}
