use smoltcp::wire::{DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress};

use super::*;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ADDR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

/// A message of the client.
#[derive(Debug)]
struct Sent {
    route: Route,
    kind: DhcpMessageType,
    xid: u32,
    client: Ipv4Addr,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
}

/// A machine with its clock.
struct Bench {
    now: Instant,
    machine: Machine,
    lease_secs: u32,
}

impl Bench {
    fn new(earlier: Option<Ipv4Addr>) -> Bench {
        let now = Instant::from_secs(100);
        Bench { now, machine: Machine::new(now, MAC, earlier, [7; 32]), lease_secs: 3600 }
    }

    /// A machine with a lease that the stack has probed.
    fn bound(lease_secs: u32) -> Bench {
        let mut bench = Bench::new(None);
        bench.lease_secs = lease_secs;
        let discover = bench.sent();
        bench.answer(&discover, DhcpMessageType::Offer, ADDR);
        let request = bench.sent();
        bench.answer(&request, DhcpMessageType::Ack, ADDR);
        bench.machine.on_unique();
        assert_eq!(bench.changes(), ["add 10.0.0.9/24", "bound 10.0.0.9/24"]);
        bench
    }

    /// The one message that it sends now.
    fn sent(&mut self) -> Sent {
        let (route, bytes) = self.machine.poll_transmit().expect("a message");
        assert!(self.machine.poll_transmit().is_none());
        let packet = DhcpPacket::new_checked(&bytes[..]).unwrap();
        let repr = DhcpRepr::parse(&packet).unwrap();
        assert_eq!((repr.client_hardware_address.0, repr.broadcast), (MAC.0, false));
        Sent {
            route,
            kind: repr.message_type,
            xid: repr.transaction_id,
            client: repr.client_ip,
            requested: repr.requested_ip,
            server: repr.server_identifier,
        }
    }

    /// A server's answer.
    fn answer(&mut self, to: &Sent, kind: DhcpMessageType, addr: Ipv4Addr) {
        self.answer_with(to, kind, addr, &[]);
    }

    fn answer_with(&mut self, to: &Sent, kind: DhcpMessageType, addr: Ipv4Addr, options: &[DhcpOption<'_>]) {
        let repr = DhcpRepr {
            message_type: kind,
            transaction_id: to.xid,
            secs: 0,
            client_hardware_address: EthernetAddress(MAC.0),
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: addr,
            server_ip: SERVER,
            router: Some(SERVER),
            subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: false,
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(SERVER),
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: Some(self.lease_secs),
            renew_duration: None,
            rebind_duration: None,
            additional_options: options,
        };
        let mut bytes = vec![0; repr.buffer_len()];
        repr.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).unwrap();
        self.machine.handle_message(self.now, &bytes);
    }

    /// Lets time pass until the next time-out. Returns how long that took, in seconds.
    fn time_out(&mut self) -> u64 {
        let at = self.machine.poll_timeout().expect("a time-out");
        let passed = at - self.now;
        self.now = at;
        self.machine.handle_timeout(at);
        passed.as_secs()
    }

    /// What the driver has to do, as text.
    fn changes(&mut self) -> Vec<String> {
        let changes = std::iter::from_fn(|| self.machine.poll_change());
        let text = |change| match change {
            Change::Add(lease) => format!("add {}", lease.address),
            Change::Bound(lease) => format!("bound {}", lease.address),
            Change::Renewed(lease) => format!("renewed {}", lease.address),
            Change::Lost(lease, why) => format!("lost {}: {why}", lease.address),
            Change::Problem(problem) => problem,
        };
        changes.map(text).collect()
    }
}

