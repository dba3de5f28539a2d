//! What users see and parsers read, word for word. After a wanted change, redo all of it with
//! `UPDATE_GOLDEN=1 cargo test -p rsttrace --test golden` and read the difference.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod causes;
mod help;
mod history;
mod metrics;
mod report;
mod schema;
mod summary;
mod table;

use std::path::{Path, PathBuf};

use rsttrace::record::Record;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// Fails, with both texts, where `actual` differs from the file `name` under tests/data.
fn assert_golden(name: &str, actual: &str) {
    let path = data(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs; if that is wanted: UPDATE_GOLDEN=1 cargo test -p rsttrace --test golden\n\
         --- expected\n{expected}\n--- actual\n{actual}",
        path.display()
    );
}

/// The files of a folder under tests/data by name, parsed.
fn files(folder: &str) -> Vec<(String, serde_json::Value)> {
    let mut files: Vec<_> = std::fs::read_dir(data(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            (name, serde_json::from_str(&text).unwrap())
        })
        .collect();
    files.sort_by(|a: &(String, _), b| a.0.cmp(&b.0));
    assert!(!files.is_empty(), "no files in {folder}");
    files
}

/// The sample records in the order of their times.
fn records() -> Vec<Record> {
    let mut records: Vec<Record> = files("records")
        .into_iter()
        .map(|(_, value)| serde_json::from_value(value).unwrap())
        .collect();
    records.sort_by(|a, b| a.time.cmp(&b.time));
    records
}
