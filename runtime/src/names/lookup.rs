//! [`Lookup`]: one name that is being looked up.
//!
//! A lookup tries the names that the search list makes of a name, one after the other. For each it
//! asks for IPv6 and IPv4 addresses at the same time. Each of the two questions ([`Ask`]) goes from
//! server to server, with growing time-outs, until one answers. Each message that is sent has a
//! number; its driver sends it from a socket of its own, and says with this number what the socket
//! received. Earlier questions may still be answered while a later one waits.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use portolan::Instant;
use rand_chacha::rand_core::Rng as _;

use super::Shared;
use super::cache::Known;
use super::message::{self, Answer, MAX_ALIASES, RecordKind};

/// The most bytes of a name, and of one of its labels (RFC 1035 §2.3.4), as text.
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// RFC 8305 §3: how long a lookup for a connection waits for IPv6 addresses once it has IPv4
/// addresses.
pub(crate) const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Udp,
    /// After a truncated answer.
    Tcp,
}

/// A question to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    /// The number of the message in its lookup.
    pub(crate) number: usize,
    pub(crate) server: SocketAddr,
    pub(crate) via: Via,
    /// The message, without the length that precedes it in TCP.
    pub(crate) message: Vec<u8>,
}

/// A question that was sent, and may be answered.
#[derive(Clone, Copy, Debug)]
struct SentQuery {
    ask: usize,
    /// The count of names of the ask: the answer to an earlier name is of no use.
    name: u32,
    id: u16,
    server: SocketAddr,
    via: Via,
    with_edns: bool,
    is_open: bool,
}

/// One of the two questions about a name, until it is answered.
#[derive(Debug)]
struct Ask {
    kind: RecordKind,
    /// The name, after aliases were followed.
    name: String,
    /// Counts the names of this ask.
    names: u32,
    aliases: usize,
    /// How many servers have had their turn for this name: chooses the server and the time-out.
    turns: u32,
    with_edns: bool,
    state: AskState,
}

#[derive(Debug)]
enum AskState {
    Waiting { until: Instant },
    Done(Outcome),
}

#[derive(Debug)]
enum Outcome {
    Found(Vec<IpAddr>),
    NoData,
    NoName,
    Failed(io::Error),
}

/// A name that is being looked up; see the [module](self).
#[derive(Debug)]
pub(crate) struct Lookup {
    name: String,
    /// Names that are still to be tried.
    candidates: VecDeque<String>,
    asks: Vec<Ask>,
    sent: Vec<SentQuery>,
    queries: VecDeque<Query>,
    /// How long it waits for IPv6 addresses when it has IPv4 addresses.
    patience: Option<Duration>,
    /// Whether one of the names that were tried exists.
    name_exists: bool,
    result: Option<io::Result<Vec<IpAddr>>>,
}

impl Lookup {
    /// Begins to look up a name. `patience`: see [`RESOLUTION_DELAY`]; without it, the lookup waits
    /// for both kinds of addresses.
    pub(crate) fn new(now: Instant, shared: &mut Shared, name: &str, patience: Option<Duration>) -> Lookup {
        shared.stats.lookups += 1;
        let lower = name.to_ascii_lowercase();
        let mut lookup = Lookup {
            name: name.to_owned(),
            candidates: VecDeque::new(),
            asks: Vec::new(),
            sent: Vec::new(),
            queries: VecDeque::new(),
            patience,
            name_exists: false,
            result: None,
        };
        lookup.result = known_without_asking(shared, &lower);
        if lookup.result.is_some() {
            return lookup;
        }
        if !is_valid(lower.strip_suffix('.').unwrap_or(&lower)) {
            lookup.fail(
                io::ErrorKind::InvalidInput,
                "is not a host name: labels have 1 to 63 ASCII characters, and a name at most 253; write international \
                 names in Punycode",
            );
            return lookup;
        }
        let candidates = shared.config.candidates(&lower).into_iter();
        lookup.candidates = candidates.filter(|name| name.len() <= MAX_NAME_BYTES).collect();
        lookup.try_next_name(now, shared);
        lookup
    }

