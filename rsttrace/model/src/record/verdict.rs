//! The verdict of a reset: origin, cause, severity, confidence, and the text that explains it.
//!
//! Filters, groups and counters need only the facts, so the text is composed when it is first read.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, LazyLock};

use schemars::JsonSchema;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Cause, Class, Confidence, EvidenceKind, Origin, Sentence, Severity, Word};

/// Explanation of a reset.
#[derive(Clone)]
pub struct Verdict {
    /// Sender of the reset.
    pub origin: Origin,
    /// Cause of the reset.
    pub cause: Cause,
    /// Impact of the reset.
    pub severity: Severity,
    /// Confidence in origin and cause.
    pub confidence: Confidence,
    /// Common, usually harmless way in which a connection ends; absent for all others.
    pub class: Option<Class>,
    explanation: Arc<LazyLock<Explanation, Explain>>,
}

type Explain = Box<dyn FnOnce() -> Explanation + Send>;

/// Text of a verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// Summary in one sentence.
    pub summary: String,
    /// Facts that support the verdict.
    pub evidence: Vec<Evidence>,
    /// Recommended changes, each a sentence with the concrete setting; may be empty.
    pub advice: Vec<Sentence>,
}

/// One fact that supports a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Kind of fact.
    pub kind: Kind,
    /// The fact as a sentence.
    pub detail: Sentence,
}

impl Evidence {
    pub fn new(kind: EvidenceKind, detail: impl Into<Sentence>) -> Self {
        Self {
            kind: Kind::Known(kind),
            detail: detail.into(),
        }
    }
}

/// The kind of a fact: one of this version or, in what another version has written, another word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of this version.
    Known(EvidenceKind),
    /// Another version's.
    Other(Word),
}

impl Kind {
    /// The word in JSON.
    pub fn name(&self) -> &str {
        match self {
            Self::Known(kind) => kind.name(),
            Self::Other(word) => word,
        }
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = Word::deserialize(deserializer)?;
        let known = EvidenceKind::ALL.iter().find(|kind| kind.name() == word);
        Ok(known.map_or(Self::Other(word), |kind| Self::Known(*kind)))
    }
}

impl JsonSchema for Kind {
    fn schema_name() -> Cow<'static, str> {
        "EvidenceKind".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let known: Vec<&str> = EvidenceKind::ALL.iter().map(|kind| kind.name()).collect();
        schemars::json_schema!({
            "type": "string",
            "description": "What the fact is about. Later versions may have more.",
            "examples": known,
        })
    }
}

impl Explanation {
    pub fn add(&mut self, kind: EvidenceKind, detail: impl Into<Sentence>) {
        self.evidence.push(Evidence::new(kind, detail));
    }
}

impl Verdict {
    /// `explain` composes the text when it is first read; it is called at most once.
    pub fn new(
        (origin, cause): (Origin, Cause),
        severity: Severity,
        confidence: Confidence,
        explain: impl FnOnce() -> Explanation + Send + 'static,
    ) -> Self {
        Self {
            origin,
            cause,
            severity,
            confidence,
            class: None,
            explanation: Arc::new(LazyLock::new(Box::new(explain))),
        }
    }

    /// The same of this class.
    #[must_use]
    pub fn of_class(self, class: Option<Class>) -> Self {
        Self { class, ..self }
    }

    /// Summary in one sentence.
    pub fn summary(&self) -> &str {
        &self.explanation.summary
    }

    /// Facts that support the verdict.
    pub fn evidence(&self) -> &[Evidence] {
        &self.explanation.evidence
    }

    /// Recommended changes, each a sentence with the concrete setting; may be empty.
    pub fn advice(&self) -> &[Sentence] {
        &self.explanation.advice
    }

    /// Replaces the text by a changed copy.
    pub fn edit(&mut self, change: impl FnOnce(&mut Explanation)) {
        let mut explanation = Explanation::clone(&self.explanation);
        change(&mut explanation);
        self.explanation = Arc::new(LazyLock::new(Box::new(move || explanation)));
    }

    fn shape(&self) -> Shape<'_> {
        Shape {
            origin: self.origin,
            cause: self.cause,
            severity: self.severity,
            confidence: self.confidence,
            class: self.class,
            summary: Cow::Borrowed(self.summary()),
            evidence: Cow::Borrowed(self.evidence()),
            advice: Cow::Borrowed(self.advice()),
        }
    }
}

/// Serialized form: the members of `verdict` in a record.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[schemars(rename = "Verdict", description = "Explanation of a reset.")]
struct Shape<'a> {
    /// Sender of the reset.
    origin: Origin,
    /// Cause of the reset.
    cause: Cause,
    /// Impact of the reset.
    severity: Severity,
    /// Confidence in origin and cause.
    confidence: Confidence,
    /// Common, usually harmless way in which a connection ends; absent for all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<Class>,
    /// Summary in one sentence.
    summary: Cow<'a, str>,
    /// Facts that support the verdict.
    evidence: Cow<'a, [Evidence]>,
    /// Recommended changes, each a sentence with the concrete setting; may be empty.
    advice: Cow<'a, [Sentence]>,
}

impl PartialEq for Verdict {
    fn eq(&self, other: &Self) -> bool {
        self.shape() == other.shape()
    }
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shape().fmt(f)
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut verdict = serializer.serialize_struct("Verdict", 8)?;
        verdict.serialize_field("origin", &self.origin)?;
        verdict.serialize_field("cause", &self.cause)?;
        verdict.serialize_field("severity", &self.severity)?;
        verdict.serialize_field("confidence", &self.confidence)?;
        match &self.class {
            Some(class) => verdict.serialize_field("class", class)?,
            None => verdict.skip_field("class")?,
        }
        verdict.serialize_field("summary", self.summary())?;
        verdict.serialize_field("evidence", self.evidence())?;
        verdict.serialize_field("advice", self.advice())?;
        verdict.end()
    }
}

impl<'de> Deserialize<'de> for Verdict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let shape = Shape::deserialize(deserializer)?;
        let explanation = Explanation {
            summary: shape.summary.into_owned(),
            evidence: shape.evidence.into_owned(),
            advice: shape.advice.into_owned(),
        };
        Ok(Self::new(
            (shape.origin, shape.cause),
            shape.severity,
            shape.confidence,
            move || explanation,
        )
        .of_class(shape.class))
    }
}

impl JsonSchema for Verdict {
    fn schema_name() -> Cow<'static, str> {
        Shape::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Shape::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(explain: impl FnOnce() -> Explanation + Send + 'static) -> Verdict {
        let who = (Origin::Peer, Cause::ResetByPeer);
        Verdict::new(who, Severity::Fault, Confidence::Likely, explain)
    }

    #[test]
    fn text_that_is_not_read_is_not_composed() {
        let dropped = verdict(|| panic!("composed"));
        assert_eq!(dropped.clone().cause, Cause::ResetByPeer);
    }

    #[test]
    fn a_verdict_survives_json() {
        let written = verdict(|| Explanation {
            summary: "a \"reset\"".to_owned(),
            evidence: vec![Evidence::new(EvidenceKind::Ttl, "TTL 64")],
            advice: vec!["do this".into()],
        });
        let json = serde_json::to_string(&written).expect("JSON");
        assert_eq!(
            serde_json::from_str::<Verdict>(&json).expect("a verdict"),
            written
        );
    }
}
