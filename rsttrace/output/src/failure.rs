//! Lines of failures without a reset, this version's and earlier ones.

use crate::record::{FailureRecord, TimedOutRecord};

/// A line of either schema.
pub fn parse(line: &[u8]) -> serde_json::Result<FailureRecord> {
    serde_json::from_slice(line).or_else(|error| {
        let old: Result<TimedOutRecord, _> = serde_json::from_slice(line);
        old.map(FailureRecord::from).map_err(|_| error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{FailureKind, Severity};

    #[test]
    fn a_line_of_an_earlier_version_is_a_failure() {
        let old = include_bytes!("../../tests/data/timeout_v1.json");
        let failure = parse(old).expect("the old schema");
        assert_eq!(failure.verdict.kind, FailureKind::RetransmissionTimeout);
        assert_eq!(failure.verdict.severity, Severity::Fault);
        assert_eq!(failure.error_name.as_deref(), Some("ETIMEDOUT"));
        let new = serde_json::to_vec(&failure).expect("JSON");
        assert_eq!(parse(&new).expect("this version's"), failure);
        assert!(parse(b"{}").is_err());
    }
}
