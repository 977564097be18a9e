//! The answers of a host to each group of a plan, by kind: nothing, an ACK, data up to n, a RST;
//! and the results of its calls.

use std::cmp::Ordering;
use std::fmt;

use super::plan::Plan;

/// A segment later than this many seconds after a step is not an answer to it, but comes from a
/// timer.
const AT_ONCE: f64 = 0.025;

/// The answer to one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The results of calls that the plan does not predict, in order.
    pub results: Vec<String>,
    /// The sequence number of a reset.
    pub reset: Option<i64>,
    /// A SYN, or SYN and ACK.
    pub syn: Option<String>,
    /// The end of new data.
    pub data_to: Option<i64>,
    /// The first retransmitted byte.
    pub again_from: Option<i64>,
    /// The sequence number of a FIN.
    pub fin: Option<i64>,
    /// The last acknowledgement, except that of a reset.
    pub ack: Option<i64>,
    /// Anything that is not TCP, or belongs to no connection of the plan.
    pub other: Option<String>,
    /// The first retransmitted byte, at once or by a timer.
    pub repeated: Option<i64>,
    /// The lines of the transcript.
    pub lines: Vec<String>,
}

impl Answer {
    /// Whether both answers are of the same kind.
    fn is_like(&self, other: &Answer) -> bool {
        let Answer { results, reset, syn, data_to, again_from, fin, ack, other: stray, repeated, lines: _ } =
            self;
        (results, reset.is_some(), syn) == (&other.results, other.reset.is_some(), &other.syn)
            && (data_to, fin, ack) == (&other.data_to, &other.fin, &other.ack)
            // A retransmission may be immediate on one host and a little later on the other.
            && (again_from.is_none() || *again_from == other.repeated)
            && (other.again_from.is_none() || other.again_from == *repeated)
            && stray.is_some() == other.other.is_some()
    }

    /// Whether nothing was sent.
    pub fn is_silent(&self) -> bool {
        Answer { results: Vec::new(), lines: Vec::new(), ..self.clone() } == Answer::default()
    }
}

/// What is different about two answers, without numbers. A shrunk plan must show the same kind of
/// difference as the plan that it comes from. Each field compares Portolan's answer with Linux's,
/// where nothing is less than anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    has_same_results: bool,
    reset: Ordering,
    has_same_syn: bool,
    data_to: Ordering,
    again: Ordering,
    fin: Ordering,
    ack: Ordering,
    other: Ordering,
}

impl Kind {
    fn of(ours: &Answer, theirs: &Answer) -> Kind {
        // A timer may send on one host what the other sends at once.
        let is_again =
            |one: &Answer, other: &Answer| one.again_from.is_some() && one.again_from != other.repeated;
        Kind {
            has_same_results: ours.results == theirs.results,
            reset: ours.reset.is_some().cmp(&theirs.reset.is_some()),
            has_same_syn: ours.syn == theirs.syn,
            data_to: ours.data_to.cmp(&theirs.data_to),
            again: is_again(ours, theirs).cmp(&is_again(theirs, ours)),
            fin: ours.fin.cmp(&theirs.fin),
            ack: ours.ack.cmp(&theirs.ack),
            other: ours.other.is_some().cmp(&theirs.other.is_some()),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lines.is_empty() {
            return f.write_str("nothing");
        }
        f.write_str(&self.lines.join("; "))
    }
}

/// A group to which the hosts gave different answers.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The plan.
    pub plan: Plan,
    /// The group.
    pub index: usize,
    /// All answers of Portolan.
    pub portolan: Vec<Answer>,
    /// All answers of Linux.
    pub linux: Vec<Answer>,
}

impl Difference {
    /// Portolan's answer to the group.
    pub fn ours(&self) -> &Answer {
        &self.portolan[self.index]
    }

    /// Linux's answer to the group.
    pub fn theirs(&self) -> &Answer {
        &self.linux[self.index]
    }

    /// What is different.
    pub(super) fn kind(&self) -> Kind {
        Kind::of(self.ours(), self.theirs())
    }

    /// The lines of the group.
    pub fn lines(&self) -> &[String] {
        &self.plan.groups[self.index].lines
    }

