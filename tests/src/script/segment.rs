//! The notation of a segment:
//! `ACK PSH seq 1..1001 ack 1 win 65535 ts 1010 echo $first sack 2001..3001`.

use std::fmt::Write as _;

use portolan::testing::TcpSegment;

use super::syntax::Words;

/// ECN's bits in the TCP header (RFC 3168 §6.1).
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

/// The flags by name, in the order in which they are written.
const FLAGS: [(&str, u8); 8] = [
    ("SYN", TcpSegment::SYN),
    ("FIN", TcpSegment::FIN),
    ("RST", TcpSegment::RST),
    ("ACK", TcpSegment::ACK),
    ("PSH", TcpSegment::PSH),
    ("URG", TcpSegment::URG),
    ("ECE", ECE),
    ("CWR", CWR),
];

/// The ECN field of the IP header (RFC 3168 §5).
const ECN: [(&str, u8); 4] = [("not-ect", 0), ("ect1", 1), ("ect0", 2), ("ce", 3)];

/// The kinds of options that have names.
const KINDS: [(&str, u8); 8] = [
    ("nop", 1),
    ("mss", 2),
    ("wscale", 3),
    ("sackOK", 4),
    ("sack", 5),
    ("ts", 8),
    ("fastopen", 34),
    ("expfastopen", 254),
];

