//! One connection, and a peer whose segments the test writes by hand.

use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::bench::{Host, flatten, over_the_wire};
use crate::Ctx;
use crate::drop_reason::DropReason;
use crate::tcp::{Connection, Flags, Header, OpenParams, Options, SackBlocks, SeqNumber, State, Timestamps};
use crate::time::Instant;

/// Our ISN.
pub(super) const ISS: SeqNumber = SeqNumber(0xffff_ff00);
/// The peer's ISN.
pub(super) const IRS: SeqNumber = SeqNumber(0x7fff_fff0);

/// A segment that the connection sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) at: Instant,
    pub(super) header: Header,
    pub(super) data: Bytes,
}

impl Sent {
    /// The names of its flags, without PSH: `FIN,ACK`.
    pub(super) fn flags(&self) -> alloc::string::String {
        let names = [(Flags::SYN, "SYN"), (Flags::FIN, "FIN"), (Flags::RST, "RST"), (Flags::ACK, "ACK")];
        let set: Vec<&str> = names
            .iter()
            .filter(|(flag, _)| self.header.flags.contains(*flag))
            .map(|&(_, name)| name)
            .collect();
        set.join(",")
    }

    /// Whether it is an acknowledgement and nothing else.
    pub(super) fn is_pure_ack(&self) -> bool {
        self.header.flags == Flags::ACK && self.data.is_empty()
    }
}

/// The options and the window of the peer's SYN.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) mss: Option<u16>,
    pub(super) scale: Option<u8>,
    pub(super) sack: bool,
    pub(super) timestamps: bool,
    pub(super) window: u16,
}

impl Offer {
    /// All options, and a window of 64 KiB without scaling, which keeps the numbers in the tests
    /// readable.
    pub(super) fn all() -> Offer {
        Offer { mss: Some(1000), scale: Some(0), sack: true, timestamps: true, window: 65_535 }
    }

    /// No options except the MSS, for segments of 1,000 bytes.
    pub(super) fn plain() -> Offer {
        Offer { mss: Some(1000), scale: None, sack: false, timestamps: false, window: 65_535 }
    }
}

pub(super) struct Peer {
    pub(super) host: Host,
    pub(super) connection: Connection,
    /// The peer's SND.NXT and RCV.NXT, which its next segment carries by default.
    pub(super) seq: SeqNumber,
    pub(super) ack: SeqNumber,
    pub(super) window: u16,
    /// The timestamp to echo, once negotiated.
    echo: Option<u32>,
}

