//! Differences that are known, and why they are none.

use super::Difference;

/// Why two answers may differ. None of them is for a difference in time alone.
#[derive(Clone, Copy)]
pub struct Rule {
    /// The RFC or the behaviour of the kernel that explains the difference.
    pub why: &'static str,
    /// Whether it explains this one.
    pub explains: fn(&Difference) -> bool,
}

/// All rules.
pub const RULES: &[Rule] = &[
    Rule {
        why: "Linux gives ECONNRESET for a connection that it has reset itself; POSIX has ECONNABORTED for that",
        explains: |difference| {
            let (ours, theirs) = (difference.ours(), difference.theirs());
            ours.results.iter().any(|result| result == "ECONNABORTED")
                && theirs.results.iter().any(|result| result == "ECONNRESET")
        },
    },
    Rule {
        why: "RFC 5681 §2: cwnd counts bytes; Linux counts segments, small ones like large ones",
        explains: |difference| {
            let (ours, theirs) = (difference.ours(), difference.theirs());
            let is_near_cwnd = difference.out(&difference.linux) >= 4 * difference.mss();
            (ours.data_to != theirs.data_to || ours.fin != theirs.fin)
                && (difference.has_timed_out() || is_near_cwnd && ours.data_to > theirs.data_to)
        },
    },
    Rule {
        why: "RFC 5961 §4.2: a SYN in the window is answered by an ACK; Linux resets a connection in SYN-RECEIVED",
        explains: |difference| {
            let (ours, theirs) = (difference.ours(), difference.theirs());
            let is_syn =
                |line: &String| line.starts_with("peer SYN seq") && !line.starts_with("peer SYN seq 0 ");
            difference.lines().iter().any(is_syn) && theirs.reset.is_some() && ours.ack != theirs.ack
                || difference.lines().iter().any(is_syn) && theirs.reset.is_some() && ours.reset.is_none()
        },
    },
    Rule {
        why: "Linux takes the ACK of a SYN-ACK only with the echo of one (6.18); here it echoed another ACK that had come since",
        explains: |difference| {
            let (ours, theirs) = (difference.ours(), difference.theirs());
            let is_later = theirs.ack.is_some() && ours.ack > theirs.ack;
            difference.has_peer_sent(&["SYN", "ts"]) && !difference.is_open_on_linux() && is_later
        },
    },
    Rule {
        why: "RFC 9293 §3.10.7.8: in TIME-WAIT a segment without ACK is dropped; Linux acknowledges a FIN without it",
        explains: |difference| {
            let is_bare_fin = |line: &String| line.starts_with("peer FIN seq");
            difference.lines().iter().any(is_bare_fin)
                && difference.ours().is_silent()
                && difference.theirs().ack.is_some()
        },
    },
    Rule {
        why: "a peer that has sent data behind its FIN contradicts itself: the data stays here, the FIN ends the stream on Linux",
        explains: |difference| {
            let (ours, theirs) = (difference.ours(), difference.theirs());
            difference.has_data_behind_the_fin() && (ours.ack != theirs.ack || ours.results != theirs.results)
        },
    },
    Rule {
        why: "Linux answers each segment with data outside the window of a handshake, and resets outside of FIN-WAIT-2's: limits",
        explains: |difference| {
            let is_odd = |line: &String| line.starts_with("peer RST") || line.contains("..");
            let is_early = !difference.is_open_on_linux() || difference.has_peer_sent(&["RST"]);
            is_early
                && difference.lines().iter().any(is_odd)
                && difference.ours().is_silent()
                && difference.theirs().ack.is_some()
        },
    },
    Rule {
        why: "RFC 9293 §3.10.7.4: first the sequence number, then the ACK; in SYN-RECEIVED Linux looks at the ACK first, and resets",
        explains: |difference| {
            let (ours, theirs) = (difference.ours(), difference.theirs());
            let is_opening = difference.linux.iter().any(|answer| answer.syn.as_deref() == Some("SYN ACK"));
            is_opening && theirs.reset.is_some() && ours.reset.is_none() && ours.ack.is_some()
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
        why: "after a connection that failed recv says 0, the end; on Linux ENOTCONN where none was made",
        explains: |difference| {
            let has = |results: &[String], name: &str| results.iter().any(|result| result == name);
            has(&difference.ours().results, "0") && has(&difference.theirs().results, "ENOTCONN")
        },
    },
    Rule {
        why: "POSIX: shutdown without a connection is ENOTCONN; in SYN-SENT Linux gives the attempt up and says nothing",
        explains: |difference| {
            let (ours, theirs) = (difference.ours(), difference.theirs());
            let is_shutdown = |line: &String| line.starts_with("call shutdown");
            difference.lines().iter().any(is_shutdown)
                && ours.results.iter().any(|result| result == "ENOTCONN")
                && !theirs.results.iter().any(|result| result == "ENOTCONN")
        },
    },
    Rule {
        why: "an ACK may be delayed (RFC 9293 §3.8.6.3; Linux delays that of a FIN, too), and a reset comes before",
        explains: |difference| {
            let (ours, theirs, lines) = (difference.ours(), difference.theirs(), difference.lines());
            let is_end = |line: &String| line.starts_with("peer RST") || line.starts_with("call close");
            let is_text =
                |line: &String| line.starts_with("peer") && (line.contains("FIN") || line.contains(".."));
            let text = lines.iter().position(is_text);
            let end = lines.iter().rposition(is_end);
            let is_same_else =
                (ours.reset.is_some(), ours.data_to) == (theirs.reset.is_some(), theirs.data_to);
            text.is_some() && text < end && ours.ack != theirs.ack && is_same_else
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
                || difference.has_peer_sent(&["win", "0"])
                    && (has(&difference.ours().lines, &ours)
                        || difference.ours().again_from != difference.theirs().again_from
                        || difference.acknowledges_what_linux_has_not_sent())
        },
    },
    Rule {
        why: "RFC 9293 §3.10.7.4, seventh: text after the FIN is ignored; Linux resets the connection",
        explains: |difference| {
            difference.has_peer_sent(&["FIN"])
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
            difference.has_old_ack() && (is_other || ours.is_silent() && theirs.ack.is_some())
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
];
