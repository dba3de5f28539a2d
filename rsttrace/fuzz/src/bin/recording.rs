//! Does the reader of recordings end, whatever a file holds, and is what it gives judged without a panic?
#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use rsttrace_capture::recording;

fuzz_target!(|bytes: &[u8]| {
    let _ = black_box(recording::replay(bytes));
});