    /// The lines of this group and all before it.
    fn lines_so_far(&self) -> impl DoubleEndedIterator<Item = &String> {
        self.plan.groups[..=self.index].iter().flat_map(|group| &group.lines)
    }

    /// Whether the peer has a line with all of these words, in this group or an earlier one.
    pub(super) fn has_peer_sent(&self, words: &[&str]) -> bool {
        self.lines_so_far().any(|line| {
            let mut found = words.iter().map(|word| line.split_whitespace().any(|known| known == *word));
            line.starts_with("peer") && found.all(|found| found)
        })
    }

    /// The MSS that the peer has announced.
    pub(super) fn mss(&self) -> i64 {
        self.lines_so_far()
            .find_map(|line| value(line, "mss"))
            .and_then(|mss| mss.parse().ok())
            .unwrap_or(536)
    }

    /// The data that a host has sent and the peer has not acknowledged.
    pub(super) fn out(&self, answers: &[Answer]) -> i64 {
        let sent_to = answers[..=self.index].iter().filter_map(|answer| answer.data_to).max().unwrap_or(1);
        sent_to - self.lines_so_far().filter_map(|line| value(line, "ack")?.parse().ok()).max().unwrap_or(1)
    }

    /// Whether Linux has more in flight than RFC 5681 §3.1 allows in slow start, which counts
    /// bytes: the initial window of ten segments, and what was acknowledged since.
    pub(super) fn is_linux_beyond_slow_start(&self) -> bool {
        let options = if self.has_peer_sent(&["SYN", "ts"]) { 12 } else { 0 };
        let acks = self.lines_so_far().filter_map(|line| value(line, "ack")?.parse::<i64>().ok());
        let acked = acks.max().unwrap_or(1) - 1;
        self.out(&self.linux) > 10 * (self.mss() - options) + acked
    }

    /// Whether Linux had a time-out before.
    pub(super) fn has_timed_out(&self) -> bool {
        self.linux[..=self.index].iter().any(|answer| answer.repeated.is_some())
    }

    /// Whether the peer has closed its window: a scaled window is rounded down.
    pub(super) fn has_closed_window(&self) -> bool {
        let window = |line: &String| value(line, "win")?.parse::<i64>().ok();
        self.lines_so_far()
            .any(|line| line.starts_with("peer") && window(line).is_some_and(|it| it < self.window_unit()))
    }

    /// The unit of the peer's windows.
    fn window_unit(&self) -> i64 {
        let shift = self.lines_so_far().find_map(|line| value(line, "wscale")?.parse::<u32>().ok());
        1 << shift.unwrap_or(0)
    }

    /// Whether the peer acknowledges a byte or FIN of a window probe that Portolan has sent and
    /// Linux has not.
    pub(super) fn acknowledges_what_only_portolan_has_sent(&self) -> bool {
        let acked = self.lines_so_far().filter_map(|line| value(line, "ack")?.parse::<i64>().ok()).max();
        acked.is_some_and(|acked| acked > self.sent_to(&self.linux) && acked <= self.sent_to(&self.portolan))
    }

    /// The end of what a host had sent before this group, at once or by timers.
    fn sent_to(&self, answers: &[Answer]) -> i64 {
        let lines = answers[..self.index].iter().flat_map(|answer| &answer.lines);
        let ends = lines.filter_map(|line| {
            let end: i64 = value(line, "seq")?.split("..").last()?.parse().ok()?;
            Some(end + i64::from(line.contains("FIN")))
        });
        ends.max().unwrap_or(1)
    }

    /// Whether the peer has sent a FIN, and data after it.
    pub(super) fn has_data_behind_the_fin(&self) -> bool {
        let end = |line: &String| value(line, "seq")?.split("..").last()?.parse::<i64>().ok();
        let segments = || self.lines_so_far().filter(|line| line.starts_with("peer"));
        let fin = segments().filter(|line| line.contains("FIN")).filter_map(end).min();
        fin.is_some() && segments().filter_map(end).max() > fin
    }

