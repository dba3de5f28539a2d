//! A report is made of any JSON Lines, and nothing of them becomes code in it.
#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use rsttrace_capture::file_kind;
use rsttrace_output::report::{About, Gathering, page, source};

fuzz_target!(|bytes: &[u8]| {
    black_box(file_kind::sniff(bytes));
    let mut gathering = Gathering::default();
    let Ok(unread) = source::lines(bytes, |output| gathering.add(output)) else {
        return;
    };
    let about = About {
        source: "fuzz".to_owned(),
        generated: Default::default(),
        lost: None,
        unread,
    };
    black_box(page(gathering, &about));
});
