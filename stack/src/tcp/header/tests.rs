use etherparse::{TcpOptionElement, TcpOptionReadError, TcpSlice};
use proptest::prelude::*;
use smallvec::smallvec;
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::tcp::options::{AccEcnOption, AccEcnOrder, FastOpenCookie, MAX_OPTIONS_LEN, Timestamps};

fn emitted(header: &Header) -> Vec<u8> {
    let mut out = HeaderBuf::new();
    header.emit(&mut out);
    out.as_slice().to_vec()
}

fn arbitrary_header() -> impl Strategy<Value = Header> {
    let fixed = (any::<[u16; 4]>(), any::<[u32; 2]>(), 0u16..0x200);
    let accecn = proptest::option::of((any::<bool>(), proptest::collection::vec(0u32..1 << 24, 0..=3)));
    let timestamps = proptest::option::of(any::<(u32, u32)>());
    let sack = proptest::collection::vec(any::<(u32, u32)>(), 0..=4);
    let fast_open =
        proptest::option::of((0usize..=8).prop_map(|words| if words == 1 { 0 } else { 2 * words }));
    let syn_options =
        (proptest::option::of(1u16..), proptest::option::of(0u8..=14), any::<bool>(), fast_open);
    (fixed, timestamps, sack, syn_options, accecn).prop_map(
        |(fixed, timestamps, sack, syn_options, accecn)| {
            let ([src_port, dst_port, window, urgent], [seq, ack], flags) = fixed;
            let mut header = Header {
                src_port,
                dst_port,
                seq: SeqNumber(seq),
                ack: SeqNumber(ack),
                flags: Flags(flags),
                window,
                urgent,
                ip_ecn: IpEcn::NotEct,
                path_seed: 0,
                joined_len: 0,
                tos: None,
                options: Options {
                    timestamps: timestamps.map(|(value, echo)| Timestamps { value, echo }),
                    sack: sack.into_iter().map(|(l, r)| (SeqNumber(l), SeqNumber(r))).collect(),
                    ..Options::default()
                },
            };
            if header.flags.contains(Flags::SYN) {
                let (mss, window_scale, sack_permitted, fast_open) = syn_options;
                (header.options.mss, header.options.window_scale) = (mss, window_scale);
                header.options.sack_permitted = sack_permitted;
                let cookie =
                    fast_open.and_then(|len| FastOpenCookie::from_wire(&[0xc0; 16][..len], len % 3 == 0));
                header.options.fast_open = cookie.map(Box::new);
            }
            // Both do not fit beside the other options.
            let accecn = accecn.filter(|_| header.options.fast_open.is_none());
            header.options.accecn = accecn.map(|(first, counters)| {
                let order = if first { AccEcnOrder::Ect0First } else { AccEcnOrder::Ect1First };
                AccEcnOption::new(order, &counters)
            });
            header
        },
    )
}

