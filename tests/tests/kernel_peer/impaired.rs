//! Bad links with `--impair`: all data arrives, in order.

use portolan_tests::namespace::{beside_portolan, stack_at};

use crate::tcp::echo_through;

const ECHO: u16 = 7;

#[test]
fn data_is_whole_over_three_percent_loss() {
    let impair = ["--impair", "loss=3%,seed=7"];
    beside_portolan("impaired::data_is_whole_over_three_percent_loss", &impair, || {
        for addr in stack_at(ECHO) {
            echo_through(addr, 2 << 20);
        }
    });
}

#[test]
fn data_is_whole_over_a_link_with_every_fault() {
    let impair = ["--impair", "loss=1%,dup=1%,reorder=2%,corrupt=0.5%,delay=2ms,jitter=1ms,seed=11"];
    beside_portolan("impaired::data_is_whole_over_a_link_with_every_fault", &impair, || {
        for addr in stack_at(ECHO) {
            echo_through(addr, 512 << 10);
        }
    });
}

#[test]
fn data_is_whole_over_a_slow_link() {
    let impair = ["--impair", "rate=10mbit,delay=20ms,jitter=5ms,seed=3"];
    beside_portolan("impaired::data_is_whole_over_a_slow_link", &impair, || {
        for addr in stack_at(ECHO) {
            echo_through(addr, 1 << 20);
        }
    });
}
