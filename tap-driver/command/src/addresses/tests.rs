use super::*;

fn cidr(text: &str) -> Cidr {
    text.parse().expect("a CIDR of the test")
}

fn cidrs(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| cidr(text)).collect()
}

fn plan(host: &[&str], stack: &[&str], gateways: &[&str]) -> Result<AddressPlan, String> {
    let gateways: Vec<IpAddr> = gateways.iter().map(|text| text.parse().expect("an address")).collect();
    AddressPlan::new(&cidrs(host), &cidrs(stack), &gateways, true)
}

fn shown(cidrs: &[Cidr]) -> Vec<String> {
    cidrs.iter().map(Cidr::to_string).collect()
}

#[test]
fn defaults_have_both_families_and_the_host_as_gateway() {
    let plan = plan(&[], &[], &[]).expect("the defaults");
    assert_eq!(shown(&plan.host), ["10.0.0.1/24", "fd10::1/64"]);
    assert_eq!(shown(&plan.stack), ["10.0.0.2/24", "fd10::2/64"]);
    assert_eq!(plan.gateways, ["10.0.0.1".parse::<IpAddr>().unwrap(), "fd10::1".parse().unwrap()]);
    assert!(plan.has_ipv6());
    let without = AddressPlan::new(&[], &[], &[], false).expect("the defaults without IPv6");
    assert_eq!(shown(&without.stack), ["10.0.0.2/24"]);
    assert!(!without.has_ipv6());
}

#[test]
fn the_side_that_is_missing_is_completed_in_the_same_network() {
    for (host, stack, want_host, want_stack) in [
        (&[][..], &["192.168.7.2/24"][..], &["192.168.7.1/24"][..], &["192.168.7.2/24"][..]),
        (&[], &["192.168.7.1/24"], &["192.168.7.2/24"], &["192.168.7.1/24"]),
        (&["fd09::1/64"], &[], &["fd09::1/64"], &["fd09::2/64"]),
        (&[], &["10.1.1.1/31"], &["10.1.1.0/31"], &["10.1.1.1/31"]),
        (&[], &["10.1.1.2/30"], &["10.1.1.1/30"], &["10.1.1.2/30"]),
        (&[], &["fd09::7/127"], &["fd09::6/127"], &["fd09::7/127"]),
        (&["10.2.0.1/24"], &["fd09::9/64"], &["10.2.0.1/24", "fd09::1/64"], &["fd09::9/64", "10.2.0.2/24"]),
        (
            &[],
            &["10.2.0.2/24", "10.3.0.2/24", "10.2.0.1/24"],
            &["10.2.0.3/24", "10.3.0.1/24"],
            &["10.2.0.2/24", "10.3.0.2/24", "10.2.0.1/24"],
        ),
    ] {
        let plan = plan(host, stack, &[]).unwrap_or_else(|error| panic!("{host:?} {stack:?}: {error}"));
        assert_eq!(shown(&plan.host), want_host, "{host:?} {stack:?}");
        assert_eq!(shown(&plan.stack), want_stack, "{host:?} {stack:?}");
    }
}

