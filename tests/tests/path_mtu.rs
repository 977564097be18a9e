//! Path MTU discovery over simulated paths: with routers that report the MTU (RFC 1191, RFC 8201),
//! and without (RFC 4821).

use std::time::Duration;

use portolan::testing::sim::{Flow, LinkConfig, LinkId, NodeId, Sight, SimNet, Way};
use portolan::testing::{Outage, PathConfig, TooBig};
use portolan::{Config, Domain, InterfaceId, MtuProbing, Stats};

/// Two hosts on links with this MTU, and a path between them.
struct Net {
    net: SimNet,
    a: NodeId,
    b: NodeId,
    narrow: LinkId,
    next_port: u16,
}

impl Net {
    fn new(config: Config, interface_mtu: usize, path: PathConfig) -> Net {
        let mut net = SimNet::new(5);
        net.keep_record(3000);
        let (a, router, b) = (net.add_host(config), net.add_router(), net.add_host(Config::default()));
        let wide = PathConfig::delayed(Duration::from_millis(5));
        net.connect(a, router, LinkConfig { there: wide.clone(), back: wide, interface_mtu });
        let link = LinkConfig { there: path.clone(), back: path, interface_mtu };
        let narrow = net.connect(router, b, link);
        Net { net, a, b, narrow, next_port: 5001 }
    }

    /// Transfers this many bytes, all of which arrive. Returns the time that this took.
    fn transfer(&mut self, domain: Domain, bytes: u64) -> Duration {
        let started_at = self.net.now();
        let flow = Flow::start(&mut self.net, self.a, self.b, domain, self.next_port, bytes);
        self.next_port += 1;
        flow.run(&mut self.net, Duration::from_secs(120));
        assert_eq!(flow.bytes(&self.net), bytes, "{domain:?}\n{}", self.net.transcript());
        self.net.now() - started_at
    }

    fn stats(&self) -> Stats {
        self.net.peek(self.a).expect("a host").stats().clone()
    }

    /// The MSS in the last recorded SYN of A.
    fn announced_mss(&self) -> Option<u16> {
        let sent = self.net.sightings().rev().filter(|seen| seen.sight == Sight::Sent(self.a));
        let segments =
            sent.filter_map(|seen| seen.packet.get(if seen.packet[0] >> 4 == 4 { 20 } else { 40 }..));
        let mut syns = segments.filter(|segment| segment.get(13) == Some(&0x02));
        // In Linux's order it is the first option.
        syns.next().and_then(|syn| match syn.get(20..24) {
            Some(&[2, 4, high, low]) => Some(u16::from_be_bytes([high, low])),
            _ => None,
        })
    }

    /// The largest of the last packets that arrived at the receiver.
    fn largest_of_last(&self, count: usize) -> usize {
        let received = self.net.sightings().rev().filter(|seen| seen.sight == Sight::Received(self.b));
        received.take(count).map(|seen| seen.packet.len()).max().unwrap_or(0)
    }
}

fn silent(mtu: usize) -> PathConfig {
    let path = PathConfig::delayed(Duration::from_millis(5));
    PathConfig { mtu: Some(mtu), too_big: TooBig::Silent, ..path }
}

fn probing(mtu_probing: MtuProbing) -> Config {
    let mut config = Config::default();
    config.tcp.mtu_probing = mtu_probing;
    config
}

/// As on Linux 6.18: connections use a new MTU of their link for what they send next, be it smaller
/// or larger.
#[test]
fn connections_follow_the_mtu_of_their_link() {
    for domain in [Domain::V4, Domain::V6] {
        let mut net = Net::new(Config::default(), 9000, PathConfig::delayed(Duration::from_millis(5)));
        let (a, b) = (net.a, net.b);
        let flow = Flow::start(&mut net.net, a, b, domain, 5001, 20_000_000);
        let mut bytes = 0;
        for mtu in [9000, 1500, 1300, 9000, 2000] {
            let now = net.net.now();
            net.net.stack(a).set_mtu(now, InterfaceId::from_index(0), mtu).unwrap();
            bytes += 3_000_000;
            assert!(net.net.run_until(Duration::from_secs(60), |net| flow.bytes(net) >= bytes));
            assert_eq!(net.largest_of_last(50), mtu, "{domain:?}\n{}", net.net.transcript());
        }
        assert_eq!(net.stats().mtu.black_holes, 0);
    }
}

/// RFC 4821: there is no report that packets are too large, and the transfer continues with smaller
/// ones, close to the path MTU.
#[test]
fn a_black_hole_is_survived() {
    for (interface_mtu, path_mtu) in [(1500, 1300), (1500, 1492), (9000, 1500), (9000, 8000), (1500, 1280)] {
        for domain in [Domain::V4, Domain::V6] {
            let mut net = Net::new(Config::default(), interface_mtu, silent(path_mtu));
            let took = net.transfer(domain, 2_000_000);
            let stats = net.stats();
            let which = format!("{interface_mtu} {path_mtu} {domain:?} {took:?}\n{stats:?}");
            assert_eq!(stats.mtu.black_holes, 1, "{which}");
            assert_eq!(stats.recovery.timeouts, 3, "as many as it takes to suspect one: {which}");
            // The last segment of the first flight may be small enough to get through, and reveal
            // the loss.
            let recoveries = u64::from(path_mtu == 8000);
            assert_eq!(
                stats.recovery.recoveries, recoveries,
                "a probe that is lost is no congestion: {which}"
            );
            assert!(took < Duration::from_secs(10), "{which}");
            let largest = net.largest_of_last(500);
            assert!(largest <= path_mtu && largest + 20 > path_mtu, "{largest}: {which}");
        }
    }
}