    /// Whether the peer sends data after its FIN in this group.
    pub(super) fn has_text_behind_the_fin(&self) -> bool {
        let range = |line: &String| {
            let (from, to) = value(line, "seq")?.split_once("..")?;
            Some((from.parse::<i64>().ok()?, to.parse::<i64>().ok()?))
        };
        let end = |line: &String| value(line, "seq")?.split("..").last()?.parse::<i64>().ok();
        let is_fin = |line: &&String| line.starts_with("peer") && line.contains("FIN");
        let fin = self.lines_so_far().filter(is_fin).filter_map(end).min();
        let mut texts = self.lines().iter().filter(|line| line.starts_with("peer")).filter_map(range);
        fin.is_some_and(|fin| texts.any(|(from, to)| from < to && to > fin))
    }

    /// Whether the last SYN that Linux answered has not led to a connection yet: Linux has
    /// acknowledged nothing else, and no program has the connection.
    pub(super) fn is_in_syn_received(&self) -> bool {
        let so_far = &self.linux[..=self.index];
        let is_syn_ack = |answer: &Answer| answer.syn.as_deref() == Some("SYN ACK");
        so_far.iter().rposition(is_syn_ack).is_some_and(|at| {
            let is_open = |answer: &Answer| answer.ack > so_far[at].ack;
            // The call in the group of the SYN is one on the connection before.
            let is_accepted = |answer: &Answer| answer.results.iter().any(|result| result == "ok");
            !so_far[at..].iter().any(is_open) && !so_far[at + 1..].iter().any(is_accepted)
        })
    }

    /// Whether Portolan has sent a FIN.
    pub(super) fn has_sent_fin(&self) -> bool {
        self.portolan[..=self.index].iter().any(|answer| answer.fin.is_some())
    }

    /// Whether the peer has acknowledged the FIN of a program that has closed its socket.
    pub(super) fn is_fin_acked(&self) -> bool {
        let fin = self.portolan[..=self.index].iter().filter_map(|answer| answer.fin).max();
        let mut acks = self.lines_so_far().filter_map(|line| value(line, "ack")?.parse::<i64>().ok());
        self.lines_so_far().any(|line| line.starts_with("call close"))
            && fin.is_some_and(|fin| acks.any(|ack| ack > fin))
    }

    /// Whether Linux, on a connection without SACK, may take data for lost after a single duplicate
    /// ACK: one that comes while one segment is in flight sets its threshold to one
    /// (tcp_check_reno_reordering).
    pub(super) fn has_lowered_duplicate_threshold(&self) -> bool {
        if self.has_peer_sent(&["SYN", "sackOK"]) {
            return false;
        }
        let mut last = 0;
        let mut duplicates = 0;
        for line in self.lines_so_far().filter(|line| line.starts_with("peer ACK")) {
            let Some(ack) = value(line, "ack").and_then(|ack| ack.parse::<i64>().ok()) else { continue };
            let has_data = value(line, "seq").is_some_and(|seq| seq.contains(".."));
            duplicates += u32::from(ack == last && !has_data);
            last = ack;
        }
        duplicates >= 2 && self.theirs().again_from == Some(last)
    }

    /// Whether, in this group, a segment with old data acknowledges the FIN of a closed socket.
    pub(super) fn acks_the_fin_with_old_data(&self) -> bool {
        let fin = self.portolan[..self.index].iter().filter_map(|answer| answer.fin).max();
        let known_to = self.ours().ack;
        self.is_fin_acked()
            && self.lines().iter().filter(|line| line.starts_with("peer ACK")).any(|line| {
                let end = value(line, "seq").and_then(|seq| seq.split_once("..")?.1.parse::<i64>().ok());
                let acked = value(line, "ack").and_then(|ack| ack.parse::<i64>().ok());
                end.is_some() && end <= known_to && acked > fin
            })
    }

