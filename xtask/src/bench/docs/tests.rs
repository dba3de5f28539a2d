//! The page, from a small run.

use super::*;

const FIGURES: &str = include_str!("../../../data/bench-small.json");
const PAGE: &str = include_str!("../../../data/bench-small.md");

fn small() -> Result<Report> {
    Ok(serde_json::from_str(FIGURES)?)
}

/// `UPDATE_GOLDEN=1 cargo test -p xtask` redoes it.
#[test]
fn the_page_of_a_small_run_is_as_it_was() -> Result<()> {
    let page = page(&small()?, "\n## Notes\n\nBy hand.\n\n")?;
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let file = workspace::root().join("xtask/data/bench-small.md");
        return Ok(fs::write(file, page)?);
    }
    assert_eq!(page, PAGE);
    Ok(())
}

#[test]
fn notes_outlast_a_new_page() -> Result<()> {
    let first = page(&small()?, "")?;
    assert_eq!(notes(&first), "");
    let edited = first.replace(NOTES_BEGIN, &format!("{NOTES_BEGIN}\nWhy.\n\n"));
    let second = page(&small()?, notes(&edited))?;
    assert_eq!(notes(&second), "\nWhy.\n\n");
    Ok(())
}

#[test]
fn of_an_empty_run_nothing_is_told() -> Result<()> {
    let page = page(&Report::default(), "")?;
    assert!(page.contains("Not measured."), "{page}");
    assert!(!page.contains("met |") && !page.contains("{{"), "{page}");
    Ok(())
}
