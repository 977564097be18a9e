//! The parts that std would provide: an allocator, a panic handler, and output.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::fmt;
use core::panic::PanicInfo;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

const HEAP_BYTES: usize = 64 << 20;

/// Allocates consecutive pieces of the heap, and frees none, because the program is short.
struct Heap {
    bytes: UnsafeCell<[u8; HEAP_BYTES]>,
    used: AtomicUsize,
}

// SAFETY: `used` only increases, so no two callers get the same bytes.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap { bytes: UnsafeCell::new([0; HEAP_BYTES]), used: AtomicUsize::new(0) };

// SAFETY: each piece is within the heap, is aligned as requested, and belongs to one caller.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let start = self.bytes.get().cast::<u8>();
        // Room for the piece at any alignment of its start.
        let needed = layout.size() + layout.align();
        let at = self.used.fetch_add(needed, Ordering::Relaxed);
        if at + needed > HEAP_BYTES {
            return ptr::null_mut();
        }
        // SAFETY: `at` and the padding, which is less than `align`, are within the heap.
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
    // SAFETY: the call ends the process.
    unsafe { libc::abort() }
}

/// The precompiled `alloc` was built to unwind, and refers to this. Nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// Like [`rust_eh_personality`].
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    // SAFETY: the call ends the process.
    unsafe { libc::abort() }
}

/// Standard error.
pub(crate) struct Out;

impl fmt::Write for Out {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: the bytes are valid for the given length.
        let written = unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
        if written == text.len() as isize { Ok(()) } else { Err(fmt::Error) }
    }
}
