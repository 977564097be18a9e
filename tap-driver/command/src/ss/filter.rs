//! The filters of `ss`: states, and expressions over addresses, ports and interfaces.
//!
//! ```text
//! filter     = { ("state" | "exclude") STATE } [ expression ]
//! expression = term { ("or" | "|" | "||") term }
//! term       = factor { [ "and" | "&" | "&&" ] factor }
//! factor     = [ "not" | "!" ] factor | "(" expression ")" | condition
//! condition  = ("src" | "dst") [ "=" | "!=" ] HOST
//!            | ("sport" | "dport") [ COMPARISON ] [ ":" ] PORT
//!            | "dev" [ "=" | "!=" ] INTERFACE
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::services::Services;
use crate::control::name::Name;
use crate::control::row::Row;
use crate::control::state::StateSet;

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// The states that it names; `None` if it names none.
    pub(crate) states: Option<StateSet>,
    expression: Option<Expression>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    Or(Box<Expression>, Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    Host(End, HostPattern),
    Port(End, Comparison, u16),
    Interface(String),
}

/// One end of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Local,
    Peer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    Greater,
    LessOrEqual,
    GreaterOrEqual,
}

/// `10.0.0.0/8:80`: what is left out matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct HostPattern {
    prefix: Option<(IpAddr, u8)>,
    port: Option<u16>,
    interface: Option<String>,
}

/// The deepest nesting of an expression, so that a long line of parentheses does not fill the
/// program's stack.
const MAX_DEPTH: usize = 100;

impl Filter {
    /// Reads a filter from the words of the command line.
    pub(crate) fn parse(words: &[String], services: &Services) -> Result<Filter, String> {
        let mut parser = Parser { tokens: tokens(&words.join(" ")), next: 0, depth: 0, services };
        let states = parser.states()?;
        let expression = if parser.is_at_end() { None } else { Some(parser.expression()?) };
        match parser.peek() {
            None => Ok(Filter { states, expression }),
            Some(")") => Err("`)` has no `(` before it".into()),
            Some(word) => Err(format!("`{word}` stands where the filter should be over")),
        }
    }

    /// Whether the expression holds for a socket. The states are for the caller to check.
    pub(crate) fn matches(&self, row: &Row) -> bool {
        self.expression.as_ref().is_none_or(|expression| expression.matches(row))
    }
}

impl Expression {
    fn matches(&self, row: &Row) -> bool {
        match self {
            Expression::Or(one, other) => one.matches(row) || other.matches(row),
            Expression::And(one, other) => one.matches(row) && other.matches(row),
            Expression::Not(inner) => !inner.matches(row),
            Expression::Host(end, pattern) => pattern.matches(end.of(row)),
            Expression::Port(end, comparison, port) => match end.of(row) {
                Name::Ip { port: theirs, .. } => comparison.holds(*theirs, *port),
                _ => false,
            },
            Expression::Interface(name) => match &row.local {
                Name::Ip { interface, .. } | Name::Link { interface, .. } => interface.as_ref() == Some(name),
                _ => false,
            },
        }
    }
}

impl End {
    fn of(self, row: &Row) -> &Name {
        match self {
            End::Local => &row.local,
            End::Peer => &row.peer,
        }
    }
}

impl Comparison {
    fn of(word: &str) -> Option<Comparison> {
        Some(match word {
            "=" | "==" | "eq" => Comparison::Equal,
            "!=" | "ne" | "neq" => Comparison::NotEqual,
            "<" | "lt" => Comparison::Less,
            ">" | "gt" => Comparison::Greater,
            "<=" | "le" | "leq" => Comparison::LessOrEqual,
            ">=" | "ge" | "geq" => Comparison::GreaterOrEqual,
            _ => return None,
        })
    }

    fn holds(self, theirs: u16, ours: u16) -> bool {
        match self {
            Comparison::Equal => theirs == ours,
            Comparison::NotEqual => theirs != ours,
            Comparison::Less => theirs < ours,
            Comparison::Greater => theirs > ours,
            Comparison::LessOrEqual => theirs <= ours,
            Comparison::GreaterOrEqual => theirs >= ours,
        }
    }
}

impl HostPattern {
    fn matches(&self, name: &Name) -> bool {
        let Name::Ip { addr, port, interface } = name else { return false };
        self.port.is_none_or(|wanted| wanted == *port)
            && self.interface.as_ref().is_none_or(|wanted| interface.as_ref() == Some(wanted))
            && self.prefix.is_none_or(|(wanted, len)| is_in(*addr, wanted, len))
    }
}