impl Peer {
    /// A connection in SYN-SENT that has sent its SYN.
    pub(super) fn syn_sent(configure: impl FnOnce(&mut Host, &mut OpenParams)) -> Peer {
        let mut host = Host::new();
        let mut params = host.params(ISS.0);
        configure(&mut host, &mut params);
        let connection = Connection::connect(&mut host.ctx(), params);
        let mut peer = Peer { host, connection, seq: IRS, ack: ISS + 1, window: 65_535, echo: None };
        let sent = peer.drain();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].flags(), "SYN");
        peer
    }

    /// A connection in ESTABLISHED with a peer that offers all options.
    pub(super) fn established() -> Peer {
        Peer::established_with(Offer::all(), |_, _| {})
    }

    /// A connection in ESTABLISHED with a peer that offers only the MSS: full segments are 1,000
    /// bytes.
    pub(super) fn plain() -> Peer {
        Peer::established_with(Offer::plain(), |_, _| {})
    }

    pub(super) fn established_with(offer: Offer, configure: impl FnOnce(&mut Host, &mut OpenParams)) -> Peer {
        let mut peer = Peer::syn_sent(configure);
        peer.host.now += Duration::from_millis(10);
        let header = peer.syn(&offer, Flags::SYN_ACK);
        peer.seq = IRS + 1;
        peer.window = offer.window;
        let sent = peer.deliver(header, &[]);
        assert_eq!(sent.len(), 1, "{sent:?}");
        assert!(sent[0].is_pure_ack());
        assert_eq!(peer.connection.state(), State::Established);
        peer
    }

    /// The peer's SYN or SYN-ACK.
    pub(super) fn syn(&mut self, offer: &Offer, flags: Flags) -> Header {
        self.echo = offer.timestamps.then_some(self.echo.unwrap_or(0));
        Header {
            seq: IRS,
            ack: if flags.contains(Flags::ACK) { self.ack } else { SeqNumber(0) },
            flags,
            window: offer.window,
            options: Options {
                mss: offer.mss,
                window_scale: offer.scale,
                sack_permitted: offer.sack,
                timestamps: self.timestamps(),
                ..Options::default()
            },
            ..Header::default()
        }
    }

    fn timestamps(&self) -> Option<Timestamps> {
        self.echo.map(|echo| Timestamps { value: self.clock(), echo })
    }

    /// The peer's timestamp clock.
    pub(super) fn clock(&self) -> u32 {
        0x8000_0000u32.wrapping_add(self.host.now.as_millis() as u32)
    }

    /// The peer's next header with these flags.
    pub(super) fn header(&self, flags: Flags) -> Header {
        Header {
            seq: self.seq,
            ack: if flags.contains(Flags::ACK) { self.ack } else { SeqNumber(0) },
            flags,
            window: self.window,
            options: Options { timestamps: self.timestamps(), ..Options::default() },
            ..Header::default()
        }
    }

    /// Delivers a segment, and returns what the connection sends then.
    pub(super) fn deliver(&mut self, header: Header, data: &[u8]) -> Vec<Sent> {
        let drops = self.host.stats.all_drops();
        let header = over_the_wire(&header);
        let data = Bytes::copy_from_slice(data);
        self.connection.handle_segment(&mut self.host.ctx(), &header, data);
        assert!(self.host.stats.all_drops() <= drops + 1, "a drop is counted once: {:?}", self.host.stats);
        self.drain()
    }

    /// Like `deliver`, and checks that a drop for this reason is counted.
    pub(super) fn deliver_dropped(&mut self, header: Header, data: &[u8], reason: DropReason) -> Vec<Sent> {
        let drops = self.host.stats.drops(reason);
        let sent = self.deliver(header, data);
        assert_eq!(self.host.stats.drops(reason), drops + 1, "{reason:?}: {:?}", self.host.stats);
        sent
    }

    /// Delivers the next in-order data.
    pub(super) fn data(&mut self, data: &[u8]) -> Vec<Sent> {
        let header = self.header(Flags::PSH_ACK);
        self.seq += data.len() as u32;
        self.deliver(header, data)
    }

    /// Delivers data at an offset after RCV.NXT.
    pub(super) fn data_at(&mut self, offset: u32, data: &[u8]) -> Vec<Sent> {
        let header = Header { seq: self.seq + offset, ..self.header(Flags::ACK) };
        self.deliver(header, data)
    }

    /// Delivers the peer's FIN.
    pub(super) fn fin(&mut self) -> Vec<Sent> {
        let header = self.header(Flags::FIN.with(Flags::ACK));
        self.seq += 1;
        self.deliver(header, &[])
    }

    /// Delivers a pure acknowledgement of everything before `ISS + 1 + bytes`.
    pub(super) fn ack_bytes(&mut self, bytes: u32) -> Vec<Sent> {
        self.ack = ISS + 1 + bytes;
        let header = self.header(Flags::ACK);
        self.deliver(header, &[])
    }

    /// Like `ack_bytes`, with SACK blocks.
    pub(super) fn sack_bytes(&mut self, bytes: u32, blocks: &[(u32, u32)]) -> Vec<Sent> {
        self.ack = ISS + 1 + bytes;
        let mut header = self.header(Flags::ACK);
        header.options.sack =
            blocks.iter().map(|&(left, right)| (ISS + 1 + left, ISS + 1 + right)).collect::<SackBlocks>();
        self.deliver(header, &[])
    }

    /// Everything that the connection has to send now.
    pub(super) fn drain(&mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        let at = self.host.now;
        let is_quiet = self.connection.is_quiet();
        while let Some(run) = self.connection.poll_transmit(&mut self.host.ctx()) {
            for (header, payload) in run {
                let header = over_the_wire(&header);
                if let Some(timestamps) = header.options.timestamps
                    && self.echo.is_some()
                {
                    self.echo = Some(timestamps.value);
                }
                all.push(Sent { at, header, data: flatten(&payload) });
                assert!(all.len() < 10_000, "no end: {:?}", all.last());
            }
        }
        assert!(!is_quiet || all.is_empty(), "it said that there was nothing to send: {all:?}");
        all
    }

    /// A call of the program, and what is sent after it.
    pub(super) fn call<T>(
        &mut self,
        call: impl FnOnce(&mut Connection, &mut Ctx<'_>) -> T,
    ) -> (T, Vec<Sent>) {
        let result = call(&mut self.connection, &mut self.host.ctx());
        (result, self.drain())
    }

    pub(super) fn send(&mut self, data: &[u8]) -> Vec<Sent> {
        let (taken, sent) = self.call(|connection, ctx| connection.send(ctx, data));
        assert_eq!(taken, Ok(data.len()));
        sent
    }

    pub(super) fn shutdown(&mut self) -> Vec<Sent> {
        let (result, sent) = self.call(|connection, ctx| connection.shutdown_write(ctx));
        assert_eq!(result, Ok(()));
        sent
    }

    pub(super) fn close(&mut self) -> Vec<Sent> {
        self.call(|connection, ctx| connection.close(ctx)).1
    }

    pub(super) fn recv(&mut self, len: usize) -> Vec<u8> {
        let mut buf = alloc::vec![0; len];
        let (len, _) = self.call(|connection, ctx| connection.recv(ctx, &mut buf));
        buf.truncate(len.expect("something to read"));
        buf
    }

    /// Lets time pass, and returns what is sent meanwhile.
    pub(super) fn wait(&mut self, duration: Duration) -> Vec<Sent> {
        let end = self.host.now + duration;
        let mut all = Vec::new();
        while let Some((at, _)) = self.connection.poll_timeout()
            && at <= end
        {
            self.host.now = self.host.now.max(at);
            self.connection.handle_timeout(&mut self.host.ctx());
            all.extend(self.drain());
        }
        self.host.now = end;
        all
    }

    pub(super) fn wait_millis(&mut self, millis: u64) -> Vec<Sent> {
        self.wait(Duration::from_millis(millis))
    }

    /// Lets time pass until something is sent.
    pub(super) fn wait_for_segment(&mut self) -> Sent {
        loop {
            let (at, _) = self.connection.poll_timeout().expect("a timer that will send something");
            let sent = self.wait(at - self.host.now);
            if let Some(first) = sent.into_iter().next() {
                return first;
            }
        }
    }

    /// The offset of our segment's data from the first byte.
    pub(super) fn offset(sent: &Sent) -> u32 {
        sent.header.seq - (ISS + 1)
    }
}
