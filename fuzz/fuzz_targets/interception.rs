#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portolan_tests::fuzz::run("interception", data));
