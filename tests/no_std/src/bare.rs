//! What std would have brought: an allocator, a panic handler, and a way to write.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::fmt;
use core::panic::PanicInfo;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

const HEAP_BYTES: usize = 64 << 20;

/// Hands out one piece of the heap after the other, and takes none back: the program is short.
struct Heap {
    bytes: UnsafeCell<[u8; HEAP_BYTES]>,
    used: AtomicUsize,
}

// SAFETY: `used` moves forward only, so no two callers are given the same bytes.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap { bytes: UnsafeCell::new([0; HEAP_BYTES]), used: AtomicUsize::new(0) };

// SAFETY: each piece lies in the heap, is aligned as asked for, and belongs to one caller.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let start = self.bytes.get().cast::<u8>();
        // Room for the piece wherever in it the aligned address is.
        let needed = layout.size() + layout.align();
        let at = self.used.fetch_add(needed, Ordering::Relaxed);
        if at + needed > HEAP_BYTES {
            return ptr::null_mut();
        }
        // SAFETY: `at` and the padding, less than `align`, lie within the heap.
        unsafe {
            let free = start.add(at);
            free.add(free.align_offset(layout.align()))
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = fmt::Write::write_fmt(&mut Out, format_args!("{info}\n"));
    // SAFETY: ends the process.
    unsafe { libc::abort() }
}

/// The `alloc` that comes with the compiler was built to unwind, and names what would do that.
/// Nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// As above.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    // SAFETY: ends the process.
    unsafe { libc::abort() }
}

/// Standard error.
pub(crate) struct Out;

impl fmt::Write for Out {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: the bytes are there for the length that is given.
        let written = unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
        if written == text.len() as isize { Ok(()) } else { Err(fmt::Error) }
    }
}
