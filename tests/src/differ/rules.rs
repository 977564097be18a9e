//! Known differences, and why they are no bugs.

use super::{Answer, Difference};

/// A reason for different answers. No rule explains a difference in time alone.
#[derive(Clone, Copy)]
pub struct Rule {
    /// The RFC or the behaviour of the kernel that explains the difference.
    pub why: &'static str,
    /// Whether it explains this difference.
    pub explains: fn(&Difference) -> bool,
}

/// All rules.
pub const RULES: &[Rule] = &[
    Rule {
        why: "RFC 5681 §2: cwnd counts bytes; Linux counts segments, small ones like large ones",
        explains: |difference| {
            let (ours, theirs) = (difference.ours(), difference.theirs());
            let is_near_cwnd = difference.out(&difference.linux) >= 4 * difference.mss();
            (ours.data_to != theirs.data_to || ours.fin != theirs.fin)
                && (difference.has_timed_out()
                    || difference.is_linux_beyond_slow_start()
                    || is_near_cwnd
                        && (ours.data_to > theirs.data_to || ours.fin.is_some() && theirs.fin.is_none()))
        },
    },
    Rule {
        why: "RFC 5961 §4.2: a SYN in the window is answered by an ACK; Linux resets a connection in SYN-RECEIVED",
        explains: |difference| {
            let (ours, theirs) = (difference.ours(), difference.theirs());
            let is_syn =
                |line: &String| line.starts_with("peer SYN seq") && !line.starts_with("peer SYN seq 0 ");
            let is_other = ours.ack != theirs.ack || ours.reset.is_none();
            difference.is_in_syn_received()
                && difference.lines().iter().any(is_syn)
                && theirs.reset.is_some()
                && is_other
        },
    },
    Rule {
        why: "Linux takes the ACK of a SYN-ACK only with the echo of one (6.18); here it echoed another ACK that had come since",
        explains: |difference| {
            let (ours, theirs) = (difference.ours(), difference.theirs());
            let is_later = theirs.ack.is_some() && ours.ack > theirs.ack;
            // A reset without that echo does not end the handshake, and later segments are not for
            // a port without a connection.
            let is_over = difference.lines().iter().any(|line| line.starts_with("peer RST"))
                && ours.reset.is_some()
                && theirs.reset.is_none();
            difference.has_peer_sent(&["SYN", "ts"])
                && difference.is_in_syn_received()
                && (is_later || is_over)
        },
    },
    Rule {
        why: "RFC 9293 §3.10.7.8: in TIME-WAIT a segment without ACK is dropped; Linux answers it",
        explains: |difference| {
            let is_bare =
                |line: &String| line.starts_with("peer FIN seq") || line.starts_with("peer PSH seq");
            difference.lines().iter().any(is_bare)
                && difference.ours().is_silent()
                && difference.theirs().ack.is_some()
        },
    },
    Rule {
        why: "a peer that has sent data behind its FIN contradicts itself: the data stays here, the FIN ends the stream on Linux",
        explains: |difference| {
            let (ours, theirs) = (difference.ours(), difference.theirs());
            let taken =
                |results: &[String]| -> u64 { results.iter().filter_map(|it| it.parse::<u64>().ok()).sum() };
            let is_more = ours.ack > theirs.ack || taken(&ours.results) > taken(&theirs.results);
            difference.has_data_behind_the_fin() && theirs.reset.is_some() == ours.reset.is_some() && is_more
        },
    },
    Rule {
        why: "RFC 9293 §3.10.7.4: first the sequence number, then the ACK; in SYN-RECEIVED Linux looks at the ACK first, and resets",
        explains: |difference| {
            let (ours, theirs) = (difference.ours(), difference.theirs());
            difference.is_in_syn_received()
                && theirs.reset.is_some()
                && ours.reset.is_none()
                // Such ACKs may be rate-limited.
                && (ours.ack.is_some() || ours.is_silent())
        },
    },
    Rule {
        why: "a reset of ours says all: Linux sends the FIN of a connection that it resets at once, too",
        explains: |difference| {
            let (ours, theirs) = (difference.ours(), difference.theirs());
            ours.reset.is_some() && theirs.reset.is_some() && theirs.fin.is_some() && ours.fin.is_none()
        },
    },
    Rule {
        why: "RFC 9293 §3.10.7.4: a reset in SYN-RECEIVED of an active open refuses it (ECONNREFUSED); Linux says ECONNRESET",
        explains: |difference| {
            let has = |results: &[String], name: &str| results.iter().any(|result| result == name);
            has(&difference.ours().results, "ECONNREFUSED") && has(&difference.theirs().results, "ECONNRESET")
        },
    },
    Rule {
        why: "RFC 9293 §3.8.6.1: a closed window is probed with the next byte; Linux's probe has none, but an old number",
        explains: |difference| {
            let acked = difference.acked();
            let theirs = format!("stack ACK seq {} ack", acked - 1);
            let ours = format!(" seq {acked}..{} ack", acked + 1);
            let has = |lines: &[String], probe: &str| lines.iter().any(|line| line.contains(probe));
            has(&difference.theirs().lines, &theirs)
                || difference.has_closed_window()
                    && (has(&difference.ours().lines, &ours)
                        || difference.ours().fin != difference.theirs().fin
                        || difference.ours().again_from != difference.theirs().again_from
                        || difference.acknowledges_what_only_portolan_has_sent())
        },
    },
    Rule {
        why: "RFC 9293 §3.10.7.4, seventh: text after the FIN is ignored; Linux resets the connection",
        explains: |difference| {
            difference.has_text_behind_the_fin()
                && difference.theirs().reset.is_some()
                && difference.ours().reset.is_none()
        },
    },
    Rule {
        why: "a segment from before RCV.NXT may bring an ACK here (probes of closed windows cross, ACKs get lost); Linux drops it",
        explains: |difference| {
            let (ours, theirs) = (difference.ours(), difference.theirs());
            let is_other =
                (ours.data_to, ours.again_from, ours.fin) != (theirs.data_to, theirs.again_from, theirs.fin);
            difference.has_old_ack()
                && (is_other || ours.is_silent() && theirs.ack.is_some() || ours.reset.is_some())
        },
    },
    Rule {
        why: "RFC 9293 §3.5, figure 8: where SYNs crossed, the SYN again gets the SYN-ACK again; Linux challenges it (RFC 5961 §4.2)",
        explains: |difference| {
            let is_syn = |line: &String| line.starts_with("peer SYN seq 0 ");
            difference.lines().iter().any(is_syn)
                && difference.ours().syn.as_deref() == Some("SYN ACK")
                && difference.theirs().syn.is_none()
        },
    },
    Rule {
        why: "FIN-WAIT-2 without a program: Linux keeps a record of TIME-WAIT, which looks at no ACK and which a reset or SYN ends",
        explains: |difference| {
            let is_sent = |answer: &Answer| answer.data_to.is_some() || answer.again_from.is_some();
            difference.is_fin_acked()
                && !difference.has_peer_sent(&["FIN"])
                && difference.has_what_a_record_does_not_judge()
                && !is_sent(difference.ours())
                && !is_sent(difference.theirs())
        },
    },
    Rule {
        why: "RFC 9293 §3.10.5: once both FINs are on their way no reset is sent; Linux sends one if data was not read",
        explains: |difference| {
            let is_close = |line: &String| line.starts_with("call close");
            difference.lines().iter().any(is_close)
                && difference.has_peer_sent(&["FIN"])
                && difference.has_sent_fin()
                && difference.theirs().reset.is_some()
                && difference.ours().reset.is_none()
        },
    },
    Rule {
        why: "POSIX: after SHUT_WR `send` is EPIPE; in SYN-RECEIVED Linux lets the program wait until the connection is open",
        explains: |difference| {
            let has = |results: &[String], name: &str| results.iter().any(|result| result == name);
            has(&difference.ours().results, "EPIPE") && has(&difference.theirs().results, "EAGAIN")
        },
    },
    Rule {
        why: "RFC 9293 §3.8.6.3: an ACK may be delayed (the hosts differ in when it is), and here a reset came before",
        explains: |difference| {
            let (ours, theirs) = (difference.ours(), difference.theirs());
            let is_reset = difference.lines().iter().any(|line| line.starts_with("peer RST"))
                || ours.reset.is_some() && theirs.reset.is_some();
            let rest = |answer: &Answer| (answer.data_to, answer.fin, answer.reset.is_some());
            is_reset && ours.ack.is_some() != theirs.ack.is_some() && rest(ours) == rest(theirs)
        },
    },
    Rule {
        why: "Linux ends the input of a socket also in a shutdown that fails for want of a connection: recv is 0, not ENOTCONN",
        explains: |difference| {
            let (ours, theirs) = (difference.ours(), difference.theirs());
            let has_failed = difference.portolan[..=difference.index]
                .iter()
                .flat_map(|answer| &answer.results)
                .any(|result| result == "ENOTCONN");
            let has = |results: &[String], name: &str| results.iter().any(|result| result == name);
            has_failed && has(&ours.results, "ENOTCONN") && has(&theirs.results, "0")
        },
    },
    Rule {
        why: "RFC 9293 §3.8.6.2.1, MUST-38: what the window cuts short waits; Linux fills the window with it",
        explains: |difference| {
            let Some((end, ours_to)) = difference.theirs().data_to.zip(difference.ours().data_to) else {
                return false;
            };
            (1..difference.mss()).contains(&(end - ours_to)) && difference.has_window_to(end)
        },
    },
    Rule {
        why: "RFC 9293 §3.8.6.2.1: a part that fills a small window waits for a fixed time; on Linux each ACK begins it anew",
        explains: |difference| {
            let (ours, theirs) = (difference.ours(), difference.theirs());
            (ours.data_to, ours.again_from, ours.fin) != (theirs.data_to, theirs.again_from, theirs.fin)
                && difference.has_only_portolan_filled_a_window()
        },
    },
    Rule {
        why: "RFC 5681 §3.2: data is lost after three duplicate ACKs; without SACK Linux needs one, if one came for a single segment",
        explains: |difference| {
            let (ours, theirs) = (difference.ours(), difference.theirs());
            let rest = |answer: &Answer| (answer.data_to, answer.fin, answer.ack, answer.reset);
            difference.has_lowered_duplicate_threshold()
                && ours.again_from.is_none()
                && rest(ours) == rest(theirs)
        },
    },
    Rule {
        why: "RFC 9293 §3.10.7.4: old data is acknowledged; where its segment acknowledges the FIN of a closed socket, Linux drops it",
        explains: |difference| {
            let ours = Answer { ack: None, ..difference.ours().clone() };
            difference.acks_the_fin_with_old_data()
                && difference.ours().ack.is_some()
                && ours.is_silent()
                && difference.theirs().is_silent()
        },
    },
];
