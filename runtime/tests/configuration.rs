//! What a builder and the sockets refuse, and their messages.

mod common;

use std::io::{Error, ErrorKind};
use std::time::Duration;

use common::{addr, addresses, config, pair, start, within_time};
use portolan::{
    AddressState, Cidr, Config, Interception, InterfaceConfig, InterfaceId, MacAddr, Medium, SocketOption,
    Stack,
};
use portolan_runtime::device::{Device, MemoryPair, memory_pair};
use portolan_runtime::{Builder, Clock, EchoSocket, Runtime, TcpListener, TcpStream, UdpSocket};

fn cidrs(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn refusal(builder: Builder) -> String {
    let error = builder.start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    error.to_string()
}

/// The message of a builder with one interface that has these addresses.
fn refusal_of(addresses: &[&str]) -> String {
    let (a, _b) = memory_pair().unwrap();
    refusal(Builder::new().interface(a, cidrs(addresses)))
}

#[test]
fn a_runtime_without_interface_or_address_is_refused() {
    assert_eq!(
        refusal(Builder::new()),
        "no interface: give at least one device and its addresses with Builder::interface; a stack with nothing but its \
         loopback is made with Stack::new and driven with Runtime::start"
    );
    assert_eq!(
        refusal_of(&[]),
        "memory-a has no address: give one with Builder::interface, such as \"10.0.0.2/24\"; for addresses that come later \
         (Stack::add_address, DHCP), call Builder::addresses_later"
    );
}

#[test]
fn addresses_that_no_host_can_have_are_refused_with_the_reason() {
    for (address, reason) in [
        ("10.0.0.255/24", "that is the broadcast address of its network; give a host's address"),
        ("255.255.255.255/24", "that is the broadcast address of its network; give a host's address"),
        ("224.0.0.5/24", "a multicast address is a group's, not a host's"),
        ("ff02::5/64", "a multicast address is a group's, not a host's"),
        ("127.0.0.1/8", "loopback addresses do not leave a host, and the stack has them anyway"),
        ("::1/128", "loopback addresses do not leave a host, and the stack has them anyway"),
        ("0.0.0.0/24", "the unspecified address is no host's; give the stack's own"),
        ("0.1.2.3/24", "addresses that begin with 0 mean \"this network\""),
        ("250.1.2.3/24", "that range is reserved (RFC 1112 §4)"),
        ("::ffff:10.0.0.2/120", "write it as the IPv4 address that it is"),
    ] {
        assert_eq!(refusal_of(&[address]), format!("memory-a cannot have the address {address}: {reason}"));
    }
    let too_long = Cidr { addr: [10, 0, 0, 2].into(), prefix_len: 33 };
    let (a, _b) = memory_pair().unwrap();
    let message = refusal(Builder::new().interface(a, [too_long]));
    assert!(message.contains("the prefix is longer than an address"), "{message}");
    assert_eq!(
        refusal_of(&["10.0.0.2/24", "10.0.0.2/16"]),
        "memory-a is given the address 10.0.0.2 twice: leave one out"
    );
}

#[test]
fn a_device_that_ip_cannot_use_is_refused() {
    let built = |mtu, mac| {
        let mediums = (Medium::Ethernet(mac), Medium::Ethernet(MacAddr([2, 0, 0, 0, 0, 2])));
        let (a, _b) = MemoryPair::new().mtu(mtu).mediums(mediums.0, mediums.1).build().unwrap();
        refusal(Builder::new().interface(a, addresses(1)))
    };
    let mac = MacAddr([2, 0, 0, 0, 0, 1]);
    assert_eq!(built(67, mac), "memory-a has an MTU of 67: IP needs 68 to 65535 bytes");
    assert_eq!(
        built(1279, mac),
        "memory-a cannot have the address fd00::1/64: its MTU is 1279, and IPv6 needs 1280 bytes (RFC 8200 §5); raise \
         the MTU, or give only IPv4 addresses"
    );
    let message = built(1500, MacAddr([1, 0, 0, 0, 0, 1]));
    assert!(message.starts_with("memory-a has the MAC address 01:00:00:00:00:01, which no station can have"));
}

#[test]
fn gateways_that_cannot_be_reached_are_refused() {
    let with = |gateway: [u8; 4]| {
        let (a, _b) = memory_pair().unwrap();
        refusal(Builder::new().interface(a, addresses(1)).gateway(gateway.into()))
    };
    assert_eq!(
        with([10, 0, 1, 1]),
        "the gateway 10.0.1.1 is not on the link of memory-a, whose networks are 10.0.0.0/24, fd00::/64: give a router in \
         one of them, or the stack an address in the gateway's network"
    );
    assert_eq!(
        with([10, 0, 0, 1]),
        "the gateway 10.0.0.1 is the stack's own address on memory-a: give that of a router on its link"
    );
    assert_eq!(
        with([0, 0, 0, 0]),
        "0.0.0.0 cannot be a gateway of memory-a: give the address of a router on its link"
    );
    let (a, _b) = memory_pair().unwrap();
    assert_eq!(
        refusal(Builder::new().gateway([10, 0, 0, 9].into()).interface(a, addresses(1))),
        "the gateway 10.0.0.9 was given before any interface: call Builder::gateway after Builder::interface, as it \
         belongs to the interface that was added last"
    );
    let (a, _b) = memory_pair().unwrap();
    assert_eq!(
        refusal(Builder::new().intercept(Interception::all()).interface(a, addresses(1))),
        "an interception was given before any interface: call Builder::intercept after Builder::interface, as it belongs \
         to the interface that was added last"
    );
}

#[test]
fn settings_that_cannot_work_are_refused_before_the_stack_is_made() {
    let (a, _b) = memory_pair().unwrap();
    let mut config = Config::default();
    config.memory_limit_bytes = 0;
    let message = refusal(Builder::new().config(config).interface(a, addresses(1)));
    assert!(message.starts_with("Config::memory_limit_bytes is 0: a stack needs at least "), "{message}");
}

#[test]
fn start_returns_when_the_addresses_can_be_used() {
    within_time(|| {
        let (a, _b) = memory_pair().unwrap();
        let runtime = Builder::new().interface(a, addresses(1)).start().unwrap();
        let interfaces = runtime.handle().interfaces();
        let mut states =
            interfaces.iter().flat_map(|interface| &interface.addresses).map(|(_, state)| *state);
        assert!(states.all(|state| state == AddressState::Preferred), "{interfaces:?}");
        TcpListener::bind(&runtime, addr(1, 7)).unwrap();
    });
}

#[test]
fn start_fails_when_another_host_has_the_address() {
    within_time(|| {
        let (a, b) = memory_pair().unwrap();
        let _first = start(1, a);
        let error = Builder::new().interface(b, addresses(1)).start().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert_eq!(
            error.to_string(),
            "another host on the link has 10.0.0.1 and fd00::1: give the stack an address of its own"
        );
    });
}

fn assert_not_available(error: Error, message: &str) {
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable, "{error}");
    assert_eq!(error.to_string(), message);
}

