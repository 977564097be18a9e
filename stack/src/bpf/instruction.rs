//! The instructions, and the checks of a single one.

use alloc::fmt;

/// One instruction, as in `struct sock_filter`.
// Exhaustive: the layout is Linux's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How many instructions a conditional jump skips if its condition is true.
    pub jt: u8,
    /// How many instructions a conditional jump skips if its condition is false.
    pub jf: u8,
    /// A constant, an offset in the packet, or a place in the memory.
    pub k: u32,
}

impl Instruction {
    /// An instruction of these four fields.
    pub const fn new(code: u16, jt: u8, jf: u8, k: u32) -> Self {
        Instruction { code, jt, jf, k }
    }
}

/// Writes it as `tcpdump -dd` does.
impl fmt::Debug for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{ {:#x}, {}, {}, {:#x} }}", self.code, self.jt, self.jf, self.k)
    }
}

/// The number of words of memory (BPF_MEMWORDS).
pub(super) const MEMORY_WORDS: usize = 16;

/// Offsets from here on stand for data beside the packet (SKF_AD_OFF).
const ANCILLARY_AT: u32 = -0x1000_i32 as u32;

/// A checked instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// A = the bytes of the packet at this offset.
    Load(Width, u32),
    /// A = the bytes of the packet at X plus this offset.
    LoadIndexed(Width, u32),
    LoadAncillary(Ancillary),
    /// A = the length of the packet.
    LoadLength,
    LoadConstant(u32),
    LoadMemory(u8),
    LoadXLength,
    LoadXConstant(u32),
    LoadXMemory(u8),
    /// X = 4 * (the low half of the byte of the packet at this offset): the length of an IPv4
    /// header.
    LoadXHeaderLength(u32),
    Store(u8),
    StoreX(u8),
    /// A = A and the operand, combined.
    Compute(Arithmetic, Operand),
    Negate,
    /// Skips so many instructions.
    Jump(u32),
    /// Skips the first number of instructions if the test is true of A and the operand, and the
    /// second otherwise.
    Branch(Test, Operand, [u8; 2]),
    ReturnConstant(u32),
    ReturnA,
    /// X = A.
    CopyToX,
    /// A = X.
    CopyFromX,
}

/// How many bytes are loaded, in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Word,
    Half,
    Byte,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Or,
    And,
    ShiftLeft,
    ShiftRight,
    Remainder,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    /// Whether they have a bit in common.
    AnyBit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    Constant(u32),
    X,
}

/// Data that are not in the packet (SKF_AD_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ancillary {
    Protocol,
    PacketType,
    InterfaceIndex,
    HardwareType,
    /// A xor X.
    AluXorX,
    PayloadOffset,
    Random,
    /// One of those that exist only in a kernel: 0.
    Zero,
}

impl Op {
    /// Parses an instruction that `rest` others follow. `None` if there is no such instruction, or
    /// if it is not valid: it divides by zero, shifts out everything, uses memory that does not
    /// exist, or jumps behind the end.
    pub(super) fn parse(instruction: Instruction, rest: usize) -> Option<Op> {
        let Instruction { code, jt, jf, k } = instruction;
        // The lowest three bits are the class, the next two a width or operand, the rest a mode,
        // an operation or a condition.
        match code & 0x07 {
            0x00 => Op::parse_load(code, k),
            0x01 => match code {
                0x01 => Some(Op::LoadXConstant(k)),
                0x61 => Some(Op::LoadXMemory(cell(k)?)),
                0x81 => Some(Op::LoadXLength),
                0xb1 => Some(Op::LoadXHeaderLength(k)),
                _ => None,
            },
            0x02 if code == 0x02 => Some(Op::Store(cell(k)?)),
            0x03 if code == 0x03 => Some(Op::StoreX(cell(k)?)),
            0x04 if code == 0x84 => Some(Op::Negate),
            0x04 => Op::parse_arithmetic(code, k),
            0x05 if code == 0x05 => usize::try_from(k).is_ok_and(|k| k < rest).then_some(Op::Jump(k)),
            0x05 => {
                let test = match code & !0x0f {
                    0x10 => Test::Equal,
                    0x20 => Test::Greater,
                    0x30 => Test::GreaterOrEqual,
                    0x40 => Test::AnyBit,
                    _ => return None,
                };
                let is_inside = usize::from(jt) < rest && usize::from(jf) < rest;
                is_inside.then_some(Op::Branch(test, operand(code, k), [jt, jf]))
            }
            0x06 => match code {
                0x06 => Some(Op::ReturnConstant(k)),
                0x16 => Some(Op::ReturnA),
                _ => None,
            },
            _ => match code {
                0x07 => Some(Op::CopyToX),
                0x87 => Some(Op::CopyFromX),
                _ => None,
            },
        }
    }

