#![no_main]
use closewait_trace::fuzz::{forgive_parsers, stacks};
libfuzzer_sys::fuzz_target!(init: forgive_parsers(), |data: &[u8]| stacks(data));
