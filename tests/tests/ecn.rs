//! ECN from end to end over simulated paths (RFC 3168, RFC 9768): congestion is reported before
//! anything is lost.

use std::time::Duration;

use portolan::testing::sim::{Flow, LinkId, NodeId, SimNet, Way};
use portolan::testing::{Discipline, PathConfig, bdp_bytes};
use portolan::{Config, Domain, Ecn, Stats};

const RATE: u64 = 20_000_000;
const RTT: Duration = Duration::from_millis(40);

fn config(ecn: Ecn) -> Config {
    let mut config = Config::default();
    config.tcp.ecn = ecn;
    config
}

/// A bottleneck that marks packets instead of dropping them.
fn marking_bottleneck() -> PathConfig {
    let mut path = PathConfig::rated(RATE, RTT / 2, 4 * bdp_bytes(RATE, RTT));
    path.queue.discipline = Discipline::codel(true);
    path
}

fn two_hosts(client: Ecn, server: Ecn, path: PathConfig) -> (SimNet, NodeId, NodeId, LinkId) {
    let mut net = SimNet::new(3);
    net.keep_record(2000);
    let (a, b) = (net.add_host(config(client)), net.add_host(config(server)));
    let link = net.connect(a, b, path);
    (net, a, b, link)
}

fn stats(net: &SimNet, node: NodeId) -> Stats {
    net.peek(node).expect("a host").stats().clone()
}

#[test]
fn a_router_that_marks_needs_to_drop_nothing() {
    for policy in [Ecn::Request, Ecn::RequestAccurate] {
        for domain in [Domain::V4, Domain::V6] {
            let (mut net, a, b, link) = two_hosts(policy, Ecn::Accept, marking_bottleneck());
            let flow = Flow::start(&mut net, a, b, domain, 5001, 6_000_000);
            let goodput = flow.run(&mut net, Duration::from_secs(60));
            let path = *net.path_stats(link, Way::There);
            let (sender, receiver) = (stats(&net, a), stats(&net, b));
            assert_eq!(flow.bytes(&net), 6_000_000);
            assert_eq!(
                (path.codel_drops, path.queue_full, sender.tcp.retrans_segs),
                (0, 0, 0),
                "{policy:?} {path:?}"
            );
            assert!(path.marked > 0 && receiver.ecn.ce_received == path.marked, "{policy:?} {path:?}");
            assert!(sender.ecn.reductions > 0, "{policy:?}");
            assert!(sender.ecn.reductions <= path.marked, "{policy:?}");
            assert!(goodput > 0.7 * RATE as f64, "{policy:?} {domain:?}: {goodput}");
            assert!(net.run_until_idle(Duration::from_secs(200)));
        }
    }
}

/// Every combination of settings leads to a mode that both ends support.
#[test]
fn every_pair_of_policies_agrees_on_something() {
    let policies = [Ecn::Off, Ecn::Accept, Ecn::Request, Ecn::RequestAccurate];
    for client in policies {
        for server in policies {
            let (mut net, a, b, link) =
                two_hosts(client, server, PathConfig { mark: 0.01, ..PathConfig::default() });
            let flow = Flow::start(&mut net, a, b, Domain::V4, 5001, 2_000_000);
            flow.run(&mut net, Duration::from_secs(60));
            assert_eq!(flow.bytes(&net), 2_000_000, "{client:?} {server:?}");
            let expected = match (client, server) {
                (Ecn::Off | Ecn::Accept, _) | (_, Ecn::Off) => (0, 0),
                (Ecn::Request, _) | (_, Ecn::Request) => (1, 0),
                _ => (0, 1),
            };
            for node in [a, b] {
                let stats = stats(&net, node);
                let agreed = (stats.ecn.connections, stats.ecn.accecn_connections);
                assert_eq!(agreed, expected, "{client:?} {server:?}");
            }
            let marked = net.path_stats(link, Way::There).marked;
            assert_eq!(marked > 0, expected != (0, 0), "{client:?} {server:?}");
            assert_eq!(stats(&net, a).tcp.retrans_segs, 0);
        }
    }
}

/// Marks and losses at once: retransmissions are not ECN-capable, and everything arrives.
#[test]
fn marks_and_losses_together() {
    for policy in [Ecn::Request, Ecn::RequestAccurate] {
        for seed in 0..5 {
            let mut net = SimNet::new(seed);
            net.keep_record(2000);
            let (a, b) = (net.add_host(config(policy)), net.add_host(config(Ecn::Accept)));
            let path =
                PathConfig { mark: 0.1, loss: 0.02, reorder: 0.01, duplicate: 0.01, ..PathConfig::default() };
            net.connect(a, b, path);
            let flow = Flow::start(&mut net, a, b, Domain::V6, 5001, 500_000);
            flow.run(&mut net, Duration::from_secs(600));
            assert_eq!(flow.bytes(&net), 500_000, "{policy:?} {seed}\n{}", net.transcript());
        }
    }
}

/// A path that marks every packet is slow, but works.
#[test]
fn a_path_that_marks_everything_is_survived() {
    for policy in [Ecn::Request, Ecn::RequestAccurate] {
        let path = PathConfig { mark: 1.0, ..PathConfig::default() };
        let (mut net, a, b, _) = two_hosts(policy, Ecn::Accept, path);
        let flow = Flow::start(&mut net, a, b, Domain::V4, 5001, 300_000);
        flow.run(&mut net, Duration::from_secs(600));
        assert_eq!(flow.bytes(&net), 300_000, "{policy:?}");
        assert_eq!(stats(&net, a).tcp.retrans_segs, 0, "{policy:?}");
    }
}