#[test]
fn calls_say_that_an_address_is_still_being_probed() {
    within_time(|| {
        let (a, _b) = memory_pair().unwrap();
        let runtime = Builder::new().interface(a, addresses(1)).start_without_waiting().unwrap();
        let hint = "call Handle::wait_ready first, or start it with Builder::start, which waits for that";
        let asks = format!("the stack is still asking whether another host on the link has 10.0.0.1; {hint}");
        let bound = format!("10.0.0.1 cannot be used yet: {asks}");
        assert_not_available(TcpListener::bind(&runtime, addr(1, 7)).unwrap_err(), &bound);
        assert_not_available(UdpSocket::bind(&runtime, addr(1, 7)).unwrap_err(), &bound);
        let sent = format!("no address of the stack can be used for it yet: {asks}");
        assert_not_available(TcpStream::connect(&runtime, addr(2, 7)).unwrap_err(), &sent);
        let socket = UdpSocket::bind(&runtime, ([0, 0, 0, 0], 7)).unwrap();
        assert_not_available(socket.send_to(b"x", addr(2, 7)).unwrap_err(), &sent);
        assert_not_available(socket.send_to(&[0; 600], addr(2, 7)).unwrap_err(), &sent);
        let batch = [(vec![1].into(), portolan::SendMeta::to(addr(2, 7)))];
        assert_not_available(socket.send_batch(&batch).unwrap_err(), &sent);
        assert_not_available(socket.connect(addr(2, 7)).unwrap_err(), &sent);
        let ping = EchoSocket::for_addr(&runtime, [10, 0, 0, 2].into()).unwrap();
        assert_not_available(ping.send_request([10, 0, 0, 2].into(), 1, b"x").unwrap_err(), &sent);
        // Once the addresses are usable, all of it works.
        runtime.handle().wait_ready(Duration::from_secs(20)).unwrap();
        TcpListener::bind(&runtime, addr(1, 7)).unwrap();
        socket.send_to(b"x", addr(2, 7)).unwrap();
    });
}

#[test]
fn an_address_of_nobody_or_of_another_host_is_named() {
    within_time(|| {
        let (a, b) = memory_pair().unwrap();
        let first = start(1, a);
        assert_not_available(
            TcpListener::bind(&first, addr(9, 7)).unwrap_err(),
            &format!(
                "10.0.0.9 is not an address of this stack, which has {}: bind to one of them, or to 0.0.0.0 or :: for all",
                own(&first.handle().interfaces())
            ),
        );
        let second = Builder::new().interface(b, addresses(1)).start_without_waiting().unwrap();
        second.handle().wait_ready(Duration::from_secs(20)).unwrap();
        assert_not_available(
            TcpListener::bind(&second, addr(1, 7)).unwrap_err(),
            "10.0.0.1 cannot be used: another host on the link has it; give the stack an address of its own",
        );
    });
}

