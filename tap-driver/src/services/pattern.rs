//! The pattern of the character generator (RFC 864).

/// The printing ASCII characters, space included.
const CHARACTERS: usize = 95;
const LINE_LEN: usize = 74;
const SHOWN: usize = 72;
/// After so many bytes the pattern begins again: one line for each character to begin with.
const PERIOD: usize = CHARACTERS * LINE_LEN;

/// Lines of 72 characters; each begins one character further on in the ring of the printing characters.
#[derive(Clone, Debug)]
pub struct CharacterGenerator {
    position: usize,
}

impl CharacterGenerator {
    /// At the beginning of the pattern.
    pub fn new() -> Self {
        CharacterGenerator { position: 0 }
    }

    /// Fills a buffer with what comes next.
    pub fn fill(&mut self, buffer: &mut [u8]) {
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
