use simple_dns::rdata::{A, AAAA, CNAME, OPT, RData, SOA};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};

use super::*;
use crate::names::config::ResolverConfig;

fn server(host: u8) -> SocketAddr {
    ([10, 0, 0, host], 53).into()
}

fn config() -> ResolverConfig {
    ResolverConfig { servers: vec![server(1), server(2)], ..Default::default() }
}

/// A lookup with its clock and its resolver.
struct Bench {
    now: Instant,
    shared: Shared,
    lookup: Lookup,
}

impl Bench {
    fn new(config: ResolverConfig, name: &str) -> Bench {
        let mut shared = Shared::new(config);
        shared.seed([7; 32]);
        Bench::again(Instant::from_secs(1), shared, name, None)
    }

    fn again(now: Instant, mut shared: Shared, name: &str, patience: Option<Duration>) -> Bench {
        let lookup = Lookup::new(now, &mut shared, name, patience);
        Bench { now, shared, lookup }
    }

    /// The messages that it sends now.
    fn queries(&mut self) -> Vec<Query> {
        std::iter::from_fn(|| self.lookup.poll_transmit()).collect()
    }

    /// The one message that it sends now.
    fn query(&mut self) -> Query {
        let mut queries = self.queries();
        assert_eq!(queries.len(), 1, "{queries:?}");
        queries.remove(0)
    }

    fn hand_in(&mut self, query: &Query, bytes: &[u8]) {
        self.lookup.handle_message(self.now, &mut self.shared, query.number, query.server, bytes);
    }

    /// Answers a message with what `change` makes of an empty answer to it.
    fn answer(&mut self, query: &Query, change: impl FnOnce(&mut Packet<'_>)) {
        let mut packet = Packet::parse(&query.message).unwrap().into_reply();
        *packet.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: 1232, version: 0 });
        change(&mut packet);
        self.hand_in(query, &packet.build_bytes_vec_compressed().unwrap());
    }

    /// Lets time pass until the next time-out. Returns how long that took.
    fn time_out(&mut self) -> Duration {
        let until = self.lookup.poll_timeout().expect("a time-out");
        let passed = until - self.now;
        self.now = until;
        self.lookup.handle_timeout(self.now, &mut self.shared);
        passed
    }

    /// The result, as text.
    fn result(&mut self) -> String {
        match self.lookup.take_result().expect("a result") {
            Ok(addresses) => addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Err(error) => format!("{:?}: {error}", error.kind()),
        }
    }
}

fn record(name: &'static str, ttl: u32, rdata: RData<'static>) -> ResourceRecord<'static> {
    ResourceRecord::new(Name::new_unchecked(name), CLASS::IN, ttl, rdata)
}

fn a(name: &'static str, ttl: u32, host: u8) -> ResourceRecord<'static> {
    record(name, ttl, RData::A(A { address: u32::from_be_bytes([192, 0, 2, host]) }))
}

fn aaaa(name: &'static str, ttl: u32, host: u8) -> ResourceRecord<'static> {
    record(name, ttl, RData::AAAA(AAAA { address: (0x2001_0db8 << 96) | u128::from(host) }))
}

fn cname(name: &'static str, ttl: u32, target: &'static str) -> ResourceRecord<'static> {
    record(name, ttl, RData::CNAME(CNAME(Name::new_unchecked(target))))
}

fn soa(ttl: u32, minimum: u32) -> ResourceRecord<'static> {
    let name = || Name::new_unchecked("example");
    let soa = SOA { mname: name(), rname: name(), serial: 1, refresh: 1, retry: 1, expire: 1, minimum };
    record("example", ttl, RData::SOA(soa))
}

/// What a message asks for: the name and the kind.
fn asked(query: &Query) -> (String, QTYPE) {
    let packet = Packet::parse(&query.message).unwrap();
    assert!(packet.has_flags(PacketFlag::RECURSION_DESIRED) && packet.questions.len() == 1);
    (packet.questions[0].qname.to_string(), packet.questions[0].qtype)
}