#[test]
fn a_lease_is_found_asked_for_and_checked() {
    let mut bench = Bench::new(None);
    let discover = bench.sent();
    assert_eq!((discover.kind, discover.route), (DhcpMessageType::Discover, Route::Unconfigured));
    bench.answer(&discover, DhcpMessageType::Offer, ADDR);
    let request = bench.sent();
    assert_eq!(
        (request.kind, request.route, request.xid),
        (DhcpMessageType::Request, Route::Unconfigured, discover.xid)
    );
    assert_eq!(
        (request.requested, request.server, request.client),
        (Some(ADDR), Some(SERVER), Ipv4Addr::UNSPECIFIED)
    );
    bench.answer(&request, DhcpMessageType::Ack, ADDR);
    assert_eq!(bench.changes(), ["add 10.0.0.9/24"]);
    assert!(bench.machine.is_checking() && bench.machine.poll_timeout().is_none());
    bench.machine.on_unique();
    assert_eq!(bench.changes(), ["bound 10.0.0.9/24"]);
    assert_eq!(bench.time_out(), 1800);
}

#[test]
fn messages_without_an_answer_are_repeated_with_growing_pauses() {
    let mut bench = Bench::new(None);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        bench.sent();
        pauses.push(bench.time_out());
    }
    let expected = [4, 8, 16, 32, 64, 64, 64];
    let near = |(pause, expected): (&u64, &u64)| (expected - 1..=expected + 1).contains(pause);
    assert!(pauses.iter().zip(&expected).all(near), "{pauses:?}");
    // And requests, until the client begins anew.
    let discover = bench.sent();
    bench.answer(&discover, DhcpMessageType::Offer, ADDR);
    for _ in 0..MAX_REQUESTS {
        assert_eq!(bench.sent().kind, DhcpMessageType::Request);
        bench.time_out();
    }
    let again = bench.sent();
    assert_eq!(again.kind, DhcpMessageType::Discover);
    assert_ne!(again.xid, discover.xid);
}

#[test]
fn a_lease_is_renewed_by_its_server_and_then_by_any() {
    let mut bench = Bench::bound(3600);
    assert_eq!(bench.time_out(), 1800);
    let renewal = bench.sent();
    assert_eq!(
        (renewal.kind, renewal.route, renewal.client),
        (DhcpMessageType::Request, Route::Server(SERVER), ADDR)
    );
    assert_eq!((renewal.requested, renewal.server), (None, None));
    bench.answer(&renewal, DhcpMessageType::Ack, ADDR);
    assert_eq!(bench.changes(), ["renewed 10.0.0.9/24"]);
    assert_eq!(bench.time_out(), 1800);
    // RFC 2131 §4.4.5: the server is asked again after half of the time that is left, all servers
    // from T2 on.
    let mut asked = vec![bench.sent().route];
    let mut pauses = Vec::new();
    while bench.machine.lease().is_some() {
        pauses.push(bench.time_out());
        asked.extend(bench.machine.poll_transmit().map(|(route, _)| route));
    }
    assert_eq!(pauses, [675, 337, 168, 84, 60, 24, 225, 112, 60, 52]);
    let by_server = asked.iter().filter(|route| **route == Route::Server(SERVER)).count();
    let by_all = asked.iter().filter(|route| **route == Route::Broadcast).count();
    assert_eq!((by_server, by_all, asked.last()), (6, 4, Some(&Route::Unconfigured)));
    assert_eq!(bench.changes(), ["lost 10.0.0.9/24: the lease has ended"]);
}

#[test]
fn a_server_that_refuses_takes_the_lease() {
    let mut bench = Bench::bound(3600);
    bench.time_out();
    let renewal = bench.sent();
    bench.answer(&renewal, DhcpMessageType::Nak, Ipv4Addr::UNSPECIFIED);
    assert_eq!(bench.changes(), ["lost 10.0.0.9/24: the server refused to renew the lease"]);
    assert_eq!(bench.time_out(), 1);
    assert_eq!(bench.sent().kind, DhcpMessageType::Discover);
}

