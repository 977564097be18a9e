//! Router advertisements for the Linux kernel and for Portolan, which must have the same addresses,
//! routes and lifetimes after each of them.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv6Addr};

use portolan::testing::{AUTONOMOUS, AdvertisementBuilder, ON_LINK};
use portolan::{
    Cidr, Config, Frame, Instant, InterfaceConfig, InterfaceId, InterfaceIdentifiers, MacAddr, Medium,
    SlaacConfig, Stack, TemporaryAddresses,
};
use tun_tap::{Iface as Tap, Mode};

use crate::namespace::{mac_text, tool};
use crate::soak::dice::Dice;

const DEVICE: &str = "learner";
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const ROUTER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const BOTH: u8 = ON_LINK | AUTONOMOUS;
/// Seeds of random advertisements, and advertisements of one seed.
const SEEDS: u64 = 25;
const ADVERTISEMENTS: usize = 6;
/// The sequence with more prefixes than an interface may have addresses.
const MANY_PREFIXES: &str = "more prefixes than addresses";
/// How far lifetimes may be apart in seconds: the kernel rounds them, and the machine is busy.
const TOLERANCE: u64 = 3;

/// The settings of both hosts.
#[derive(Clone, Copy, Debug)]
struct Settings {
    max_route_prefix_len: u8,
    temporary: bool,
}

/// An address or a route as text, with its lifetimes in seconds.
type Learned = (String, Vec<Option<u64>>);

/// What a host has learned.
#[derive(Debug, PartialEq, Eq)]
struct State {
    addresses: Vec<Learned>,
    routes: Vec<Learned>,
    hop_limit: u64,
    mtu: u64,
}

impl State {
    fn is_like(&self, other: &State) -> bool {
        let is_near = |(a, b): (&Option<u64>, &Option<u64>)| match (a, b) {
            (Some(a), Some(b)) => a.abs_diff(*b) <= TOLERANCE,
            (a, b) => a == b,
        };
        let are_like = |own: &[Learned], theirs: &[Learned]| {
            own.len() == theirs.len()
                && own.iter().zip(theirs).all(|(a, b)| a.0 == b.0 && a.1.iter().zip(&b.1).all(is_near))
        };
        are_like(&self.addresses, &other.addresses)
            && are_like(&self.routes, &other.routes)
            && (self.hop_limit, self.mtu) == (other.hop_limit, other.mtu)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "hop limit {}, MTU {}", self.hop_limit, self.mtu)?;
        self.addresses.iter().chain(&self.routes).try_for_each(|learned| writeln!(f, "    {learned:?}"))
    }
}

/// The kernel with an interface on a device of its own.
struct Kernel(Tap);

impl Kernel {
    fn new(settings: Settings) -> Kernel {
        let tap = Tap::without_packet_info(DEVICE, Mode::Tap).expect("a device");
        tool(&format!("ip link set {DEVICE} address {}", mac_text(MAC.0)));
        for (name, value) in [
            ("accept_ra", 1),
            ("accept_dad", 0),
            ("dad_transmits", 0),
            ("router_solicitations", 0),
            ("accept_ra_rt_info_max_plen", settings.max_route_prefix_len.into()),
            ("use_tempaddr", if settings.temporary { 2 } else { 0 }),
            ("temp_prefered_lft", 50_000),
            ("temp_valid_lft", 90_000),
            ("max_desync_factor", 0),
            ("hop_limit", 64),
        ] {
            let path = format!("/proc/sys/net/ipv6/conf/{DEVICE}/{name}");
            fs::write(&path, format!("{value}")).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        tool(&format!("ip link set {DEVICE} up"));
        Kernel(tap)
    }

    fn state(&self) -> State {
        let setting = |name: &str| {
            let text = fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{DEVICE}/{name}"));
            text.expect("a setting").trim().parse().expect("a number")
        };
        let addresses = tool(&format!("ip -6 -o address show dev {DEVICE}"));
        let routes = tool(&format!("ip -6 -o route show dev {DEVICE}"));
        let mut state = State {
            addresses: addresses.lines().filter(|line| !line.contains(" fe80:")).map(address_of).collect(),
            routes: routes.lines().filter_map(route_of).collect(),
            hop_limit: setting("hop_limit"),
            mtu: setting("mtu"),
        };
        state.addresses.sort();
        state.routes.sort();
        state
    }
}

/// What is behind a word.
fn behind<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let mut words = line.split_whitespace().skip_while(|other| *other != word).skip(1);
    words.next()
}