#[test]
fn both_kinds_of_addresses_are_asked_for_at_once() {
    let mut bench = Bench::new(config(), "Host.Example");
    let [six, four] = &bench.queries()[..] else { panic!() };
    assert_eq!(asked(six), ("host.example".into(), QTYPE::TYPE(TYPE::AAAA)));
    assert_eq!(asked(four), ("host.example".into(), QTYPE::TYPE(TYPE::A)));
    assert_eq!(Packet::parse(&six.message).unwrap().opt().unwrap().udp_packet_size, 1232);
    assert_ne!(six.message[..2], four.message[..2], "each has an id of its own");
    bench.answer(four, |packet| packet.answers.extend([a("HOST.example", 60, 1), a("host.example", 60, 2)]));
    bench.answer(six, |packet| packet.answers.push(aaaa("host.example", 60, 1)));
    assert_eq!(bench.result(), "2001:db8::1 192.0.2.1 192.0.2.2");

    // The cache has the answers for a minute.
    let Bench { now, shared, .. } = bench;
    let mut again = Bench::again(now + Duration::from_secs(59), shared, "host.example.", None);
    assert_eq!(again.result(), "2001:db8::1 192.0.2.1 192.0.2.2");
    assert_eq!(again.shared.stats.cached, 2);
    let Bench { now, shared, .. } = again;
    assert_eq!(Bench::again(now + Duration::from_secs(1), shared, "host.example", None).queries().len(), 2);
}

#[test]
fn aliases_are_followed_in_an_answer_and_by_another_question() {
    let mut bench = Bench::new(config(), "www.example");
    let [six, four] = &bench.queries()[..] else { panic!() };
    // The whole chain, in any order, with records of others that do not count.
    bench.answer(four, |packet| {
        packet.answers.extend([
            a("host.example", 60, 1),
            a("other.example", 60, 9),
            cname("alias.example", 60, "HOST.example"),
            cname("www.example", 60, "alias.example"),
        ]);
    });
    bench.answer(six, |packet| packet.answers.push(cname("www.example", 60, "host.example")));
    let next = bench.query();
    assert_eq!(asked(&next), ("host.example".into(), QTYPE::TYPE(TYPE::AAAA)));
    // RFC 2308 §2.2: the alias exists, but has no such address.
    bench.answer(&next, |packet| packet.name_servers.push(soa(60, 60)));
    assert_eq!(bench.result(), "192.0.2.1");
}

#[test]
fn aliases_without_an_end_are_given_up() {
    let mut bench = Bench::new(config(), "a.example");
    let mut count = 0;
    loop {
        let queries = bench.queries();
        if queries.is_empty() {
            break;
        }
        for query in queries {
            count += 1;
            match asked(&query).0.as_str() {
                "a.example" => {
                    bench.answer(&query, |packet| packet.answers.push(cname("a.example", 0, "b.example")))
                }
                _ => bench.answer(&query, |packet| packet.answers.push(cname("b.example", 0, "a.example"))),
            }
        }
    }
    assert!(count <= 2 * (MAX_ALIASES + 1), "{count}");
    assert_eq!(bench.result(), "InvalidData: a.example: its aliases (CNAME) have no end");
    // And within one answer.
    let mut bench = Bench::new(config(), "a.example");
    let queries = bench.queries();
    for query in &queries {
        bench.answer(query, |packet| {
            packet.answers.extend([cname("a.example", 9, "b.example"), cname("b.example", 9, "a.example")]);
        });
    }
    assert_eq!(bench.result(), "InvalidData: a.example: its aliases (CNAME) have no end");
}

#[test]
fn the_search_list_goes_on_after_names_that_do_not_exist() {
    let mut bench = Bench::new(ResolverConfig { search: vec!["example".into()], ..config() }, "host");
    for query in bench.queries() {
        assert_eq!(asked(&query).0, "host.example");
        bench.answer(&query, |packet| {
            *packet.rcode_mut() = RCODE::NameError;
            packet.name_servers.push(soa(300, 20));
        });
    }
    for query in bench.queries() {
        assert_eq!(asked(&query).0, "host");
        bench.answer(&query, |packet| packet.name_servers.push(soa(300, 20)));
    }
    assert_eq!(bench.result(), "NotFound: host has no addresses");
    // RFC 2308 §5: the lesser of the SOA's time and its minimum.
    let Bench { now, shared, .. } = bench;
    let mut again = Bench::again(now + Duration::from_secs(19), shared, "host", None);
    assert_eq!(again.result(), "NotFound: host has no addresses");
    let Bench { now, shared, .. } = again;
    assert_eq!(Bench::again(now + Duration::from_secs(1), shared, "host", None).queries().len(), 2);
}

