//! The answers of a host to each group of a plan, by kind: nothing, an ACK, data up to n, a RST;
//! and the results of its calls.

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

    /// Whether the peer acknowledges a byte of a window probe that Portolan has sent and Linux has
    /// not.
    pub(super) fn acknowledges_what_only_portolan_has_sent(&self) -> bool {
        let sent_to = |answers: &[Answer]| -> i64 {
            let lines = answers[..self.index].iter().flat_map(|answer| &answer.lines);
            lines.filter_map(|line| value(line, "seq")?.split_once("..")?.1.parse().ok()).max().unwrap_or(1)
        };
        let acked = self.lines_so_far().filter_map(|line| value(line, "ack")?.parse::<i64>().ok()).max();
        acked.is_some_and(|acked| acked > sent_to(&self.linux) && acked <= sent_to(&self.portolan))
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
        before.filter_map(|line| value(line, "ack")?.parse().ok()).max().unwrap_or(1)
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
            is_old && line.starts_with("peer ACK")
        })
    }

    /// The sequence number of a segment of the peer.
    pub(super) fn peer_seq(&self, line: &str) -> Option<i64> {
        let seq = value(line, "seq").filter(|_| line.starts_with("peer"))?;
        seq.split("..").next()?.parse().ok()
    }
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
