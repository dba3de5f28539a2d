//! The report's page for the sample records.

use rsttrace::record::Output;
use rsttrace::record::SuppressedRecord;
use rsttrace::report::{About, Gathering, Unread, page};

use super::{assert_golden, data, records};

fn about(lost: Option<u64>) -> About {
    About {
        source: "samples.jsonl".to_owned(),
        generated: "2026-01-06T00:00:00Z".parse().unwrap(),
        lost,
        unread: Unread {
            lines: 1,
            first: vec!["line 3: not JSON".to_owned()],
            early: None,
            left_out: vec![("malformed packets".to_owned(), 2)],
        },
    }
}

#[test]
fn the_page_of_the_samples() {
    let mut gathering = Gathering::default();
    for record in records() {
        gathering.add(Output::Reset(Box::new(record)));
    }
    let sum = std::fs::read_to_string(data("suppressed.json")).unwrap();
    let sum: SuppressedRecord = serde_json::from_str(&sum).unwrap();
    gathering.add(Output::Suppressed(Box::new(sum)));
    // An element a line, so that a difference can be read; style and script have files of their own.
    let text = page(gathering, &about(Some(2))).replace("><", ">\n<");
    let (head, rest) = text.split_once("<style>").unwrap();
    let (_, body) = rest.split_once("</style>").unwrap();
    let (body, _) = body.split_once("<script>").unwrap();
    assert_golden("report/samples.html", &format!("{head}{body}\n"));
}

#[test]
fn the_page_of_nothing() {
    let text = page(Gathering::default(), &about(None));
    let body = text.split_once("<body>").unwrap().1.replace("><", ">\n<");
    let (body, _) = body.split_once("<script>").unwrap();
    assert_golden("report/nothing.html", &format!("{body}\n"));
}
