//! The state of a connection of the script's peer, which converts notation into segments and
//! compares segments with notation.

use std::collections::BTreeMap;

use portolan::Domain;
use portolan::testing::TcpSegment;

use super::segment::{
    Cookie, FlowNotation, Mss, Notation, Options, Stamp, WindowNotation, describe, ecn_name, flag_names,
    kind_names, signed,
};

use crate::by_family;
use crate::raw_peer::{flow_label, must_not_be_fragmented, traffic_class};

const TS: u8 = 8;
/// How much a timestamp may be off in real time, in milliseconds, which is Linux's unit.
const STAMP_SLACK: u32 = 100;

/// Values from the stack's segments to which scripts have given names.
#[derive(Debug, Default)]
pub(super) struct Names {
    stamps: BTreeMap<String, u32>,
    /// The names of Fast Open cookies.
    cookies: BTreeMap<String, Vec<u8>>,
    flows: BTreeMap<String, u32>,
}

/// A segment of the stack.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) at: portolan::Instant,
    pub(super) segment: TcpSegment,
    pub(super) ecn: u8,
    /// The whole TOS or traffic class.
    pub(super) tos: u8,
    dont_fragment: bool,
    flow_label: Option<u32>,
}

impl Seen {
    /// The segment that came in this IP packet.
    pub(super) fn new(at: portolan::Instant, packet: &[u8], segment: TcpSegment) -> Seen {
        Seen {
            at,
            segment,
            ecn: traffic_class(packet) & 3,
            tos: traffic_class(packet),
            dont_fragment: must_not_be_fragmented(packet),
            flow_label: flow_label(packet),
        }
    }
}

/// One end's offers and initial sequence number.
#[derive(Clone, Copy, Debug, Default)]
struct Offer {
    isn: Option<u32>,
    scale: Option<u8>,
    timestamps: bool,
}

#[derive(Debug)]
pub(super) struct Connection {
    domain: Domain,
    pub(super) peer_port: u16,
    pub(super) stack_port: u16,
    peer: Offer,
    stack: Offer,
    /// The peer's next sequence number, relative.
    snd_nxt: u32,
    /// The ranges of the stack's stream that the peer has received, relative; the first ends at its
    /// RCV.NXT.
    received: Vec<(u32, u32)>,
    last_ack_sent: u32,
    ts_recent: u32,
    /// The window in bytes.
    window: u32,
}

impl Connection {
    pub(super) fn new(domain: Domain, peer_port: u16, stack_port: u16, peer_isn: u32) -> Connection {
        Connection {
            domain,
            peer_port,
            stack_port,
            peer: Offer { isn: Some(peer_isn), ..Offer::default() },
            stack: Offer::default(),
            snd_nxt: 0,
            received: Vec::new(),
            last_ack_sent: 0,
            ts_recent: 0,
            window: u32::from(u16::MAX),
        }
    }

    /// Sets the size of the peer's windows from here on.
    pub(super) fn set_window(&mut self, bytes: u32) {
        self.window = bytes;
    }

    fn is_scaled(&self) -> bool {
        self.peer.scale.is_some() && self.stack.scale.is_some()
    }

    fn has_timestamps(&self) -> bool {
        self.peer.timestamps && self.stack.timestamps
    }

    pub(super) fn peer_isn(&self) -> u32 {
        self.peer.isn.unwrap_or(0)
    }

    pub(super) fn stack_isn(&self) -> u32 {
        self.stack.isn.unwrap_or(0)
    }

    fn rcv_nxt(&self) -> u32 {
        self.received.first().map_or(0, |&(_, to)| to)
    }

