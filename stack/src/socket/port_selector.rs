//! How sockets that share a port are chosen.

use alloc::sync::Arc;

use crate::bpf::Filter;
use crate::demux::BoundTable;
use crate::id::SocketId;

/// The sockets by what they are bound to.
pub(super) type BoundSockets = BoundTable<SocketId, PortSelector>;

/// How the sockets that share an address and port under SO_REUSEPORT are chosen, instead of by a
/// hash of the addresses and ports ([`Stack::select_on_port`](crate::Stack::select_on_port)).
///
/// Both forms name a socket by its index: sockets are counted from 0, in the order in which they
/// were bound, or became listeners. When one is closed, the last one takes its index, as on Linux.
/// Where an index is too large the hash decides.
// Exhaustive: the calls take both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortSelector {
    /// A program that returns the index (SO_ATTACH_REUSEPORT_CBPF). It sees what follows the UDP or
    /// TCP header, and no header before it. It runs for each datagram, and for the first segment of
    /// a connection.
    Program(Filter),
    /// A table of indices. A flow's entry is its hash modulo the length of the table, so each entry
    /// has an equal share of the flows. An empty table names none.
    Table(Arc<[u16]>),
}

impl PortSelector {
    /// The index for a flow with this hash. `run` runs a program on the packet, if there is one.
    pub(crate) fn select(&self, hash: u64, run: impl FnOnce(&Filter) -> Option<u32>) -> Option<usize> {
        match self {
            PortSelector::Program(program) => run(program).map(|index| index as usize),
            PortSelector::Table(table) => {
                let at = hash.checked_rem(table.len() as u64)? as usize;
                table.get(at).map(|&index| index.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::Instruction;

    #[test]
    fn a_table_is_read_at_the_hash_and_a_program_is_run() {
        let table = PortSelector::Table([2, 9, 1].into());
        let picked = [0, 1, 2, 3].map(|hash| table.select(hash, |_| None));
        assert_eq!(picked, [Some(2), Some(9), Some(1), Some(2)]);
        assert_eq!(PortSelector::Table([].into()).select(7, |_| None), None);
        let program = PortSelector::Program(Filter::new(&[Instruction::new(0x06, 0, 0, 5)]).unwrap());
        assert_eq!((program.select(7, |_| Some(3)), program.select(7, |_| None)), (Some(3), None));
    }
}