    /// The next message to be sent, from a new socket.
    pub(crate) fn poll_transmit(&mut self) -> Option<Query> {
        self.queries.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let until = self.asks.iter().filter_map(|ask| match ask.state {
            AskState::Waiting { until } => Some(until),
            AskState::Done(_) => None,
        });
        until.min()
    }

    /// The result, once there is one. Addresses are in the order of the answers, IPv6 first.
    pub(crate) fn take_result(&mut self) -> Option<io::Result<Vec<IpAddr>>> {
        self.result.take()
    }

    /// Handles what the socket of a message has received from `from`.
    pub(crate) fn handle_message(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        number: usize,
        from: SocketAddr,
        bytes: &[u8],
    ) {
        let Some(sent) = self.sent.get(number).copied().filter(|sent| sent.is_open) else { return };
        let Some(ask) = self.asks.get_mut(sent.ask) else { return };
        let AskState::Waiting { .. } = ask.state else { return };
        if sent.name != ask.names {
            return;
        }
        let decoded = message::decode(bytes, sent.id, &ask.name, ask.kind);
        let (true, Ok(answer)) = (from == sent.server, decoded) else {
            shared.stats.nonsense += 1;
            return;
        };
        self.sent[number].is_open = false;
        self.handle_answer(now, shared, sent, answer);
        self.finish_if_done(now, shared);
    }

    fn handle_answer(&mut self, now: Instant, shared: &mut Shared, sent: SentQuery, answer: Answer) {
        let Some(ask) = self.asks.get_mut(sent.ask) else { return };
        let outcome = match answer {
            Answer::Addresses { addresses, ttl } => {
                shared.cache.insert(now, &ask.name, ask.kind, Known::Addresses(addresses.clone()), ttl);
                Outcome::Found(addresses)
            }
            Answer::NoData { ttl } => {
                shared.cache.insert(now, &ask.name, ask.kind, Known::NoData, ttl.unwrap_or(0));
                Outcome::NoData
            }
            Answer::NoName { ttl } => {
                // RFC 2308 §5: the name has no records of any kind.
                for kind in [RecordKind::A, RecordKind::Aaaa] {
                    shared.cache.insert(now, &ask.name, kind, Known::NoName, ttl.unwrap_or(0));
                }
                Outcome::NoName
            }
            Answer::Alias { target, ttl } => {
                shared.cache.insert(now, &ask.name, ask.kind, Known::Alias(target.clone()), ttl);
                return self.follow(now, shared, sent.ask, target);
            }
            Answer::Truncated if sent.via == Via::Udp => {
                return self.send(now, shared, sent.ask, sent.server, Via::Tcp);
            }
            Answer::NotUnderstood if sent.with_edns => {
                // RFC 6891 §7: a server that does not know EDNS.
                ask.with_edns = false;
                return self.send(now, shared, sent.ask, sent.server, Via::Udp);
            }
            Answer::Refused(code) => {
                shared.stats.refusals += 1;
                return self.ask_next_server(
                    now,
                    shared,
                    sent.ask,
                    Some(io::Error::other(format!("{} answered {code}", sent.server))),
                );
            }
            Answer::Truncated | Answer::NotUnderstood => {
                shared.stats.refusals += 1;
                let why = io::Error::other(format!("{} gave no usable answer", sent.server));
                return self.ask_next_server(now, shared, sent.ask, Some(why));
            }
        };
        ask.state = AskState::Done(outcome);
    }

    /// Handles an error of the socket of a message: it could not be sent, or the server's host has
    /// no such port.
    pub(crate) fn handle_error(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        number: usize,
        error: &io::Error,
    ) {
        let Some(sent) = self.sent.get_mut(number).filter(|sent| sent.is_open) else { return };
        sent.is_open = false;
        let sent = *sent;
        let Some(ask) = self.asks.get(sent.ask) else { return };
        // The error of an earlier question does not end a later one.
        let is_last = self.sent.iter().rposition(|other| other.ask == sent.ask) == Some(number);
        if matches!(ask.state, AskState::Waiting { .. }) && is_last {
            let why = io::Error::new(error.kind(), format!("{}: {error}", sent.server));
            self.ask_next_server(now, shared, sent.ask, Some(why));
            self.finish_if_done(now, shared);
        }
    }

