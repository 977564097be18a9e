//! The descriptor table: lowest free number first, a generation behind each number.

/// What a program holds: a small number, and a generation that makes a stale one an error.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Descriptor {
    number: u32,
    generation: u32,
}

impl Descriptor {
    /// The number that a program sees, as with POSIX: the lowest that was free.
    pub const fn number(self) -> u32 {
        self.number
    }
}

impl core::fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "fd {}", self.number)
    }
}
