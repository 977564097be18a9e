//! A TAP device with offloads: the kernel's runs of segments and ours are passed in one piece.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

use portolan_tests::namespace::{beside_portolan, counter, page, stack_at};
use portolan_tests::pattern::Pattern;

use crate::tcp::echo_through;

const ECHO: u16 = 7;

#[test]
fn many_segments_cross_in_one_frame() {
    beside_portolan("offload::many_segments_cross_in_one_frame", &[], || {
        for addr in stack_at(ECHO) {
            let before = page("/");
            echo_through(addr, 16 << 20);
            let after = page("/");
            let grown = |name: &str| counter(&after, name) - counter(&before, name);
            for (frames, segments) in
                [("link.frames_in<", "tcp.in_segs<"), ("link.frames_out<", "tcp.segs_sent<")]
            {
                let (frames, segments) = (grown(frames), grown(segments));
                // 16 MiB are 11,586 full segments.
                assert!(segments > 11_000 && frames * 3 < segments, "{addr}: {segments} in {frames} frames");
            }
        }
    });
}

/// Losses above the device: whole runs are lost, which the device passes in one piece.
#[test]
fn whole_runs_are_lost_and_come_again() {
    let impair = ["--impair", "loss=2%,reorder=1%,dup=1%,seed=5", "--offload", "auto"];
    beside_portolan("offload::whole_runs_are_lost_and_come_again", &impair, || {
        for addr in stack_at(ECHO) {
            echo_through(addr, 8 << 20);
        }
    });
}

/// UDP_SEGMENT: the device passes the run unchanged, and the stack separates it.
#[test]
fn one_call_of_the_kernel_sends_many_datagrams() {
    beside_portolan("offload::one_call_of_the_kernel_sends_many_datagrams", &[], || {
        for addr in stack_at(ECHO) {
            let any = if addr.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).expect("a free port");
            socket.connect(addr).expect("a route");
            socket.set_read_timeout(Some(Duration::from_secs(10))).expect("our own socket");
            // This resolves the neighbours.
            socket.send(b"first").expect("sent");
            socket.recv(&mut [0; 16]).expect("an answer");
            for (segment, len) in [(1000, 20_300), (1, 60), (1452, 40_000)] {
                set_udp_segment(&socket, segment);
                let sent = Pattern::new(len as u64).take(len);
                socket.send(&sent).unwrap_or_else(|error| panic!("{addr}, {len} in {segment}: {error}"));
                for piece in sent.chunks(segment as usize) {
                    let mut back = [0; 2000];
                    let got = socket.recv(&mut back).unwrap_or_else(|error| panic!("{addr}: {error}"));
                    assert_eq!(&back[..got], piece, "{addr}, {len} in {segment}");
                }
            }
        }
    });
}

fn set_udp_segment(socket: &UdpSocket, bytes: libc::c_int) {
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option is a number of this size, which is only read.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const bytes).cast(),
            size,
        )
    };
    assert_eq!(result, 0, "UDP_SEGMENT: {}", std::io::Error::last_os_error());
}
