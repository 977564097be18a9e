//! Routers: what the stack learns from them, beside the kernel and from radvd.

use portolan_tests::host::{is_judge, kernel_version};
use portolan_tests::namespace::beside_portolan;
use portolan_tests::slaac::compare_all;

#[test]
fn the_kernel_learns_the_same_from_routers() {
    if !is_judge() {
        println!("this kernel is {}, which routers were not compared with", kernel_version());
        return;
    }
    beside_portolan("slaac::the_kernel_learns_the_same_from_routers", &[], compare_all);
}
