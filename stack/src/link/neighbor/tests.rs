use super::*;
use crate::frame::{HeaderBuf, Payload};
use bytes::Bytes;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const ANSWER: Advertised = Advertised { mac: Some(MAC), solicited: true, override_: true };
const GRATUITOUS: Advertised = Advertised { mac: Some(MAC), solicited: false, override_: true };

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, (last / 200), last])
}

fn packet(tag: u8) -> IpPacket {
    let mut payload = Payload::new();
    payload.push(Bytes::copy_from_slice(&[tag]));
    IpPacket::new(HeaderBuf::new(), payload)
}

fn tags(pending: &PendingPackets) -> Vec<u8> {
    pending.iter().map(|packet| packet.payload[0][0]).collect()
}

fn cache_with(config: NeighborConfig) -> NeighborCache {
    NeighborCache::new(&config, 100, &mut Rng::new([0; 32]))
}

fn new_cache() -> NeighborCache {
    cache_with(NeighborConfig::default())
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn state(cache: &NeighborCache, now: Instant, last: u8) -> Option<NeighborState> {
    cache.infos(now).iter().find(|info| info.addr == ip(last)).map(|info| info.state)
}

/// Whether the neighbour is to be solicited, and how many packets were dropped.
type Put = (bool, usize);
const SOLICIT: Put = (true, 0);
const WAITS: Put = (false, 0);

fn put(cache: &mut NeighborCache, now: Instant, addr: IpAddr, packet: IpPacket) -> Put {
    let Enqueued { solicit, dropped } = cache.enqueue(now, addr, packet);
    (solicit, dropped.len())
}

/// A cache that knows neighbour 1, reachable since time 0.
fn reachable() -> NeighborCache {
    let mut cache = new_cache();
    assert_eq!(put(&mut cache, at(0), ip(1), packet(0)), SOLICIT);
    assert_eq!(cache.on_advertised(at(0), ip(1), ANSWER).map(|pending| pending.len()), Some(1));
    cache
}

#[test]
fn rfc_4861_7_2_2_packets_wait_for_the_answer_in_order() {
    let mut cache = new_cache();
    assert_eq!(cache.resolve(at(0), ip(1)), None);
    assert_eq!(put(&mut cache, at(0), ip(1), packet(1)), SOLICIT);
    assert_eq!(put(&mut cache, at(1), ip(1), packet(2)), WAITS);
    assert_eq!(cache.resolve(at(1), ip(1)), None);
    assert_eq!(state(&cache, at(1), 1), Some(NeighborState::Incomplete));
    assert!(cache.memory_bytes() > 0 && cache.pending_packets == 2);
    let pending = cache.on_advertised(at(2), ip(1), ANSWER).unwrap();
    assert_eq!(tags(&pending), [1, 2]);
    assert_eq!(cache.resolve(at(2), ip(1)), Some(MAC));
    assert_eq!(state(&cache, at(2), 1), Some(NeighborState::Reachable));
    assert_eq!((cache.pending_packets, cache.pending_bytes), (0, 0));
}

/// Packets for neighbours that do not answer count as memory as long as they wait, however that
/// ends.
#[test]
fn packets_that_wait_count_as_memory() {
    let mut cache = new_cache();
    let each = packet(0).memory_bytes();
    let waiting = |cache: &NeighborCache| {
        let entries = cache.entries.len() * size_of::<(AddressKey, NeighborEntry)>();
        assert!(cache.memory_bytes() >= entries + cache.pending_bytes());
        assert_eq!(cache.pending_bytes(), cache.pending_packets * each);
        cache.pending_packets
    };
    for neighbor in 1..=3 {
        assert_eq!(put(&mut cache, at(0), ip(neighbor), packet(1)), SOLICIT);
        assert_eq!(waiting(&cache), usize::from(neighbor));
    }
    // More packets than may wait for one neighbour: the oldest are dropped.
    let mut dropped = 0;
    for tag in 0..100 {
        dropped += put(&mut cache, at(0), ip(1), packet(tag)).1;
        let _ = waiting(&cache);
    }
    assert!(dropped > 0);
    assert_eq!(waiting(&cache), 103 - dropped);
    assert_eq!(cache.on_advertised(at(1), ip(2), ANSWER).map(|pending| pending.len()), Some(1));
    assert_eq!(waiting(&cache), 102 - dropped);
    for second in 1..=3 {
        let _ = cache.handle_timeout(at(second * 1000));
    }
    assert_eq!(waiting(&cache), 0);
}

#[test]
fn rfc_4861_7_2_2_no_answer_to_three_solicitations_gives_up() {
    let mut cache = new_cache();
    assert_eq!(put(&mut cache, at(0), ip(1), packet(1)), SOLICIT);
    assert!(cache.handle_timeout(at(999)).is_empty());
    for second in [1, 2] {
        assert_eq!(cache.poll_timeout(), Some(at(second * 1000)));
        let events = cache.handle_timeout(at(second * 1000));
        assert!(matches!(&events[..], [NeighborEvent::Solicit { addr, mac: None }] if *addr == ip(1)));
        assert!(cache.handle_timeout(at(second * 1000)).is_empty());
    }
    let events = cache.handle_timeout(at(3000));
    let [NeighborEvent::Unreachable { pending, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(tags(pending), [1]);
    assert_eq!((state(&cache, at(3000), 1), cache.poll_timeout()), (None, None));
    // The next packet solicits again.
    assert_eq!(put(&mut cache, at(4000), ip(1), packet(2)), SOLICIT);
}

#[test]
fn rfc_4861_7_3_3_stale_delay_probe() {
    let mut cache = reachable();
    // REACHABLE ends without a timer, after 15 to 45 seconds.
    let _ = cache.handle_timeout(at(1000));
    assert_eq!(cache.poll_timeout(), None);
    assert!((15_000..=45_000).contains(&(cache.reachable_delay.as_millis() as u64)));
    assert_eq!(state(&cache, at(50_000), 1), Some(NeighborState::Stale));
    // A packet is sent nevertheless, and starts the five seconds.
    assert_eq!(cache.resolve(at(50_000), ip(1)), Some(MAC));
    assert_eq!(state(&cache, at(50_000), 1), Some(NeighborState::Delay));
    assert_eq!(cache.poll_timeout(), Some(at(55_000)));
    // Then the neighbour is probed three times.
    for second in [55, 56, 57] {
        let events = cache.handle_timeout(at(second * 1000));
        assert!(matches!(&events[..], [NeighborEvent::Solicit { mac: Some(MAC), .. }]), "{events:?}");
        assert_eq!(state(&cache, at(second * 1000), 1), Some(NeighborState::Probe));
        assert_eq!(cache.resolve(at(second * 1000), ip(1)), Some(MAC));
    }
    assert!(
        matches!(&cache.handle_timeout(at(58_000))[..], [NeighborEvent::Unreachable { pending, .. }] if pending.is_empty())
    );
    assert_eq!(cache.resolve(at(58_000), ip(1)), None);
}

#[test]
fn an_answer_or_an_upper_layer_confirms() {
    for answer in [true, false] {
        let mut cache = reachable();
        assert_eq!(cache.resolve(at(50_000), ip(1)), Some(MAC));
        if answer {
            assert_eq!(cache.handle_timeout(at(55_000)).len(), 1);
            // The answer to a unicast solicitation may omit the link address.
            let said = Advertised { mac: None, solicited: true, override_: false };
            assert!(cache.on_advertised(at(55_000), ip(1), said).is_some());
        } else {
            cache.confirm(at(54_000), ip(1));
        }
        assert_eq!(state(&cache, at(55_000), 1), Some(NeighborState::Reachable));
        assert!(cache.handle_timeout(at(60_000)).is_empty());
        assert_eq!(cache.poll_timeout(), None);
    }
    // An unknown neighbour cannot be confirmed.
    let mut cache = new_cache();
    let _ = put(&mut cache, at(0), ip(1), packet(1));
    cache.confirm(at(0), ip(1));
    cache.confirm(at(0), ip(2));
    assert_eq!(state(&cache, at(0), 1), Some(NeighborState::Incomplete));
    assert_eq!(state(&cache, at(0), 2), None);
}

#[test]
fn rfc_4861_7_2_5_advertisements() {
    let said = |mac, solicited, override_| Advertised { mac: Some(mac), solicited, override_ };
    // (the advertisement, the state and MAC address after it)
    for (said, expected) in [
        (said(OTHER, false, false), (NeighborState::Stale, MAC)),
        (said(OTHER, true, false), (NeighborState::Stale, MAC)),
        (said(OTHER, false, true), (NeighborState::Stale, OTHER)),
        (said(OTHER, true, true), (NeighborState::Reachable, OTHER)),
        (said(MAC, false, true), (NeighborState::Reachable, MAC)),
        (said(MAC, false, false), (NeighborState::Reachable, MAC)),
    ] {
        let mut cache = reachable();
        assert!(cache.on_advertised(at(1), ip(1), said).is_some());
        let info = cache.infos(at(1))[0];
        assert_eq!((info.state, info.mac), (expected.0, Some(expected.1)), "{said:?}");
    }
    // An unsolicited advertisement does not confirm a stale entry.
    let mut cache = reachable();
    assert!(cache.on_advertised(at(50_000), ip(1), GRATUITOUS).is_some());
    assert_eq!(state(&cache, at(50_000), 1), Some(NeighborState::Stale));
    // An unknown neighbour gets no entry.
    assert!(cache.on_advertised(at(0), ip(9), ANSWER).is_none());
    // Incomplete, and no link address: stays so. Unsolicited: stale, and the packets are sent.
    let _ = put(&mut cache, at(0), ip(2), packet(7));
    let nothing = Advertised { mac: None, solicited: true, override_: true };
    assert_eq!(cache.on_advertised(at(0), ip(2), nothing).map(|p| p.len()), Some(0));
    assert_eq!(state(&cache, at(0), 2), Some(NeighborState::Incomplete));
    assert_eq!(tags(&cache.on_advertised(at(0), ip(2), GRATUITOUS).unwrap()), [7]);
    assert_eq!(state(&cache, at(0), 2), Some(NeighborState::Stale));
}

#[test]
fn rfc_4861_7_2_3_whoever_asks_for_us_is_remembered() {
    let mut cache = new_cache();
    assert!(cache.on_solicited_by(at(0), ip(1), MAC).is_empty());
    assert_eq!(state(&cache, at(0), 1), Some(NeighborState::Stale));
    // The packets that waited for it are returned.
    let _ = put(&mut cache, at(0), ip(2), packet(3));
    assert_eq!(tags(&cache.on_solicited_by(at(0), ip(2), MAC)), [3]);
    // The same address again changes nothing; another is accepted, and probed.
    let mut cache = reachable();
    let _ = cache.on_solicited_by(at(1), ip(1), MAC);
    assert_eq!(state(&cache, at(1), 1), Some(NeighborState::Reachable));
    let _ = cache.on_solicited_by(at(1), ip(1), OTHER);
    assert_eq!(cache.resolve(at(1), ip(1)), Some(OTHER));
    assert_eq!(state(&cache, at(1), 1), Some(NeighborState::Delay));
}

#[test]
fn what_waits_is_bounded() {
    let mut cache = cache_with(NeighborConfig { max_pending_packets: 2, ..NeighborConfig::default() });
    assert_eq!(put(&mut cache, at(0), ip(1), packet(1)), SOLICIT);
    assert_eq!(put(&mut cache, at(0), ip(1), packet(2)), WAITS);
    assert_eq!(put(&mut cache, at(0), ip(1), packet(3)), (false, 1));
    assert_eq!(tags(&cache.on_advertised(at(0), ip(1), ANSWER).unwrap()), [2, 3]);

    let mut cache = new_cache();
    for last in 0..100 {
        assert_eq!(put(&mut cache, at(0), ip(last), packet(last)), SOLICIT);
    }
    // The packet that waits longest is dropped, not the new one.
    assert_eq!(cache.resolve(at(1), ip(0)), None);
    assert_eq!(put(&mut cache, at(1), ip(200), packet(0)), (true, 1));
    assert_eq!(cache.pending_packets, 100);
    assert_eq!(state(&cache, at(1), 0), Some(NeighborState::Incomplete));
    let mut none = NeighborCache::new(&NeighborConfig::default(), 0, &mut Rng::new([0; 32]));
    assert_eq!(put(&mut none, at(0), ip(1), packet(0)), (false, 1));
}

#[test]
fn strangers_crowd_out_strangers_only() {
    let config = NeighborConfig { max_entries: 4, ..NeighborConfig::default() };
    let mut cache = cache_with(config);
    for last in [1, 2, 3] {
        let _ = put(&mut cache, at(0), ip(last), packet(last));
        let _ = cache.on_advertised(at(0), ip(last), ANSWER);
    }
    // A scan makes us ask for many absent neighbours: each is evicted for the next.
    assert_eq!(put(&mut cache, at(1), ip(10), packet(0)), SOLICIT);
    for last in 11..50 {
        assert_eq!(put(&mut cache, at(2), ip(last), packet(0)), (true, 1));
    }
    assert_eq!(cache.pending_packets, 1);
    for last in [1, 2, 3] {
        assert_eq!(cache.resolve(at(3), ip(last)), Some(MAC));
    }
    // Stations that ask for us evict nobody.
    let _ = cache.on_solicited_by(at(3), ip(60), MAC);
    assert_eq!((state(&cache, at(3), 60), state(&cache, at(3), 49)), (None, Some(NeighborState::Incomplete)));
    // Without such stations the entry that was used longest ago is evicted.
    let _ = cache.on_advertised(at(4), ip(49), ANSWER);
    assert_eq!(cache.resolve(at(5), ip(1)), Some(MAC));
    assert_eq!(put(&mut cache, at(6), ip(70), packet(0)), SOLICIT);
    let mut left: Vec<IpAddr> = cache.infos(at(6)).iter().map(|info| info.addr).collect();
    left.sort_unstable();
    assert_eq!(left.len(), 4);
    assert!(left.contains(&ip(1)) && left.contains(&ip(70)));
    assert_eq!([ip(2), ip(3), ip(49)].iter().filter(|addr| !left.contains(addr)).count(), 1);
}

/// 10,000 stations ask for us; the cache has 1,024 entries.
fn flood(cache: &mut NeighborCache, now: Instant) {
    for n in 0..10_000_u32 {
        let stranger = IpAddr::from((0x0a80_0000 + n).to_be_bytes());
        assert!(cache.on_solicited_by(now, stranger, OTHER).is_empty());
    }
    assert!(cache.entries.len() <= 1024, "{}", cache.entries.len());
    assert!(cache.memory_bytes() < 300_000, "{}", cache.memory_bytes());
}

#[test]
fn stations_that_only_asked_go_before_our_own_questions() {
    let mut cache = reachable();
    assert_eq!(put(&mut cache, at(1), ip(2), packet(2)), SOLICIT);
    flood(&mut cache, at(2));
    // Each new neighbour evicts a stranger, not the neighbour before.
    for last in 3..100 {
        assert_eq!(put(&mut cache, at(3), ip(last), packet(last)), SOLICIT);
    }
    flood(&mut cache, at(4));
    for last in 2..100 {
        let waiting = cache.on_advertised(at(5), ip(last), ANSWER).unwrap();
        assert_eq!(tags(&waiting), [last]);
    }
    // Entries that packets were sent to stay, even much later.
    flood(&mut cache, at(400_000));
    assert_eq!(state(&cache, at(400_000), 1), Some(NeighborState::Stale));
    for last in 1..100 {
        assert_eq!(cache.resolve(at(400_000), ip(last)), Some(MAC));
    }
}

#[test]
fn what_waits_too_long_gives_way_and_no_station_that_asked() {
    let mut cache = new_cache();
    for last in 0..100 {
        assert_eq!(put(&mut cache, at(0), ip(last), packet(last)), SOLICIT);
    }
    let _ = cache.on_solicited_by(at(0), ip(150), MAC);
    assert_eq!(put(&mut cache, at(1), ip(200), packet(0)), (true, 1));
    assert_eq!(state(&cache, at(1), 150), Some(NeighborState::Stale));
}

/// We answered the station, so its entry counts like one that we asked for.
#[test]
fn a_station_that_asked_and_is_answered_stays() {
    let mut cache = cache_with(NeighborConfig { max_entries: 2, ..NeighborConfig::default() });
    let _ = cache.on_solicited_by(at(0), ip(1), MAC);
    let _ = cache.on_solicited_by(at(1), ip(2), MAC);
    assert_eq!(cache.resolve(at(2), ip(1)), Some(MAC));
    for last in 10..20 {
        let _ = put(&mut cache, at(3), ip(last), packet(last));
    }
    assert_eq!(state(&cache, at(3), 1), Some(NeighborState::Delay));
    assert_eq!(state(&cache, at(3), 2), None);
}
