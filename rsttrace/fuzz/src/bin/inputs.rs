//! The inputs of a recording are judged without a panic, whatever they are. Without checksums, which no fuzzer guesses.
#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use rsttrace_capture::recording;

fuzz_target!(|bytes: &[u8]| {
    black_box(recording::replay_plain(bytes));
});
