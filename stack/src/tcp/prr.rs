//! Proportional rate reduction (RFC 9937, which succeeds RFC 6937): the window falls to ssthresh
//! over one round trip, and not at once: the sender sends a share of what is delivered. RFC 8985
//! §9.3 recommends it (RFC8985-9.3).

/// An episode in which the window is reduced.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prr {
    /// RecoverFS: the data that was, or could have been, in flight when the episode began.
    recover_fs: u32,
    /// Bytes delivered since.
    delivered: u64,
    /// Bytes sent since.
    out: u64,
}

/// What an acknowledgement has delivered, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// DeliveredData.
    pub(super) delivered: u32,
    /// RFC 9937's SafeACK: SND.UNA moved, and no further loss was found.
    pub(super) is_safe: bool,
    pub(super) in_flight: u32,
}

impl Prr {
    /// Begins an episode. As on Linux RecoverFS is cwnd (RFC6937-3-a): a sender with enough data
    /// has cwnd in flight.
    pub(super) fn new(cwnd: u32) -> Prr {
        Prr { recover_fs: cwnd.max(1), delivered: 0, out: 0 }
    }

    pub(super) fn on_sent(&mut self, bytes: u32) {
        self.out += u64::from(bytes);
    }

    /// The congestion window until the next acknowledgement (RFC 9937 §6).
    pub(super) fn cwnd(&mut self, progress: Progress, ssthresh: u32, mss: u32) -> u32 {
        let Progress { delivered, is_safe, in_flight } = progress;
        self.delivered += u64::from(delivered);
        let unsent = self.delivered.saturating_sub(self.out);
        let send = if in_flight > ssthresh {
            // The proportional part (RFC6937-3-c), rounded up to whole segments as on Linux, which
            // counts segments.
            let share = (self.delivered * u64::from(ssthresh)).div_ceil(u64::from(self.recover_fs));
            share.next_multiple_of(u64::from(mss.max(1))).saturating_sub(self.out)
        } else {
            // Too little is in flight: slow start up to ssthresh if the acknowledgement is safe
            // (PRR-SSRB, RFC6937-3-d), otherwise as much as was delivered (PRR-CRB, RFC6937-3-e).
            let allowed = unsent.max(u64::from(delivered)) + if is_safe { u64::from(mss) } else { 0 };
            allowed.min(u64::from(ssthresh - in_flight))
        };
        // The first retransmission is not held back (RFC 9937 §6: RFC6937-3-f, RFC6675-5-e).
        let least = if self.out == 0 { u64::from(mss) } else { 0 };
        let send = u32::try_from(send.max(least)).unwrap_or(u32::MAX);
        in_flight.saturating_add(send)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    fn progress(delivered: u32, is_safe: bool, in_flight: u32) -> Progress {
        Progress { delivered, is_safe, in_flight }
    }

    /// RFC 9937 §6: to halve the window, one segment is sent for each two that are delivered.
    #[test]
    fn every_second_delivery_sends_one_while_too_much_is_in_flight() {
        let mut prr = Prr::new(20_000);
        let (ssthresh, mut in_flight, mut sent) = (10_000, 19_000, 0);
        for _ in 0..9 {
            in_flight -= MSS;
            let cwnd = prr.cwnd(progress(MSS, false, in_flight), ssthresh, MSS);
            let room = (cwnd - in_flight) / MSS * MSS;
            prr.on_sent(room);
            in_flight += room;
            sent += room;
        }
        assert_eq!(sent, 5_000, "the first at once, then one for every two");
    }

    #[test]
    fn the_first_retransmission_goes_out_at_once() {
        let mut prr = Prr::new(40_000);
        assert_eq!(prr.cwnd(progress(0, false, 30_000), 20_000, MSS), 31_000);
    }

    /// RFC 9937 §6.2: after heavy losses not more is sent than was delivered, and one more segment
    /// if the acknowledgement is safe.
    #[test]
    fn with_too_little_in_flight_it_grows_back_to_ssthresh() {
        let mut prr = Prr::new(20_000);
        assert_eq!(prr.cwnd(progress(MSS, false, 2_000), 10_000, MSS), 3_000);
        prr.on_sent(MSS);
        assert_eq!(prr.cwnd(progress(MSS, false, 2_000), 10_000, MSS), 3_000);
        prr.on_sent(MSS);
        assert_eq!(prr.cwnd(progress(MSS, true, 2_000), 10_000, MSS), 4_000);
        prr.on_sent(2 * MSS);
        assert_eq!(prr.cwnd(progress(20 * MSS, true, 9_500), 10_000, MSS), 10_000, "never beyond ssthresh");
    }
}