    /// Builds the segment that the peer sends. `clock` is its timestamp clock.
    pub(super) fn build(
        &mut self,
        notation: &Notation,
        clock: u32,
        names: &Names,
    ) -> Result<TcpSegment, String> {
        let flags = notation.flags.unwrap_or(TcpSegment::ACK);
        let is_syn = flags & TcpSegment::SYN != 0;
        let seq = notation.seq.unwrap_or(if is_syn { 0 } else { self.snd_nxt });
        let len = notation.len.unwrap_or(0);
        let acks = flags & TcpSegment::ACK != 0;
        let ack = notation.ack.or(acks.then(|| self.rcv_nxt()));
        if is_syn && self.snd_nxt == 0 {
            self.peer.scale = notation.scale;
            self.peer.timestamps = notation.timestamp.is_some();
        }
        let options = self.options(notation, is_syn, clock, names)?;
        let mut segment = TcpSegment {
            seq: self.peer_isn().wrapping_add(seq),
            ack: ack.map_or(0, |ack| self.stack_isn().wrapping_add(ack)),
            flags,
            window: self.window_field(notation, is_syn)?,
            urgent: notation.urgent.unwrap_or(0),
            options: options.write(),
            payload: Vec::new(),
            ..TcpSegment::new(self.peer_port, self.stack_port)
        };
        segment.options.extend_from_slice(&notation.raw_options);
        let data_at = seq.wrapping_add(u32::from(is_syn));
        segment.payload = (0..len)
            .map(|at| if notation.junk { 0xee } else { peer_byte(data_at.wrapping_add(at)) })
            .collect();
        let takes = len + u32::from(is_syn) + u32::from(flags & TcpSegment::FIN != 0);
        let end = seq.wrapping_add(takes);
        if takes > 0 && (end.wrapping_sub(self.snd_nxt) as i32) > 0 {
            self.snd_nxt = end;
        }
        if let Some(ack) = ack.filter(|&ack| acks && ack <= self.rcv_nxt()) {
            self.last_ack_sent = self.last_ack_sent.max(ack);
        }
        Ok(segment)
    }

    fn options(
        &self,
        notation: &Notation,
        is_syn: bool,
        clock: u32,
        names: &Names,
    ) -> Result<Options, String> {
        let due = self.has_timestamps() && !is_syn && !notation.without.contains(&TS);
        let stamp = |stamp: &Stamp| match stamp {
            Stamp::Number(number) => Ok(*number),
            Stamp::Named(name, distance) => names
                .stamps
                .get(name)
                .map(|value| value.wrapping_add(*distance as u32))
                .ok_or_else(|| format!("no segment of the stack was called ${name}")),
        };
        let timestamps = if notation.timestamp.is_some() || due || notation.echo.is_some() {
            let value = notation.timestamp.clone().flatten().as_ref().map_or(Ok(clock), stamp)?;
            let echo = notation.echo.as_ref().map_or(Ok(self.ts_recent), stamp)?;
            Some((value, echo))
        } else {
            None
        };
        let cookie = match &notation.cookie {
            None => None,
            Some(Cookie::Bytes(bytes)) => Some(bytes.clone()),
            Some(Cookie::Named(name)) => {
                let cookie = names.cookies.get(name);
                Some(cookie.cloned().ok_or_else(|| format!("no cookie of the stack was called ${name}"))?)
            }
        };
        let absolute = |&(from, to): &(u32, u32)| {
            (self.stack_isn().wrapping_add(from), self.stack_isn().wrapping_add(to))
        };
        Ok(Options {
            mss: notation.mss.map(|mss| self.mss(mss)),
            scale: notation.scale,
            sack_permitted: notation.sack_permitted,
            timestamps,
            sack: notation.sack.iter().map(absolute).collect(),
            cookie,
            experimental: notation.experimental,
            ..Options::default()
        })
    }

    fn mss(&self, mss: Mss) -> u16 {
        match mss {
            Mss::Bytes(bytes) => bytes,
            Mss::Link => by_family(self.domain, 1460, 1440),
        }
    }

    fn window_field(&mut self, notation: &Notation, is_syn: bool) -> Result<u16, String> {
        if let Some(WindowNotation::Field(field)) = notation.window {
            return Ok(field);
        }
        let shift = if self.is_scaled() && !is_syn { self.peer.scale.unwrap_or(0).min(14) } else { 0 };
        let Some(WindowNotation::Bytes(bytes)) = notation.window else {
            return Ok((self.window >> shift).min(u32::from(u16::MAX)) as u16);
        };
        self.window = bytes;
        u16::try_from(bytes >> shift).map_err(|_| format!("a window of {bytes} needs window scaling"))
    }

    /// Learns from a SYN of the stack what its numbers are relative to. Called before the segment
    /// is compared.
    pub(super) fn on_seen(&mut self, segment: &TcpSegment) {
        if segment.flags & TcpSegment::SYN == 0 || self.stack.isn == Some(segment.seq) {
            return;
        }
        let options = Options::read(&segment.options);
        self.stack =
            Offer { isn: Some(segment.seq), scale: options.scale, timestamps: options.timestamps.is_some() };
        self.received.clear();
        self.last_ack_sent = 0;
    }

