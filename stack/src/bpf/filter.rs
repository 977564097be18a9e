//! Programs, and the checks of a whole one.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use alloc::{fmt, vec};

use super::instruction::{Instruction, MEMORY_WORDS, Op};
use super::packet::PacketView;
use super::run;
use crate::error::{Error, Result};

/// The most instructions in a program (BPF_MAXINSNS).
const MAX_INSTRUCTIONS: usize = 4096;

/// A checked program. Clones share it.
#[derive(Clone)]
pub struct Filter(Arc<Checked>);

#[derive(PartialEq, Eq)]
struct Checked {
    instructions: Box<[Instruction]>,
    ops: Box<[Op]>,
}

impl Filter {
    /// Checks a program. `InvalidArgument` unless it has 1 to 4,096 instructions, all of them
    /// exist, all jumps stay inside, the last instruction returns, no instruction divides by a
    /// constant 0 or shifts by a constant of 32 or more, and memory is written before it is read,
    /// on every way through the program.
    pub fn new(instructions: &[Instruction]) -> Result<Filter> {
        if instructions.is_empty() || instructions.len() > MAX_INSTRUCTIONS {
            return Err(Error::InvalidArgument);
        }
        let rests = (0..instructions.len()).rev();
        let ops = instructions.iter().zip(rests).map(|(&instruction, rest)| Op::parse(instruction, rest));
        let ops: Box<[Op]> = ops.collect::<Option<_>>().ok_or(Error::InvalidArgument)?;
        let returns = matches!(ops.last(), Some(Op::ReturnConstant(_) | Op::ReturnA));
        if !returns || !reads_only_what_was_written(&ops) {
            return Err(Error::InvalidArgument);
        }
        Ok(Filter(Arc::new(Checked { instructions: instructions.into(), ops })))
    }

    /// The instructions (SO_GET_FILTER).
    pub fn instructions(&self) -> &[Instruction] {
        &self.0.instructions
    }

    /// Runs the program on a packet, and returns what it returns: how many bytes of the packet to
    /// keep. `random` is drawn from where the program asks for a random number (SKF_AD_RANDOM).
    /// A program that reads behind the end of the packet, or divides by 0, returns 0.
    pub fn run(&self, packet: &PacketView<'_>, random: &mut dyn FnMut() -> u32) -> u32 {
        run::run(&self.0.ops, packet, random)
    }
}

/// Programs are the same if their instructions are.
impl PartialEq for Filter {
    fn eq(&self, other: &Filter) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Filter {}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.0.instructions).finish()
    }
}

/// Whether every way through the program writes a word of memory before it reads it. As in Linux,
/// code that cannot be reached counts as reached with all memory written.
fn reads_only_what_was_written(ops: &[Op]) -> bool {
    const ALL: u16 = u16::MAX;
    const { assert!(MEMORY_WORDS == u16::BITS as usize) };
    // For each instruction the words that are written on all jumps to it.
    let mut at_targets: Vec<u16> = vec![ALL; ops.len()];
    // The words that are written where the previous instruction ends.
    let mut written = 0;
    for (at, op) in ops.iter().enumerate() {
        written &= at_targets[at];
        let mut jump = |skipped: usize| at_targets[at + 1 + skipped] &= written;
        match *op {
            Op::Store(cell) | Op::StoreX(cell) => written |= 1 << cell,
            Op::LoadMemory(cell) | Op::LoadXMemory(cell) if written & 1 << cell == 0 => return false,
            Op::Jump(skipped) => {
                jump(skipped as usize);
                written = ALL;
            }
            Op::Branch(_, _, skipped) => {
                skipped.into_iter().for_each(|skipped| jump(usize::from(skipped)));
                written = ALL;
            }
            _ => {}
        }
    }
    true
}
