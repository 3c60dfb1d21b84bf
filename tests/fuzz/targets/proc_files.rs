#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| closewait_trace::fuzz::proc_files(data));
