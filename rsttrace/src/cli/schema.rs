//! `rsttrace schema`: JSON Schemas of the JSON output.

use std::io::Write as _;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::Failure;
use crate::compare::report::{self, ConnectionComparison};
use crate::record::{
    CAPTURE_SCHEMA, CaptureRecord, FAILURE_SCHEMA, FailureRecord, Record, SCHEMA,
    SUPPRESSED_SCHEMA, SuppressedRecord,
};

/// Type of JSON object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Record of one reset (rsttrace.reset.v1).
    #[default]
    Reset,
    /// Failure without a reset (rsttrace.failure.v1).
    Failure,
    /// Count of resets suppressed in a flood (rsttrace.suppressed.v1).
    Suppressed,
    /// Comparison of one connection across captures (rsttrace.comparison.v1).
    Comparison,
    /// Packets of a capture, and what was not analyzed (rsttrace.capture.v1).
    Capture,
}

/// The JSON Schema of one object, generated from the Rust types.
///
/// Later versions may add keys. Required keys and enumerated values are enforced; an unknown value is absent, never null.
pub fn document(kind: Kind) -> Value {
    let (mut schema, name) = match kind {
        Kind::Reset => (schemars::schema_for!(Record).to_value(), SCHEMA),
        Kind::Failure => (
            schemars::schema_for!(FailureRecord).to_value(),
            FAILURE_SCHEMA,
        ),
        Kind::Suppressed => (
            schemars::schema_for!(SuppressedRecord).to_value(),
            SUPPRESSED_SCHEMA,
        ),
        Kind::Comparison => (
            schemars::schema_for!(ConnectionComparison).to_value(),
            report::SCHEMA,
        ),
        Kind::Capture => (
            schemars::schema_for!(CaptureRecord).to_value(),
            CAPTURE_SCHEMA,
        ),
    };
    without_null(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        // Names the schema for good; not an address to fetch.
        root.insert(
            "$id".to_owned(),
            json!(format!("urn:rsttrace:schema:{name}")),
        );
        root.insert("title".to_owned(), json!(name));
    }
    if let Some(property) = schema.pointer_mut("/properties/schema") {
        property["const"] = json!(name);
    }
    for time in ["/properties/time", "/properties/since"] {
        if let Some(time) = schema.pointer_mut(time) {
            time["format"] = json!("date-time");
            time["pattern"] = json!(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$");
        }
    }
    schema
}

/// Prints the schema to standard output.
pub fn print(kind: Kind) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&document(kind)).map_err(anyhow::Error::from)?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// Removes null from the allowed types: an optional key is absent, never null.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [single] = types.as_slice() {
                    let single = single.clone();
                    object.insert("type".to_owned(), single);
                }
            }
            if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
                choices.retain(|choice| choice != &json!({"type": "null"}));
                if let [Value::Object(single)] = choices.as_slice() {
                    let single = single.clone();
                    object.remove("anyOf");
                    object.extend(single);
                }
            }
            object.values_mut().for_each(without_null);
        }
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn null_is_no_value_anywhere() {
        for kind in [
            Kind::Reset,
            Kind::Failure,
            Kind::Suppressed,
            Kind::Comparison,
            Kind::Capture,
        ] {
            let text = document(kind).to_string();
            assert!(!text.contains("\"null\""), "{text}");
        }
    }

    #[test]
    fn a_default_of_null_or_a_lone_choice_is_folded() {
        let mut schema = json!({"anyOf": [{"$ref": "#/a"}, {"type": "null"}], "description": "d"});
        without_null(&mut schema);
        assert_eq!(schema, json!({"$ref": "#/a", "description": "d"}));
    }
}