/// A lifetime as `ip` writes it.
fn seconds(text: Option<&str>) -> Option<u64> {
    text.and_then(|text| text.strip_suffix("sec")).map(|secs| secs.parse().expect("seconds"))
}

fn address_of(line: &str) -> Learned {
    let address = behind(line, "inet6").expect("an address");
    let lifetimes = ["preferred_lft", "valid_lft"].map(|word| seconds(behind(line, word)));
    (name_of(address, line.contains(" temporary ")), lifetimes.into())
}

/// Temporary addresses are random: only their network counts.
fn name_of(address: &str, is_temporary: bool) -> String {
    match (is_temporary, address.parse::<Cidr>().expect("an address").addr) {
        (true, IpAddr::V6(addr)) => format!("temporary in {:x?}", &addr.segments()[..4]),
        _ => address.to_owned(),
    }
}

/// A route that a router has advertised, or a prefix.
fn route_of(line: &str) -> Option<Learned> {
    let destination = match line.split_whitespace().next()? {
        "default" => "::/0".to_owned(),
        host if !host.contains('/') => format!("{host}/128"),
        network => network.to_owned(),
    };
    let metric = behind(line, "metric")?;
    let gateway = behind(line, "via").unwrap_or("the link");
    let preference = behind(line, "pref")?;
    let route = format!("{destination} {gateway} {metric} {preference}");
    let is_own = matches!(destination.as_str(), "fe80::/64" | "ff00::/8");
    (!is_own).then(|| (route, vec![seconds(behind(line, "expires"))]))
}

/// The stack with an interface that has the same MAC address.
struct Portolan {
    stack: Stack,
    iface: InterfaceId,
    started_at: std::time::Instant,
}

impl Portolan {
    fn new(settings: Settings) -> Portolan {
        let mut config = Config::default();
        config.neighbor.duplicate_address_probes = 0;
        let mut stack = Stack::new(config, [7; 32], Instant::ZERO);
        let mut slaac = SlaacConfig::default().identifiers(InterfaceIdentifiers::Eui64);
        slaac.max_route_prefix_len = settings.max_route_prefix_len;
        slaac.temporary_preferred = std::time::Duration::from_secs(50_000);
        slaac.temporary_valid = std::time::Duration::from_secs(90_000);
        slaac.max_desync = std::time::Duration::ZERO;
        if settings.temporary {
            slaac.temporary = TemporaryAddresses::Preferred;
        }
        let link = InterfaceConfig::new(Medium::Ethernet(MAC)).slaac(slaac);
        let iface = stack.add_interface(Instant::ZERO, link).expect("an interface");
        Portolan { stack, iface, started_at: std::time::Instant::now() }
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.started_at.elapsed()
    }

    fn receive(&mut self, frame: &[u8]) {
        let now = self.now();
        self.stack.handle_frame(now, self.iface, Frame::new(frame.to_vec()));
        while self.stack.poll_transmit(now).is_some() {}
    }

    fn state(&mut self) -> State {
        let now = self.now();
        self.stack.handle_timeout(now);
        let info = self.stack.slaac(self.iface).expect("it configures itself");
        let left = |until: Option<Instant>| until.map(|at| (at - now).as_secs());
        let address = |address: &portolan::AutoAddressInfo| {
            let lifetimes = vec![left(address.preferred_until), left(address.valid_until)];
            (name_of(&address.cidr.to_string(), address.is_temporary), lifetimes)
        };
        let route = |route: &portolan::AdvertisedRoute| {
            let gateway = route.gateway.map_or("the link".to_owned(), |gateway| gateway.to_string());
            let is_it = |other: &&portolan::Route| {
                other.destination == route.destination && other.gateway == route.gateway.map(IpAddr::V6)
            };
            let metric = self.stack.routes().iter().find(is_it).expect("it is in the table").metric;
            let preference = format!("{:?}", route.preference).to_lowercase();
            let text = format!("{} {gateway} {metric} {preference}", route.destination);
            (text, vec![left(route.expires_at)])
        };
        let mut state = State {
            addresses: info.addresses.iter().map(address).collect(),
            routes: info.routes.iter().map(route).collect(),
            hop_limit: info.hop_limit.unwrap_or(64).into(),
            mtu: info.mtu.unwrap_or(1500) as u64,
        };
        state.addresses.sort();
        state.routes.sort();
        state
    }
}

