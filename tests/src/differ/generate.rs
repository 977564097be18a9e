//! Makes a plan from a seed. The plan is played on Portolan while it is made, so that the peer
//! knows what was sent, and so that no group ends close to one of Portolan's timers.

use std::time::Duration;

use portolan::Domain;

use super::answers::{self, Answer};
use super::plan::{Group, Plan};
use super::play_on_portolan;
use crate::soak::dice::Dice;

/// If a group would end later than this after something was sent, the peer acknowledges everything
/// before it. Otherwise time-outs would be compared, which depend on how round trips were measured.
const MAX_UNACKED: Duration = Duration::from_millis(100);
/// The most groups after the connection is open.
const MAX_GROUPS: u64 = 10;

/// The state of a plan's peer.
struct Peer {
    dice: Dice,
    plan: Plan,
    has_sack: bool,
    is_active: bool,
    /// The next sequence number of its stream, and the end of its stream once it has sent a FIN.
    next: i64,
    fin_sent: bool,
    /// The end of what it has sent ahead of that.
    sent_to: i64,
    /// The end of what the host has sent, and what the peer has acknowledged.
    host_next: i64,
    acked: i64,
    /// The ends of the host's segments.
    ends: Vec<i64>,
    /// Whether a segment was sent that is answered at most twice a second.
    is_challenged: bool,
    /// The age of the oldest unacknowledged data.
    unacked_for: Duration,
    /// Whether the program has a socket, and what it has done with it.
    is_open: bool,
    is_shut: bool,
    /// Whether a reset was sent or received: the host has no connection for later segments.
    is_over: bool,
}

/// Makes the plan of a seed.
pub fn generate(seed: u64) -> Plan {
    let mut dice = Dice::new(seed, "differ", 0);
    let domain = dice.pick(&[Domain::V4, Domain::V4, Domain::V6]);
    let mut peer = Peer {
        plan: Plan { seed, domain, groups: Vec::new() },
        has_sack: dice.one_in(2),
        is_active: dice.one_in(3),
        dice,
        next: 1,
        fin_sent: false,
        sent_to: 1,
        host_next: 1,
        acked: 1,
        ends: Vec::new(),
        is_challenged: false,
        unacked_for: Duration::ZERO,
        is_open: false,
        is_shut: false,
        is_over: false,
    };
    peer.open();
    let groups = peer.dice.within(3, MAX_GROUPS);
    let mut after = 0;
    for _ in 0..groups {
        after += usize::from(peer.is_over);
        if after > 2 {
            break;
        }
        let count = peer.dice.pick(&[1, 1, 1, 2, 3]);
        let mut lines = Vec::new();
        if peer.unacked_for > MAX_UNACKED {
            lines.push(format!("peer ACK seq {} ack {} win 65535", peer.next, peer.host_next));
            peer.acked = peer.host_next;
        }
        lines.extend((0..count).map(|_| peer.step()));
        peer.group(lines);
    }
    peer.plan
}

impl Peer {
    /// Adds the handshake, usually a regular one.
    fn open(&mut self) {
        let options = self.syn_options();
        if self.is_active {
            self.group(vec!["call connect".into()]);
            self.is_open = true;
            let answer = match self.dice.within(0, 19) {
                0 => format!("peer SYN seq 0 win 65535 {options}"),
                1 => format!("peer SYN ACK seq 0 ack 2 win 65535 {options}"),
                2 => "peer RST ACK seq 0 ack 1".into(),
                3 => "peer ACK seq 1 ack 1 win 65535".into(),
                _ => format!("peer SYN ACK seq 0 ack 1 win 65535 {options}"),
            };
            self.group(vec![answer]);
            return;
        }
        self.group(vec!["call listen".into(), format!("peer SYN seq 0 win 65535 {options}")]);
        let answer = match self.dice.within(0, 19) {
            0 => format!("peer SYN seq 0 win 65535 {options}"),
            1 => "peer ACK seq 1 ack 2 win 65535".into(),
            2 => "peer RST seq 1".into(),
            3 => "peer FIN ACK seq 1 ack 1 win 65535".into(),
            4 => "peer ACK seq 1..301 ack 1 win 65535".into(),
            5 => "peer SYN seq 500 win 65535".into(),
            _ => "peer ACK seq 1 ack 1 win 65535".into(),
        };
        self.note_sent(&answer);
        self.group(vec![answer]);
        let last = self.group(vec!["call accept = *".into()]);
        self.is_open = last.results.iter().any(|result| result == "ok");
    }

    fn syn_options(&mut self) -> String {
        let mut options = String::new();
        let mss = self.dice.pick(&[0, 536, 1000, 1460]);
        if mss > 0 {
            options += &format!(" mss {mss}");
        }
        if self.has_sack {
            options += " sackOK";
        }
        if self.dice.one_in(2) {
            options += " ts";
        }
        if self.dice.one_in(2) {
            options += &format!(" wscale {}", self.dice.within(0, 9));
        }
        options
    }