    /// Whether Portolan has filled a small window with a part of a segment, after the override
    /// time-out, and Linux had not sent so much by the end of that group, although the peer has
    /// sent an ACK since the program wrote.
    pub(super) fn has_only_portolan_filled_a_window(&self) -> bool {
        let mut linux_to = 1;
        let (mut has_written, mut has_ack) = (false, false);
        (0..=self.index).any(|index| {
            for line in &self.plan.groups[index].lines {
                has_written |= line.starts_with("call send");
                has_ack |= has_written && line.starts_with("peer") && value(line, "ack").is_some();
            }
            let end_of = |line: &String| segment_range(line).map(|(_, end)| end);
            linux_to = self.linux[index].lines.iter().filter_map(end_of).chain([linux_to]).max().unwrap_or(1);
            has_ack
                && self.portolan[index]
                    .lines
                    .iter()
                    .filter_map(|line| segment_range(line))
                    .any(|(from, end)| end - from < self.mss() && end > linux_to && self.has_window_to(end))
        })
    }

    /// Whether the peer sends, in this group, a segment that only a full connection checks: an ACK
    /// of data that was never sent, a SYN, or a reset that is not at RCV.NXT.
    pub(super) fn has_what_a_record_does_not_judge(&self) -> bool {
        let sent_to = self.portolan[..self.index].iter().filter_map(|answer| answer.fin).max();
        let known_to = self.portolan[..=self.index].iter().filter_map(|answer| answer.ack).max();
        self.lines().iter().filter(|line| line.starts_with("peer")).any(|line| {
            let acked = value(line, "ack").and_then(|ack| ack.parse::<i64>().ok());
            acked.is_some_and(|ack| sent_to.is_some_and(|fin| ack > fin + 1))
                || line.starts_with("peer SYN")
                || line.starts_with("peer RST") && self.peer_seq(line) != known_to
        })
    }

    /// Whether a window of the peer ends at this number.
    pub(super) fn has_window_to(&self, end: i64) -> bool {
        let number = |line: &String, name: &str| value(line, name)?.parse::<i64>().ok();
        let mut ends = self.lines_so_far().filter(|line| line.starts_with("peer")).filter_map(|line| {
            let window = number(line, "win")?;
            Some(number(line, "ack")? + window - window % self.window_unit())
        });
        ends.any(|offered| offered == end)
    }

    /// The data that the peer has acknowledged before this group.
    pub(super) fn acked(&self) -> i64 {
        let before = self.plan.groups[..self.index].iter().flat_map(|group| &group.lines);
        let acks = before.filter_map(|line| value(line, "ack")?.parse().ok());
        // An ACK of what was never sent does not count.
        acks.filter(|&ack| ack <= self.sent_to(&self.portolan)).max().unwrap_or(1)
    }

    /// Whether the peer has sent a segment from before RCV.NXT.
    pub(super) fn has_old_ack(&self) -> bool {
        let mut received: Vec<(i64, i64)> = Vec::new();
        let mut next = 1;
        self.lines_so_far().filter(|line| line.starts_with("peer") && line.contains("ACK")).any(|line| {
            let end = value(line, "seq").and_then(|seq| seq.split("..").last()?.parse::<i64>().ok());
            let Some((seq, end)) = self.peer_seq(line).zip(end) else { return false };
            let is_old = seq < next && end <= next;
            received.push((seq, end + i64::from(line.contains("FIN"))));
            while let Some(&(_, end)) = received.iter().find(|(from, to)| *from <= next && *to > next) {
                next = end;
            }
            is_old && ["peer ACK", "peer FIN ACK"].iter().any(|start| line.starts_with(start))
        })
    }

    /// The sequence number of a segment of the peer.
    pub(super) fn peer_seq(&self, line: &str) -> Option<i64> {
        let seq = value(line, "seq").filter(|_| line.starts_with("peer"))?;
        seq.split("..").next()?.parse().ok()
    }
}

/// The data of a segment of the host: its first number, and the one behind its last.
fn segment_range(line: &str) -> Option<(i64, i64)> {
    let (from, to) = value(line, "seq").filter(|_| line.starts_with("stack"))?.split_once("..")?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

/// The value after a word in a line of a script.
fn value<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let mut words = line.split_whitespace();
    words.find(|word| *word == name).and_then(|_| words.next())
}