#[test]
fn impossible_plans_say_why() {
    for (host, stack, gateways, needle) in [
        (
            &[][..],
            &["10.0.0.2/32"][..],
            &[][..],
            "leaves no room for the other side of the link; give --host too",
        ),
        (&["10.0.0.1/24"], &["10.0.0.1/24"], &[], "given both as --host and as --addr"),
        (&["10.0.0.1/24"], &["10.0.0.2/24", "10.0.0.2/24"], &[], "--addr 10.0.0.2: given twice"),
        (&["10.0.0.1/24"], &["10.0.0.2/16"], &[], "10.0.0.1/24 and 10.0.0.2/16 overlap"),
        (
            &["192.168.1.1/24"],
            &["10.0.0.2/24"],
            &[],
            "--host 192.168.1.1/24 and --addr 10.0.0.2/24 share no network, so the kernel and the stack cannot reach each \
             other; give both an address in one network, as in --host 192.168.1.1/24 --addr 192.168.1.2/24",
        ),
        (
            &["10.0.0.1/24", "fd09::1/64"],
            &["10.0.0.2/24", "fd08::2/64"],
            &[],
            "--host fd09::1/64 and --addr fd08::2/64 share no network",
        ),
        // The kernel would reach the stack, but the stack would not reach the kernel.
        (&["10.0.0.1/24"], &["10.0.0.2/32"], &[], "share no network"),
        (&["10.0.0.1/32"], &["10.0.0.2/32"], &[], "with a prefix that is shorter"),
        (&["10.0.0.0/24"], &[], &[], "network's own address"),
        (&[], &["10.0.0.255/24"], &[], "broadcast"),
        (&[], &["127.0.0.2/8"], &[], "loopback"),
        (&[], &["224.0.0.5/24"], &[], "multicast"),
        (&[], &["10.1.2.3/0"], &[], "whole Internet"),
        (&[], &["0.1.2.3/24"], &[], "this network"),
        (&[], &["250.1.2.3/24"], &[], "reserved"),
        (&[], &["ff02::5/64"], &[], "multicast"),
        (&[], &["::1/64"], &[], "loopback"),
        (&[], &["fd10::/64"], &[], "anycast"),
        (&[], &["::ffff:1.2.3.4/96"], &[], "write it as the IPv4 address"),
        (&[], &[], &["192.168.1.1"], "not on the link: the stack's networks are 10.0.0.0/24, fd10::/64"),
        (&[], &[], &["10.0.0.2"], "the stack's own address"),
        (&[], &[], &["10.0.0.1", "10.0.0.3"], "a second IPv4 gateway"),
    ] {
        let error = plan(host, stack, gateways).expect_err(needle);
        assert!(error.contains(needle), "{error:?} should say {needle:?}");
    }
}

#[test]
fn gateways_may_be_link_local_and_replace_the_default_of_their_family() {
    let plan = plan(&[], &[], &["fe80::1"]).expect("a link-local gateway");
    assert_eq!(plan.gateways, ["10.0.0.1".parse::<IpAddr>().unwrap(), "fe80::1".parse().unwrap()]);
}

#[test]
fn addresses_for_one_host_may_lie_in_another_network() {
    let plan = plan(&["10.0.0.1/24"], &["10.0.0.2/24", "10.0.0.77/32", "192.0.2.1/32"], &[]).expect("a plan");
    assert_eq!(plan.stack.len(), 3);
}

#[test]
fn mac_addresses() {
    assert_eq!(parse_mac("02:00:5e:10:00:01"), Ok(MacAddr([2, 0, 0x5e, 0x10, 0, 1])));
    assert_eq!(parse_mac("02-00-5E-10-00-0a"), Ok(MacAddr([2, 0, 0x5e, 0x10, 0, 10])));
    for (text, needle) in [
        ("", "not a MAC address"),
        ("02:00:5e:10:00", "not a MAC address"),
        ("02:00:5e:10:00:01:02", "not a MAC address"),
        ("02:00:5e:10:00:+1", "not a MAC address"),
        ("01:00:5e:10:00:01", "group address"),
        ("00:00:00:00:00:00", "all zeros"),
    ] {
        let error = parse_mac(text).expect_err(text);
        assert!(error.contains(needle), "{text}: {error}");
    }
}

#[test]
fn networks_overlap_whichever_is_larger() {
    assert!(overlap(cidr("10.0.0.1/8"), cidr("10.9.0.1/24")));
    assert!(overlap(cidr("10.9.0.1/24"), cidr("10.0.0.1/8")));
    assert!(!overlap(cidr("10.9.0.1/24"), cidr("10.9.1.1/24")));
    assert!(!overlap(cidr("10.9.0.1/24"), cidr("::1/64")));
}