    /// Adds a group, plays the plan so far, and stores what Portolan has sent.
    fn group(&mut self, lines: Vec<String>) -> Answer {
        // This is longer than an acknowledgement may be delayed. The handshake takes longer: a long
        // round trip postpones timers.
        let is_handshake = self.plan.groups.len() < 3;
        let millis = if is_handshake { self.dice.within(110, 130) } else { self.dice.within(72, 85) };
        let pause = self.dice.one_in(8).then(|| self.dice.scaled(200, 1000));
        let mut wait = Duration::from_millis(millis);
        self.plan.groups.push(Group { lines, wait });
        let transcript = play_on_portolan(&self.plan);
        self.ends = transcript.iter().filter_map(|line| segment_end(line)).collect();
        let answers = answers::of(&self.plan, transcript);
        for answer in &answers {
            let syn_or_fin = answer.fin.map(|fin| fin + 1);
            self.host_next = self.host_next.max(answer.data_to.unwrap_or(1)).max(syn_or_fin.unwrap_or(1));
            self.is_over |= answer.reset.is_some();
        }
        // In a longer pause no timer may run that sends something.
        let is_calm = !is_handshake && self.acked >= self.host_next && !self.has_unsent(&answers);
        if let Some(pause) = pause.filter(|_| is_calm) {
            wait = Duration::from_millis(pause);
            self.plan.groups.last_mut().expect("pushed above").wait = wait;
        }
        self.unacked_for = if self.acked < self.host_next { self.unacked_for + wait } else { Duration::ZERO };
        answers.last().cloned().unwrap_or_default()
    }

    /// Whether data or a FIN of the program waits, or was sent by a timer.
    fn has_unsent(&self, answers: &[Answer]) -> bool {
        let lines = || self.plan.groups.iter().flat_map(|group| &group.lines);
        let written_in = |group: &Group, answer: &Answer| {
            let calls = group.lines.iter().filter(|line| line.ends_with("= *"));
            let sends = calls.zip(&answer.results).filter(|(line, _)| line.starts_with("call send"));
            sends.filter_map(|(_, result)| result.parse::<i64>().ok()).sum::<i64>()
        };
        let groups = self.plan.groups.iter().zip(answers);
        let written: i64 = groups.map(|(group, answer)| written_in(group, answer)).sum();
        let sent = answers.iter().filter_map(|answer| answer.data_to).max().unwrap_or(1) - 1;
        let ends = ["call shutdown write", "call shutdown both", "call close"];
        let has_ended = lines().any(|line| ends.iter().any(|end| line.starts_with(end)));
        written > sent || has_ended && answers.iter().all(|answer| answer.fin.is_none())
    }

    /// Adds one line: the next action of the program or the peer.
    fn step(&mut self) -> String {
        let line = if self.is_open && self.dice.one_in(3) { self.call() } else { self.segment() };
        self.note_sent(&line);
        line
    }

    fn call(&mut self) -> String {
        match self.dice.within(0, 19) {
            0..=8 => format!("call send {} = *", self.dice.scaled(1, 6000)),
            9..=14 => format!("call recv {} = *", self.dice.scaled(1, 5000)),
            15 => "call setsockopt TCP_NODELAY on".into(),
            16 => "call shutdown read = *".into(),
            17 => {
                self.is_shut = true;
                "call shutdown write = *".into()
            }
            18 => {
                self.is_shut = true;
                "call shutdown both = *".into()
            }
            _ => {
                self.is_open = false;
                "call close = *".into()
            }
        }
    }

