use super::*;

fn header(flags: u8, ip_ecn: IpEcn) -> Header {
    Header { flags: ace_flags(flags), ip_ecn, ..Header::default() }
}

#[test]
fn the_three_flags_are_a_number() {
    for number in 0..8 {
        assert_eq!(ace(ace_flags(number)), number);
    }
    assert_eq!(ace_flags(0b100), Flags::AE);
    assert_eq!(ace_flags(0b011), Flags::CWR.with(Flags::ECE));
}

/// RFC 9768 §3.1.2, table 2, and §3.1.3.
#[test]
fn what_a_listener_answers() {
    use EcnMode::{AccEcn, Off, Rfc3168};
    let modes = [Off, AccEcn, AccEcn, Rfc3168, AccEcn, AccEcn, AccEcn, AccEcn];
    for (flags, mode) in (0..8).zip(modes) {
        let syn = header(flags, IpEcn::NotEct);
        assert_eq!(EcnMode::for_syn(Ecn::Off, &syn), Off);
        for policy in [Ecn::Accept, Ecn::AcceptAllRequestRfc3168, Ecn::RequestAccurate] {
            assert_eq!(EcnMode::for_syn(policy, &syn), mode, "{flags:#b}");
        }
        // Linux's tcp_ecn of 1 or 2 uses two of the three flags.
        let classic = if flags & 0b011 == 0b011 { Rfc3168 } else { Off };
        for policy in [Ecn::Request, Ecn::AcceptRfc3168] {
            assert_eq!(EcnMode::for_syn(policy, &syn), classic, "{flags:#b}");
        }
    }
    assert_eq!(EcnMode::for_syn(Ecn::Request, &header(0b111, IpEcn::Ect0)), Off);
    // Linux: a SYN of RFC 3168 that is ECN-capable was changed by a middlebox.
    assert_eq!(EcnMode::for_syn(Ecn::Accept, &header(0b011, IpEcn::Ect0)), Off);
    assert_eq!(EcnMode::for_syn(Ecn::Accept, &header(0b111, IpEcn::Ce)), AccEcn);
}

/// RFC 9768 §3.1.1 to §3.1.3, table 2; RFC 3168 §6.1.1.
#[test]
fn what_a_syn_ack_means() {
    use EcnMode::{AccEcn, Off, Rfc3168};
    let accurate = [Off, Rfc3168, AccEcn, AccEcn, AccEcn, AccEcn, AccEcn, Off];
    let classic = [Off, Rfc3168, Off, Off, Off, Rfc3168, Off, Off];
    for flags in 0..8 {
        let index = usize::from(flags);
        let flags = ace_flags(flags);
        assert_eq!(EcnMode::for_syn_ack(Off, flags), Off);
        assert_eq!(EcnMode::for_syn_ack(Rfc3168, flags), classic[index], "{flags:?}");
        assert_eq!(EcnMode::for_syn_ack(AccEcn, flags), accurate[index], "{flags:?}");
    }
}

/// RFC 9768 table 2: the SYN-ACK reports the marking of the SYN, and the third one has no ECN
/// flags.
#[test]
fn the_flags_of_a_syn_ack() {
    let markings = [IpEcn::NotEct, IpEcn::Ect1, IpEcn::Ect0, IpEcn::Ce];
    for (marking, number) in markings.into_iter().zip([0b010, 0b011, 0b100, 0b110]) {
        assert_eq!(EcnMode::AccEcn.syn_ack_flags(marking, 0), ace_flags(number));
        assert_eq!(EcnMode::AccEcn.syn_ack_flags(marking, 1), ace_flags(number));
        assert_eq!(EcnMode::AccEcn.syn_ack_flags(marking, 2), Flags::default());
        assert_eq!(EcnMode::Rfc3168.syn_ack_flags(marking, 3), Flags::ECE);
        assert_eq!(EcnMode::Off.syn_ack_flags(marking, 0), Flags::default());
    }
}

/// RFC 9768 §3.1.5: the first SYN determines the mode, the marking of the latest is reported, and
/// the two modes do not mix.
#[test]
fn syns_that_change_their_mind() {
    let syn = |flags, ecn| header(flags, ecn);
    let mut accurate = EcnAnswer::new(Ecn::Accept, &syn(0b111, IpEcn::NotEct));
    assert!(!accurate.on_repeated_syn(&syn(0b111, IpEcn::Ce)));
    assert_eq!(accurate.syn_ack_flags(0), ace_flags(0b110));
    assert!(!accurate.is_doubtful);
    assert!(!accurate.on_repeated_syn(&syn(0, IpEcn::NotEct)));
    assert!(accurate.is_doubtful);
    assert_eq!(accurate.syn_ack_flags(0), ace_flags(0b010));
    assert!(accurate.on_repeated_syn(&syn(0b011, IpEcn::NotEct)));

    let mut classic = EcnAnswer::new(Ecn::Accept, &syn(0b011, IpEcn::NotEct));
    assert!(!classic.on_repeated_syn(&syn(0b011, IpEcn::NotEct)));
    assert!(!classic.on_repeated_syn(&syn(0, IpEcn::NotEct)));
    assert!(classic.on_repeated_syn(&syn(0b111, IpEcn::NotEct)));

    let mut none = EcnAnswer::new(Ecn::Accept, &syn(0, IpEcn::NotEct));
    assert!(!none.on_repeated_syn(&syn(0b111, IpEcn::NotEct)));
    assert_eq!(none.syn_ack_flags(0), Flags::default());
}

/// RFC 9768 §5.1: an ACK that brings a SYN cookie back tells AccECN by its flags; whether it is RFC
/// 3168 the cookie says.
#[test]
fn what_the_ack_of_a_cookie_means() {
    use EcnMode::{AccEcn, Off, Rfc3168};
    for flags in 0..8 {
        let ack = header(flags, IpEcn::NotEct);
        for is_rfc3168 in [false, true] {
            let mode = |policy| EcnAnswer::from_cookie(policy, is_rfc3168, &ack).mode;
            let classic = if is_rfc3168 { Rfc3168 } else { Off };
            assert_eq!(mode(Ecn::Off), Off);
            for policy in [Ecn::Request, Ecn::AcceptRfc3168] {
                assert_eq!(mode(policy), classic, "{flags:#b} {is_rfc3168}");
            }
            for policy in [Ecn::Accept, Ecn::AcceptAllRequestRfc3168, Ecn::RequestAccurate] {
                assert_eq!(
                    mode(policy),
                    if flags >= 2 { AccEcn } else { classic },
                    "{flags:#b} {is_rfc3168}"
                );
            }
        }
    }
}
