//! The machine that runs programs.

use super::instruction::{Ancillary, Arithmetic, MEMORY_WORDS, Op, Operand, Test, Width};
use super::packet::PacketView;

/// Runs a checked program. It makes at most one step for each instruction, because jumps go
/// forward.
pub(super) fn run(ops: &[Op], packet: &PacketView<'_>, random: &mut dyn FnMut() -> u32) -> u32 {
    let (mut a, mut x) = (0_u32, 0_u32);
    let mut memory = [0_u32; MEMORY_WORDS];
    let mut at = 0;
    while let Some(&op) = ops.get(at) {
        at += 1;
        match op {
            Op::Load(width, offset) => match load(packet, width, offset) {
                Some(value) => a = value,
                None => return 0,
            },
            Op::LoadIndexed(width, offset) => match load(packet, width, x.wrapping_add(offset)) {
                Some(value) => a = value,
                None => return 0,
            },
            Op::LoadAncillary(ancillary) => {
                a = match ancillary {
                    Ancillary::Protocol => u32::from(packet.protocol),
                    Ancillary::PacketType => packet.packet_type as u32,
                    Ancillary::InterfaceIndex => packet.interface_index,
                    Ancillary::HardwareType => u32::from(packet.hardware_type),
                    Ancillary::AluXorX => a ^ x,
                    Ancillary::PayloadOffset => packet.payload_offset(),
                    Ancillary::Random => random(),
                    Ancillary::Zero => 0,
                }
            }
            Op::LoadLength => a = packet.len(),
            Op::LoadConstant(k) => a = k,
            Op::LoadMemory(cell) => a = memory[usize::from(cell)],
            Op::LoadXLength => x = packet.len(),
            Op::LoadXConstant(k) => x = k,
            Op::LoadXMemory(cell) => x = memory[usize::from(cell)],
            Op::LoadXHeaderLength(offset) => match load(packet, Width::Byte, offset) {
                Some(value) => x = (value & 0xf) * 4,
                None => return 0,
            },
            Op::Store(cell) => memory[usize::from(cell)] = a,
            Op::StoreX(cell) => memory[usize::from(cell)] = x,
            Op::Compute(arithmetic, operand) => match compute(arithmetic, a, operand.value(x)) {
                Some(value) => a = value,
                None => return 0,
            },
            Op::Negate => a = a.wrapping_neg(),
            Op::Jump(skipped) => at += skipped as usize,
            Op::Branch(test, operand, [if_true, if_false]) => {
                let is_true = test.is_true(a, operand.value(x));
                at += usize::from(if is_true { if_true } else { if_false });
            }
            Op::ReturnConstant(k) => return k,
            Op::ReturnA => return a,
            Op::CopyToX => x = a,
            Op::CopyFromX => a = x,
        }
    }
    0
}

fn load(packet: &PacketView<'_>, width: Width, offset: u32) -> Option<u32> {
    match width {
        Width::Word => packet.load(offset).map(u32::from_be_bytes),
        Width::Half => packet.load(offset).map(u16::from_be_bytes).map(u32::from),
        Width::Byte => packet.load(offset).map(|[byte]| u32::from(byte)),
    }
}

impl Operand {
    fn value(self, x: u32) -> u32 {
        match self {
            Operand::Constant(k) => k,
            Operand::X => x,
        }
    }
}

/// The result; `None` for a division by zero.
fn compute(arithmetic: Arithmetic, a: u32, b: u32) -> Option<u32> {
    match arithmetic {
        Arithmetic::Add => Some(a.wrapping_add(b)),
        Arithmetic::Subtract => Some(a.wrapping_sub(b)),
        Arithmetic::Multiply => Some(a.wrapping_mul(b)),
        Arithmetic::Divide => a.checked_div(b),
        Arithmetic::Remainder => a.checked_rem(b),
        Arithmetic::Or => Some(a | b),
        Arithmetic::And => Some(a & b),
        Arithmetic::Xor => Some(a ^ b),
        // As in Linux, X counts modulo 32.
        Arithmetic::ShiftLeft => Some(a.wrapping_shl(b)),
        Arithmetic::ShiftRight => Some(a.wrapping_shr(b)),
    }
}

impl Test {
    fn is_true(self, a: u32, b: u32) -> bool {
        match self {
            Test::Equal => a == b,
            Test::Greater => a > b,
            Test::GreaterOrEqual => a >= b,
            Test::AnyBit => a & b != 0,
        }
    }
}
