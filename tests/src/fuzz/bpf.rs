//! A BPF program and a packet.

use portolan::bpf::{Filter, Instruction, PacketView};

use super::Digest;
use super::input::Input;

/// More than a program may have.
const MAX_INSTRUCTIONS: usize = 5000;

/// Checks a program and runs it. The packet is what follows the program in the input.
pub(super) fn run(data: &[u8]) -> Digest {
    let mut input = Input::new(data);
    let count = usize::from(input.word()).min(MAX_INSTRUCTIONS);
    let instructions: Vec<Instruction> = (0..count)
        .map(|_| {
            let (code, jt, jf) = (input.word(), input.byte(), input.byte());
            Instruction::new(code, jt, jf, u32::from(input.word()) << 16 | u32::from(input.word()))
        })
        .collect();
    let Ok(program) = Filter::new(&instructions) else { return Digest(1 << 32) };
    super::trace(format_args!("{program:?}"));
    assert_eq!(program.instructions(), instructions);
    check_jumps(&instructions);
    let [start, network_at, facts] = [input.byte(), input.byte(), input.byte()];
    let protocol = input.word();
    let bytes = input.take(usize::MAX);
    let mut packet = PacketView::new(bytes);
    packet.start = start.into();
    packet.network_at = network_at.into();
    packet.has_link_header = facts & 1 != 0;
    packet.protocol = protocol;
    let mut draws = 0;
    let kept = program.run(&packet, &mut || {
        draws += 1;
        draws
    });
    assert!(draws as usize <= count, "each instruction runs at most once");
    Digest(u64::from(kept))
}

/// Whether no way leads behind the last instruction, which returns.
fn check_jumps(instructions: &[Instruction]) {
    for (at, instruction) in instructions.iter().enumerate() {
        let rest = instructions.len() - at - 1;
        let skipped = match instruction.code {
            0x05 => instruction.k as usize,
            code if code & 7 == 5 => instruction.jt.max(instruction.jf).into(),
            code if code & 7 == 6 => continue,
            _ => 0,
        };
        assert!(skipped < rest, "{at}: {instruction:?} leaves the program");
    }
}