/// Whether the address has this prefix. As in `ss`, an IPv4 prefix also covers IPv4-mapped
/// addresses, and an IPv6 prefix no IPv4 addresses.
fn is_in(addr: IpAddr, prefix: IpAddr, len: u8) -> bool {
    let (addr, prefix, bits) = match (addr, prefix) {
        (IpAddr::V4(addr), IpAddr::V4(prefix)) => (mapped(addr), mapped(prefix), 96 + u32::from(len)),
        (IpAddr::V6(addr), IpAddr::V4(prefix)) => (addr, mapped(prefix), 96 + u32::from(len)),
        (IpAddr::V6(addr), IpAddr::V6(prefix)) => (addr, prefix, u32::from(len)),
        (IpAddr::V4(_), IpAddr::V6(_)) => return false,
    };
    let differing = addr.to_bits() ^ prefix.to_bits();
    differing.leading_zeros() >= bits
}

fn mapped(addr: Ipv4Addr) -> Ipv6Addr {
    addr.to_ipv6_mapped()
}

/// The words of a filter. Operators and parentheses need no space around them.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let operators = ["&&", "||", "==", "!=", "<=", ">=", "(", ")", "&", "|", "!", "=", "<", ">"];
        let len = match operators.iter().find(|operator| rest.starts_with(**operator)) {
            Some(operator) => operator.len(),
            None => {
                let is_end = |c: char| c.is_whitespace() || "()&|!=<>".contains(c);
                rest.find(is_end).unwrap_or(rest.len()).max(first.len_utf8())
            }
        };
        tokens.push(rest[..len].to_owned());
        rest = rest[len..].trim_start();
    }
    tokens
}

