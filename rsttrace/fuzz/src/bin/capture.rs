//! The capture reader ends, whatever a file contains, without a panic and with every frame counted.
#![no_main]

use std::hint::black_box;
use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use rsttrace_capture::capture::Reader;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = Reader::new(Cursor::new(bytes.to_vec())) else {
        return;
    };
    loop {
        match reader.next() {
            Ok(Some(segment)) => {
                assert!(segment.payload.len() <= segment.payload_len as usize);
                black_box(segment);
            }
            Ok(None) => break,
            Err(error) => {
                black_box(error.to_string());
                break;
            }
        }
    }
    let counts = reader.counts();
    let skipped = counts.not_tcp
        + counts.unread
        + counts.link_types
        + counts.fragments
        + counts.cut
        + counts.malformed;
    assert_eq!(counts.segments + skipped, counts.frames);
    black_box(reader.ended_early());
});
