//! The report as a real browser shows it. Needs Debian's package chromium.
//!
//! With `RSTTRACE_PICTURES=folder` the pictures are kept there, to be looked at.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod browser;
mod story;

use std::path::{Path, PathBuf};
use std::process::Command;

use browser::Browser;
use tempfile::TempDir;

const RECORDS: usize = 250;

/// Less contrast than text needs (4.5, large text 3), by each text that is seen: empty.
const FAINT: &str = r#"(() => {
  const parts = (color) => {
    const it = color.match(/[\d.]+/g).map(Number);
    return it.length < 4 ? [...it, 1] : it;
  };
  const light = ([r, g, b]) => {
    const of = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
    return 0.2126 * of(r) + 0.7152 * of(g) + 0.0722 * of(b);
  };
  const ground = (element) => {
    for (let it = element; it; it = it.parentElement) {
      const color = parts(getComputedStyle(it).backgroundColor);
      if (color[3] > 0.99) return color;
    }
    return [255, 255, 255, 1];
  };
  const faint = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let number = 0;
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || ["SCRIPT", "STYLE", "TITLE", "DESC", "OPTION", "title", "desc"].includes(element.tagName)) continue;
    if (!element.checkVisibility()) continue;
    number += 1;
    const style = getComputedStyle(element);
    const [a, b] = [light(parts(style.color)), light(ground(element))].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < (large ? 3 : 4.5)) faint.push(contrast.toFixed(2) + " " + node.data.slice(0, 40));
  }
  return [number, faint];
})()"#;

/// The story's page, made by the program.
fn page() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let [lines, page] = ["story.jsonl", "report.html"].map(|name| folder.path().join(name));
    std::fs::write(&lines, story::lines(RECORDS)).unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_rsttrace"))
        .args([
            "report".as_ref(),
            lines.as_os_str(),
            "-O".as_ref(),
            page.as_os_str(),
        ])
        .status()
        .unwrap();
    assert!(status.success());
    keep("report.html", &std::fs::read(&page).unwrap());
    (folder, page)
}

fn keep(name: &str, bytes: &[u8]) {
    if let Some(folder) = std::env::var_os("RSTTRACE_PICTURES") {
        std::fs::write(Path::new(&folder).join(name), bytes).unwrap();
    }
}

/// The beginning of the page, a screen or two a picture.
fn keep_pictures(browser: &mut Browser, name: &str, width: u32) {
    if std::env::var_os("RSTTRACE_PICTURES").is_none() {
        return;
    }
    let high = browser
        .value("document.documentElement.scrollHeight")
        .as_u64()
        .unwrap();
    for (number, top) in (0..high).step_by(1_600).take(8).enumerate() {
        let height = (high - top).min(1_600);
        keep(
            &format!("{name}-{number}.png"),
            &browser.picture(top, width, height),
        );
    }
}

#[test]
#[ignore = "needs chromium"]
fn the_page_asks_for_nothing_and_complains_of_nothing() {
    let (_folder, page) = page();
    let mut browser = Browser::start();
    browser.open(&page);
    assert_eq!(browser.value("document.title"), "TCP resets on web-3");
    // What pretends to be markup is text.
    assert_eq!(
        browser.value("document.querySelectorAll('img, [onclick], [onerror]').length"),
        0
    );
    assert_eq!(browser.value("document.scripts.length"), 1);
    let (requests, complaints) = browser.trouble();
    assert_eq!(requests, [format!("file://{}", page.display())]);
    assert_eq!(complaints, [""; 0]);
    // And the policy keeps it so.
    browser.value("new Promise((done) => { const it = new Image(); it.onerror = it.onload = done; it.src = 'http://192.0.2.1/x'; })");
    let (_, complaints) = browser.trouble();
    assert!(
        complaints.concat().contains("Content Security Policy"),
        "{complaints:?}"
    );
}

