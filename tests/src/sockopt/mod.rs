//! Socket options by number and bytes, on the kernel and on Portolan: every number of every level,
//! on every kind of socket in every state, with values of several lengths. Both must return the
//! same, unless docs/options.md says that the option is not here, or a rule explains the
//! difference.
//!
//! Read `hosts` (the sockets) and `rules` (the differences).

mod hosts;
mod rules;

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use portolan::{Domain, SocketKind};

pub use rules::RULES;

pub use self::hosts::set_loopback_up;
use self::hosts::{Kernel, Portolan, Sockets};
use crate::by_family;
use crate::sources::{read, root};

/// The levels, by Linux's numbers, with their names in docs/options.md.
pub const LEVELS: [(i32, &str); 7] = [
    (0, "IPPROTO_IP"),
    (1, "SOL_SOCKET"),
    (6, "IPPROTO_TCP"),
    (17, "IPPROTO_UDP"),
    (41, "IPPROTO_IPV6"),
    (58, "IPPROTO_ICMPV6"),
    (255, "SOL_RAW"),
];

/// The numbers that may follow each other in a value.
const NUMBERS: [i32; 17] = [0, 1, 2, 3, -1, -2, 64, 87, 88, 127, 128, 255, 256, 1000, 32_767, 32_768, 70_000];
const LENGTHS: [usize; 7] = [0, 1, 2, 4, 8, 16, 128];
const NAMES: [&[u8]; 5] = [b"reno", b"cubic\0and more", b"nothing", b"\0", b"bbr and more that is too long"];

/// The state of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// After `socket`.
    New,
    /// After `bind`.
    Bound,
    /// After `listen`.
    Listening,
    /// After `connect`.
    Connected,
    /// After `accept`.
    Accepted,
}

const STATES: [State; 5] = [State::New, State::Bound, State::Listening, State::Connected, State::Accepted];

/// A socket, and an option of it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The family.
    pub domain: Domain,
    /// The kind.
    pub kind: SocketKind,
    /// The state.
    pub state: State,
    /// The level and the number of the option.
    pub option: (i32, i32),
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `setsockopt` with this value.
    Set(Vec<u8>),
    /// `getsockopt` with a buffer of this length.
    Get(usize),
}

/// What a call returns: the errno, or the value.
pub type Answer = Result<Vec<u8>, i32>;

/// An option as docs/options.md describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The level's number.
    pub level: i32,
    /// The option's number.
    pub number: i32,
    /// The name.
    pub name: String,
    /// Whether it is here.
    pub is_done: bool,
}

/// A difference that nothing explains.
pub struct Difference {
    /// The socket and the option.
    pub place: Place,
    call: Call,
    linux: Answer,
    portolan: Answer,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { place, call, linux, portolan } = self;
        let Place { domain, kind, state, option: (level, number) } = place;
        write!(f, "{domain:?} {kind:?} {state:?}, level {level}, option {number}: {call:02x?}\n    ")?;
        write!(f, "Linux {linux:02x?}, Portolan {portolan:02x?}")
    }
}

/// The result of the comparison.
#[derive(Default)]
pub struct Report {
    /// Calls that return the same.
    pub same: usize,
    /// Calls whose difference a rule explains, for each rule.
    pub explained: BTreeMap<&'static str, usize>,
    /// The others.
    pub unexplained: Vec<Difference>,
}

/// The options in docs/options.md, of all levels. A row may have several numbers.
pub fn described() -> Vec<Described> {
    let text = read(&root().join("docs/options.md"));
    let mut level = None;
    let mut options = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            level = title.split_once(" (").and_then(|(_, rest)| rest.split_once(')')?.0.parse().ok());
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (Some(level), [_, name, numbers, _, _, state, ..]) = (level, &cells[..]) else { continue };
        for number in numbers.split(',').flat_map(range) {
            let is_done = *state == "done";
            options.push(Described { level, number, name: (*name).to_string(), is_done });
        }
    }
    options
}

/// `3`, or `3-5`.
fn range(text: &str) -> std::ops::RangeInclusive<i32> {
    let number = |text: &str| text.trim().parse().unwrap_or(-1);
    match text.split_once('-') {
        Some((from, to)) => number(from)..=number(to),
        None if number(text) >= 0 => number(text)..=number(text),
        #[expect(clippy::reversed_empty_ranges, reason = "no number")]
        None => 1..=0,
    }
}

