//! Links, anchors, names of files and structure of the documentation.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Pages of the book, relative to `docs`.
fn book() -> BTreeSet<PathBuf> {
    let pages = |folder: &str| {
        let files = fs::read_dir(root().join("docs").join(folder)).unwrap();
        let folder = PathBuf::from(folder);
        files.map(move |entry| folder.join(entry.unwrap().file_name()))
    };
    pages("")
        .chain(pages("situations"))
        .filter(|name| name.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

/// All documents, relative to the repository.
fn documents() -> Vec<PathBuf> {
    let top = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(PathBuf::from);
    let pages = book().into_iter().map(|page| Path::new("docs").join(page));
    top.into_iter().chain(pages).collect()
}

#[derive(Default)]
struct Document {
    links: Vec<String>,
    anchors: BTreeSet<String>,
    code: Vec<String>,
}

fn parse(text: &str) -> Document {
    let mut document = Document::default();
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        if let Event::Code(code) = &event {
            document.code.push(code.to_string());
        }
        match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                document.links.push(dest_url.into_string());
            }
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                let slug = slug(&heading.take().unwrap());
                let mut unique = slug.clone();
                for number in 1.. {
                    if document.anchors.insert(unique) {
                        break;
                    }
                    unique = format!("{slug}-{number}");
                }
            }
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            _ => {}
        }
    }
    document
}

/// The anchor that GitHub and mdbook give a heading.
fn slug(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// Resolves `..` without looking at the file system.
fn resolve(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir {
            assert!(resolved.pop(), "{} leaves the repository", path.display());
        } else {
            resolved.push(component);
        }
    }
    resolved
}

/// Links of one document that lead nowhere.
fn dead_links(file: &Path, text: &str) -> Vec<String> {
    let document = parse(text);
    let is_dead = |link: &&String| {
        if link.contains("://") || link.starts_with("mailto:") {
            return false;
        }
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = resolve(&file.parent().unwrap().join(path));
        if !path.is_empty() && !root().join(&target).exists() {
            return true;
        }
        let anchors = if path.is_empty() {
            document.anchors.clone()
        } else {
            parse(&fs::read_to_string(root().join(target)).unwrap_or_default()).anchors
        };
        !anchor.is_empty() && !anchors.contains(anchor)
    };
    document.links.iter().filter(is_dead).cloned().collect()
}

#[test]
fn every_link_and_anchor_resolves() {
    for file in documents() {
        let text = fs::read_to_string(root().join(&file)).unwrap();
        let dead = dead_links(&file, &text);
        assert!(dead.is_empty(), "{}: {dead:?}", file.display());
    }
}

#[test]
fn dead_links_and_anchors_are_found() {
    let text =
        "# A b\n[a](docs/NONE.md) [b](#a-b) [c](#c) [d](README.md#none) [e](https://example.org/x)";
    let dead = dead_links(Path::new("CHANGELOG.md"), text);
    assert_eq!(dead, ["docs/NONE.md", "#c", "README.md#none"]);
}

/// Files named like `engine.rs` or `store/codec.rs` that end the path of no file in `files`; capitals stand for a name.
fn missing_files(text: &str, files: &[PathBuf]) -> Vec<String> {
    let named = parse(text).code.into_iter().filter(|code| {
        code.ends_with(".rs")
            && code
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-./".contains(c))
    });
    named
        .filter(|name| !files.iter().any(|file| file.ends_with(name)))
        .collect()
}

/// Every Rust file below `folder`; build folders aside.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_source_file_that_is_named_exists() {
    let mut files = Vec::new();
    rust_files(&root(), &mut files);
    for file in documents() {
        if file.ends_with("CHANGELOG.md") {
            continue; // It names files of earlier versions.
        }
        let text = fs::read_to_string(root().join(&file)).unwrap();
        let missing = missing_files(&text, &files);
        assert!(missing.is_empty(), "{}: {missing:?}", file.display());
    }
    let text = "`none.rs`, `tests/docs.rs`, `src/NAME.rs`, `docs.rs`";
    assert_eq!(missing_files(text, &files), ["none.rs"]);
}

#[test]
fn every_page_is_in_the_summary_once() {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let listed: Vec<_> = parse(&summary)
        .links
        .into_iter()
        .map(PathBuf::from)
        .collect();
    let unique: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(unique.len(), listed.len(), "listed twice");
    let mut pages = book();
    pages.remove(Path::new("SUMMARY.md"));
    assert_eq!(unique, pages);
}

#[test]
fn the_readme_is_short() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let lines = readme.lines().count();
    assert!(lines <= 150, "{lines} lines");
    for line in readme.lines() {
        assert!(line.chars().count() <= 120, "{line}");
    }
}