/// Writes the plan as a script, with the answers of both stacks as comments.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# seed {}\nfamily {}\nsysctl tcp_rfc1337 1", self.plan.seed, self.plan.family())?;
        for (index, group) in self.plan.groups.iter().enumerate().take(self.index + 1) {
            for line in &group.lines {
                writeln!(f, "{line}")?;
            }
            let (ours, theirs) = (&self.portolan[index], &self.linux[index]);
            if index < self.index {
                for line in theirs.lines.iter().filter(|line| line.starts_with("stack")) {
                    writeln!(f, "{line}")?;
                }
            } else {
                writeln!(f, "# Linux:    {theirs}\n# Portolan: {ours}")?;
            }
            writeln!(f, "skip for {}ms", group.wait.as_millis())?;
        }
        Ok(())
    }
}

/// Whether the hosts gave different answers to a group.
pub(super) fn difference(
    plan: &Plan,
    index: usize,
    ours: &[Answer],
    theirs: &[Answer],
) -> Option<Difference> {
    let has_failed = |answer: &Answer| answer.results.iter().any(|result| result.starts_with("failure"));
    if has_failed(&ours[index]) && has_failed(&theirs[index]) {
        // The call has no socket, so the script ends here.
        return None;
    }
    (!ours[index].is_like(&theirs[index])).then(|| Difference {
        plan: plan.clone(),
        index,
        portolan: ours.to_vec(),
        linux: theirs.to_vec(),
    })
}

/// Parses a transcript: one answer for each group.
pub(super) fn of(plan: &Plan, transcript: Vec<String>) -> Vec<Answer> {
    let mut answers = vec![Answer::default(); plan.groups.len()];
    let (mut group, mut seen, mut begun) = (0, 0, false);
    let (mut sent_to, mut acked_to, mut step_at) = (0, 0, 0.0);
    for line in transcript {
        let Some((at, what)) = line.split_once(' ') else { continue };
        let at: f64 = at.parse().unwrap_or(0.0);
        let is_step = what.starts_with("peer") || what.starts_with("call");
        if is_step {
            if begun && seen == plan.groups[group].lines.len() {
                group = (group + 1).min(plan.groups.len() - 1);
                seen = 0;
            }
            begun = true;
            seen += 1;
            step_at = at;
            continue;
        }
        let answer = &mut answers[group];
        if let Some(result) = what.strip_prefix("= ") {
            answer.results.push(result.to_string());
            answer.lines.push(what.to_string());
        } else if what.starts_with("failure") {
            answer.results.push(what.to_string());
            answer.lines.push(what.to_string());
        } else if what.starts_with("stack") {
            answer.lines.push(what.to_string());
            let mut read = answer.clone();
            read_segment(what, &mut read, &mut sent_to);
            let again = read.again_from.filter(|_| read.again_from != answer.again_from);
            if again.is_some() && read.ack <= Some(acked_to) {
                // A retransmission may come at once or by a timer, and contains no new
                // acknowledgement.
                read.ack = answer.ack;
            }
            read.repeated = answer.repeated.into_iter().chain(again).min();
            answer.repeated = read.repeated;
            if at - step_at > AT_ONCE {
                // A segment from a timer: its acknowledgement counts if it is new.
                answer.ack = answer.ack.max(read.ack.filter(|&ack| ack > acked_to));
            } else {
                *answer = read;
            }
            acked_to = acked_to.max(answer.ack.unwrap_or(0));
        }
    }
    answers
}

