//! The reader of recordings ends, whatever a file contains, and its inputs are judged without a panic.
#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use rsttrace_capture::recording;

fuzz_target!(|bytes: &[u8]| {
    let _ = black_box(recording::replay(bytes));
});