fn router(last: u16) -> AdvertisementBuilder {
    AdvertisementBuilder::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last), ROUTER_MAC)
}

fn net(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 0)
}

fn compare(what: &str, settings: Settings, advertisements: &[AdvertisementBuilder]) {
    let kernel = Kernel::new(settings);
    let mut portolan = Portolan::new(settings);
    for (number, advertisement) in advertisements.iter().enumerate() {
        let frame = advertisement.build();
        kernel.0.send(&frame).expect("the kernel takes frames");
        portolan.receive(&frame);
        let (theirs, own) = (kernel.state(), portolan.state());
        assert!(
            own.is_like(&theirs),
            "{what}, {settings:?}, after number {number}, {advertisement:?}:\nLinux {theirs}\nPortolan {own}"
        );
    }
}

/// Sequences that once were, or could be, different.
fn written() -> Vec<(&'static str, Vec<AdvertisementBuilder>)> {
    let one = |valid, preferred| router(1).prefix(net(1), 64, BOTH, valid, preferred);
    vec![
        ("a prefix", vec![one(86400, 14400), one(86400, 14400)]),
        (
            "the two hours",
            vec![
                one(86400, 14400),
                one(100, 50),
                one(0, 0),
                one(7300, 50),
                one(u32::MAX, u32::MAX),
                one(0, 0),
            ],
        ),
        ("less than two hours", vec![one(100, 50), one(50, 10), one(0, 0), one(5000, 4000)]),
        ("preferred longer than valid", vec![one(100, 101), one(100, 100), one(200, 201)]),
        ("no lifetime", vec![one(0, 0), one(u32::MAX, 0), one(u32::MAX, u32::MAX)]),
        (
            "odd prefixes",
            vec![
                router(1)
                    .prefix(net(1), 63, BOTH, 900, 900)
                    .prefix(net(2), 65, BOTH, 900, 900)
                    .prefix(net(3), 128, BOTH, 900, 900)
                    .prefix(net(4), 129, BOTH, 900, 900)
                    .prefix("ff05::".parse().expect("a group"), 64, BOTH, 900, 900)
                    .prefix("fe80:0:0:1::".parse().expect("a prefix"), 64, BOTH, 900, 900)
                    .prefix("fec0::".parse().expect("a prefix"), 64, BOTH, 900, 900)
                    .prefix(net(5), 64, ON_LINK, 900, 900)
                    .prefix(net(6), 64, AUTONOMOUS, 900, 900)
                    .prefix(net(7), 64, 0, 900, 900)
                    .prefix(net(8), 64, BOTH, u32::MAX, 900),
            ],
        ),
        (MANY_PREFIXES, vec![(1..25).fold(router(1), |all, n| all.prefix(net(n), 64, BOTH, 900, 900))]),
        (
            "routers",
            (0..4)
                .map(|preference| router(preference + 1).flags((preference as u8) << 3))
                .chain([
                    router(1).lifetime(0),
                    router(2).flags(3 << 3).lifetime(65535),
                    router(9).lifetime(0),
                ])
                .collect(),
        ),
        (
            "routes",
            vec![
                router(1)
                    .route(net(1), 48, 1, 600)
                    .route(net(2), 64, 3, 600)
                    .route(net(3), 48, 2, 600)
                    .route(net(4), 80, 0, 600)
                    .route(net(5), 129, 0, 600)
                    .route(Ipv6Addr::UNSPECIFIED, 0, 1, 900),
                router(2).lifetime(0).route(net(1), 48, 3, u32::MAX).route(Ipv6Addr::UNSPECIFIED, 0, 3, 70),
                router(1).route(net(1), 48, 1, 0).route(Ipv6Addr::UNSPECIFIED, 0, 0, 0),
            ],
        ),
        (
            "MTU and hop limit",
            vec![
                router(1).mtu(1279).hop_limit(0),
                router(1).mtu(1280).hop_limit(1),
                router(1).mtu(1501).hop_limit(255).lifetime(0),
                router(1).mtu(1400).mtu(1300),
                router(1).mtu(u32::MAX),
                router(1).option(5, &[0, 0, 0, 0, 5, 0x20, 0, 0, 0, 0, 0, 0, 0, 0]),
            ],
        ),
        (
            "advertisements that are not valid",
            vec![
                one(900, 900).ip_hop_limit(254),
                one(900, 900).code(1),
                one(900, 900).bytes(&[5, 0, 0, 0, 0, 0, 0, 0]),
                one(900, 900).bytes(&[5, 2, 0, 0, 0, 0, 5, 0]),
                one(900, 900).bytes(&[1]),
                AdvertisementBuilder::new(net(1), ROUTER_MAC).prefix(net(1), 64, BOTH, 900, 900),
                router(1).option(3, &[64, 0xc0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]),
            ],
        ),
    ]
}

