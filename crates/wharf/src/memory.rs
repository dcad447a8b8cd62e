//! How the process keeps memory.

/// Tells the C library's allocator to keep the buffers that bytes arrive in, some hundred kilobytes each, for the next.
///
/// By itself it may give each back to the kernel, which hands it out again in zeroed pages, one fault each: a tenth
/// of the cost of a push of 64 MiB. To be called before there are other threads.
pub fn keep_large_buffers() {
    #[cfg(target_env = "gnu")]
    {
        const LARGEST: libc::c_int = 4 << 20;
        const KEPT: libc::c_int = 16 << 20;
        // SAFETY: the calls set two numbers of the allocator, and no other thread uses it yet.
        unsafe {
            // What is refused leaves all as it was, which is slower and as good.
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        }
    }
}