proptest! {
    #[test]
    fn what_is_emitted_parses_to_the_same(header in arbitrary_header(), payload in 0usize..32) {
        let mut segment = emitted(&header);
        let header_len = segment.len();
        prop_assert_eq!(header_len, header.wire_len());
        segment.resize(header_len + payload, 0xee);
        let mut expected = header.clone();
        // SACK blocks that do not fit are left out; the first in the list stay.
        expected.options.sack.truncate(header.options.sack_blocks_that_fit());
        prop_assert_eq!(Header::parse(&segment), Some((expected, header_len)));
    }

    #[test]
    fn etherparse_reads_the_same(header in arbitrary_header()) {
        let segment = emitted(&header);
        let slice = TcpSlice::from_slice(&segment).unwrap();
        prop_assert_eq!(slice.source_port(), header.src_port);
        prop_assert_eq!(slice.destination_port(), header.dst_port);
        prop_assert_eq!(slice.sequence_number(), header.seq.0);
        prop_assert_eq!(slice.acknowledgment_number(), header.ack.0);
        prop_assert_eq!(slice.window_size(), header.window);
        prop_assert_eq!(slice.urgent_pointer(), header.urgent);
        prop_assert_eq!(slice.checksum(), 0);
        let flags = [slice.fin(), slice.syn(), slice.rst(), slice.psh(), slice.ack(), slice.urg(), slice.ece(), slice.cwr()];
        for (bit, set) in flags.into_iter().enumerate() {
            prop_assert_eq!(set, header.flags.contains(Flags(1 << bit)));
        }
        prop_assert_eq!(slice.ns(), header.flags.contains(Flags::AE));

        let mut seen = Options::default();
        for option in slice.options_iterator() {
            // smoltcp does not know AccECN and Fast Open, which come last.
            let option = match option {
                Err(TcpOptionReadError::UnknownId(172 | 174 | 34 | 254)) => break,
                option => option.unwrap(),
            };
            match option {
                TcpOptionElement::Noop => {}
                TcpOptionElement::MaximumSegmentSize(mss) => seen.mss = Some(mss),
                TcpOptionElement::WindowScale(shift) => seen.window_scale = Some(shift),
                TcpOptionElement::SelectiveAcknowledgementPermitted => seen.sack_permitted = true,
                TcpOptionElement::Timestamp(value, echo) => seen.timestamps = Some(Timestamps { value, echo }),
                TcpOptionElement::SelectiveAcknowledgement(first, more) => {
                    let blocks = [Some(first)].into_iter().chain(more).flatten();
                    seen.sack.extend(blocks.map(|(l, r)| (SeqNumber(l), SeqNumber(r))));
                }
            }
        }
        let mut expected = header.options.clone();
        expected.sack.truncate(header.options.sack_blocks_that_fit());
        expected.accecn = None;
        expected.fast_open = None;
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        if let Some((_, len)) = Header::parse(&bytes) {
            prop_assert!((20..=60).contains(&len) && len <= bytes.len());
        }
    }

    #[test]
    fn arbitrary_options_never_panic_and_never_spill(
        words in 0usize..=10,
        // Small numbers, so that known kinds and lengths are common.
        bytes in proptest::collection::vec(prop_oneof![0u8..12, any::<u8>()], 40),
        syn: bool,
    ) {
        let mut segment = std::vec![0u8; 20];
        segment[12] = ((5 + words) << 4) as u8;
        segment[13] = if syn { Flags::SYN.0 as u8 } else { Flags::ACK.0 as u8 };
        segment.extend_from_slice(&bytes[..words * 4]);
        let (header, len) = Header::parse(&segment).unwrap();
        prop_assert_eq!(len, segment.len());
        prop_assert!(!header.options.sack.spilled());
        prop_assert!(header.options.window_scale.is_none_or(|shift| shift <= 14));
        if !syn {
            prop_assert_eq!(header.options.mss, None);
            prop_assert_eq!(header.options.window_scale, None);
            prop_assert!(!header.options.sack_permitted);
        }
    }
}

/// RFC 7413 §4.1.1: no cookie, or an even number of 4 to 16 bytes, and in SYNs only.
#[test]
fn fast_open_cookies_of_every_length() {
    for len in 0..=20u8 {
        let mut bytes = vec![34, 2 + len];
        bytes.resize(2 + usize::from(len), 7);
        let is_good = len == 0 || (4..=16).contains(&len) && len % 2 == 0;
        let parsed = Options::parse(&bytes, true).fast_open;
        assert_eq!(
            parsed.as_ref().map(|cookie| cookie.as_bytes().len()),
            is_good.then_some(usize::from(len))
        );
        assert_eq!(parsed.is_some_and(|cookie| cookie.is_request()), len == 0);
        assert_eq!(Options::parse(&bytes, false).fast_open, None);
    }
}

/// RFC 6994 §2.1: the experimental option has its magic number after the length. Measured on Linux
/// 6.18.
#[test]
fn fast_open_cookies_in_the_experimental_option() {
    let parse = |bytes: &[u8], syn| Options::parse(bytes, syn).fast_open;
    let cookie = parse(&[254, 12, 0xf9, 0x89, 1, 2, 3, 4, 5, 6, 7, 8], true).unwrap();
    assert!(cookie.is_experimental() && cookie.as_bytes() == [1, 2, 3, 4, 5, 6, 7, 8]);
    let request = parse(&[254, 4, 0xf9, 0x89], true).unwrap();
    assert!(request.is_experimental() && request.is_request());
    assert_eq!(parse(&[254, 4, 0xf9, 0x88], true), None, "another experiment");
    assert_eq!(parse(&[254, 3, 0xf9], true), None, "no number");
    assert_eq!(parse(&[254, 4, 0xf9, 0x89], false), None, "not in a SYN");
    assert_eq!(parse(&[254, 7, 0xf9, 0x89, 1, 2, 3], true), None, "an odd length");
    for (cookie, expected) in [
        (request, &[254, 4, 0xf9, 0x89][..]),
        (cookie, &[254, 12, 0xf9, 0x89, 1, 2, 3, 4, 5, 6, 7, 8]),
        (
            FastOpenCookie::from_wire(&[9; 6], true).map(Box::new).unwrap(),
            &[254, 10, 0xf9, 0x89, 9, 9, 9, 9, 9, 9, 1, 1],
        ),
    ] {
        let options = Options { fast_open: Some(cookie), ..Options::default() };
        assert_eq!(emitted(&Header { flags: Flags::SYN, options, ..Header::default() })[20..], *expected);
    }
}