/// A random advertisement. It has nothing that the two treat differently on purpose
/// (docs/slaac.md).
fn random(dice: &mut Dice) -> AdvertisementBuilder {
    const LIFETIMES: [u32; 9] = [0, 30, 100, 900, 7000, 7300, 14_400, 86_400, u32::MAX];
    let mut advertisement = router(dice.within(1, 4) as u16).flags((dice.within(0, 3) as u8) << 3);
    if dice.one_in(3) {
        advertisement = advertisement.lifetime(dice.pick(&[0, 30, 1800, 9000, 65_535]));
    }
    if dice.one_in(3) {
        advertisement = advertisement.hop_limit(dice.pick(&[0, 1, 2, 64, 255]));
    }
    for _ in 0..dice.within(0, 3) {
        advertisement = match dice.within(0, 9) {
            0..6 => {
                let len = dice.pick(&[64, 64, 64, 64, 63, 48, 65, 128]);
                let flags = dice.pick(&[BOTH, BOTH, BOTH, ON_LINK, AUTONOMOUS, 0]);
                let valid = dice.pick(&LIFETIMES);
                let longest = if dice.one_in(10) { u32::MAX } else { valid };
                let preferred = dice.pick(&LIFETIMES).min(longest);
                advertisement.prefix(net(dice.within(1, 5) as u16), len, flags, valid, preferred)
            }
            6..8 => {
                let (prefix, len) = match dice.within(0, 3) {
                    0 => (Ipv6Addr::UNSPECIFIED, 0),
                    n => (net(n as u16 + 10), dice.pick(&[32, 48, 64, 65])),
                };
                advertisement.route(prefix, len, dice.within(0, 3) as u8, dice.pick(&LIFETIMES))
            }
            8 => advertisement.mtu(dice.pick(&[1000, 1279, 1280, 1400, 1500, 1501, 9000])),
            _ => advertisement.source_mac(),
        };
    }
    advertisement
}

/// Compares the two, with sequences written by hand and with random ones. The namespace is the
/// caller's.
///
/// # Panics
///
/// If they differ, with both states.
pub fn compare_all() {
    for (max_route_prefix_len, temporary) in [(0, false), (64, false), (64, true)] {
        // Linux counts temporary addresses, but does not limit them.
        let cases = written().into_iter().filter(|(what, _)| !temporary || *what != MANY_PREFIXES);
        for (what, advertisements) in cases {
            compare(what, Settings { max_route_prefix_len, temporary }, &advertisements);
        }
    }
    for seed in 0..SEEDS {
        let mut dice = Dice::new(seed, "routers", 0);
        let max_route_prefix_len = dice.pick(&[0, 64]);
        let settings = Settings { max_route_prefix_len, temporary: dice.one_in(3) };
        let advertisements: Vec<_> = (0..ADVERTISEMENTS).map(|_| random(&mut dice)).collect();
        compare(&format!("seed {seed}"), settings, &advertisements);
    }
}