/// A path that is narrower than the start of the search: the size is halved once more, and then
/// increased.
#[test]
fn a_very_narrow_black_hole_is_survived() {
    let mut net = Net::new(Config::default(), 1500, silent(700));
    net.transfer(Domain::V4, 500_000);
    assert_eq!(net.stats().mtu.black_holes, 2);
    let largest = net.largest_of_last(100);
    assert!(largest <= 700 && largest > 680, "{largest}");
}

/// During an outage a path looks like a black hole; afterwards one probe shows that it is not.
#[test]
fn an_outage_leaves_no_small_segments() {
    let path = PathConfig::delayed(Duration::from_millis(5));
    let mut net = Net::new(Config::default(), 1500, path.clone());
    net.transfer(Domain::V4, 1000);
    let from = net.net.now() + Duration::from_millis(40);
    let outage = Outage { from, until: from + Duration::from_secs(6) };
    for way in [Way::There, Way::Back] {
        net.net.set_path(net.narrow, way, PathConfig { outages: vec![outage], ..path.clone() });
    }
    net.transfer(Domain::V4, 4_000_000);
    let stats = net.stats();
    assert!(stats.mtu.black_holes >= 1, "{stats:?}");
    assert_eq!((stats.mtu.probes, stats.mtu.probe_success), (1, 1), "{stats:?}");
    assert_eq!(net.largest_of_last(500), 1500);
}

/// RFC 1191, RFC 8201: the router reports the MTU. Only segments that are too large are
/// retransmitted, and this does not count as congestion.
#[test]
fn a_router_that_answers_is_believed() {
    for (domain, path_mtu) in [(Domain::V4, 1300), (Domain::V6, 1300), (Domain::V4, 600)] {
        let path = PathConfig { too_big: TooBig::Answered, ..silent(path_mtu) };
        let mut net = Net::new(Config::default(), 1500, path);
        net.transfer(domain, 1_000_000);
        let stats = net.stats();
        assert_eq!(
            (stats.recovery.timeouts, stats.mtu.black_holes, stats.recovery.recoveries),
            (0, 0, 0),
            "{stats:?}"
        );
        // The ten segments of the first flight, in as many pieces as needed.
        assert!((1..=30).contains(&stats.recovery.path_mtu_retrans), "{stats:?}");
        assert_eq!(stats.recovery.path_mtu_retrans, stats.tcp.retrans_segs);
        assert_eq!(net.largest_of_last(500), path_mtu);
        // The next connection knows the path MTU from the start, and still announces the MSS of its
        // link (MUST-67).
        net.transfer(domain, 100_000);
        assert_eq!(net.stats().tcp.retrans_segs, stats.tcp.retrans_segs);
        let expected = if domain == Domain::V4 { 1460 } else { 1440 };
        assert_eq!(net.announced_mss(), Some(expected), "{domain:?}");
    }
}

/// RFC 4821 §7.5, RFC 8201 §4: after ten minutes a connection finds out that the path MTU is larger
/// than it was.
#[test]
fn a_path_that_widens_is_noticed_after_ten_minutes() {
    let narrow = PathConfig { too_big: TooBig::Answered, ..silent(1300) };
    let mut net = Net::new(Config::default(), 1500, narrow);
    let flow = Flow::start(&mut net.net, net.a, net.b, Domain::V4, 6000, u64::MAX);
    net.net.run_for(Duration::from_millis(200));
    assert_eq!(net.largest_of_last(100), 1300);
    for way in [Way::There, Way::Back] {
        let wide = PathConfig::rated(200_000, Duration::from_millis(5), 30_000);
        net.net.set_path(net.narrow, way, wide);
    }
    net.net.run_for(Duration::from_secs(590));
    assert_eq!((net.largest_of_last(100), net.stats().mtu.probes), (1300, 0));
    net.net.run_for(Duration::from_secs(60));
    assert_eq!(net.largest_of_last(100), 1500, "{:?}", net.stats());
    assert!(flow.bytes(&net.net) > 5_000_000);
}

/// Linux's tcp_mtu_probing of 2: segments are small at first, and there is no time-out even if no
/// router answers. With 0 there is no probing.
#[test]
fn probing_is_a_choice() {
    for path_mtu in [1300, 1500] {
        let mut net = Net::new(probing(MtuProbing::Always), 1500, silent(path_mtu));
        net.transfer(Domain::V4, 2_000_000);
        let stats = net.stats();
        assert_eq!((stats.recovery.timeouts, stats.recovery.recoveries), (0, 0), "{stats:?}");
        let largest = net.largest_of_last(500);
        assert!(largest <= path_mtu && largest + 20 > path_mtu, "{largest}");
    }
    let mut net = Net::new(probing(MtuProbing::Off), 1500, silent(1300));
    let flow = Flow::start(&mut net.net, net.a, net.b, Domain::V4, 6000, 100_000);
    flow.run(&mut net.net, Duration::from_secs(60));
    assert_eq!((flow.bytes(&net.net), net.stats().mtu.probes), (0, 0));
}

/// Losses and a black hole at once: probes are sometimes inconclusive, and everything arrives.
#[test]
fn a_black_hole_with_losses_is_survived() {
    for seed in 0..4 {
        let path = PathConfig { loss: 0.01, ..silent(1400) };
        let mut net =
            Net::new(Config::default(), 1500, PathConfig { reorder: 0.01 * f64::from(seed), ..path });
        net.transfer(Domain::V6, 1_000_000);
        assert!(net.largest_of_last(500) <= 1400);
    }
}
