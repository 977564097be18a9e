//! Draws programs and frames.

use portolan::bpf::Instruction;

use crate::soak::dice::Dice;

/// SKF_AD_OFF, SKF_NET_OFF and SKF_LL_OFF.
const ANCILLARY: u32 = -0x1000_i32 as u32;
const NETWORK: u32 = -0x10_0000_i32 as u32;
const LINK: u32 = -0x20_0000_i32 as u32;

/// A frame, and its EtherType.
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    pub(super) ethertype: u16,
}

pub(super) struct Generator {
    dice: Dice,
    /// Whether the program loads data that the kernel alone has.
    loads_kernel_data: bool,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Generator { dice: Dice::new(seed, "bpf", 0), loads_kernel_data: false }
    }

    /// A program, and whether its verdicts can be compared.
    pub(super) fn program(&mut self) -> (Vec<Instruction>, bool) {
        let len = self.dice.scaled(1, 40) as usize;
        // One in twelve instructions of a wild program need not be valid.
        let is_wild = self.dice.one_in(3);
        let mut instructions = Vec::new();
        // Most programs write the memory before anything else.
        if !self.dice.one_in(4) {
            instructions.extend((0..3).map(|cell| Instruction::new(0x02, 0, 0, cell)));
        }
        for rest in (1..=len as u64).rev() {
            let instruction =
                if is_wild && self.dice.one_in(12) { self.any(rest) } else { self.sensible(rest) };
            instructions.push(instruction);
        }
        // The number of bytes to keep is often one that a frame has.
        if self.dice.one_in(2) {
            instructions.push(Instruction::new(0x54, 0, 0, 0x7f));
        }
        instructions.push(match self.dice.within(0, 20) {
            0 if is_wild => self.any(1),
            1..4 => Instruction::new(0x06, 0, 0, self.constant()),
            _ => Instruction::new(0x16, 0, 0, 0),
        });
        (instructions, !self.loads_kernel_data)
    }

    /// Four fields without sense, or with a little.
    fn any(&mut self, rest: u64) -> Instruction {
        let max = if self.dice.one_in(8) { 0xffff } else { 0xbf };
        let code = self.dice.within(0, max) as u16;
        let [jt, jf] = [(); 2].map(|()| self.dice.within(0, rest + 1).min(255) as u8);
        // The kernel's own data may be among what this loads.
        self.loads_kernel_data |= code & 0xe7 == 0x20;
        Instruction::new(code, jt, jf, self.constant())
    }

    /// An instruction that is valid, except that the memory it reads may not be written.
    fn sensible(&mut self, rest: u64) -> Instruction {
        let skipped = |dice: &mut Dice| dice.within(0, (rest - 1).min(6)) as u8;
        let width = self.dice.pick(&[0x00, 0x08, 0x10]);
        match self.dice.within(0, 15) {
            0..3 => Instruction::new(0x20 | width, 0, 0, self.offset()),
            3 => Instruction::new(0x40 | width, 0, 0, self.offset()),
            4 => Instruction::new(0xb1, 0, 0, self.offset()),
            5 => self.ancillary(width),
            6 => {
                let code = self.dice.pick(&[0x80, 0x81, 0x07, 0x87, 0x84]);
                Instruction::new(code, 0, 0, self.constant())
            }
            7 => {
                let (code, cell) = (self.dice.pick(&[0x02, 0x03, 0x60, 0x61]), self.dice.within(0, 2) as u32);
                Instruction::new(code, 0, 0, cell)
            }
            8 => {
                let code = self.dice.pick(&[0x00, 0x01]);
                Instruction::new(code, 0, 0, self.constant())
            }
            9..11 => {
                let operand = self.dice.pick(&[0x00, 0x08]);
                let operation = self.dice.pick(&[0, 0x10, 0x20, 0x30, 0x40, 0x50, 0x90, 0xa0]);
                let k = self.constant().max(1);
                Instruction::new(0x04 | operand | operation, 0, 0, k)
            }
            11 => {
                let code = self.dice.pick(&[0x64, 0x74, 0x6c, 0x7c]);
                Instruction::new(code, 0, 0, self.dice.within(0, 31) as u32)
            }
            12 => Instruction::new(0x05, 0, 0, u32::from(skipped(&mut self.dice))),
            _ => {
                let code = 0x05 | self.dice.pick(&[0x10, 0x20, 0x30, 0x40]) | self.dice.pick(&[0x00, 0x08]);
                let [jt, jf] = [(); 2].map(|()| skipped(&mut self.dice));
                Instruction::new(code, jt, jf, self.constant())
            }
        }
    }

    fn ancillary(&mut self, width: u16) -> Instruction {
        let offset = self.dice.within(0, 15) as u32 * 4;
        // Netlink attributes, the queue, the hash, the CPU, a random number.
        self.loads_kernel_data |= matches!(offset, 12 | 16 | 24 | 32 | 36 | 56);
        Instruction::new(0x20 | width, 0, 0, ANCILLARY + offset)
    }

    /// An offset, which most frames have.
    fn offset(&mut self) -> u32 {
        let small = self.dice.within(0, 40) as u32;
        match self.dice.within(0, 19) {
            0 => NETWORK + small,
            1 => LINK + small,
            2 => self.dice.pick(&[NETWORK - 1, NETWORK + 0xf_efff, LINK - 1, LINK + 0xf_ffff, 0x7fff_ffff]),
            3 => small + 60,
            _ => small,
        }
    }

    fn constant(&mut self) -> u32 {
        match self.dice.within(0, 9) {
            0 => self.dice.within(0, u64::from(u32::MAX)) as u32,
            1 => self.dice.pick(&[0, 1, 31, 32, 0x7fff_ffff, 0x8000_0000, u32::MAX, ANCILLARY, 0x0800]),
            2..5 => self.dice.within(0, 255) as u32,
            _ => self.dice.within(0, 20) as u32,
        }
    }

    /// A frame that no IP stack answers.
    pub(super) fn frame(&mut self) -> Frame {
        let ethertype = self.dice.pick(&[0x0800, 0x0800, 0x86dd, 0x88b5]);
        let station = self.dice.pick(&[[0; 6], [0; 6], [0xff; 6], [1, 0, 0x5e, 0, 0, 9], [2, 0, 0, 0, 0, 9]]);
        let len = self.dice.within(0, 80) as usize;
        let mut packet: Vec<u8> = (0..len).map(|_| self.dice.within(0, 255) as u8).collect();
        let protocol = self.dice.pick(&[1, 2, 6, 17, 58, 89]);
        // To a documentation address, from another: neither is anybody's.
        match ethertype {
            0x0800 => {
                let more_or_fragment = self.dice.pick(&[0, 0, 0, 0x20, 0x01]);
                put(&mut packet, 0, &[self.dice.pick(&[0x45, 0x45, 0x46, 0x4f])]);
                put(&mut packet, 6, &[more_or_fragment, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
            }
            0x86dd => {
                let next = self.dice.pick(&[protocol, protocol, 0, 60, 44]);
                put(&mut packet, 0, &[0x60]);
                put(&mut packet, 6, &[next, 64, 0x20, 0x01, 0x0d, 0xb8]);
                put(&mut packet, 24, &[0x20, 0x01, 0x0d, 0xb8]);
                put(&mut packet, 40, &[protocol, 0]);
            }
            _ => {}
        }
        let mut bytes = [&station[..], &[2, 0, 0, 0, 0, 1], &u16::to_be_bytes(ethertype)].concat();
        bytes.extend(packet);
        Frame { bytes, ethertype }
    }
}

/// Overwrites what there is of these bytes.
fn put(packet: &mut [u8], at: usize, bytes: &[u8]) {
    packet.iter_mut().skip(at).zip(bytes).for_each(|(place, &byte)| *place = byte);
}