    /// Goes on where an answer is overdue.
    pub(crate) fn handle_timeout(&mut self, now: Instant, shared: &mut Shared) {
        for index in 0..self.asks.len() {
            let AskState::Waiting { until } = self.asks[index].state else { continue };
            if until > now {
                continue;
            }
            if self.patience.is_some() && self.has_addresses() {
                self.asks[index].state = AskState::Done(Outcome::NoData);
                continue;
            }
            shared.stats.timeouts += 1;
            self.ask_next_server(now, shared, index, None);
        }
        self.finish_if_done(now, shared);
    }

    fn has_addresses(&self) -> bool {
        self.asks.iter().any(|ask| matches!(ask.state, AskState::Done(Outcome::Found(_))))
    }

    /// Asks both questions about the next name, or ends.
    fn try_next_name(&mut self, now: Instant, shared: &mut Shared) {
        while self.result.is_none() {
            let Some(name) = self.candidates.pop_front() else {
                let what = if self.name_exists { "has no addresses" } else { "does not exist (NXDOMAIN)" };
                self.fail(io::ErrorKind::NotFound, what);
                return;
            };
            self.asks.clear();
            self.sent.iter_mut().for_each(|sent| sent.is_open = false);
            for kind in [RecordKind::Aaaa, RecordKind::A] {
                let state = AskState::Waiting { until: now };
                let name = name.clone();
                self.asks.push(Ask { kind, name, names: 0, aliases: 0, turns: 0, with_edns: true, state });
                self.begin(now, shared, self.asks.len() - 1);
            }
            if self.is_waiting(now) {
                return;
            }
            self.conclude();
        }
    }

    /// Answers a question from the cache, or sends it to the first server.
    fn begin(&mut self, now: Instant, shared: &mut Shared, index: usize) {
        let Some(ask) = self.asks.get_mut(index) else { return };
        let known = shared.cache.look_up(now, &ask.name, ask.kind).cloned();
        if known.is_some() {
            shared.stats.cached += 1;
        }
        let outcome = match known {
            Some(Known::Addresses(addresses)) => Outcome::Found(addresses),
            Some(Known::NoData) => Outcome::NoData,
            Some(Known::NoName) => Outcome::NoName,
            Some(Known::Alias(target)) => return self.follow(now, shared, index, target),
            None => return self.ask_next_server(now, shared, index, None),
        };
        ask.state = AskState::Done(outcome);
    }

    /// Goes on with the name that an alias stands for.
    fn follow(&mut self, now: Instant, shared: &mut Shared, index: usize, target: String) {
        let Some(ask) = self.asks.get_mut(index) else { return };
        ask.aliases += 1;
        if ask.aliases > MAX_ALIASES {
            let error = io::Error::new(io::ErrorKind::InvalidData, "its aliases (CNAME) have no end");
            ask.state = AskState::Done(Outcome::Failed(error));
            return;
        }
        ask.name = target;
        ask.names += 1;
        ask.turns = 0;
        self.begin(now, shared, index);
    }

    /// Sends a question to the server whose turn it is. `why`: what was wrong with the last one, or
    /// nothing if it did not answer.
    fn ask_next_server(&mut self, now: Instant, shared: &mut Shared, index: usize, why: Option<io::Error>) {
        let Some(ask) = self.asks.get_mut(index) else { return };
        let servers = shared.config.servers();
        if servers.is_empty() {
            let error = io::Error::new(
                io::ErrorKind::Unsupported,
                "no DNS server is known: name some in ResolverConfig::servers, for Builder::resolver or \
                 Handle::set_resolver",
            );
            ask.state = AskState::Done(Outcome::Failed(error));
            return;
        }
        if ask.turns >= shared.config.max_turns() {
            let error = why.unwrap_or_else(|| {
                let names: Vec<String> = servers.iter().map(ToString::to_string).collect();
                io::Error::new(io::ErrorKind::TimedOut, format!("no answer from {}", names.join(", ")))
            });
            ask.state = AskState::Done(Outcome::Failed(error));
            return;
        }
        let server = servers[ask.turns as usize % servers.len()];
        ask.turns += 1;
        self.send(now, shared, index, server, Via::Udp);
    }