    /// A segment: usually one that is regular, sometimes one that is not.
    fn segment(&mut self) -> String {
        let (next, ack) = (self.next, self.ack());
        let len = self.dice.pick(&[1, 100, 536, 1000]) as i64;
        let window = self.dice.pick(&[65535, 65535, 65535, 65535, 5000, 500, 0]);
        let sack = self.sack();
        let old = (next - self.dice.scaled(1, 1500) as i64).max(1);
        // Only one challenged segment, because the next would be rate-limited.
        let kinds = if self.is_challenged { 30 } else { 39 };
        let kind = self.dice.within(0, kinds);
        let kind = self.possible(kind);
        // Old data ends in front of the FIN, too.
        let old_len = if self.fin_sent { len.min(next - 1 - old).max(1) } else { len };
        self.is_challenged |= kind > 30;
        match kind {
            0..=11 => format!("peer ACK seq {next}..{} ack {ack} win {window}", next + len),
            12..=20 => format!("peer ACK seq {next} ack {ack} win {window}{sack}"),
            21..=23 => {
                let early = next + self.dice.pick(&[1, 100, 1000, 3000]);
                format!("peer ACK seq {early}..{} ack {ack} win {window}", early + len)
            }
            24..=26 => format!("peer ACK seq {old}..{} ack {ack} win {window}", old + old_len),
            27..=28 => format!("peer FIN ACK seq {next} ack {ack} win {window}"),
            29 => format!("peer FIN ACK seq {next}..{} ack {ack} win {window}", next + len),
            30 => format!("peer RST seq {next}"),
            31 => format!("peer RST seq {}", next + self.dice.pick(&[-1, 1, 1000, 100_000])),
            32 => format!("peer SYN seq {} win {window}", next + self.dice.pick(&[-1, 0, 1000, 100_000])),
            33 => format!("peer ACK seq {next} ack {} win {window}", self.host_next + 1),
            // For the kernel, the SYN of a connection that it opened is acknowledged data.
            34 => {
                let least = i64::from(self.is_active);
                format!("peer ACK seq {next} ack {} win {window}", (self.acked - 1).max(least))
            }
            35 => format!("peer ACK seq {} ack {ack} win {window}", next - 1),
            36 => format!("peer ACK seq {}..{} ack {ack} win {window}", next + 100_000, next + 100_000 + len),
            37 => format!("peer PSH seq {next}..{} win {window}", next + len),
            38 => format!("peer FIN seq {next} win {window}"),
            _ => format!("peer SYN ACK seq {} ack {ack} win {window}", next - 1),
        }
    }

    /// The kind of a segment, or a plain acknowledgement instead. A peer that sends data behind its
    /// FIN contradicts itself, and after that the hosts are in different states: it does so rarely.
    fn possible(&mut self, kind: u64) -> u64 {
        const PLAIN: u64 = 12;
        let is_behind_fin = self.fin_sent && matches!(kind, 0..=11 | 21..=23 | 29 | 36 | 37);
        let is_fin_before_data = self.sent_to > self.next && matches!(kind, 27..=29 | 38);
        if (is_behind_fin || is_fin_before_data) && !self.dice.one_in(20) { PLAIN } else { kind }
    }

    /// An acknowledgement: of everything, of nothing new, or of a part.
    fn ack(&mut self) -> i64 {
        let (acked, host_next) = (self.acked, self.host_next);
        match self.dice.within(0, 9) {
            0..=5 => host_next,
            6..=7 => acked,
            _ => {
                let ends: Vec<i64> = self.ends.iter().copied().filter(|&end| end > acked).collect();
                if ends.is_empty() { host_next } else { self.dice.pick(&ends) }
            }
        }
    }

    /// SACK blocks of the host's data, behind the first unacknowledged segment.
    fn sack(&mut self) -> String {
        let ends: Vec<i64> = self.ends.iter().copied().filter(|&end| end > self.acked).collect();
        if ends.len() < 2 {
            return String::new();
        }
        let first = self.dice.within(0, ends.len() as u64 - 2) as usize;
        let last = self.dice.within(first as u64 + 1, ends.len() as u64 - 1) as usize;
        let (from, to) = (ends[first], ends[last]);
        if !self.has_sack || from >= to || !self.dice.one_in(2) {
            String::new()
        } else {
            format!(" sack {from}..{to}")
        }
    }

    /// Updates the peer's state for a line of the peer.
    fn note_sent(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.first() != Some(&"peer") {
            return;
        }
        let value = |name: &str| words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1));
        let number = |text: &str| text.parse::<i64>().unwrap_or(0);
        self.is_over |= words.contains(&"RST");
        let Some((from, to)) = value("seq").map(|seq| seq.split_once("..").unwrap_or((seq, seq))) else {
            return;
        };
        // The acknowledgement of a segment that is old or outside of the window counts on one host
        // at most.
        let is_new = number(from) == self.next || number(to) > self.next;
        let is_acceptable = is_new && number(from) < self.next + 65_536 && !words.contains(&"SYN");
        if let Some(ack) = value("ack").map(|ack| number(ack)).filter(|&ack| ack <= self.host_next)
            && is_acceptable
        {
            self.acked = self.acked.max(ack);
        }
        if is_acceptable && !self.fin_sent {
            self.sent_to = self.sent_to.max(number(to));
        }
        let is_in_order = number(from) <= self.next && !words.contains(&"SYN");
        if is_in_order && !self.fin_sent && words.contains(&"ACK") {
            self.next = self.next.max(number(to));
            if words.contains(&"FIN") && number(to) == self.next {
                self.next += 1;
                self.fin_sent = true;
            }
        }
    }
}

/// The end of the data of a segment of the host.
fn segment_end(line: &str) -> Option<i64> {
    let (_, segment) = line.split_once(" stack ")?;
    let (_, seq) = segment.split_once("seq ")?;
    seq.split_whitespace().next()?.split_once("..")?.1.parse().ok()
}