#[test]
#[ignore = "needs chromium"]
fn the_table_filters_and_sorts() {
    let (_folder, page) = page();
    let mut browser = Browser::start();
    browser.open(&page);
    let expected = story::records(RECORDS);
    let rows = "[...document.querySelectorAll('#rows tbody tr')].filter((row) => !row.hidden)";
    assert_eq!(browser.value(&format!("{rows}.length")), expected.len());
    let of = |cause: &str| {
        let there = expected
            .iter()
            .filter(|it| it.verdict.cause.name() == cause);
        there.count()
    };
    // By a select, by words, by both, then all again.
    let set = |name: &str, value: &str| {
        format!(
            "new Promise((done) => {{ const it = document.getElementById('filters').elements['{name}']; it.value = '{value}'; \
             it.dispatchEvent(new Event('input', {{bubbles: true}})); setTimeout(done, 300); }})"
        )
    };
    browser.value(&set("cause", "idle_timeout"));
    assert_eq!(browser.value(&format!("{rows}.length")), of("idle_timeout"));
    browser.value(&set("text", "10.0.3.7: JAVA"));
    let narrowed = browser.value(&format!("{rows}.length")).as_u64().unwrap();
    assert!(
        narrowed > 0 && narrowed < of("idle_timeout") as u64,
        "{narrowed}"
    );
    browser.value("new Promise((done) => { document.querySelector('#filters button').click(); setTimeout(done, 300); })");
    assert_eq!(browser.value(&format!("{rows}.length")), expected.len());
    // By a finding.
    browser.value("new Promise((done) => { document.querySelector('a[data-cause=unknown]').click(); setTimeout(done, 300); })");
    assert_eq!(browser.value(&format!("{rows}.length")), of("unknown"));
    let told = browser.value("document.querySelector('#filters output').value");
    assert!(
        told.as_str()
            .unwrap()
            .starts_with(&of("unknown").to_string()),
        "{told}"
    );
    // By silence, longest first, with the keyboard.
    let head = "document.querySelectorAll('#rows th')[5]";
    for sorted in ["ascending", "descending"] {
        browser.value(&format!("{head}.firstChild.focus()"));
        for kind in ["keyDown", "keyUp"] {
            let key = serde_json::json!({"type": kind, "key": "Enter", "code": "Enter", "text": "\r",
                "windowsVirtualKeyCode": 13});
            browser.call("Input.dispatchKeyEvent", key);
        }
        assert_eq!(browser.value(&format!("{head}.ariaSort")), sorted);
    }
    let first = browser.value("document.querySelector('#rows tbody tr').cells[5].dataset.v * 1");
    let longest = expected
        .iter()
        .filter_map(|it| it.idle.as_ref()?.quiet_before)
        .fold(0.0, f64::max);
    assert_eq!(first.as_f64(), Some(longest));
    assert_eq!(browser.trouble().1, [""; 0]);
}

#[test]
#[ignore = "needs chromium"]
fn it_fits_a_telephone_and_can_be_read_in_light_and_dark() {
    let (_folder, page) = page();
    let mut browser = Browser::start();
    let mut grounds = Vec::new();
    for (name, width, scheme) in [
        ("wide-light", 1280, "light"),
        ("wide-dark", 1280, "dark"),
        ("phone-light", 360, "light"),
        ("phone-dark", 360, "dark"),
    ] {
        browser.look(width, scheme);
        browser.open(&page);
        let across = browser.value("document.documentElement.scrollWidth");
        assert!(
            across.as_u64().unwrap() <= u64::from(width),
            "{name}: {across}"
        );
        browser.value("document.querySelectorAll('details').forEach((it) => { it.open = true; })");
        let faint = browser.value(FAINT);
        assert!(faint[0].as_u64().unwrap() > 1_000, "{name}: {faint}");
        assert_eq!(faint[1].as_array().unwrap().len(), 0, "{name}: {faint}");
        grounds.push(browser.value("getComputedStyle(document.documentElement).backgroundColor"));
        browser.value("document.querySelectorAll('details').forEach((it) => { it.open = false; })");
        keep_pictures(&mut browser, name, width);
    }
    assert_eq!(grounds[0], "rgb(255, 255, 255)");
    assert_ne!(grounds[0], grounds[1]);
}

#[test]
#[ignore = "needs chromium"]
fn it_prints_without_filters_and_with_everything_open() {
    let (_folder, page) = page();
    let mut browser = Browser::start();
    browser.look(1280, "dark");
    browser.open(&page);
    let paper = browser.paper();
    keep("paper.pdf", &paper);
    assert!(paper.starts_with(b"%PDF"));
    let text = String::from_utf8_lossy(&paper);
    let pages = text.matches("/Type /Page").count() - text.matches("/Type /Pages").count();
    assert!((5..200).contains(&pages), "{pages}");
    browser.call(
        "Emulation.setEmulatedMedia",
        serde_json::json!({"media": "print"}),
    );
    for (expression, wanted) in [
        (
            "getComputedStyle(document.getElementById('filters')).display",
            "none",
        ),
        (
            "getComputedStyle(document.documentElement).backgroundColor",
            "rgb(255, 255, 255)",
        ),
        (
            "getComputedStyle(document.querySelector('#rows thead')).display",
            "table-header-group",
        ),
    ] {
        assert_eq!(browser.value(expression), wanted, "{expression}");
    }
}

#[test]
#[ignore = "needs chromium"]
fn without_its_script_the_page_is_whole() {
    let (_folder, page) = page();
    let mut browser = Browser::start();
    browser.call(
        "Emulation.setScriptExecutionDisabled",
        serde_json::json!({"value": true}),
    );
    browser.open(&page);
    let root = browser.call("DOM.getDocument", serde_json::json!({}))["root"]["nodeId"].clone();
    let mut number = |selector: &str| {
        let asked = serde_json::json!({"nodeId": root, "selector": selector});
        let found = browser.call("DOM.querySelectorAll", asked);
        found["nodeIds"].as_array().unwrap().len()
    };
    assert_eq!(number("#rows tbody tr"), story::records(RECORDS).len());
    assert_eq!(number("#filters[hidden]"), 1);
    assert_eq!(number("#rows th button"), 0);
}
