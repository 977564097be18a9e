use alloc::collections::BTreeSet;

use super::row::name_of;
use super::*;

/// A second entry under a number would never be found.
#[test]
fn each_option_is_described_once() {
    let mut seen = BTreeSet::new();
    for option in option_names() {
        assert!(seen.insert((option.level, option.number)), "{option:?}");
    }
    assert!(seen.len() > 40);
}

#[test]
fn values_are_cut_to_the_buffer() {
    let mut buf = [9; 6];
    assert_eq!((put_int(&socket::LEVEL, &mut buf, 0x0102_0304), &buf[..]), (4, &[4, 3, 2, 1, 9, 9][..]));
    let mut buf = [9; 3];
    assert_eq!((put_int(&socket::LEVEL, &mut buf, 7), &buf[..]), (3, &[7, 0, 0][..]));
    // IP returns a byte if there is no room for more.
    let mut buf = [9; 3];
    assert_eq!((put_int(&ip::LEVEL, &mut buf, 7), &buf[..]), (1, &[7, 9, 9][..]));
    assert_eq!((put_int(&ip::LEVEL, &mut buf, -1), &buf[..]), (3, &[255; 3][..]));
    assert_eq!(put_int(&ip::LEVEL, &mut [], 7), 0);
}

#[test]
fn a_name_ends_at_its_first_nul() {
    assert_eq!([name_of(b"reno\0x"), name_of(b"reno"), name_of(b"")], [&b"reno"[..], b"reno", b""]);
}
