use super::*;
use crate::config::Config;
use crate::socket::Domain;
use crate::testing::{Loss, PathConfig, TooBig, bdp_bytes};
use alloc::vec::Vec;
use core::time::Duration;

const MBIT: u64 = 1_000_000;

fn two_hosts(seed: u64, path: PathConfig) -> (SimNet, NodeId, NodeId, LinkId) {
    let mut net = SimNet::new(seed);
    net.keep_record(1000);
    let (a, b) = (net.add_host(Config::default()), net.add_host(Config::default()));
    let link = net.connect(a, b, path);
    (net, a, b, link)
}

#[test]
fn a_good_line_is_filled() {
    let rtt = Duration::from_millis(20);
    let path = PathConfig::rated(10 * MBIT, rtt / 2, bdp_bytes(10 * MBIT, rtt));
    for domain in [Domain::V4, Domain::V6] {
        let (mut net, a, b, link) = two_hosts(1, path.clone());
        let flow = Flow::start(&mut net, a, b, domain, 5001, 5_000_000);
        let goodput = flow.run(&mut net, Duration::from_secs(60));
        assert!(goodput > 0.85 * 10e6, "{domain:?}: {goodput}");
        assert_eq!(flow.bytes(&net), 5_000_000);
        let stats = net.path_stats(link, Way::There);
        assert!(stats.max_queued_bytes <= bdp_bytes(10 * MBIT, rtt) as u64, "{stats:?}");
        assert!(net.run_until_idle(Duration::from_secs(200)), "{net:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let digest = |seed| {
        let path = PathConfig { loss: 0.02, jitter: Duration::from_millis(2), ..PathConfig::default() };
        let (mut net, a, b, _) = two_hosts(seed, path);
        Flow::start(&mut net, a, b, Domain::V4, 5001, 300_000).run(&mut net, Duration::from_secs(60));
        net.digest()
    };
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}

#[test]
fn flows_share_a_bottleneck() {
    let bottleneck = PathConfig::rated(20 * MBIT, Duration::from_millis(5), 100_000);
    let delays = [Duration::from_millis(1), Duration::from_millis(2), Duration::from_millis(3)];
    let mut bell = Dumbbell::new(1, &Config::default(), &delays, bottleneck);
    let flows: Vec<Flow> = (0..3).map(|pair| bell.start_bulk(pair, u64::MAX)).collect();
    bell.net.run_for(Duration::from_secs(10));
    let total: u64 = flows.iter().map(|flow| flow.bytes(&bell.net)).sum();
    assert!(flows.iter().all(|flow| flow.bytes(&bell.net) > 1_000_000));
    let goodput = total as f64 * 8.0 / 10.0;
    assert!((0.8 * 20e6..20e6).contains(&goodput), "{goodput}");
    let stats = bell.net.path_stats(bell.bottleneck, Way::There);
    assert!(stats.queue_full > 0 && stats.delivered_bytes < 25_000_000, "{stats:?}");
}

#[test]
fn a_narrow_path_answers_or_is_a_black_hole() {
    for domain in [Domain::V4, Domain::V6] {
        let mut net = SimNet::new(1);
        net.keep_record(1000);
        let (a, router) = (net.add_host(Config::default()), net.add_router());
        let b = net.add_host(Config::default());
        net.connect(a, router, PathConfig::default());
        let narrow = net.connect(router, b, PathConfig { mtu: Some(1300), ..PathConfig::default() });
        let flow = Flow::start(&mut net, a, b, domain, 5001, 300_000);
        flow.run(&mut net, Duration::from_secs(10));
        assert_eq!(flow.bytes(&net), 300_000, "{domain:?}\n{}", net.transcript());
        assert!(net.path_stats(narrow, Way::There).too_big > 0);
        let lost = |sighting: &Sighting| matches!(sighting.sight, Sight::Lost(_, Loss::TooBig));
        assert!(net.sightings().any(lost), "losses are recorded");
    }
    let path = PathConfig { mtu: Some(1300), too_big: TooBig::Silent, ..PathConfig::default() };
    let (mut net, _, b, _) = two_hosts(1, path);
    net.run_for(Duration::from_secs(1));
    assert_eq!(net.peek(b).unwrap().stats().icmp.errors_received, 0);
}

#[test]
fn hosts_with_several_links_use_the_shortest() {
    let mut net = SimNet::new(1);
    let hosts: Vec<NodeId> = (0..3).map(|_| net.add_host(Config::default())).collect();
    let links: Vec<LinkId> =
        (0..3).map(|n| net.connect(hosts[n], hosts[(n + 1) % 3], PathConfig::default())).collect();
    // The address of host 2 is on its link with host 1; the first address of host 0 is on its link
    // with host 1.
    let flow = Flow::start(&mut net, hosts[1], hosts[2], Domain::V4, 5001, 10_000);
    flow.run(&mut net, Duration::from_secs(5));
    assert_eq!(flow.bytes(&net), 10_000);
    assert!(net.path_stats(links[1], Way::There).delivered > 5);
    assert_eq!(net.path_stats(links[0], Way::There).delivered, 0);
}

#[test]
fn talks_of_every_kind_end_in_order() {
    let stalled = StreamScript {
        read: Reading {
            stalls: alloc::vec![(50_000, Duration::from_secs(20))],
            ..StreamScript::receiver(1).read
        },
        ..StreamScript::receiver(1)
    };
    let mut chatty = StreamScript::sender(1, 20_000);
    chatty.send.chunk = 100;
    chatty.send.pause = Duration::from_millis(3);
    let scripts = [
        [StreamScript::sender(1, 3_000_000), stalled],
        [StreamScript::sender(1, 100_000), StreamScript::echo(1)],
        [StreamScript::client(1, 2, 30, 200, 5000), StreamScript::server(1, 2, 200, 5000)],
        [chatty, StreamScript::receiver(1)],
    ];
    for (index, scripts) in scripts.into_iter().enumerate() {
        let (mut net, a, b, _) = two_hosts(index as u64, PathConfig::delayed(Duration::from_millis(10)));
        let addr = (net.addr(b, Domain::V4), 7).into();
        let flow = Flow::start_as(&mut net, a, b, addr, scripts);
        net.run_for(Duration::from_secs(100));
        let (one, other) = (flow.sent(&net).unwrap(), flow.received(&net).unwrap());
        assert_eq!(
            (one.phase(), other.phase()),
            (StreamPhase::Ended, StreamPhase::Ended),
            "{index}: {one:?} {other:?}"
        );
        assert_eq!((one.sent(), one.received()), (other.received(), other.sent()), "{index}");
        assert_eq!(net.peek(a).unwrap().sockets().count(), 0, "{index}");
    }
}

#[test]
fn a_reset_reaches_the_other_end() {
    let (mut net, a, b, _) = two_hosts(1, PathConfig::default());
    let addr = (net.addr(b, Domain::V4), 7).into();
    let abort = StreamScript { ending: Ending::Abort { after: 50_000 }, ..StreamScript::sender(1, 100_000) };
    let flow = Flow::start_as(&mut net, a, b, addr, [abort, StreamScript::receiver(1)]);
    net.run_for(Duration::from_secs(10));
    assert_eq!(flow.sent(&net).unwrap().phase(), StreamPhase::Ended);
    assert!(matches!(
        flow.received(&net).unwrap().phase(),
        StreamPhase::Failed(crate::Error::ConnectionReset, _)
    ));
}

#[test]
#[should_panic(expected = "seed 9: 1.000000s a program on node 0: enough")]
fn a_program_can_say_that_something_is_wrong() {
    let (mut net, a, ..) = two_hosts(9, PathConfig::default());
    net.spawn(a, |host: &mut OnHost<'_>| {
        host.fail("enough");
        Next::Done
    });
    net.run_for(Duration::from_secs(1));
}