fn own(interfaces: &[portolan::InterfaceInfo]) -> String {
    let addresses = interfaces.iter().flat_map(|interface| &interface.addresses);
    addresses.map(|(cidr, _)| cidr.addr.to_string()).collect::<Vec<_>>().join(", ")
}

/// Every ephemeral port is taken: the address is not the reason, so the error is the plain one.
#[test]
fn a_lack_of_ports_is_not_blamed_on_the_address() {
    within_time(|| {
        let (a, _b) = memory_pair().unwrap();
        let mut config = config();
        config.ephemeral_ports = (40_000, 40_000);
        let runtime = Builder::new().config(config).interface(a, addresses(1)).start().unwrap();
        let _only = UdpSocket::bind(&runtime, addr(1, 0)).unwrap();
        let error = UdpSocket::bind(&runtime, addr(1, 0)).unwrap_err();
        assert!(!error.to_string().contains("cannot be used"), "{error}");
    });
}

#[test]
fn time_outs_of_zero_and_impossible_hop_limits_say_what_to_give() {
    within_time(|| {
        let (server, client) = pair();
        let socket = UdpSocket::bind(&server, addr(1, 7)).unwrap();
        for error in [
            socket.set_read_timeout(Some(Duration::ZERO)).unwrap_err(),
            socket.set_write_timeout(Some(Duration::ZERO)).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert_eq!(
                error.to_string(),
                "a time-out of zero: give a longer one, None to wait as long as it takes, or use set_nonblocking(true) \
                 not to wait"
            );
        }
        let error = TcpStream::connect_timeout(&client, addr(1, 7), Duration::ZERO).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a time-out of zero: give a longer one, or use TcpStream::connect to wait as long as the stack tries"
        );
        for ttl in [0, 256] {
            let error = socket.set_ttl(ttl).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert_eq!(error.to_string(), format!("a TTL of {ttl}: give 1 to 255"));
        }
    });
}

/// SO_RCVTIMEO and SO_SNDTIMEO are the time-outs of std.
#[test]
fn time_outs_are_options() {
    within_time(|| {
        let (server, _client) = pair();
        let socket = UdpSocket::bind(&server, addr(1, 7)).unwrap();
        let [short, long] = [20, 700].map(Duration::from_millis);
        socket.set_option(SocketOption::ReceiveTimeout(Some(short))).unwrap();
        socket.set_option(SocketOption::SendTimeout(Some(long))).unwrap();
        assert_eq!(
            (socket.read_timeout().unwrap(), socket.write_timeout().unwrap()),
            (Some(short), Some(long))
        );
        assert!(socket.recv_from(&mut [0; 8]).is_err(), "nothing comes, and it does not wait for ever");
        // As a negative time in C.
        socket.set_option(SocketOption::ReceiveTimeout(Some(Duration::ZERO))).unwrap();
        assert!(socket.recv_from(&mut [0; 8]).is_err());
        socket.set_option(SocketOption::ReceiveTimeout(None)).unwrap();
        assert_eq!(socket.read_timeout().unwrap(), None);
    });
}

#[test]
fn a_port_that_is_taken_and_an_option_out_of_range_are_named() {
    within_time(|| {
        let (server, _client) = pair();
        let _first = TcpListener::bind(&server, addr(1, 80)).unwrap();
        let error = TcpListener::bind(&server, addr(1, 80)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert_eq!(
            error.to_string(),
            "10.0.0.1:80 is in use by another socket of this stack; choose another port, or 0 for any"
        );
        let socket = UdpSocket::bind(&server, addr(1, 7)).unwrap();
        let error = socket.set_option(SocketOption::Ttl(0)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(
            error.to_string(),
            "Ttl(0) is out of its range, or not for this kind of socket in its state; SocketOption's documentation has \
             the ranges"
        );
    });
}

#[test]
fn devices_that_do_not_fit_a_stack_are_refused() {
    let made = || {
        let (a, b) = memory_pair().unwrap();
        let mut stack = Stack::new(config(), [7; 32], Clock::now());
        let iface = stack.add_interface(Clock::now(), InterfaceConfig::new(a.medium())).unwrap();
        (stack, iface, Box::new(a), Box::new(b))
    };
    let refused = |result: std::io::Result<Runtime>| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        error.to_string()
    };
    let (stack, _, a, _) = made();
    assert_eq!(
        refused(Runtime::start(stack, vec![(InterfaceId::from_index(1), a)])),
        "memory-a is for InterfaceId(1), which the stack does not have: add it with Stack::add_interface first"
    );
    let (stack, iface, a, b) = made();
    assert_eq!(
        refused(Runtime::start(stack, vec![(iface, a), (iface, b)])),
        "memory-b is a second device for InterfaceId(0): an interface with several queues needs \
         Builder::interface_with_queues"
    );
    let (stack, iface, a, _) = made();
    assert!(Runtime::start(stack, vec![(iface, a)]).is_ok());
}