    /// Handles a segment that the peer receives.
    pub(super) fn on_received(&mut self, segment: &TcpSegment) {
        let seq = segment.seq.wrapping_sub(self.stack_isn());
        let syn_or_fin = (segment.flags & (TcpSegment::SYN | TcpSegment::FIN)).count_ones();
        let len = segment.payload.len() as u32 + syn_or_fin;
        if let Some((value, _)) = Options::read(&segment.options).timestamps
            && seq <= self.last_ack_sent
        {
            self.ts_recent = value;
        }
        if len == 0 || segment.flags & TcpSegment::RST != 0 {
            return;
        }
        self.received.push((seq, seq.wrapping_add(len)));
        self.received.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::new();
        for &(from, to) in &self.received {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        self.received = merged;
    }

    /// The segment in the notation.
    pub(super) fn tell(&self, seen: &Seen) -> String {
        let shift = match (self.is_scaled(), seen.segment.flags & TcpSegment::SYN) {
            (true, 0) => self.stack.scale.unwrap_or(0).min(14),
            _ => 0,
        };
        describe(&seen.segment, seen.ecn, self.stack_isn(), self.peer_isn(), shift)
    }

    /// Like [`tell`](Connection::tell), for a segment of the peer.
    pub(super) fn tell_sent(&self, segment: &TcpSegment, ecn: u8) -> String {
        let shift = match (self.is_scaled(), segment.flags & TcpSegment::SYN) {
            (true, 0) => self.peer.scale.unwrap_or(0).min(14),
            _ => 0,
        };
        describe(segment, ecn, self.peer_isn(), self.stack_isn(), shift)
    }

    /// The differences between a segment and its notation. New names get their values. In real time
    /// a timestamp that is compared with a name may be off.
    pub(super) fn differences(
        &self,
        wanted: &Notation,
        seen: &Seen,
        names: &mut Names,
        real_time: bool,
    ) -> Vec<String> {
        let mut found = Vec::new();
        let segment = &seen.segment;
        let options = Options::read(&segment.options);
        self.compare_header(wanted, seen, &mut found);
        let mut compare = |what: &str, wanted: Option<String>, got: String| {
            if let Some(wanted) = wanted
                && wanted != got
            {
                found.push(format!("{what} {wanted}, not {got}"));
            }
        };
        let or_none = |value: Option<u16>| value.map_or("none".to_string(), |value| value.to_string());
        compare("mss", wanted.mss.map(|mss| self.mss(mss).to_string()), or_none(options.mss));
        compare("wscale", wanted.scale.map(|scale| scale.to_string()), or_none(options.scale.map(u16::from)));
        compare("sackOK", wanted.sack_permitted.then(|| "true".into()), options.sack_permitted.to_string());
        compare("options", wanted.order.as_deref().map(kind_names), kind_names(&options.kinds));
        let blocks = |list: &[(u32, u32)]| {
            list.iter().map(|(from, to)| format!("{}..{}", signed(*from), signed(*to))).collect::<Vec<_>>()
        };
        let got: Vec<(u32, u32)> = options
            .sack
            .iter()
            .map(|(from, to)| (from.wrapping_sub(self.peer_isn()), to.wrapping_sub(self.peer_isn())))
            .collect();
        let or_no = |list: Vec<String>| if list.is_empty() { "none".to_string() } else { list.join(" ") };
        compare("sack", Some(or_no(blocks(&wanted.sack))), or_no(blocks(&got)));
        for kind in wanted.without.iter().filter(|&kind| options.kinds.contains(kind)) {
            found.push(format!("no option {}, but there is one", kind_names(&[*kind])));
        }
        if let Some(FlowNotation { name, differs }) = &wanted.flow {
            let got = seen.flow_label.unwrap_or(0);
            let known = *names.flows.entry(name.clone()).or_insert(got);
            if got == 0 || (known == got) == *differs {
                let which = if *differs { "another flow label than" } else { "flow label" };
                found.push(format!("{which} {known:05x}, not {got:05x}"));
            }
        }
        if let Some(cookie) = &wanted.cookie {
            let got = options.cookie.as_ref();
            let is_right = match (cookie, got) {
                (_, None) => false,
                _ if wanted.experimental != options.experimental => false,
                (Cookie::Bytes(bytes), Some(got)) => bytes == got,
                (Cookie::Named(name), Some(got)) => {
                    !got.is_empty() && names.cookies.entry(name.clone()).or_insert(got.clone()) == got
                }
            };
            if !is_right {
                let wanted = if wanted.experimental { "expfastopen" } else { "fastopen" };
                found.push(format!("{wanted} {cookie:?}, not {got:02x?}"));
            }
        }
        let slack = if real_time { STAMP_SLACK } else { 0 };
        self.compare_timestamps(wanted, &options, segment.flags, names, slack, &mut found);
        found
    }

    fn compare_header(&self, wanted: &Notation, seen: &Seen, found: &mut Vec<String>) {
        let segment = &seen.segment;
        match wanted.flags {
            Some(flags) if flags != segment.flags => {
                found.push(format!("{}, not {}", flag_names(flags), flag_names(segment.flags)));
            }
            None if segment.flags & !TcpSegment::PSH != TcpSegment::ACK => {
                found.push(format!("ACK, with PSH or not, not {}", flag_names(segment.flags)));
            }
            _ => {}
        }
        let mut compare = |what: &str, wanted: Option<u32>, got: u32| {
            if let Some(wanted) = wanted
                && wanted != got
            {
                found.push(format!("{what} {}, not {}", signed(wanted), signed(got)));
            }
        };
        let seq = segment.seq.wrapping_sub(self.stack_isn());
        compare("seq", wanted.seq, seq);
        compare("len", Some(wanted.len.unwrap_or(0)), segment.payload.len() as u32);
        compare("ack", wanted.ack, segment.ack.wrapping_sub(self.peer_isn()));
        compare("urgent", wanted.urgent.map(u32::from), u32::from(segment.urgent));
        match wanted.window {
            Some(WindowNotation::Field(field)) => {
                compare("rawwin", Some(u32::from(field)), u32::from(segment.window));
            }
            Some(WindowNotation::Bytes(bytes)) => {
                let is_syn = segment.flags & TcpSegment::SYN != 0;
                let shift =
                    if self.is_scaled() && !is_syn { self.stack.scale.unwrap_or(0).min(14) } else { 0 };
                compare("win", Some(bytes), u32::from(segment.window) << shift);
            }
            None => {}
        }
        if wanted.dont_fragment.is_some_and(|wanted| wanted != seen.dont_fragment) {
            found.push(format!(
                "a packet that {}",
                if seen.dont_fragment { "may be fragmented" } else { "must not be fragmented" }
            ));
        }
        if let Some(ecn) = wanted.ecn.filter(|&ecn| ecn != seen.ecn) {
            found.push(format!("{}, not {}", ecn_name(ecn), ecn_name(seen.ecn)));
        }
        if let Some(tos) = wanted.tos.filter(|&tos| tos != seen.tos) {
            found.push(format!("tos {tos:#04x}, not {:#04x}", seen.tos));
        }
        let data_at = seq.wrapping_add(u32::from(segment.flags & TcpSegment::SYN != 0));
        let wrong =
            (0u32..).zip(&segment.payload).find(|&(at, byte)| *byte != stack_byte(data_at.wrapping_add(at)));
        if let Some((at, _)) = wrong {
            found.push(format!("the stream's bytes, but byte {} is another one", data_at.wrapping_add(at)));
        }
    }

    fn compare_timestamps(
        &self,
        wanted: &Notation,
        options: &Options,
        flags: u8,
        names: &mut Names,
        slack: u32,
        found: &mut Vec<String>,
    ) {
        let due = self.has_timestamps() && flags & TcpSegment::RST == 0 && !wanted.without.contains(&TS);
        let Some((value, echo)) = options.timestamps else {
            if due || wanted.timestamp.is_some() || wanted.echo.is_some() {
                found.push("a timestamp, but there is none".into());
            }
            return;
        };
        let stamps = [("ts", wanted.timestamp.clone().flatten(), value), ("echo", wanted.echo.clone(), echo)];
        for (what, stamp, got) in stamps {
            let wanted = match stamp {
                None => continue,
                Some(Stamp::Number(number)) => number,
                Some(Stamp::Named(name, distance)) => {
                    let distance = distance as u32;
                    names.stamps.entry(name).or_insert(got.wrapping_sub(distance)).wrapping_add(distance)
                }
            };
            let off = (got.wrapping_sub(wanted) as i32).unsigned_abs();
            if off > if what == "ts" { slack } else { 0 } {
                found.push(format!("{what} {wanted}, not {got}"));
            }
        }
    }
}

/// The peer's stream: the byte at this relative number.
pub(super) fn peer_byte(seq: u32) -> u8 {
    (seq.wrapping_mul(0x9e37_79b1) >> 24) as u8
}

/// The stream that the program sends.
pub(super) fn stack_byte(seq: u32) -> u8 {
    (seq.wrapping_mul(0x85eb_ca77) >> 24) as u8
}
