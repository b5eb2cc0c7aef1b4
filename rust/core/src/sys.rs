//! The calls that need `unsafe`: zstd's sequence interface, which the safe wrapper does not have, advice on memory, and
//! early write-back.

use std::ptr::NonNull;

use zstd_safe::zstd_sys;
use zstd_sys::{ZSTD_CCtx, ZSTD_ErrorCode, ZSTD_Sequence, ZSTD_cParameter as Parameter};

/// Most bytes of a zstd block.
const BLOCK_BYTES: usize = 128 * 1024;
/// Most bytes of a frame header (ZSTD_FRAMEHEADERSIZE_MAX).
const FRAME_HEADER_BYTES_MAX: usize = 18;

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

/// Makes zstd frames whose blocks hold literals only: Huffman coding without a search for matches.
pub struct LiteralsEncoder {
    context: NonNull<ZSTD_CCtx>,
    /// One entry a block: "so many literals, no match".
    delimiters: Vec<ZSTD_Sequence>,
}

// SAFETY: a zstd context has no tie to the thread that made it, and it is reached only through `&mut self`.
unsafe impl Send for LiteralsEncoder {}

impl LiteralsEncoder {
    /// `None` when zstd finds no memory or refuses the settings (another zstd library than the one built in).
    pub fn new() -> Option<Self> {
        // SAFETY: takes nothing; null is handled by `NonNull::new`.
        let context = NonNull::new(unsafe { zstd_sys::ZSTD_createCCtx() })?;
        let encoder = Self { context, delimiters: Vec::new() };
        let settings = [
            (Parameter::ZSTD_c_compressionLevel, 1),
            // A window of one block, so that the frame may be cut into blocks of BLOCK_BYTES.
            (Parameter::ZSTD_c_windowLog, 17),
            (Parameter::ZSTD_c_strategy, 1),
            // No match is searched: the smallest tables make the reset of the context cheap.
            (Parameter::ZSTD_c_hashLog, 6),
            (Parameter::ZSTD_c_chainLog, 6),
            (Parameter::ZSTD_c_contentSizeFlag, 1),
            (Parameter::ZSTD_c_checksumFlag, 0),
            // ZSTD_c_literalCompressionMode = ZSTD_ps_enable
            (Parameter::ZSTD_c_experimentalParam5, 1),
            // ZSTD_c_blockDelimiters = ZSTD_sf_explicitBlockDelimiters
            (Parameter::ZSTD_c_experimentalParam11, 1),
        ];
        for (parameter, value) in settings {
            // SAFETY: the context is live; wrong parameters or values give an error code.
            let code = unsafe { zstd_sys::ZSTD_CCtx_setParameter(encoder.context.as_ptr(), parameter, value) };
            // SAFETY: looks at a number.
            if unsafe { zstd_sys::ZSTD_isError(code) } != 0 {
                return None;
            }
        }
        Some(encoder)
    }

    /// Writes one frame of `source` into `target` and returns its length; `None` when `target` is too short
    /// (or there is nothing to code: zstd wants at least one delimiter).
    ///
    /// # Errors
    /// zstd's name of any other fault.
    pub fn encode(&mut self, source: &[u8], target: &mut [u8]) -> Result<Option<usize>, &'static str> {
        // With less room than a frame header ZSTD_compressSequences (1.5.7) takes the error code for a length and
        // writes before the buffer.
        if source.is_empty() || target.len() < FRAME_HEADER_BYTES_MAX {
            return Ok(None);
        }
        self.delimiters.clear();
        let lengths = source.chunks(BLOCK_BYTES).map(|block| u32::try_from(block.len()).unwrap_or(0));
        self.delimiters.extend(lengths.map(|literals| ZSTD_Sequence {
            offset: 0,
            litLength: literals,
            matchLength: 0,
            rep: 0,
        }));
        // SAFETY: the context is live and not shared; the three pointers go with the lengths of their slices;
        // the target has room for a frame header (checked above);
        // the sequences are delimiters only and their lengths add up to that of `source`, which is what zstd
        // asks of sequences it does not validate.
        let code = unsafe {
            zstd_sys::ZSTD_compressSequences(
                self.context.as_ptr(),
                target.as_mut_ptr().cast(),
                target.len(),
                self.delimiters.as_ptr(),
                self.delimiters.len(),
                source.as_ptr().cast(),
                source.len(),
            )
        };
        frame_bytes(code)
    }
}

impl Drop for LiteralsEncoder {
    fn drop(&mut self) {
        // SAFETY: made by ZSTD_createCCtx and freed once.
        unsafe { zstd_sys::ZSTD_freeCCtx(self.context.as_ptr()) };
    }
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

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first fault; small numbers"
)]
mod tests {
    use super::*;

    /// zstd 1.5.7 wrote before the buffer when it had less room than a frame header.
    #[test]
    fn a_target_of_any_length_is_filled_inside_or_refused() {
        let mut encoder = LiteralsEncoder::new().unwrap();
        for source_bytes in [1, 5, 12, 200, 3000] {
            let noise: Vec<u8> =
                (0..source_bytes as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            for source in [noise.as_slice(), &noise.iter().map(|byte| byte & 3).collect::<Vec<u8>>()] {
                let mut fitted = false;
                for target_bytes in 0..source_bytes + 40 {
                    let mut guarded = vec![0xA5; target_bytes + 512];
                    let target = &mut guarded[256..256 + target_bytes];
                    let frame_bytes = encoder.encode(source, target).unwrap();
                    assert!(frame_bytes.is_none_or(|bytes| bytes <= target_bytes));
                    assert!(guarded[..256].iter().chain(&guarded[256 + target_bytes..]).all(|byte| *byte == 0xA5));
                    assert!(frame_bytes.is_some() || !fitted, "{target_bytes} bytes refused, fewer sufficed");
                    fitted = frame_bytes.is_some();
                }
                assert!(fitted);
            }
        }
    }
}