/// Compares all options, on the kernel in a new namespace of this thread.
///
/// # Errors
///
/// If the system refuses the namespace or a socket.
pub fn compare() -> io::Result<Report> {
    let described = described();
    let mut comparison =
        Comparison { linux: Kernel::new()?, portolan: Portolan::new(), report: Report::default() };
    for (domain, kind, state) in sockets() {
        let of = |option| Place { domain, kind, state, option };
        // All options that neither host knows are tried on one socket.
        let shared = comparison.open(&of((0, 0)))?;
        for option in LEVELS.iter().flat_map(|(level, _)| (0..256).map(|number| (*level, number))) {
            match described.iter().find(|known| (known.level, known.number) == option) {
                Some(known) if known.is_done => {
                    let own = comparison.open(&of(option))?;
                    calls().for_each(|call| comparison.compare(&of(option), own, call));
                    comparison.close(own);
                }
                Some(_) => comparison.check_refused(&of(option), shared),
                None => few_calls().for_each(|call| comparison.compare(&of(option), shared, call)),
            }
        }
        comparison.close(shared);
    }
    Ok(comparison.report)
}

/// The kinds of sockets in their states.
fn sockets() -> impl Iterator<Item = (Domain, SocketKind, State)> {
    let of_unix =
        [SocketKind::Stream, SocketKind::Datagram, SocketKind::SeqPacket].into_iter().flat_map(|kind| {
            let has = move |state: &State| match state {
                State::Listening => kind != SocketKind::Datagram,
                // `hosts` makes a pair.
                State::Accepted => false,
                _ => true,
            };
            STATES.into_iter().filter(has).map(move |state| (Domain::Unix, kind, state))
        });
    let of_ip = [Domain::V4, Domain::V6].into_iter().flat_map(|domain| {
        let raw = SocketKind::Raw(by_family(domain, 1, 58));
        [SocketKind::Stream, SocketKind::Datagram, SocketKind::Echo, raw].into_iter().flat_map(move |kind| {
            let has = move |state: &State| {
                kind == SocketKind::Stream || !matches!(state, State::Listening | State::Accepted)
            };
            STATES.into_iter().filter(has).map(move |state| (domain, kind, state))
        })
    });
    of_ip.chain(of_unix)
}

/// Values of each length, and after each the option is read with buffers of each length.
fn calls() -> impl Iterator<Item = Call> {
    let values =
        LENGTHS.into_iter().flat_map(|len| NUMBERS.into_iter().map(move |number| value(number, len)));
    let all = values.chain(NAMES.map(<[u8]>::to_vec));
    let gets = || LENGTHS.into_iter().map(Call::Get);
    gets().chain(all.flat_map(move |value| [Call::Set(value), Call::Get(128)])).chain(gets())
}

/// The number, as long as it is, and at eight bytes.
fn value(number: i32, len: usize) -> Vec<u8> {
    let mut value = vec![0; len.max(4)];
    value[..4].copy_from_slice(&number.to_ne_bytes());
    if let Some(second) = value.get_mut(8..12) {
        second.copy_from_slice(&number.to_ne_bytes());
    }
    value.truncate(len);
    value
}

fn few_calls() -> impl Iterator<Item = Call> {
    let values = [vec![], vec![1], value(1, 4)].map(Call::Set);
    [Call::Get(0), Call::Get(4)].into_iter().chain(values)
}

/// ENOPROTOOPT, and what Linux returns where there is no such level, and for a value that is too
/// short.
const REFUSALS: [i32; 3] = [libc::ENOPROTOOPT, libc::EOPNOTSUPP, libc::EINVAL];

struct Comparison {
    linux: Kernel,
    portolan: Portolan,
    report: Report,
}

/// The same socket on both hosts.
type Pair = (<Kernel as Sockets>::Socket, <Portolan as Sockets>::Socket);

impl Comparison {
    fn open(&mut self, place: &Place) -> io::Result<Pair> {
        Ok((self.linux.open(place)?, self.portolan.open(place)?))
    }

    fn close(&mut self, (theirs, ours): Pair) {
        self.linux.close(theirs);
        self.portolan.close(ours);
    }

    fn compare(&mut self, place: &Place, (theirs, ours): Pair, call: Call) {
        let linux = self.linux.call(theirs, place.option, &call);
        let portolan = self.portolan.call(ours, place.option, &call);
        if linux == portolan {
            self.report.same += 1;
        } else if let Some(rule) = RULES.iter().find(|rule| (rule.explains)(place, &call, &linux, &portolan))
        {
            *self.report.explained.entry(rule.why).or_default() += 1;
        } else {
            self.report.unexplained.push(Difference { place: *place, call, linux, portolan });
        }
    }

    /// Checks that an option which docs/options.md lists as missing is refused.
    fn check_refused(&mut self, place: &Place, (_, ours): Pair) {
        for call in few_calls() {
            match self.portolan.call(ours, place.option, &call) {
                Err(errno) if REFUSALS.contains(&errno) => self.report.same += 1,
                portolan => {
                    let linux = Err(libc::ENOPROTOOPT);
                    self.report.unexplained.push(Difference { place: *place, call, linux, portolan });
                }
            }
        }
    }
}
