//! vark: archive format and backup engine for vector indexes. See `ARCHITECTURE.md` for the map.
#![deny(unsafe_code)]

pub mod archive;
pub mod bytes;
pub mod codec;
pub mod digest;
pub mod error;
#[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "SIMD by run-time detection"))]
pub mod kernels;
pub mod keyring;
pub mod limits;
pub mod names;
pub mod pipeline;
pub mod plan;
pub mod seal;
pub mod split;
pub mod store;
pub mod stream;
#[expect(unsafe_code, reason = "calls of the zstd library that have no safe wrapper")]
pub mod sys;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