#[test]
fn the_longest_fast_open_cookie_fits_beside_what_a_syn_carries() {
    for experimental in [false, true] {
        let cookie = FastOpenCookie::from_wire(&[5; 16], experimental).map(Box::new);
        longest_cookie_fits(cookie);
    }
}

fn longest_cookie_fits(cookie: Option<Box<FastOpenCookie>>) {
    let experimental = cookie.as_ref().is_some_and(|cookie| cookie.is_experimental());
    let options = Options {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some(Timestamps { value: 1, echo: 0 }),
        fast_open: cookie,
        ..Options::default()
    };
    assert_eq!(options.wire_len(), MAX_OPTIONS_LEN);
    let bytes = emitted(&Header { flags: Flags::SYN, options, ..Header::default() });
    if experimental {
        assert_eq!(bytes[40..46], [254, 20, 0xf9, 0x89, 5, 5]);
    } else {
        assert_eq!(bytes[40..44], [34, 18, 5, 5]);
        assert_eq!(bytes[58..], [1, 1], "padded with NOPs");
    }
}

#[test]
fn syn_options_stand_in_the_order_of_linux() {
    let options = Options {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some(Timestamps { value: 0x01020304, echo: 0 }),
        ..Options::default()
    };
    let header = Header { flags: Flags::SYN, options, ..Header::default() };
    let bytes = emitted(&header);
    #[rustfmt::skip]
    assert_eq!(bytes[20..], [2, 4, 0x05, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7]);
}

#[test]
fn sack_blocks_stand_behind_the_timestamps_and_three_fit() {
    let block = |n| (SeqNumber(n), SeqNumber(n + 1));
    let options = Options {
        timestamps: Some(Timestamps { value: 1, echo: 2 }),
        sack: smallvec![block(1), block(3), block(5), block(7)],
        ..Options::default()
    };
    let header = Header { flags: Flags::ACK, options, ..Header::default() };
    let bytes = emitted(&header);
    assert_eq!(bytes.len(), 60);
    assert_eq!(bytes[20..24], [1, 1, 8, 10]);
    assert_eq!(bytes[32..36], [1, 1, 5, 26]);
}

/// RFC 9768 §3.2.3, table 5: the length says which counters are present. With a length that is not
/// defined, the complete counters are read.
#[test]
fn accecn_options_of_every_length() {
    let mut options = Options { timestamps: Some(Timestamps { value: 1, echo: 2 }), ..Options::default() };
    let counters = [0x0102_0304, 5, 6];
    let lengths = [(0, 4), (1, 8), (2, 8), (3, 12)];
    for (count, on_the_wire) in lengths {
        options.accecn = Some(AccEcnOption::new(AccEcnOrder::Ect1First, &counters[..count]));
        let bytes = emitted(&Header { flags: Flags::ACK, options: options.clone(), ..Header::default() });
        assert_eq!(bytes.len(), 32 + on_the_wire);
        let option = &bytes[32 + on_the_wire - (2 + 3 * count)..];
        assert_eq!(option[..2], [174, 2 + 3 * count as u8]);
        assert!(count == 0 || option[2..5] == [2, 3, 4], "the low 24 bits");
        let (parsed, _) = Header::parse(&bytes).unwrap();
        assert_eq!(parsed.options, options);
    }
    for (len, expected) in [(2, 0), (4, 0), (6, 1), (7, 1), (10, 2), (12, 3), (20, 3)] {
        let mut bytes = std::vec![172, len];
        bytes.resize(usize::from(len), 9);
        let option = Options::parse(&bytes, false).accecn.unwrap();
        assert_eq!((option.order, option.counters().count()), (AccEcnOrder::Ect0First, expected), "{len}");
    }
}

/// RFC 9768 §3.2.3.3: two SACK blocks and two counters fit beside timestamps.
#[test]
fn accecn_leaves_room_for_two_sack_blocks() {
    let block = |n| (SeqNumber(n), SeqNumber(n + 1));
    let mut options = Options {
        timestamps: Some(Timestamps { value: 1, echo: 2 }),
        sack: smallvec![block(1), block(3)],
        ..Options::default()
    };
    assert_eq!(options.room(), AccEcnOption::len_with(2));
    options.accecn = Some(AccEcnOption::new(AccEcnOrder::Ect0First, &[1, 2]));
    assert_eq!((options.wire_len(), options.sack_blocks_that_fit()), (40, 2));
}

