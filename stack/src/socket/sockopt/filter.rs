//! Programs in classic BPF by bytes. The value is the array of `struct sock_filter` to which the
//! `filter` of Linux's `struct sock_fprog` points, because a stack does not read the memory of
//! programs.

use alloc::vec::Vec;

use super::row::{OptionTarget, read_int};
use crate::bpf::{Filter, Instruction};
use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::socket::common::Env;
use crate::socket::port_selector::PortSelector;
use crate::socket::protocol::ProtocolCalls;

/// The length of a `struct sock_filter`: code (u16), jumps (two u8), operand (u32).
const INSTRUCTION_BYTES: usize = 8;

/// A program. EINVAL for one that is not right.
pub(super) fn program(value: &[u8]) -> Result<Filter> {
    let (instructions, rest) = value.as_chunks::<INSTRUCTION_BYTES>();
    if !rest.is_empty() {
        return Err(Error::InvalidArgument);
    }
    let instruction = |&[a, b, jt, jf, k @ ..]: &[u8; INSTRUCTION_BYTES]| {
        Instruction::new(u16::from_ne_bytes([a, b]), jt, jf, u32::from_ne_bytes(k))
    };
    Filter::new(&instructions.iter().map(instruction).collect::<Vec<_>>())
}

/// SO_ATTACH_FILTER. EINVAL, EPERM.
pub(super) fn attach(_: &mut dyn ProtocolCalls, env: &mut Env<'_>, id: SocketId, value: &[u8]) -> Result<()> {
    env.common.attach_filter(id, program(value)?)
}

/// SO_DETACH_FILTER. The value means nothing, but must have the length of an int.
pub(super) fn detach(_: &mut dyn ProtocolCalls, env: &mut Env<'_>, id: SocketId, value: &[u8]) -> Result<()> {
    read_int(value)?;
    env.common.detach_filter(id)
}

/// SO_ATTACH_REUSEPORT_CBPF. EINVAL.
pub(super) fn attach_selector(
    kind: &mut dyn ProtocolCalls,
    env: &mut Env<'_>,
    id: SocketId,
    value: &[u8],
) -> Result<()> {
    let selector = PortSelector::Program(program(value)?);
    kind.select_on_port(env, id, Some(selector))
}

/// SO_DETACH_REUSEPORT_BPF. EINVAL, ENOENT.
pub(super) fn detach_selector(
    kind: &mut dyn ProtocolCalls,
    env: &mut Env<'_>,
    id: SocketId,
    value: &[u8],
) -> Result<()> {
    read_int(value)?;
    kind.select_on_port(env, id, None)
}

/// SO_GET_FILTER, which has the number of SO_ATTACH_FILTER: the program, or nothing.
pub(super) fn attached(target: &OptionTarget<'_>, _: usize) -> Result<Vec<u8>> {
    let filter = target.socket.options.filter.as_ref();
    let mut bytes = Vec::new();
    for instruction in filter.map_or(&[][..], Filter::instructions) {
        bytes.extend(instruction.code.to_ne_bytes());
        bytes.extend([instruction.jt, instruction.jf]);
        bytes.extend(instruction.k.to_ne_bytes());
    }
    Ok(bytes)
}
