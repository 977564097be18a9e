//! Random bytes from the operating system, for the seed of a stack.

use std::io;

/// Fills the buffer with random bytes.
#[cfg(all(target_os = "linux", not(portolan_portable)))]
pub(crate) fn fill(buf: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(())
}

#[cfg(any(portolan_portable, not(target_os = "linux")))]
pub(crate) fn fill(buf: &mut [u8]) -> io::Result<()> {
    use std::io::Read;

    std::fs::File::open("/dev/urandom")?.read_exact(buf)
}