/// A segment in a script. What is not written has its expected value (in a segment of the peer) or
/// is not compared (in one of the stack).
#[derive(Clone, Debug, Default)]
pub(super) struct Notation {
    pub(super) flags: Option<u8>,
    pub(super) seq: Option<u32>,
    pub(super) len: Option<u32>,
    /// The size of the segments in which the range is sent.
    pub(super) each: Option<u32>,
    pub(super) ack: Option<u32>,
    pub(super) window: Option<WindowNotation>,
    pub(super) urgent: Option<u16>,
    pub(super) mss: Option<Mss>,
    pub(super) scale: Option<u8>,
    pub(super) sack_permitted: bool,
    /// `ts` alone, or with a value.
    pub(super) timestamp: Option<Option<Stamp>>,
    pub(super) echo: Option<Stamp>,
    pub(super) sack: Vec<(u32, u32)>,
    pub(super) cookie: Option<Cookie>,
    /// Whether the cookie is in the experimental option.
    pub(super) experimental: bool,
    /// Options as bytes.
    pub(super) raw_options: Vec<u8>,
    /// Kinds of options that must be absent.
    pub(super) without: Vec<u8>,
    /// The kinds in order.
    pub(super) order: Option<Vec<u8>>,
    pub(super) ecn: Option<u8>,
    /// The whole TOS or traffic class.
    pub(super) tos: Option<u8>,
    /// Over IPv4: whether routers must not fragment it.
    pub(super) dont_fragment: Option<bool>,
    pub(super) flow: Option<FlowNotation>,
    /// Whether the network loses it: the peer does not receive it.
    pub(super) lost: bool,
    /// Whether its data differs from the stream.
    pub(super) junk: bool,
    pub(super) bad_checksum: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum WindowNotation {
    /// In bytes, scaled if the handshake agreed on scaling.
    Bytes(u32),
    /// The value of the field.
    Field(u16),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Mss {
    Bytes(u16),
    /// The MSS of the link: 1,460 over IPv4, 1,440 over IPv6.
    Link,
}

/// An IPv6 flow label by name.
#[derive(Clone, Debug)]
pub(super) struct FlowNotation {
    pub(super) name: String,
    /// Whether it must be another label.
    pub(super) differs: bool,
}

/// A Fast Open cookie; an empty one requests a cookie.
#[derive(Clone, Debug)]
pub(super) enum Cookie {
    Named(String),
    Bytes(Vec<u8>),
}

/// A timestamp: a number, or the name of one that the stack sent, and a distance from it.
#[derive(Clone, Debug)]
pub(super) enum Stamp {
    Number(u32),
    Named(String, i64),
}

/// Parses the rest of a line as a segment.
pub(super) fn parse(words: &mut Words<'_>) -> Result<Notation, String> {
    let mut it = Notation::default();
    while let Some(word) = words.next() {
        if let Some(&(_, bit)) = FLAGS.iter().find(|(name, _)| *name == word) {
            it.flags = Some(it.flags.unwrap_or(0) | bit);
        } else if let Some(&(_, codepoint)) = ECN.iter().find(|(name, _)| *name == word) {
            it.ecn = Some(codepoint);
        } else {
            parse_field(&mut it, word, words)?;
        }
    }
    if it.each.is_some() && it.len.is_none() {
        return Err("`each` goes with a stretch: seq 1..10001 each 1000".into());
    }
    Ok(it)
}

fn parse_field(it: &mut Notation, word: &str, words: &mut Words<'_>) -> Result<(), String> {
    match word {
        "seq" => {
            let text = words.value("seq")?;
            if let Some((from, to)) = range(text)? {
                it.len = Some(to.wrapping_sub(from));
                it.seq = Some(from);
            } else {
                it.seq = Some(number(text)?);
            }
        }
        "len" => it.len = Some(number(words.value("len")?)?),
        "each" => it.each = Some(number(words.value("each")?)?).filter(|&size| size > 0),
        "ack" => it.ack = Some(number(words.value("ack")?)?),
        "win" => it.window = Some(WindowNotation::Bytes(number(words.value("win")?)?)),
        "rawwin" => it.window = Some(WindowNotation::Field(small(words.value("rawwin")?)?)),
        "urgent" => it.urgent = Some(small(words.value("urgent")?)?),
        "mss" => {
            it.mss = Some(match words.value("mss")? {
                "link" => Mss::Link,
                text => Mss::Bytes(small(text)?),
            });
        }
        "wscale" => it.scale = Some(small(words.value("wscale")?)?),
        "sackOK" => it.sack_permitted = true,
        "ts" => {
            let value =
                words.next_if(|word| word.starts_with(['$', '-']) || word.starts_with(char::is_numeric));
            it.timestamp = Some(value.map(stamp).transpose()?);
        }
        "echo" => it.echo = Some(stamp(words.value("echo")?)?),
        "sack" => {
            while let Some(text) = words.next_if(|word| word.contains("..")) {
                it.sack.extend(range(text)?);
            }
            if it.sack.is_empty() {
                return Err("`sack` needs stretches: sack 2001..3001".into());
            }
        }
        "fastopen" | "expfastopen" => {
            it.experimental = word == "expfastopen";
            let is_cookie = |word: &str| word.starts_with('$') || (word.len() >= 8 && hex(word).is_ok());
            it.cookie = Some(match words.next_if(is_cookie) {
                None => Cookie::Bytes(Vec::new()),
                Some(word) => match word.strip_prefix('$') {
                    Some(name) => Cookie::Named(name.into()),
                    None => Cookie::Bytes(hex(word)?),
                },
            });
        }
        "tos" => {
            it.tos = Some(tos(words.value("tos")?)?);
        }
        "raw" => it.raw_options = hex(words.value("raw")?)?,
        "no" => it.without.push(kind(words.value("no")?)?),
        "options" => {
            let list = words.value("options")?;
            let kinds = if list == "none" { Ok(Vec::new()) } else { list.split(',').map(kind).collect() };
            it.order = Some(kinds?);
        }
        "df" => it.dont_fragment = Some(true),
        "may-fragment" => it.dont_fragment = Some(false),
        "flow" => {
            let differs = words.next_if(|word| word == "not").is_some();
            let name = words.value("flow")?.strip_prefix('$').ok_or("`flow` needs a name: flow $a")?.into();
            it.flow = Some(FlowNotation { name, differs });
        }
        "lost" => it.lost = true,
        "junk" => it.junk = true,
        "bad-checksum" => it.bad_checksum = true,
        other => return Err(format!("`{other}` is no flag, field or option of a segment")),
    }
    Ok(())
}

/// Parses a number that wraps like sequence numbers: -1 is 4,294,967,295.
fn number(text: &str) -> Result<u32, String> {
    let value: i64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    Ok(value as u32)
}

fn small<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number that fits"))
}

/// Parses `1..1001`: from 1 up to 1,000, without 1,001.
fn range(text: &str) -> Result<Option<(u32, u32)>, String> {
    let Some((from, to)) = text.split_once("..") else { return Ok(None) };
    Ok(Some((number(from)?, number(to)?)))
}

fn stamp(text: &str) -> Result<Stamp, String> {
    let Some(name) = text.strip_prefix('$') else { return Ok(Stamp::Number(number(text)?)) };
    let Some(at) = name.find(['+', '-']) else { return Ok(Stamp::Named(name.into(), 0)) };
    let distance = name[at..].parse().map_err(|_| format!("`{}` is no distance", &name[at..]))?;
    Ok(Stamp::Named(name[..at].into(), distance))
}

fn kind(name: &str) -> Result<u8, String> {
    let found = KINDS.iter().find(|(known, _)| *known == name);
    found.map(|&(_, kind)| kind).ok_or_else(|| format!("`{name}` is no option's name"))
}

/// Parses `0x10`.
pub(super) fn tos(text: &str) -> Result<u8, String> {
    let digits = text.strip_prefix("0x").ok_or_else(|| format!("`{text}`: a tos is written as 0x10"))?;
    u8::from_str_radix(digits, 16).map_err(|_| format!("`{text}` is no tos"))
}

pub(super) fn hex(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("`{text}` is not bytes in hexadecimal: fe0401");
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return Err(wrong());
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong()))
        .collect()
}

