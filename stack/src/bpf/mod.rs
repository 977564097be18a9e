//! Classic BPF: the programs that filter the packets of a socket ([`Stack::attach_filter`]).
//!
//! A program is a list of [`Instruction`]s for a machine with two registers, A and X, and 16 words
//! of memory. It reads the packet and returns a number: how many bytes of the packet the socket
//! gets, 0 for none. Jumps go forward only, so a program runs each of its instructions at most
//! once.
//!
//! [`Filter::new`] accepts and refuses what Linux does (`bpf_check_classic`), and a program
//! returns what it does there. Programs that `tcpdump -dd` prints run unchanged. The exceptions are
//! data that exist only in a kernel: the mark, the queue, the hash, the CPU, VLAN tags and netlink
//! attributes, which all read as 0 (see [`PacketView`]).
//!
//! ```
//! use portolan::bpf::{Instruction, PacketView, Filter};
//!
//! // tcpdump -dd -y RAW 'udp'
//! let program = Filter::new(&[
//!     Instruction::new(0x30, 0, 0, 9),      // A = the protocol of the IPv4 header
//!     Instruction::new(0x15, 0, 1, 17),     // if A is UDP: the next one, otherwise the one behind it
//!     Instruction::new(0x06, 0, 0, 262144), // the whole packet
//!     Instruction::new(0x06, 0, 0, 0),      // nothing
//! ])?;
//! let mut header = [0; 20];
//! header[9] = 17;
//! assert_eq!(program.run(&PacketView::new(&header), &mut || 0), 262144);
//! header[9] = 6;
//! assert_eq!(program.run(&PacketView::new(&header), &mut || 0), 0);
//! # Ok::<(), portolan::Error>(())
//! ```
//!
//! Read `instruction` (the instructions, and the checks of each), then `filter` (the checks of the
//! whole), `packet` (what a program can read) and `run` (the machine).
//!
//! [`Stack::attach_filter`]: crate::Stack::attach_filter

mod filter;
mod instruction;
mod packet;
mod run;
#[cfg(test)]
mod tests;

pub use filter::Filter;
pub use instruction::Instruction;
pub use packet::PacketView;