#[test]
fn servers_are_asked_in_turn_and_time_outs_double() {
    let mut bench = Bench::new(ResolverConfig { attempts: 2, ..config() }, "host.example");
    let mut seen = Vec::new();
    for seconds in [2, 2, 4, 4] {
        for query in bench.queries() {
            seen.push(query.server);
        }
        assert_eq!(bench.time_out(), Duration::from_secs(seconds));
    }
    assert_eq!(seen, [1, 1, 2, 2, 1, 1, 2, 2].map(server));
    assert_eq!(bench.result(), "TimedOut: host.example: no answer from 10.0.0.1:53, 10.0.0.2:53");
    assert_eq!((bench.shared.stats.questions, bench.shared.stats.timeouts), (8, 8));
}

#[test]
fn a_late_answer_of_the_first_server_counts() {
    let mut bench = Bench::new(config(), "host.example");
    let early = bench.queries();
    bench.time_out();
    let late = bench.queries();
    bench.answer(&early[1], |packet| packet.answers.push(a("host.example", 60, 1)));
    bench.answer(&late[0], |_| {});
    assert_eq!(bench.result(), "192.0.2.1");
}

#[test]
fn a_server_that_refuses_or_is_not_there_is_passed_over() {
    let mut bench = Bench::new(config(), "host.example");
    let [six, four] = &bench.queries()[..] else { panic!() };
    bench.answer(six, |packet| *packet.rcode_mut() = RCODE::ServerFailure);
    let next = bench.query();
    assert_eq!(next.server, server(2));
    bench.answer(&next, |_| {});
    let error = io::Error::from(io::ErrorKind::ConnectionRefused);
    bench.lookup.handle_error(bench.now, &mut bench.shared, four.number, &error);
    let next = bench.query();
    assert_eq!(next.server, server(2));
    bench.answer(&next, |packet| packet.answers.push(a("host.example", 60, 1)));
    assert_eq!(bench.result(), "192.0.2.1");

    let mut bench =
        Bench::new(ResolverConfig { attempts: 1, servers: vec![server(1)], ..config() }, "host.example");
    for query in bench.queries() {
        bench.answer(&query, |packet| *packet.rcode_mut() = RCODE::Refused);
    }
    assert_eq!(bench.result(), "Other: host.example: 10.0.0.1:53 answered REFUSED");
}

#[test]
fn a_truncated_answer_is_asked_for_over_tcp_and_an_old_server_without_edns() {
    let mut bench = Bench::new(config(), "host.example");
    let [six, four] = &bench.queries()[..] else { panic!() };
    bench.answer(six, |packet| {
        *packet.rcode_mut() = RCODE::FormatError;
        *packet.opt_mut() = None;
        packet.questions.clear();
    });
    let plain = bench.query();
    assert!(Packet::parse(&plain.message).unwrap().opt().is_none() && plain.server == server(1));
    bench.answer(&plain, |packet| *packet.opt_mut() = None);
    bench.answer(four, |packet| packet.set_flags(PacketFlag::TRUNCATION));
    let over_tcp = bench.query();
    assert_eq!((over_tcp.via, over_tcp.server), (Via::Tcp, server(1)));
    assert_ne!(over_tcp.message[..2], four.message[..2], "a new id");
    bench.answer(&over_tcp, |packet| packet.answers.push(a("host.example", 60, 1)));
    assert_eq!(bench.result(), "192.0.2.1");
    assert_eq!(bench.shared.stats.over_tcp, 1);
}

