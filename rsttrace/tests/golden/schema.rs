//! The schema is stable, true of every sample, and turns away what is wrong.

use std::io;
use std::time::Instant;

use jsonschema::Validator;
use rsttrace::cli::schema::{Kind, document};
use rsttrace::record::{FailureRecord, Record, SuppressedRecord};
use rsttrace::sink::{Json, Sink as _};
use rsttrace::summary::Summary;
use serde_json::Value;

use super::{assert_golden, files};

fn validator() -> Validator {
    jsonschema::options()
        .should_validate_formats(true)
        .build(&document(Kind::Reset))
        .unwrap()
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::Reset, "schema.json"),
    (Kind::Failure, "schema_failure.json"),
    (Kind::Suppressed, "schema_suppressed.json"),
    (Kind::Comparison, "schema_comparison.json"),
    (Kind::Capture, "schema_capture.json"),
];

#[test]
fn a_sum_validates_as_the_json_sink_writes_it() {
    let text = include_str!("../data/suppressed.json");
    let sum: SuppressedRecord = serde_json::from_str(text).unwrap();
    let mut out = Vec::new();
    let mut sink = Json::new(&mut out, io::sink());
    sink.suppressed(Instant::now(), &sum).unwrap();
    let value: Value = serde_json::from_slice(&out).unwrap();
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&document(Kind::Suppressed))
        .unwrap();
    let errors: Vec<_> = validator
        .iter_errors(&value)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
}

#[test]
fn a_failure_validates_as_the_json_sink_writes_it() {
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&document(Kind::Failure))
        .unwrap();
    for (name, value) in files("failures") {
        let failure: FailureRecord = serde_json::from_value(value.clone()).unwrap();
        let mut out = Vec::new();
        let mut sink = Json::new(&mut out, io::sink());
        sink.failure(Instant::now(), &failure).unwrap();
        let written: Value = serde_json::from_slice(&out).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&written)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
        assert_eq!(written, value, "{name}");
    }
}

#[test]
fn every_kind_of_failure_is_documented() {
    use rsttrace::record::{FailureKind, Named as _};
    let document = include_str!("../../../docs/OUTPUT.md");
    for kind in FailureKind::ALL {
        let row = format!("| `{}` | ", kind.name());
        assert!(document.contains(&row), "no row {row}");
        assert!(!kind.doc().is_empty());
    }
}

#[test]
fn the_schema_is_the_published_one() {
    for (kind, file) in KINDS {
        let text = serde_json::to_string_pretty(&document(kind)).unwrap();
        assert_golden(file, &format!("{text}\n"));
    }
}

#[test]
fn the_schema_is_a_schema() {
    for (kind, file) in KINDS {
        assert!(jsonschema::meta::is_valid(&document(kind)), "{file}");
    }
}

#[test]
fn every_sample_validates_and_survives_a_round_trip() {
    let validator = validator();
    for (name, value) in files("records") {
        let errors: Vec<_> = validator
            .iter_errors(&value)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
        let record: Record = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(record).unwrap(), value, "{name}");
    }
}

#[test]
fn what_the_json_sink_writes_validates() {
    let mut out = Vec::new();
    let mut sink = Json::new(&mut out, io::sink());
    for record in super::records() {
        sink.record(Instant::now(), &record).unwrap();
    }
    sink.finish(&Summary::default()).unwrap();
    let text = String::from_utf8(out).unwrap();
    let validator = validator();
    assert_eq!(text.lines().count(), files("records").len());
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        assert!(validator.is_valid(&value), "{line}");
    }
}

#[test]
fn every_wrong_sample_is_turned_away() {
    let validator = validator();
    for (name, value) in files("invalid") {
        assert!(!validator.is_valid(&value), "{name}");
    }
}

#[test]
fn keys_of_later_versions_are_let_through() {
    let (_, mut value) = files("records").remove(0);
    value["something_new"] = Value::from(1);
    value["verdict"]["something_new"] = Value::from(1);
    assert!(validator().is_valid(&value));
}

#[test]
fn whatever_is_required_is_missed() {
    let validator = validator();
    let (_, value) = files("records").remove(0);
    for key in [
        "schema",
        "id",
        "time",
        "direction",
        "local",
        "remote",
        "verdict",
    ] {
        let mut value = value.clone();
        value.as_object_mut().unwrap().remove(key);
        assert!(!validator.is_valid(&value), "{key}");
    }
    let verdict = [
        "origin",
        "cause",
        "severity",
        "confidence",
        "summary",
        "evidence",
        "advice",
    ];
    for key in verdict {
        let mut value = value.clone();
        value["verdict"].as_object_mut().unwrap().remove(key);
        assert!(!validator.is_valid(&value), "verdict.{key}");
    }
}

#[test]
fn samples_cover_every_origin_and_direction() {
    use rsttrace::record::{Direction, Origin};
    let records = super::records();
    for origin in Origin::ALL {
        assert!(
            records
                .iter()
                .any(|record| record.verdict.origin == *origin),
            "{origin}"
        );
    }
    for direction in Direction::ALL {
        assert!(
            records.iter().any(|record| record.direction == *direction),
            "{direction}"
        );
    }
}

#[test]
fn every_class_is_documented() {
    use rsttrace::record::{Class, Named as _};
    let document = include_str!("../../../docs/OUTPUT.md");
    for class in Class::ALL {
        let row = format!("| `{}` | ", class.name());
        assert!(document.contains(&row), "no row {row}");
        assert!(!class.doc().is_empty());
    }
}
