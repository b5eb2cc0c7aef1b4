//! The calls that need `unsafe`: what an error code of zstd means, advice on memory, and early write-back.

use zstd_safe::zstd_sys;
use zstd_sys::ZSTD_ErrorCode;

/// Less is not worth a call.
const ADVISED_BYTES_MIN: usize = 4 << 20;

/// Asks for huge pages behind large memory that is about to be written for the first time: filling it costs a third
/// (measured: 1.9 against 6.4 GB/s), and far jumps in it miss no page table. Systems that cannot are let be.
pub fn prefer_huge_pages<T>(memory: &[T]) {
    #[cfg(target_os = "linux")]
    if size_of_val(memory) >= ADVISED_BYTES_MIN {
        let page_bytes = rustix::param::page_size();
        let start = memory.as_ptr().addr();
        let skipped = start.next_multiple_of(page_bytes) - start;
        let bytes = (size_of_val(memory) - skipped) / page_bytes * page_bytes;
        let first_page = memory.as_ptr().wrapping_byte_add(skipped).cast_mut().cast();
        // SAFETY: whole pages inside `memory`, which is larger than a page (checked above); the advice changes no byte
        // and nothing about who may use them. Its failure means what it meant before: ordinary pages.
        let _ = unsafe { rustix::mm::madvise(first_page, bytes, rustix::mm::Advice::LinuxHugepage) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

/// Starts to bring a range of a file to the disk and does not wait for it: the disk works while the rest is made, and the
/// sync at the end has little left to do. Promises nothing; systems that cannot are let be.
pub fn start_writing_back(file: &std::fs::File, offset: u64, bytes: u64) {
    #[cfg(target_os = "linux")]
    if let (Ok(offset), Ok(bytes)) = (i64::try_from(offset), i64::try_from(bytes)) {
        use std::os::fd::AsRawFd;
        // SAFETY: takes numbers only; the descriptor is open, since `file` is borrowed. A failure is not looked at: what
        // counts is the sync that follows, which reports faults of this write-back, too.
        let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, bytes, libc::SYNC_FILE_RANGE_WRITE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, offset, bytes);
}

/// What a compressing call of zstd returned: a length, `None` for "target too short", or the name of the fault.
///
/// # Errors
/// The name of any other fault.
pub fn frame_bytes(code: usize) -> Result<Option<usize>, &'static str> {
    // SAFETY: both calls look at a number.
    let (is_error, error) = unsafe { (zstd_sys::ZSTD_isError(code) != 0, zstd_sys::ZSTD_getErrorCode(code)) };
    match (is_error, error) {
        (false, _) => Ok(Some(code)),
        (true, ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall) => Ok(None),
        (true, _) => Err(zstd_safe::get_error_name(code)),
    }
}

/// Raises the soft limit of open files to the hard one, once: a chain of archives in volumes has more than the usual 1,024.
pub fn allow_many_files() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
        // Where that is not allowed the limit stays, and opening says so.
        let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
    });
}
