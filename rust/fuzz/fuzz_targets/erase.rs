#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vark_core::testing::erase::erase(data));