    /// Sends a question with a new id.
    fn send(&mut self, now: Instant, shared: &mut Shared, index: usize, server: SocketAddr, via: Via) {
        let Some(ask) = self.asks.get_mut(index) else { return };
        let id = shared.rng.as_mut().map_or(0, |rng| rng.next_u32() as u16);
        let Some(message) = message::encode(id, &ask.name, ask.kind, ask.with_edns) else {
            let error = io::Error::new(io::ErrorKind::InvalidData, "an alias is not a name");
            ask.state = AskState::Done(Outcome::Failed(error));
            return;
        };
        ask.state = AskState::Waiting { until: now + shared.config.timeout_of(ask.turns.saturating_sub(1)) };
        shared.stats.questions += 1;
        shared.stats.over_tcp += u64::from(via == Via::Tcp);
        let number = self.sent.len();
        let (name, with_edns) = (ask.names, ask.with_edns);
        self.sent.push(SentQuery { ask: index, name, id, server, via, with_edns, is_open: true });
        self.queries.push_back(Query { number, server, via, message });
    }

    /// After a change of a question: ends the lookup, or tries the next name, if both are answered.
    fn finish_if_done(&mut self, now: Instant, shared: &mut Shared) {
        if self.result.is_some() || self.asks.is_empty() {
            return;
        }
        if !self.is_waiting(now) {
            self.conclude();
            self.try_next_name(now, shared);
        }
    }

    /// Whether a question is not answered yet. With IPv4 addresses, the one about IPv6 addresses
    /// has little time left.
    fn is_waiting(&mut self, now: Instant) -> bool {
        let has_addresses = self.has_addresses();
        let mut is_waiting = false;
        for ask in &mut self.asks {
            let AskState::Waiting { until } = &mut ask.state else { continue };
            is_waiting = true;
            if let (true, RecordKind::Aaaa, Some(patience)) = (has_addresses, ask.kind, self.patience) {
                *until = (*until).min(now + patience);
            }
        }
        is_waiting
    }

    /// Both questions about a name are answered: ends the lookup if that is enough.
    fn conclude(&mut self) {
        let (mut addresses, mut failure) = (Vec::new(), None);
        for ask in self.asks.drain(..) {
            match ask.state {
                AskState::Done(Outcome::Found(found)) => addresses.extend(found),
                AskState::Done(Outcome::NoData) => self.name_exists = true,
                AskState::Done(Outcome::Failed(error)) => failure = Some(error),
                AskState::Done(Outcome::NoName) | AskState::Waiting { .. } => {}
            }
        }
        if !addresses.is_empty() {
            self.result = Some(Ok(addresses));
        } else if let Some(error) = failure {
            // Another name would be a wrong answer if this one exists.
            self.fail(error.kind(), &error.to_string());
        }
    }

    fn fail(&mut self, kind: io::ErrorKind, what: &str) {
        let separator =
            if kind == io::ErrorKind::NotFound || kind == io::ErrorKind::InvalidInput { "" } else { ":" };
        let message = format!("{}{separator} {what}", self.name);
        self.result = Some(Err(io::Error::new(kind, message)));
    }
}

/// The addresses of names that no server is asked for.
fn known_without_asking(shared: &Shared, name: &str) -> Option<io::Result<Vec<IpAddr>>> {
    if let Ok(addr) = name.parse::<IpAddr>() {
        return Some(Ok(vec![addr]));
    }
    let hosts = shared.config.hosts.addresses(name);
    if !hosts.is_empty() {
        return Some(Ok(hosts.to_vec()));
    }
    let absolute = name.strip_suffix('.').unwrap_or(name);
    // RFC 6761 §6.3 and §6.4.
    if absolute == "localhost" || absolute.ends_with(".localhost") {
        return Some(Ok(vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]));
    }
    if absolute == "invalid" || absolute.ends_with(".invalid") {
        let message = format!("{name} does not exist: no name in .invalid does");
        return Some(Err(io::Error::new(io::ErrorKind::NotFound, message)));
    }
    None
}

fn is_valid(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    name.len() <= MAX_NAME_BYTES && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests;