#[test]
fn odd_option_lists() {
    let parse = |options: &[u8]| Options::parse(options, true);
    // A length of 0 or 1, or beyond the end, ends the list; the options before it count.
    assert_eq!(parse(&[2, 4, 5, 0xb4, 8, 0, 3, 3]).mss, Some(1460));
    assert_eq!(parse(&[9, 1, 2, 4, 5, 0xb4, 0, 0]), Options::default());
    assert_eq!(parse(&[2, 4, 5, 0xb4, 8, 10, 1, 1]), parse(&[2, 4, 5, 0xb4]));
    assert_eq!(parse(&[1, 1, 1, 2]), Options::default());
    // An unknown kind, and a known one of the wrong length, are skipped.
    assert_eq!(parse(&[254, 4, 9, 9, 3, 3, 200, 0]).window_scale, Some(14));
    assert_eq!(parse(&[2, 3, 9, 3, 3, 1, 0, 0]), Options { window_scale: Some(1), ..Options::default() });
    // Nothing after the end of the list counts.
    assert_eq!(parse(&[0, 2, 4, 5, 0xb4]), Options::default());
    // The timestamp layout with another option after it is not the fast path.
    let both = parse(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 3, 3, 5, 0]);
    assert_eq!((both.timestamps, both.window_scale), (Some(Timestamps { value: 1, echo: 2 }), Some(5)));
}

#[test]
fn too_short_for_its_own_offset() {
    let mut segment = [0u8; 20];
    for (offset, expected) in [(0, None), (4, None), (5, Some(20)), (6, None), (15, None)] {
        segment[12] = offset << 4;
        assert_eq!(Header::parse(&segment).map(|(_, len)| len), expected);
    }
    assert_eq!(Header::parse(&segment[..19]), None);
}

// RFC 9293 §3.10.7.1.
#[test]
fn a_reset_takes_its_numbers_from_the_segment() {
    let mut header = Header {
        src_port: 1,
        dst_port: 2,
        seq: SeqNumber(u32::MAX),
        ack: SeqNumber(77),
        flags: Flags::SYN,
        ..Header::default()
    };
    let reset = reset_for(&header, 10).unwrap();
    assert_eq!((reset.src_port, reset.dst_port), (2, 1));
    assert_eq!((reset.seq, reset.ack), (SeqNumber(0), SeqNumber(10)));
    assert_eq!(reset.flags, Flags::RST.with(Flags::ACK));

    header.flags = Flags::ACK.with(Flags::FIN);
    let reset = reset_for(&header, 10).unwrap();
    assert_eq!((reset.seq, reset.ack, reset.flags), (SeqNumber(77), SeqNumber(0), Flags::RST));

    header.flags = Flags::RST.with(Flags::ACK);
    assert_eq!(reset_for(&header, 0), None);
}

#[test]
fn joined_segments_are_counted_by_the_length_of_the_longest() {
    let segments = |joined_len, payload_len| Header { joined_len, ..Header::default() }.segments(payload_len);
    assert_eq!((segments(0, 0), segments(0, 5_000)), (1, 1), "one by itself, however long");
    assert_eq!([1, 1_000, 1_001, 2_000, 2_001].map(|len| segments(1_000, len)), [1, 1, 2, 2, 3]);
}

/// RFC 9293 §3.1: an option whose length is wrong for its kind is ignored. It does not cancel an
/// earlier option either.
#[test]
fn options_of_a_wrong_length_change_nothing() {
    let timestamps = [8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    for broken in [&[8, 2][..], &[8, 9, 0, 0, 0, 3, 0, 0, 0], &[8, 11, 0, 0, 0, 3, 0, 0, 0, 4, 5]] {
        for options in [[&timestamps, broken].concat(), [broken, &timestamps].concat()] {
            let parsed = Options::parse(&options, false);
            assert_eq!(parsed.timestamps, Some(Timestamps { value: 1, echo: 2 }), "{options:?}");
        }
    }
}

/// RFC 9293 §3.7.1, RFC 7323 §2.2, RFC 2018 §2, RFC 7413 §4.1.1: options that are negotiated in
/// SYNs count in SYNs only.
#[test]
fn options_of_a_syn_say_nothing_elsewhere() {
    let in_a_syn: [&[u8]; 5] = [
        &[2, 4, 5, 0xb4],
        &[3, 3, 7],
        &[4, 2],
        &[34, 10, 1, 2, 3, 4, 5, 6, 7, 8],
        &[254, 12, 0xf9, 0x89, 1, 2, 3, 4, 5, 6, 7, 8],
    ];
    for option in in_a_syn {
        assert_ne!(Options::parse(option, true), Options::default(), "{option:?}");
        assert_eq!(Options::parse(option, false), Options::default(), "{option:?}");
    }
    // An MSS of zero is ignored.
    for (mss, expected) in [([0, 0], None), ([0, 1], Some(1)), ([1, 0], Some(256)), ([1, 1], Some(257))] {
        assert_eq!(Options::parse(&[2, 4, mss[0], mss[1]], true).mss, expected);
    }
}
