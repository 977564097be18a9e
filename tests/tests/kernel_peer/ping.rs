//! Echo with the machine's `ping`.

use portolan_tests::namespace::{STACK4, STACK6, TAP, beside_portolan, tool};

#[test]
fn ping_answers_over_both_families() {
    beside_portolan("ping::ping_answers_over_both_families", &[], || {
        assert_all_answered(&tool(&format!("ping -n -c 5 -i 0.2 -W 5 {STACK4}")), 5);
        assert_all_answered(&tool(&format!("ping -6 -n -c 5 -i 0.2 -W 5 {STACK6}")), 5);
    });
}

/// 8,000 bytes are six fragments, in both directions.
#[test]
fn large_pings_are_put_together_and_cut() {
    beside_portolan("ping::large_pings_are_put_together_and_cut", &[], || {
        assert_all_answered(&tool(&format!("ping -n -c 5 -i 0.2 -W 5 -s 8000 {STACK4}")), 5);
        assert_all_answered(&tool(&format!("ping -6 -n -c 5 -i 0.2 -W 5 -s 8000 {STACK6}")), 5);
        assert_all_answered(&tool(&format!("ping -n -c 2 -i 0.2 -W 5 -s 65507 {STACK4}")), 2);
    });
}

/// The kernel finds the stack's link-local address with the all-nodes group, and pings it.
#[test]
fn the_link_local_address_answers() {
    beside_portolan("ping::the_link_local_address_answers", &[], || {
        // 02:00:5e:10:00:02 as a modified EUI-64 (RFC 4291, Appendix A).
        assert_all_answered(&tool(&format!("ping -6 -n -c 3 -i 0.2 -W 5 fe80::5eff:fe10:2%{TAP}")), 3);
    });
}

/// A flood of pings: on a link without losses, none is lost.
#[test]
fn a_flood_of_pings_is_answered() {
    beside_portolan("ping::a_flood_of_pings_is_answered", &[], || {
        assert_all_answered(&tool(&format!("ping -n -q -f -c 2000 -W 5 {STACK4}")), 2000);
    });
}

fn assert_all_answered(printed: &str, count: usize) {
    let sum = format!("{count} packets transmitted, {count} received");
    assert!(printed.contains(&sum), "{printed}");
    assert!(!printed.contains("DUP!"), "an echo was answered twice:\n{printed}");
}
