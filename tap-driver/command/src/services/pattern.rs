//! The pattern of the character generator (RFC 864).

use std::sync::OnceLock;

use bytes::Bytes;

/// The printing ASCII characters, space included.
const CHARACTERS: usize = 95;
const LINE_LEN: usize = 74;
const SHOWN: usize = 72;
/// The length of the pattern: one line for each character that a line can begin with.
const PERIOD: usize = CHARACTERS * LINE_LEN;
/// 247 KiB: several of the largest runs that offloads allow, and still within the processor's
/// second-level cache. This is just below four runs at an MTU of 1,500: a little more would add a
/// fifth, small run.
const SHARED_PERIODS: usize = 36;

/// Lines of 72 characters. Each begins one character later in the cycle of the printing characters.
#[derive(Clone, Debug)]
pub(crate) struct CharacterGenerator {
    position: usize,
}

impl CharacterGenerator {
    /// A generator at the beginning of the pattern.
    pub(crate) fn new() -> Self {
        CharacterGenerator { position: 0 }
    }

    /// Fills a buffer with the next characters.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = character_at(self.position);
            self.position = (self.position + 1) % PERIOD;
        }
    }
}

impl Default for CharacterGenerator {
    fn default() -> Self {
        CharacterGenerator::new()
    }
}

/// Whole periods of the pattern, so that it can be sent repeatedly. All callers share the same
/// memory.
pub(super) fn whole_periods() -> Bytes {
    static SHARED: OnceLock<Bytes> = OnceLock::new();
    let make = || {
        let mut bytes = vec![0; SHARED_PERIODS * PERIOD];
        CharacterGenerator::new().fill(&mut bytes);
        Bytes::from(bytes)
    };
    SHARED.get_or_init(make).clone()
}

fn character_at(position: usize) -> u8 {
    let (line, column) = (position / LINE_LEN, position % LINE_LEN);
    match column {
        SHOWN => b'\r',
        column if column > SHOWN => b'\n',
        column => b' ' + ((line + column) % CHARACTERS) as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_is_a_ring_of_lines_that_shift_by_one() {
        let mut generator = CharacterGenerator::new();
        let mut bytes = vec![0; 2 * PERIOD];
        let (first, second) = bytes.split_at_mut(1234);
        generator.fill(first);
        generator.fill(second);
        let lines: Vec<&[u8]> = bytes.chunks(LINE_LEN).collect();
        assert!(lines[0].starts_with(b" !\"#$%&'()"));
        assert!(lines[1].starts_with(b"!\"#$%&'()*"));
        assert!(lines[94].starts_with(b"~ !\"#"));
        assert_eq!(lines[95], lines[0]);
        assert!(lines.iter().all(|line| line.ends_with(b"\r\n")));
        assert!(lines.iter().all(|line| line[..SHOWN].iter().all(|byte| (b' '..=b'~').contains(byte))));
    }
}