    fn parse_load(code: u16, k: u32) -> Option<Op> {
        let width = match code & 0x18 {
            0x00 => Width::Word,
            0x08 => Width::Half,
            0x10 => Width::Byte,
            _ => return None,
        };
        match (code & !0x1f, width) {
            (0x00, Width::Word) => Some(Op::LoadConstant(k)),
            (0x20, _) if k >= ANCILLARY_AT => Ancillary::at(k - ANCILLARY_AT).map(Op::LoadAncillary),
            (0x20, _) => Some(Op::Load(width, k)),
            (0x40, _) => Some(Op::LoadIndexed(width, k)),
            (0x60, Width::Word) => Some(Op::LoadMemory(cell(k)?)),
            (0x80, Width::Word) => Some(Op::LoadLength),
            _ => None,
        }
    }

    fn parse_arithmetic(code: u16, k: u32) -> Option<Op> {
        let arithmetic = match code & !0x0f {
            0x00 => Arithmetic::Add,
            0x10 => Arithmetic::Subtract,
            0x20 => Arithmetic::Multiply,
            0x30 => Arithmetic::Divide,
            0x40 => Arithmetic::Or,
            0x50 => Arithmetic::And,
            0x60 => Arithmetic::ShiftLeft,
            0x70 => Arithmetic::ShiftRight,
            0x90 => Arithmetic::Remainder,
            0xa0 => Arithmetic::Xor,
            _ => return None,
        };
        let operand = operand(code, k);
        match (arithmetic, operand) {
            (Arithmetic::Divide | Arithmetic::Remainder, Operand::Constant(0)) => None,
            (Arithmetic::ShiftLeft | Arithmetic::ShiftRight, Operand::Constant(32..)) => None,
            _ => Some(Op::Compute(arithmetic, operand)),
        }
    }
}

impl Ancillary {
    /// The data at this offset from SKF_AD_OFF.
    fn at(offset: u32) -> Option<Ancillary> {
        match offset {
            0 => Some(Ancillary::Protocol),
            4 => Some(Ancillary::PacketType),
            8 => Some(Ancillary::InterfaceIndex),
            // Netlink attributes, the mark, the queue.
            12 | 16 | 20 | 24 => Some(Ancillary::Zero),
            28 => Some(Ancillary::HardwareType),
            // The hash, the CPU.
            32 | 36 => Some(Ancillary::Zero),
            40 => Some(Ancillary::AluXorX),
            // The VLAN tag, whether there is one.
            44 | 48 => Some(Ancillary::Zero),
            52 => Some(Ancillary::PayloadOffset),
            56 => Some(Ancillary::Random),
            // The protocol of the VLAN tag.
            60 => Some(Ancillary::Zero),
            _ => None,
        }
    }
}

fn operand(code: u16, k: u32) -> Operand {
    if code & 0x08 == 0 { Operand::Constant(k) } else { Operand::X }
}

/// A place in the memory, if it exists.
fn cell(k: u32) -> Option<u8> {
    u8::try_from(k).ok().filter(|&cell| usize::from(cell) < MEMORY_WORDS)
}
