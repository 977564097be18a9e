use std::vec;
use std::vec::Vec;

use super::*;
use crate::Error;
use crate::link::packet_type::PacketType;

fn i(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction::new(code, jt, jf, k)
}

const RETURN_A: Instruction = Instruction::new(0x16, 0, 0, 0);

fn run(body: &[Instruction], packet: &PacketView<'_>) -> u32 {
    let program = Filter::new(&[body, &[RETURN_A]].concat()).expect("it is valid");
    program.run(packet, &mut || 0x1234_5678)
}

#[test]
fn what_linux_refuses_is_refused() {
    let refused: &[&[Instruction]] = &[
        &[],
        &[i(0x00, 0, 0, 1)],                                            // no return
        &[i(0x0e, 0, 0, 0)],                                            // return X, which does not exist
        &[i(0x18, 0, 0, 0), RETURN_A],                                  // a width that does not exist
        &[i(0x08, 0, 0, 0), RETURN_A],                                  // a constant of two bytes
        &[i(0x100, 0, 0, 0), RETURN_A],                                 // a bit that no code has
        &[i(0x34, 0, 0, 0), RETURN_A],                                  // a division by 0
        &[i(0x94, 0, 0, 0), RETURN_A],                                  // its remainder
        &[i(0x64, 0, 0, 32), RETURN_A],                                 // a shift by 32
        &[i(0x74, 0, 0, 32), RETURN_A],                                 // to the right
        &[i(0x02, 0, 0, 16), RETURN_A],                                 // a word behind the memory
        &[i(0x60, 0, 0, 0), RETURN_A],                                  // a word that was not written
        &[i(0x61, 0, 0, 3), RETURN_A],                                  // the same into X
        &[i(0x05, 0, 0, 1), RETURN_A],                                  // a jump to the end
        &[i(0x05, 0, 0, u32::MAX), RETURN_A],                           // a jump backwards
        &[i(0x15, 1, 0, 7), RETURN_A],                                  // a condition that jumps to the end
        &[i(0x15, 0, 1, 7), RETURN_A],                                  // the other way
        &[i(0x20, 0, 0, -0x1000_i32 as u32 + 1), RETURN_A],             // no such data
        &[i(0x20, 0, 0, -0x1000_i32 as u32 + 64), RETURN_A],            // no such data
        &[i(0x15, 0, 1, 7), i(2, 0, 0, 0), i(0x60, 0, 0, 0), RETURN_A], // written on one way only
    ];
    for program in refused {
        assert_eq!(Filter::new(program), Err(Error::InvalidArgument), "{program:?}");
    }
    let long = |len: usize| Filter::new(&vec![RETURN_A; len]).map(|_| ());
    assert_eq!((long(4096), long(4097)), (Ok(()), Err(Error::InvalidArgument)));
}

#[test]
fn memory_that_was_written_on_every_way_may_be_read() {
    let both = [i(0x15, 1, 0, 0), i(0x02, 0, 0, 5), i(0x02, 0, 0, 5), i(0x60, 0, 0, 5), RETURN_A];
    assert!(Filter::new(&both).is_ok());
    // What cannot be reached may read anything.
    let unreachable = [i(0x05, 0, 0, 1), i(0x60, 0, 0, 9), RETURN_A];
    assert!(Filter::new(&unreachable).is_ok());
}

#[test]
fn loads_are_in_network_order_and_end_with_the_packet() {
    let bytes: Vec<u8> = (0..60).collect();
    let packet = PacketView { start: 4, network_at: 2, has_link_header: true, ..PacketView::new(&bytes) };
    let load = |code, k| run(&[i(code, 0, 0, k)], &packet);
    assert_eq!((load(0x30, 1), load(0x28, 1), load(0x20, 1)), (5, 0x0506, 0x0506_0708));
    assert_eq!((load(0x20, 52), load(0x20, 53)), (0x3839_3a3b, 0), "the second is behind the end");
    assert_eq!(run(&[i(0x01, 0, 0, 3), i(0x50, 0, 0, 2)], &packet), 9);
    assert_eq!(run(&[i(0x01, 0, 0, 9), i(0x50, 0, 0, -1_i32 as u32)], &packet), 12, "X + k wraps");
    assert_eq!(run(&[i(0xb1, 0, 0, 11), i(0x87, 0, 0, 0)], &packet), 15 * 4);
    assert_eq!(load(0x80, 0), 56);
    let (network, link) = (-0x10_0000_i32 as u32, -0x20_0000_i32 as u32);
    assert_eq!((load(0x30, network), load(0x30, network + 57), load(0x30, network + 58)), (2, 59, 0));
    assert_eq!((load(0x30, link + 1), load(0x28, link + 59)), (1, 0));
    let bare = PacketView { has_link_header: false, ..packet };
    assert_eq!(run(&[i(0x30, 0, 0, link + 1)], &bare), 0);
    assert_eq!(load(0x30, link - 1), 0);
}

