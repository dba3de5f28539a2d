//! What does a line of `rsttrace demo -o json` say?

use anyhow::{Context as _, Result};
use serde_json::Value;

/// One staged reset and what was made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The scenario's name: its kind.
    pub kind: String,
    /// Where, which way, over which IP, on how old a socket, for people.
    pub view: String,
    /// The cause that was staged, with the idle mode; absent if it was not.
    pub staged: Option<String>,
    /// The cause that was told; absent if there is no record.
    pub told: Option<String>,
    /// What really happened, where no single host can know it.
    pub exception: Option<String>,
    /// The result.
    pub result: Outcome,
}

/// How an explanation compares with the truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As staged.
    Right,
    /// Owned up to.
    Unknown,
    /// This machine cannot stage it: why.
    NotStaged(String),
    /// What it is about, and what is wrong.
    Wrong(Vec<Mistake>),
}

/// One thing that is not as staged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What it is about, in the demo's word.
    pub about: String,
    /// The mistake.
    pub detail: String,
}

/// Reads one case a line.
pub fn read(text: &str) -> Result<Vec<Case>> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| read_one(line).with_context(|| format!("read the case `{line:.60}`")))
        .collect()
}

fn read_one(line: &str) -> Result<Case> {
    let case: Value = serde_json::from_str(line)?;
    let truth = &case["truth"];
    let staged = truth["cause"].as_str().map(|cause| {
        let mode = truth["idle"]["mode"].as_str();
        mode.map_or_else(|| cause.to_owned(), |mode| format!("{cause} ({mode})"))
    });
    let view = [
        &truth["view"]["place"],
        &truth["direction"],
        &case["version"],
    ];
    let mut view: Vec<_> = view.into_iter().filter_map(Value::as_str).collect();
    if case["predates"] == true {
        view.push("older than the tracer");
    }
    Ok(Case {
        kind: text(&case["scenario"]["name"]).context("a case has no scenario")?,
        view: view.join(" "),
        staged,
        told: text(&case["record"]["verdict"]["cause"]),
        exception: text(&truth["unknowable"]),
        result: outcome(&case["outcome"])?,
    })
}

fn outcome(outcome: &Value) -> Result<Outcome> {
    let why = &outcome["why"];
    match outcome["result"].as_str() {
        Some("right") => Ok(Outcome::Right),
        Some("unknown") => Ok(Outcome::Unknown),
        Some("not_staged") => Ok(Outcome::NotStaged(text(why).unwrap_or_default())),
        Some("wrong") => why
            .as_array()
            .context("a wrong case names no mistakes")?
            .iter()
            .map(mistake)
            .collect::<Result<_>>()
            .map(Outcome::Wrong),
        other => anyhow::bail!("an unknown result: {other:?}"),
    }
}

fn mistake(mistake: &Value) -> Result<Mistake> {
    Ok(Mistake {
        about: text(&mistake["about"]).context("a mistake is about nothing")?,
        detail: text(&mistake["detail"]).unwrap_or_default(),
    })
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// As the demo prints them, without what is not read.
    pub const LINES: &str = r#"
{"scenario":{"name":"a"},"truth":{"cause":"linger_zero","idle":null,"view":{"place":"server"},"direction":"sent","unknowable":null},"record":{"verdict":{"cause":"linger_zero"}},"outcome":{"result":"right"}}
{"scenario":{"name":"b"},"version":"v4","predates":true,"truth":{"cause":"idle_timeout","idle":{"mode":"late_rst","timeout":3.0},"view":{"place":"client"},"direction":"received","unknowable":null},"record":{"verdict":{"cause":"reset_by_peer"}},"outcome":{"result":"wrong","why":[{"about":"cause","detail":"cause reset_by_peer instead of idle_timeout"}]}}
{"scenario":{"name":"b"},"truth":{"cause":"reset_by_peer","idle":null,"view":{"place":"client"},"direction":"received","unknowable":"a box wrote it"},"record":{"verdict":{"cause":"unknown"}},"outcome":{"result":"unknown"}}
{"scenario":{"name":"c"},"truth":null,"record":null,"outcome":{"result":"not_staged","why":"not staged: haproxy is not installed"}}
{"scenario":{"name":"d"},"truth":null,"record":null,"outcome":{"result":"wrong","why":[{"about":"staging","detail":"staging failed: x"}]}}
{"scenario":{"name":"e"},"truth":{"cause":"stray_ack","idle":null,"view":{"place":"server"},"direction":"sent","unknowable":null},"record":null,"outcome":{"result":"wrong","why":[{"about":"missing","detail":"no record"}]}}
{"scenario":{"name":"f"},"truth":{"cause":"stray_ack","idle":null,"view":{"place":"server"},"direction":"sent","unknowable":null},"record":{"verdict":{"cause":"stray_ack"}},"outcome":{"result":"wrong","why":[{"about":"cost","detail":"fault though no connection was lost"}]}}
"#;

    #[test]
    fn a_line_of_the_demo_is_a_case() -> Result<()> {
        let cases = read(LINES)?;
        assert_eq!(cases.len(), 7);
        assert_eq!(cases[1].staged.as_deref(), Some("idle_timeout (late_rst)"));
        assert_eq!(cases[1].told.as_deref(), Some("reset_by_peer"));
        assert_eq!(cases[1].view, "client received v4 older than the tracer");
        assert_eq!(cases[2].exception.as_deref(), Some("a box wrote it"));
        let missing = "not staged: haproxy is not installed".to_owned();
        assert_eq!(cases[3].result, Outcome::NotStaged(missing));
        Ok(())
    }

    #[test]
    fn other_text_is_an_error_that_shows_it() {
        let error = read("no JSON").err().map(|error| format!("{error:#}"));
        assert!(error.is_some_and(|error| error.contains("no JSON")));
        assert!(read(r#"{"scenario":{"name":"a"},"outcome":{"result":"splendid"}}"#).is_err());
    }
}