/// The parsed options of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// The kinds in order.
    pub(super) kinds: Vec<u8>,
    pub(super) mss: Option<u16>,
    pub(super) scale: Option<u8>,
    pub(super) sack_permitted: bool,
    pub(super) timestamps: Option<(u32, u32)>,
    /// As on the wire: not relative.
    pub(super) sack: Vec<(u32, u32)>,
    /// Fast Open (RFC 7413): a cookie, or an empty one that requests a cookie.
    pub(super) cookie: Option<Vec<u8>>,
    /// Whether it is in the experimental option.
    pub(super) experimental: bool,
}

/// Kind 254 is Fast Open's experimental option if this number follows.
const EXPERIMENTAL_FAST_OPEN: [u8; 2] = [0xf9, 0x89];

impl Options {
    /// Parses options. A fault ends the list.
    pub(super) fn read(mut bytes: &[u8]) -> Options {
        let mut options = Options::default();
        while let Some((&kind, rest)) = bytes.split_first() {
            match kind {
                0 => break,
                1 => {
                    options.kinds.push(1);
                    bytes = rest;
                    continue;
                }
                _ => {}
            }
            let Some(len) =
                rest.first().map(|&len| usize::from(len)).filter(|&len| (2..=bytes.len()).contains(&len))
            else {
                break;
            };
            let (option, after) = bytes.split_at(len);
            options.kinds.push(kind);
            let word = |at: usize| {
                option
                    .get(at..at + 4)
                    .map_or(0, |word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]))
            };
            match (kind, len) {
                (2, 4) => options.mss = Some(u16::from_be_bytes([option[2], option[3]])),
                (3, 3) => options.scale = Some(option[2]),
                (4, 2) => options.sack_permitted = true,
                (5, _) => options.sack = (2..len - 7).step_by(8).map(|at| (word(at), word(at + 4))).collect(),
                (34, _) => options.cookie = Some(option[2..].to_vec()),
                (254, 4..) if option[2..4] == EXPERIMENTAL_FAST_OPEN => {
                    options.cookie = Some(option[4..].to_vec());
                    options.experimental = true;
                }
                (8, 10) => options.timestamps = Some((word(2), word(6))),
                _ => {}
            }
            bytes = after;
        }
        options
    }

    /// The bytes for the header: the options that Linux sends, in its order.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(mss) = self.mss {
            bytes.extend_from_slice(&[2, 4]);
            bytes.extend_from_slice(&mss.to_be_bytes());
        }
        if self.sack_permitted {
            bytes.extend_from_slice(&[4, 2]);
        }
        if let Some((value, echo)) = self.timestamps {
            if !self.sack_permitted {
                bytes.extend_from_slice(&[1, 1]);
            }
            bytes.extend_from_slice(&[8, 10]);
            bytes.extend_from_slice(&value.to_be_bytes());
            bytes.extend_from_slice(&echo.to_be_bytes());
        }
        if let Some(scale) = self.scale {
            bytes.extend_from_slice(&[1, 3, 3, scale]);
        }
        if !self.sack.is_empty() {
            bytes.extend_from_slice(&[1, 1, 5, (2 + 8 * self.sack.len()) as u8]);
            for (from, to) in &self.sack {
                bytes.extend_from_slice(&from.to_be_bytes());
                bytes.extend_from_slice(&to.to_be_bytes());
            }
        }
        if let Some(cookie) = &self.cookie {
            if self.experimental {
                bytes.extend_from_slice(&[254, (4 + cookie.len()) as u8]);
                bytes.extend_from_slice(&EXPERIMENTAL_FAST_OPEN);
            } else {
                bytes.extend_from_slice(&[34, (2 + cookie.len()) as u8]);
            }
            bytes.extend_from_slice(cookie);
            bytes.resize(bytes.len().next_multiple_of(4), 1);
        }
        bytes
    }
}