struct Parser<'a> {
    tokens: Vec<String>,
    next: usize,
    depth: usize,
    services: &'a Services,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.next).map(String::as_str)
    }

    fn is_at_end(&self) -> bool {
        self.peek().is_none()
    }

    /// Takes the next word if it is one of these.
    fn take_one_of(&mut self, words: &[&str]) -> bool {
        let found = self.peek().is_some_and(|word| words.contains(&word));
        self.next += usize::from(found);
        found
    }

    /// Takes the next word, which has to be `what` after `after`.
    fn word(&mut self, after: &str, what: &str) -> Result<String, String> {
        let word = self.tokens.get(self.next).cloned();
        self.next += 1;
        word.ok_or_else(|| format!("`{after}` is the last word; {what} stands behind it"))
    }

    fn states(&mut self) -> Result<Option<StateSet>, String> {
        let mut states = None;
        loop {
            if self.take_one_of(&["state"]) {
                let named = StateSet::parse(&self.word("state", "a state")?)?;
                states = Some(states.unwrap_or(StateSet::NONE).with(named));
            } else if self.take_one_of(&["exclude", "excl"]) {
                let named = StateSet::parse(&self.word("exclude", "a state")?)?;
                states = Some(states.unwrap_or(StateSet::ALL).without(named));
            } else {
                return Ok(states);
            }
        }
    }

    fn expression(&mut self) -> Result<Expression, String> {
        let mut expression = self.term()?;
        while self.take_one_of(&["or", "|", "||"]) {
            expression = Expression::Or(Box::new(expression), Box::new(self.term()?));
        }
        Ok(expression)
    }

    fn term(&mut self) -> Result<Expression, String> {
        let mut term = self.factor()?;
        loop {
            let is_joined = self.take_one_of(&["and", "&", "&&"]);
            // Two conditions side by side are joined, too.
            if !is_joined && self.peek().is_none_or(|word| matches!(word, "or" | "|" | "||" | ")")) {
                return Ok(term);
            }
            term = Expression::And(Box::new(term), Box::new(self.factor()?));
        }
    }

    fn factor(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("the filter is nested deeper than {MAX_DEPTH} levels"));
        }
        let factor = if self.take_one_of(&["not", "!"]) {
            Expression::Not(Box::new(self.factor()?))
        } else if self.take_one_of(&["("]) {
            let inner = self.expression()?;
            if !self.take_one_of(&[")"]) {
                return Err("`(` has no `)` behind it".into());
            }
            inner
        } else {
            self.condition()?
        };
        self.depth -= 1;
        Ok(factor)
    }

    fn condition(&mut self) -> Result<Expression, String> {
        const EXPECTED: &str = "write src, dst, sport, dport, dev, not or (";
        let Some(word) = self.peek().map(str::to_owned) else {
            return Err(format!("the filter ends where a condition is expected; {EXPECTED}"));
        };
        self.next += 1;
        let end = if matches!(word.as_str(), "src" | "sport") { End::Local } else { End::Peer };
        match word.as_str() {
            "src" | "dst" => {
                let is_negated = self.equality(&word)?;
                let text = self.word(&word, "an address")?;
                let host = Expression::Host(end, self.host(&text)?);
                Ok(if is_negated { Expression::Not(Box::new(host)) } else { host })
            }
            "sport" | "dport" => {
                let comparison = self.peek().and_then(Comparison::of);
                self.next += usize::from(comparison.is_some());
                let text = self.word(&word, "a port")?;
                let port = self.port(text.strip_prefix(':').unwrap_or(&text))?;
                Ok(Expression::Port(end, comparison.unwrap_or(Comparison::Equal), port))
            }
            "dev" => {
                let is_negated = self.equality(&word)?;
                let interface = Expression::Interface(self.word(&word, "the name of an interface")?);
                Ok(if is_negated { Expression::Not(Box::new(interface)) } else { interface })
            }
            "state" | "exclude" | "excl" => {
                Err(format!("`{word}` stands behind a condition; states come first"))
            }
            "autobound" | "fwmark" | "cgroup" => Err(format!("the stack does not know `{word}`; {EXPECTED}")),
            _ => Err(format!("`{word}` is not a condition; {EXPECTED}")),
        }
    }

    /// Takes `=` or `!=`, if it is there. Whether it is the latter.
    fn equality(&mut self, before: &str) -> Result<bool, String> {
        let Some(comparison) = self.peek().and_then(Comparison::of) else { return Ok(false) };
        self.next += 1;
        match comparison {
            Comparison::Equal => Ok(false),
            Comparison::NotEqual => Ok(true),
            _ => Err(format!("`{before}` is compared with = or != only")),
        }
    }

    fn port(&self, text: &str) -> Result<u16, String> {
        let number = text.parse().ok().or_else(|| self.services.port(text));
        number
            .ok_or_else(|| format!("`{text}` is not a port; write a number up to 65535, or a name like http"))
    }

    /// Reads `ADDRESS[/LENGTH][%INTERFACE][:PORT]`; an IPv6 address with a port is in brackets.
    fn host(&self, text: &str) -> Result<HostPattern, String> {
        let is_bare_ipv6 = !text.starts_with('[') && text.matches(':').count() > 1;
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !is_bare_ipv6 && !port.contains(']') => (host, Some(port)),
            _ => (text, None),
        };
        let port = match port {
            None | Some("" | "*") => None,
            Some(port) => Some(self.port(port)?),
        };
        let (host, interface) = match host.split_once('%') {
            Some((host, interface)) if !interface.is_empty() => (host, Some(interface.to_owned())),
            _ => (host, None),
        };
        let wrong = || {
            format!(
                "`{host}` is not an address; write it like 10.0.0.2, 10.0.0.0/8, 10.0.0.2:80, :80, [fd00::2]:80 or *"
            )
        };
        if host.is_empty() || host == "*" {
            return Ok(HostPattern { prefix: None, port, interface });
        }
        let (addr, len) = match host.split_once('/') {
            Some((addr, len)) => (addr, Some(len.parse::<u8>().map_err(|_| wrong())?)),
            None => (host, None),
        };
        let addr = addr.strip_prefix('[').and_then(|addr| addr.strip_suffix(']')).unwrap_or(addr);
        let addr =
            if len.is_some() { short_ipv4(addr) } else { None }.map_or_else(|| addr.parse().ok(), Some);
        let addr: IpAddr = addr.ok_or_else(wrong)?;
        let longest = if addr.is_ipv4() { 32 } else { 128 };
        let len = len.unwrap_or(longest);
        if len > longest {
            return Err(format!("`{host}` has a prefix longer than {longest} bits"));
        }
        Ok(HostPattern { prefix: Some((addr, len)), port, interface })
    }
}

/// An IPv4 prefix whose last bytes were left out: `127` or `192.168.1`.
fn short_ipv4(text: &str) -> Option<IpAddr> {
    let mut octets = [0; 4];
    let parts: Vec<&str> = text.split('.').collect();
    for (octet, part) in octets.get_mut(..parts.len())?.iter_mut().zip(parts) {
        *octet = part.parse().ok()?;
    }
    Some(IpAddr::V4(octets.into()))
}

#[cfg(test)]
mod tests;
