use super::*;
use crate::testing::AdvertisementBuilder;
use alloc::vec::Vec;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const LINK_AND_IP: usize = 14 + 40;

fn addr(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn builder() -> AdvertisementBuilder {
    AdvertisementBuilder::new(addr("fe80::1"), MAC)
}

fn message(builder: &AdvertisementBuilder) -> Vec<u8> {
    builder.build()[LINK_AND_IP..].to_vec()
}

fn parse(bytes: &[u8]) -> Result<RouterAdvertisement<'_>, DropReason> {
    RouterAdvertisement::parse(addr("fe80::1"), 255, bytes)
}

fn options(builder: &AdvertisementBuilder) -> Vec<std::string::String> {
    let message = message(builder);
    parse(&message).unwrap().options().map(|option| std::format!("{option:?}")).collect()
}

#[test]
fn what_a_router_says_is_read() {
    let bytes = message(&builder().flags(0xc8).times(7, 9).lifetime(600).hop_limit(33).source_mac());
    let read = parse(&bytes).unwrap();
    assert_eq!((read.hop_limit, read.is_managed, read.has_other), (33, true, true));
    assert_eq!((read.preference, read.source_mac), (RouterPreference::High, Some(MAC)));
    assert_eq!((read.reachable_millis, read.retransmit_millis), (7, 9));
    assert_eq!(read.router_lifetime, Duration::from_secs(600));
    // RFC 4191 §2.2: the reserved preference is medium.
    for (bits, preference) in [(0, RouterPreference::Medium), (2, RouterPreference::Medium)] {
        assert_eq!(parse(&message(&builder().flags(bits << 3))).unwrap().preference, preference);
    }
    assert_eq!(parse(&message(&builder().flags(3 << 3))).unwrap().preference, RouterPreference::Low);
}

#[test]
fn rfc4861_6_1_2_advertisements_are_checked() {
    let bytes = message(&builder());
    assert!(parse(&bytes).is_ok());
    let bad = |src, hop_limit, bytes: &[u8]| {
        assert_eq!(
            RouterAdvertisement::parse(addr(src), hop_limit, bytes).err(),
            Some(DropReason::BadNdp),
            "{src} {hop_limit} {bytes:?}"
        );
    };
    bad("fe80::1", 254, &bytes);
    bad("2001:db8::1", 255, &bytes);
    bad("::", 255, &bytes);
    bad("fe80::1", 255, &bytes[..15]);
    bad("fe80::1", 255, &message(&builder().code(1)));
    // Options of length 0, cut off, and too short to have a length.
    bad("fe80::1", 255, &message(&builder().bytes(&[3, 0, 0, 0, 0, 0, 0, 0])));
    bad("fe80::1", 255, &message(&builder().bytes(&[3, 4, 0, 0, 0, 0, 0, 0])));
    bad("fe80::1", 255, &message(&builder().mtu(1400).bytes(&[1])));
    // No station has a group as its link address.
    bad("fe80::1", 255, &message(&builder().option(1, &[0x33, 0x33, 0, 0, 0, 1])));
}

#[test]
fn options_are_read_in_order_and_odd_ones_are_malformed() {
    let prefix = addr("2001:db8::");
    let all = builder()
        .option(200, &[7; 6])
        .mtu(1400)
        .prefix(prefix, 64, 0xc0, u32::MAX, 7)
        .route(prefix, 48, 1, 60)
        .route(Ipv6Addr::UNSPECIFIED, 0, 3, 60)
        .name_servers(60, &[addr("2001:db8::53")])
        .search_domains(60, &["example.test"]);
    let kinds = options(&all);
    for (option, start) in
        kinds.iter().zip(["Mtu(1400)", "Prefix", "Route", "Route", "NameServers", "Search"])
    {
        assert!(option.starts_with(start), "{kinds:#?}");
    }
    assert!(kinds[1].contains("valid: Infinite, preferred: Finite(7s)"), "{kinds:#?}");
    assert!(kinds[2].contains("len: 48, preference: High, lifetime: Finite(60s)"), "{kinds:#?}");
    assert!(kinds[3].contains("prefix: ::, len: 0, preference: Low"), "{kinds:#?}");
    assert_eq!(kinds.len(), 6);

    let malformed = builder()
        .option(3, &[0; 22])
        .prefix(prefix, 129, 0xc0, 60, 60)
        // RFC 4191 §2.3: the prefix is cut off, longer than an address, or the preference reserved.
        .option(24, &[1, 0, 0, 0, 0, 60])
        .option(24, &[65, 0, 0, 0, 0, 60, 1, 1, 1, 1, 1, 1, 1, 1])
        .route(prefix, 48, 2, 60)
        .option(24, &[0; 30])
        // RFC 8106 §5.3.1: half an address, and none.
        .option(25, &[0; 14])
        .option(25, &[0; 6])
        .option(31, &[0; 6]);
    assert_eq!(options(&malformed), ["Malformed"; 9]);
}

#[test]
fn rfc_4861_4_1_solicitations_name_their_sender_if_it_has_an_address() {
    for (src, len) in [("fe80::2", 16), ("::", 8)] {
        let (message, dst) = emit_solicitation(addr(src), MAC);
        let bytes = message.as_slice();
        assert_eq!((bytes.len(), dst), (len, addr("ff02::2")));
        let parsed = etherparse::Icmpv6Slice::from_slice(bytes).unwrap();
        assert_eq!((parsed.type_u8(), parsed.code_u8()), (133, 0));
        assert!(parsed.is_checksum_valid(addr(src).octets(), dst.octets()));
        assert!(bytes.get(8..).is_some_and(|option| option.is_empty() || option == [1, 1, 2, 0, 0, 0, 0, 1]));
    }
}