/// Writes `SYN ACK`.
pub(super) fn flag_names(flags: u8) -> String {
    let names: Vec<&str> = FLAGS.iter().filter(|(_, bit)| flags & bit != 0).map(|(name, _)| *name).collect();
    if names.is_empty() { "(no flags)".into() } else { names.join(" ") }
}

pub(super) fn kind_names(kinds: &[u8]) -> String {
    if kinds.is_empty() {
        return "none".into();
    }
    let name = |kind: &u8| match KINDS.iter().find(|(_, known)| known == kind) {
        Some((name, _)) => (*name).to_string(),
        None => format!("{kind}"),
    };
    kinds.iter().map(name).collect::<Vec<_>>().join(",")
}

pub(super) fn ecn_name(codepoint: u8) -> &'static str {
    ECN.iter().find(|(_, known)| *known == codepoint & 3).map_or("", |(name, _)| name)
}

/// A relative number for people: just before zero it is negative.
pub(super) fn signed(number: u32) -> i64 {
    if number > u32::MAX - 0x1_0000 { i64::from(number as i32) } else { i64::from(number) }
}

/// A segment in the notation. `own` and `other` are the initial sequence numbers of its sender and
/// receiver.
pub(super) fn describe(segment: &TcpSegment, ecn: u8, own: u32, other: u32, shift: u8) -> String {
    let options = Options::read(&segment.options);
    let mut line = flag_names(segment.flags);
    let seq = segment.seq.wrapping_sub(own);
    // Writing to a string cannot fail.
    let _ = write!(line, " seq {}", signed(seq));
    if !segment.payload.is_empty() {
        let _ = write!(line, "..{}", signed(seq.wrapping_add(segment.payload.len() as u32)));
    }
    if segment.flags & TcpSegment::ACK != 0 {
        let _ = write!(line, " ack {}", signed(segment.ack.wrapping_sub(other)));
    }
    let _ = write!(line, " win {}", u32::from(segment.window) << shift);
    if segment.flags & TcpSegment::URG != 0 {
        let _ = write!(line, " urgent {}", segment.urgent);
    }
    if let Some(mss) = options.mss {
        let _ = write!(line, " mss {mss}");
    }
    if options.sack_permitted {
        line.push_str(" sackOK");
    }
    if let Some((value, echo)) = options.timestamps {
        let _ = write!(line, " ts {value} echo {echo}");
    }
    if let Some(scale) = options.scale {
        let _ = write!(line, " wscale {scale}");
    }
    if !options.sack.is_empty() {
        line.push_str(" sack");
    }
    for (from, to) in &options.sack {
        let _ = write!(line, " {}..{}", signed(from.wrapping_sub(other)), signed(to.wrapping_sub(other)));
    }
    if let Some(cookie) = &options.cookie {
        let name = if options.experimental { "expfastopen" } else { "fastopen" };
        let _ = write!(line, " {name} ({} bytes)", cookie.len());
    }
    if ecn != 0 {
        let _ = write!(line, " {}", ecn_name(ecn));
    }
    line
}