/// `stack ACK PSH seq 1..1001 ack 1 win 65535`
fn read_segment(line: &str, answer: &mut Answer, sent_to: &mut i64) {
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let number = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1).copied()
    };
    let Some(seq) = number("seq").filter(|_| !line.contains("(for nobody)")) else {
        answer.other = Some(line.to_string());
        return;
    };
    let (from, to) = seq.split_once("..").unwrap_or((seq, seq));
    let (Ok(from), Ok(mut to)) = (from.parse::<i64>(), to.parse::<i64>()) else {
        answer.other = Some(line.to_string());
        return;
    };
    let has = |flag: &str| words.iter().take_while(|word| **word != "seq").any(|word| *word == flag);
    if has("RST") {
        answer.reset = Some(from);
        return;
    }
    if has("SYN") && *sent_to > 0 && !has("ACK") {
        // A retransmitted SYN comes at its own time.
        return;
    }
    if has("SYN") {
        answer.syn = Some(if has("ACK") { "SYN ACK".into() } else { "SYN".into() });
        *sent_to = 1;
    }
    if let Some(ack) = number("ack").and_then(|ack| ack.parse().ok()) {
        answer.ack = Some(ack);
    }
    if has("FIN") {
        answer.fin = Some(to);
        to += 1;
    }
    if to > from && !has("SYN") {
        if from < *sent_to {
            answer.again_from = Some(answer.again_from.map_or(from, |before| before.min(from)));
        }
        if to > *sent_to {
            *sent_to = to;
            answer.data_to = Some(to - i64::from(has("FIN")));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portolan::Domain;

    use super::*;
    use crate::differ::Group;

    fn plan(groups: &[&[&str]]) -> Plan {
        let group = |lines: &&[&str]| Group {
            lines: lines.iter().map(|line| line.to_string()).collect(),
            wait: Duration::from_millis(10),
        };
        Plan { seed: 0, domain: Domain::V4, groups: groups.iter().map(group).collect() }
    }

    #[test]
    fn transcripts_are_cut_where_the_groups_end() {
        let plan = plan(&[&["call send 100 = *", "peer ACK seq 1 ack 1"], &["peer RST seq 1"]]);
        let transcript = [
            "0.0 call send 100 = *",
            "0.0 = 100",
            "0.0 stack PSH ACK seq 1..101 ack 1 win 1000",
            "0.0 peer ACK seq 1 ack 1 win 1000",
            "0.2 stack PSH ACK seq 1..101 ack 1 win 1000",
            "0.3 peer RST seq 1 win 0",
            "0.3 stack RST seq 101 win 0",
        ];
        let answers = of(&plan, transcript.map(str::to_string).to_vec());
        assert_eq!((answers[0].data_to, answers[0].ack), (Some(101), Some(1)));
        assert_eq!((answers[0].again_from, answers[0].repeated), (None, Some(1)), "by a timer");
        assert_eq!(answers[0].results, ["100"]);
        assert_eq!((answers[1].reset, answers[1].ack, answers[1].is_silent()), (Some(101), None, false));
        assert!(difference(&plan, 0, &answers, &answers).is_none());
    }

    /// A shrunk difference may have other numbers, and must be of the same kind.
    #[test]
    fn kinds_are_what_differs_without_the_numbers() {
        let kind = |ours: Answer, theirs: Answer| Kind::of(&ours, &theirs);
        let nothing = Answer::default;
        let ack = |ack| Answer { ack: Some(ack), ..Answer::default() };
        let data = |to| Answer { data_to: Some(to), ..ack(1) };
        assert_eq!(kind(ack(5), nothing()), kind(ack(9), nothing()));
        assert_eq!(kind(data(9), data(5)), kind(data(3), ack(1)), "more data than the other");
        assert_ne!(kind(ack(5), nothing()), kind(nothing(), ack(5)), "on the other host");
        assert_ne!(kind(ack(5), nothing()), kind(data(5), nothing()));
        assert_ne!(kind(data(9), data(5)), kind(data(5), data(9)));
        let again = |at_once, at_all| Answer { again_from: at_once, repeated: at_all, ..Answer::default() };
        assert_eq!(
            kind(again(Some(1), Some(1)), again(None, Some(1))),
            kind(nothing(), nothing()),
            "a timer"
        );
        assert_ne!(kind(again(Some(1), Some(1)), nothing()), kind(nothing(), nothing()));
    }

    #[test]
    fn a_fin_and_a_syn_are_told_from_data() {
        let plan = plan(&[&["peer SYN"]]);
        let transcript = [
            "0 peer SYN seq 0",
            "0 stack SYN ACK seq 0 ack 1 win 5 mss 1460",
            "0 stack FIN ACK seq 1 ack 1 win 5",
        ];
        let answers = of(&plan, transcript.map(str::to_string).to_vec());
        assert_eq!(answers[0].syn.as_deref(), Some("SYN ACK"));
        assert_eq!((answers[0].fin, answers[0].data_to), (Some(1), Some(1)));
    }
}