#[test]
fn an_address_that_another_host_has_is_declined() {
    let mut bench = Bench::new(None);
    let discover = bench.sent();
    bench.answer(&discover, DhcpMessageType::Offer, ADDR);
    let request = bench.sent();
    bench.answer(&request, DhcpMessageType::Ack, ADDR);
    bench.machine.on_conflict(bench.now);
    let decline = bench.sent();
    assert_eq!((decline.kind, decline.route), (DhcpMessageType::Decline, Route::Unconfigured));
    assert_eq!(
        (decline.requested, decline.server, decline.client),
        (Some(ADDR), Some(SERVER), Ipv4Addr::UNSPECIFIED)
    );
    assert_eq!(bench.changes(), ["add 10.0.0.9/24", "lost 10.0.0.9/24: another host has the address"]);
    assert_eq!(bench.time_out(), 10);
    assert_eq!(bench.sent().kind, DhcpMessageType::Discover);
}

#[test]
fn an_earlier_address_is_asked_for_first() {
    let mut bench = Bench::new(Some(ADDR));
    let request = bench.sent();
    assert_eq!(
        (request.kind, request.requested, request.server),
        (DhcpMessageType::Request, Some(ADDR), None)
    );
    bench.answer(&request, DhcpMessageType::Ack, ADDR);
    assert_eq!(bench.changes(), ["add 10.0.0.9/24"]);
    let mut bench = Bench::new(Some(ADDR));
    for _ in 0..MAX_REBOOT_REQUESTS {
        assert_eq!(bench.sent().kind, DhcpMessageType::Request);
        bench.time_out();
    }
    assert_eq!(bench.sent().kind, DhcpMessageType::Discover);
}

#[test]
fn a_released_lease_is_gone() {
    let mut bench = Bench::bound(3600);
    bench.machine.release(bench.now);
    let release = bench.sent();
    assert_eq!(
        (release.kind, release.route, release.client),
        (DhcpMessageType::Release, Route::Server(SERVER), ADDR)
    );
    assert_eq!((release.server, release.requested), (Some(SERVER), None));
    assert_eq!(bench.changes(), ["lost 10.0.0.9/24: it was released"]);
    assert!(bench.machine.poll_timeout().is_none());
}

#[test]
fn what_is_not_an_answer_is_ignored_and_what_makes_no_sense_is_reported() {
    let mut bench = Bench::new(None);
    let discover = bench.sent();
    bench.answer(&Sent { xid: discover.xid ^ 1, ..discover }, DhcpMessageType::Offer, ADDR);
    let discover = Sent { xid: discover.xid, ..discover };
    bench.answer(&discover, DhcpMessageType::Ack, ADDR);
    assert!(bench.machine.poll_transmit().is_none() && bench.changes().is_empty());
    bench.answer(&discover, DhcpMessageType::Offer, Ipv4Addr::BROADCAST);
    let problem = "an answer of a DHCP server is refused: the address is not one that a host can have";
    assert_eq!(bench.changes(), [problem]);
    let options = [DhcpOption { kind: 26, data: &[0, 9] }];
    bench.answer_with(&discover, DhcpMessageType::Offer, ADDR, &options);
    assert_eq!(bench.changes(), ["an MTU of 9 is ignored; the least is 68"]);
    assert_eq!(bench.sent().kind, DhcpMessageType::Request);
    // Nothing that is only part of a message does harm.
    let request = Sent { ..discover };
    let mut repr = message::broadcast(&[0; 300]);
    for len in 0..repr.len() {
        assert!(message::payload_of(&repr[..len]).is_none());
    }
    repr.truncate(28);
    bench.machine.handle_message(bench.now, &repr);
    bench.answer(&request, DhcpMessageType::Ack, ADDR);
    assert_eq!(bench.changes(), ["add 10.0.0.9/24"]);
}

#[test]
fn a_lease_without_an_end_is_not_renewed() {
    let bench = Bench::bound(u32::MAX);
    assert_eq!(bench.machine.poll_timeout(), None);
}
