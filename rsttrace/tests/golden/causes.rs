//! docs/CAUSES.md, the schema and the causes' own files say the same.

use std::sync::{Mutex, PoisonError};

use rsttrace::causes::docs;
use rsttrace::record::EvidenceKind;

/// Fails where the part of docs/CAUSES.md that is marked with `name` is not `expected`.
fn assert_part(name: &str, expected: &str) {
    /// Tests run in parallel, and each rewrites the file.
    static FILE: Mutex<()> = Mutex::new(());
    let _guard = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CAUSES.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let marks = (
        format!("<!-- {name}: generated -->\n"),
        format!("<!-- {name}: end -->"),
    );
    let (before, rest) = page.split_once(&marks.0).unwrap();
    let (part, after) = rest.split_once(&marks.1).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let page = format!("{before}{}{expected}{}{after}", marks.0, marks.1);
        std::fs::write(&path, page).unwrap();
        return;
    }
    assert!(
        part == expected,
        "docs/CAUSES.md, {name}, differs; UPDATE_GOLDEN=1 cargo test -p rsttrace --test golden writes it"
    );
}

#[test]
fn the_page_of_causes_is_as_the_causes_say() {
    assert_part("causes", &docs::causes());
    assert_part("captures", &docs::captures());
}

#[test]
fn the_page_names_every_kind_of_evidence() {
    assert_part("evidence", &docs::evidence());
    assert!(docs::evidence().lines().count() == EvidenceKind::ALL.len() + 2);
}