#[test]
fn the_arithmetic_is_that_of_32_bits() {
    let packet = PacketView::new(&[]);
    let compute = |code, a, k| run(&[i(0x00, 0, 0, a), i(code, 0, 0, k)], &packet);
    assert_eq!(compute(0x04, u32::MAX, 2), 1);
    assert_eq!(compute(0x14, 1, 2), u32::MAX);
    assert_eq!(compute(0x24, 1 << 31, 2), 0);
    assert_eq!((compute(0x34, 7, 2), compute(0x94, 7, 2)), (3, 1));
    assert_eq!((compute(0x44, 5, 2), compute(0x54, 7, 2), compute(0xa4, 7, 2)), (7, 2, 5));
    assert_eq!((compute(0x64, 1, 31), compute(0x74, 1 << 31, 31)), (1 << 31, 1));
    assert_eq!(compute(0x84, 1, 0), u32::MAX);
    let by_x = |code, a, x| run(&[i(0x01, 0, 0, x), i(0x00, 0, 0, a), i(code, 0, 0, 9)], &packet);
    assert_eq!((by_x(0x3c, 7, 0), by_x(0x9c, 7, 0)), (0, 0), "it ends with 0");
    assert_eq!((by_x(0x6c, 1, 33), by_x(0x7c, 4, 33)), (2, 2), "modulo 32");
}

#[test]
fn branches_compare_without_sign() {
    let packet = PacketView::new(&[]);
    let taken = |code, a, k| {
        let branch = [i(0x00, 0, 0, a), i(code, 0, 1, k), i(6, 0, 0, 1), i(6, 0, 0, 2)];
        Filter::new(&branch).unwrap().run(&packet, &mut || 0) == 1
    };
    let big = 0x8000_0000;
    assert!(taken(0x25, big, 1) && !taken(0x25, 1, big) && !taken(0x25, 5, 5));
    assert!(taken(0x35, big, 1) && taken(0x35, 5, 5) && !taken(0x35, 4, 5));
    assert!(taken(0x15, 5, 5) && !taken(0x15, 4, 5));
    assert!(taken(0x45, 6, 2) && !taken(0x45, 4, 2));
}

#[test]
fn data_beside_the_packet_are_loaded_from_high_offsets() {
    let mut bytes = vec![0; 14 + 20 + 8 + 4];
    bytes[14] = 0x45;
    bytes[14 + 9] = 17;
    let packet = PacketView {
        network_at: 14,
        has_link_header: true,
        protocol: 0x0800,
        packet_type: PacketType::Multicast,
        interface_index: 7,
        hardware_type: 1,
        ..PacketView::new(&bytes)
    };
    let ancillary = |offset| run(&[i(0x30, 0, 0, -0x1000_i32 as u32 + offset)], &packet);
    assert_eq!([0, 4, 8, 28].map(ancillary), [0x0800, 2, 7, 1]);
    assert_eq!([12, 16, 20, 24, 32, 36, 44, 48, 60].map(ancillary), [0; 9]);
    assert_eq!((ancillary(52), ancillary(56)), (14 + 20 + 8, 0x1234_5678));
    let xor = [i(0x01, 0, 0, 5), i(0x00, 0, 0, 3), i(0x20, 0, 0, -0x1000_i32 as u32 + 40)];
    assert_eq!(run(&xor, &packet), 6);
}

#[test]
fn the_payload_offset_follows_the_headers() {
    let offset = |protocol: u16, bytes: &[u8]| {
        run(&[i(0x20, 0, 0, -0x1000_i32 as u32 + 52)], &PacketView { protocol, ..PacketView::new(bytes) })
    };
    let v4 = |protocol: u8, fragment: u8, rest: &[u8]| {
        let mut bytes = vec![0x46, 0, 0, 0, 0, 0, 0, fragment, 64, protocol];
        bytes.resize(24, 0);
        bytes.extend(rest);
        offset(0x0800, &bytes)
    };
    assert_eq!(
        [v4(17, 0, &[0; 9]), v4(1, 0, &[0; 9]), v4(2, 0, &[0; 9]), v4(99, 0, &[0; 9])],
        [32, 32, 32, 24]
    );
    let tcp = |offset: u8| [&[0; 12][..], &[offset << 4, 0, 0, 0, 0, 0, 0, 0]].concat();
    assert_eq!([v4(6, 0, &tcp(8)), v4(6, 0, &tcp(1)), v4(6, 0, &[])], [24 + 32, 24 + 20, 24]);
    assert_eq!(v4(17, 1, &[0; 9]), 24, "a later fragment has no header");
    assert_eq!((offset(0x0800, &[0x45; 19]), offset(0x0806, &[0x45; 60])), (0, 0));

    let mut v6 = vec![0; 40];
    v6[6] = 60;
    v6.extend([44, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    v6.extend([58, 0, 0, 1, 0, 0, 0, 0]);
    v6.extend([0; 8]);
    assert_eq!(offset(0x86dd, &v6), 40 + 16 + 8 + 8);
    v6[40 + 16 + 3] = 8;
    assert_eq!(offset(0x86dd, &v6), 40 + 16 + 8, "a later fragment");
    assert_eq!(offset(0x86dd, &v6[..40]), 0, "its header ends early");
}

#[test]
fn a_program_of_any_length_ends() {
    let mut instructions = vec![i(0x15, 0, 0, 0); 4095];
    instructions.push(i(6, 0, 0, 9));
    let program = Filter::new(&instructions).unwrap();
    assert_eq!(program.run(&PacketView::new(&[]), &mut || 0), 9);
    assert_eq!(program.instructions(), instructions);
    assert_eq!(program, program.clone());
    assert_ne!(program, Filter::new(&[i(6, 0, 0, 9)]).unwrap());
}
