#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vark_core::testing::delta_open(data));
