//! Random BPF programs, attached to packet sockets of the Linux kernel and to Portolan's machine.
//! Both must accept or refuse a program alike, and an accepted one must keep the same number of
//! bytes of the same frames.
//!
//! Read `generate` (programs and frames), then `kernel`.

mod generate;
mod kernel;

use std::fmt;
use std::io;

use portolan::PacketType;
use portolan::bpf::{Filter, Instruction, PacketView};

use generate::{Frame, Generator};
use kernel::Kernel;

/// The frames for each program.
const FRAMES: usize = 4;
const ETHERNET_HEADER_LEN: usize = 14;
/// The interface index and the hardware type of the kernel's loopback.
const LOOPBACK_INDEX: u32 = 1;
const LOOPBACK_TYPE: u16 = 772;

/// Compares programs, one for each seed.
#[derive(Debug)]
pub struct Judge {
    kernel: Kernel,
    /// The programs that both accepted.
    pub accepted: u64,
    /// The programs that both refused.
    pub refused: u64,
    /// The frames that both dropped, and those of which both kept something.
    pub dropped_and_kept: [u64; 2],
}

/// A program on which the kernel and Portolan do not agree.
#[derive(Debug)]
pub struct Difference {
    program: Vec<Instruction>,
    frame: Option<Vec<u8>>,
    kernel: String,
    portolan: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, instruction) in self.program.iter().enumerate() {
            writeln!(f, "    {at:4}: {instruction:?}")?;
        }
        if let Some(frame) = &self.frame {
            writeln!(f, "    the frame: {frame:02x?}")?;
        }
        writeln!(f, "    the kernel: {}\n    Portolan:   {}", self.kernel, self.portolan)
    }
}

/// What a socket got of a frame: so many bytes, or nothing.
type Kept = Option<usize>;

impl Judge {
    /// Opens the kernel's sockets on the loopback. The caller has a network namespace of its own.
    ///
    /// # Errors
    ///
    /// If the kernel refuses them.
    pub fn new() -> io::Result<Judge> {
        Ok(Judge { kernel: Kernel::new()?, accepted: 0, refused: 0, dropped_and_kept: [0; 2] })
    }

    /// Compares the program of this seed.
    ///
    /// # Errors
    ///
    /// If a frame cannot be sent.
    pub fn compare(&mut self, seed: u64) -> io::Result<Option<Difference>> {
        let mut generator = Generator::new(seed);
        let (instructions, is_comparable) = generator.program();
        let difference = |frame, kernel, portolan| {
            Ok(Some(Difference { program: instructions.clone(), frame, kernel, portolan }))
        };
        let (theirs, ours) = (self.kernel.attach(&instructions), Filter::new(&instructions));
        let ours_as_errno = ours.as_ref().map(|_| ()).map_err(|error| error.errno());
        if theirs != ours_as_errno {
            return difference(None, format!("{theirs:?}"), format!("{ours_as_errno:?}"));
        }
        let Ok(program) = ours else {
            self.refused += 1;
            return Ok(None);
        };
        self.accepted += 1;
        for _ in 0..if is_comparable { FRAMES } else { 0 } {
            let frame = generator.frame();
            let theirs = self.kernel.filter(&frame.bytes)?;
            let ours = [0, ETHERNET_HEADER_LEN].map(|start| run(&program, &frame, start));
            if theirs != ours {
                return difference(Some(frame.bytes), format!("{theirs:?}"), format!("{ours:?}"));
            }
            for kept in ours {
                self.dropped_and_kept[usize::from(kept.is_some())] += 1;
            }
        }
        Ok(None)
    }
}

/// What a socket that sees frames from this offset on gets.
fn run(program: &Filter, frame: &Frame, start: usize) -> Kept {
    let mut packet = PacketView::new(&frame.bytes);
    packet.start = start;
    packet.network_at = ETHERNET_HEADER_LEN;
    packet.has_link_header = true;
    packet.protocol = frame.ethertype;
    packet.packet_type = match frame.bytes[..6] {
        [0, 0, 0, 0, 0, 0] => PacketType::Host,
        // On the loopback ff:ff:ff:ff:ff:ff is a group like any other.
        [first, ..] if first & 1 != 0 => PacketType::Multicast,
        _ => PacketType::OtherHost,
    };
    packet.interface_index = LOOPBACK_INDEX;
    packet.hardware_type = LOOPBACK_TYPE;
    match program.run(&packet, &mut || 0) {
        0 => None,
        kept => Some((kept as usize).min(frame.bytes.len() - start)),
    }
}