#[test]
fn what_is_not_the_answer_is_ignored_and_counted() {
    let mut bench = Bench::new(config(), "host.example");
    let queries = bench.queries();
    let [_, four] = &queries[..] else { panic!() };
    let wrong = |change: &dyn Fn(&mut Packet<'_>)| {
        let mut packet = Packet::parse(&four.message).unwrap().into_reply();
        packet.answers.push(a("host.example", 60, 66));
        change(&mut packet);
        packet.build_bytes_vec().unwrap()
    };
    let another = Packet::parse(&queries[0].message).unwrap().into_reply().build_bytes_vec().unwrap();
    let mut too_many = wrong(&|_| {});
    too_many[6] = 0xff;
    let nonsense = [
        Vec::new(),
        vec![0xff; 12],
        wrong(&|packet| packet.set_id(packet.id() ^ 1)),
        wrong(&|packet| packet.remove_flags(PacketFlag::RESPONSE)),
        wrong(&|packet| packet.questions.clear()),
        wrong(&|packet| packet.questions[0].qname = Name::new_unchecked("other.example")),
        wrong(&|packet| packet.questions[0].qtype = QTYPE::TYPE(TYPE::AAAA)),
        another,
        too_many,
    ];
    for bytes in &nonsense {
        bench.hand_in(four, bytes);
    }
    assert_eq!(bench.shared.stats.nonsense, nonsense.len() as u64);
    // From another address.
    let right = wrong(&|_| {});
    bench.lookup.handle_message(bench.now, &mut bench.shared, four.number, server(9), &right);
    assert_eq!(bench.shared.stats.nonsense, nonsense.len() as u64 + 1);
    // Each prefix of an answer, and an answer with any byte changed, is handled without a panic.
    for len in 0..right.len() {
        bench.hand_in(four, &right[..len]);
    }
    for at in 12..right.len() {
        let mut bench = Bench::new(config(), "host.example");
        let queries = bench.queries();
        let mut bytes = right.clone();
        bytes[at] = bytes[at].wrapping_add(0x61);
        bench.hand_in(&queries[1], &bytes);
    }
    assert!(bench.lookup.take_result().is_none());
    bench.hand_in(four, &right);
    bench.answer(&queries[0], |_| {});
    assert_eq!(bench.result(), "192.0.2.66");
}

#[test]
fn names_that_no_server_is_asked_for() {
    let mut config = config();
    config.hosts.add(IpAddr::from([10, 0, 0, 7]), "printer");
    let result = |name: &str| {
        let mut bench = Bench::new(config.clone(), name);
        assert!(bench.queries().is_empty(), "{name}");
        bench.result()
    };
    assert_eq!(result("10.0.0.9"), "10.0.0.9");
    assert_eq!(result("fd00::9"), "fd00::9");
    assert_eq!(result("Printer"), "10.0.0.7");
    assert_eq!(result("localhost"), "::1 127.0.0.1");
    assert_eq!(result("a.LOCALHOST."), "::1 127.0.0.1");
    assert!(result("a.invalid").starts_with("NotFound: a.invalid does not exist"));
    for wrong in ["", ".", "a..b", "bücher.example", "a b", &"a".repeat(64), &"a.".repeat(128)] {
        assert!(result(wrong).starts_with("InvalidInput: "), "{wrong}");
    }
    config.servers.clear();
    let mut bench = Bench::new(config, "host.example");
    assert!(bench.result().starts_with("Unsupported: host.example: no DNS server is known"));
}

#[test]
fn a_lookup_for_a_connection_does_not_wait_long_for_ipv6() {
    let shared = || Bench::new(config(), "localhost").shared;
    let mut bench = Bench::again(Instant::from_secs(1), shared(), "host.example", Some(RESOLUTION_DELAY));
    let [six, four] = &bench.queries()[..] else { panic!() };
    bench.answer(four, |packet| packet.answers.push(a("host.example", 60, 1)));
    assert_eq!(bench.time_out(), RESOLUTION_DELAY);
    assert_eq!(bench.result(), "192.0.2.1");
    bench.answer(six, |packet| packet.answers.push(aaaa("host.example", 60, 1)));
    // The other way round it waits: a connection over IPv6 may fail.
    let mut bench = Bench::again(Instant::from_secs(1), shared(), "host.example", Some(RESOLUTION_DELAY));
    let [six, _] = &bench.queries()[..] else { panic!() };
    bench.answer(six, |packet| packet.answers.push(aaaa("host.example", 60, 1)));
    assert_eq!(bench.time_out(), Duration::from_secs(2));
}
