//! Lines of `rsttrace demo -o json`.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The two ways in which each case is judged, by the demo's words for them.
pub const SIGHTS: [&str; 2] = ["namespace", "host"];

/// One staged reset and what was made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The scenario's name: its kind.
    pub kind: String,
    /// Where, which way, over which IP, on how old a socket, for people.
    pub view: String,
    /// What was made of it, in the order of [`SIGHTS`]; absent if it was not staged.
    pub explained: Option<[Explained; 2]>,
    /// What really happened, where no single host can know it.
    pub exception: Option<String>,
    /// The result: right only if it is right in both ways.
    pub result: Outcome,
    /// Why stagings before this one failed.
    pub failed: Vec<String>,
    /// Its socket was to be older than the tracer and is not.
    pub lost_predates: bool,
}

/// How one way to judge explains a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The cause that was staged, with the idle mode.
    pub staged: String,
    /// The cause that was told; absent if there is no record.
    pub told: Option<String>,
    /// It is as staged.
    pub is_right: bool,
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
    let [namespace, host] = SIGHTS.map(|sight| explained(&case[sight]));
    let truth = &case[SIGHTS[0]]["truth"];
    let view = [
        &truth["view"]["place"],
        &truth["direction"],
        &case["version"],
    ];
    let mut view: Vec<_> = view.into_iter().filter_map(Value::as_str).collect();
    if case["predates"] == true {
        view.push("older than the tracer");
    }
    let failed = case["failed"].as_array().into_iter().flatten();
    Ok(Case {
        kind: text(&case["scenario"]["name"]).context("a case has no scenario")?,
        view: view.join(" "),
        explained: namespace
            .zip(host)
            .map(|(namespace, host)| [namespace, host]),
        exception: text(&truth["unknowable"]),
        result: outcome(&case["outcome"])?,
        failed: failed.filter_map(text).collect(),
        lost_predates: case["lost_predates"] == true,
    })
}

fn explained(explained: &Value) -> Option<Explained> {
    let truth = &explained["truth"];
    let cause = truth["cause"].as_str()?;
    Some(Explained {
        staged: truth["idle"]["mode"]
            .as_str()
            .map_or_else(|| cause.to_owned(), |mode| format!("{cause} ({mode})")),
        told: text(&explained["record"]["verdict"]["cause"]),
        is_right: explained["outcome"]["result"] == "right",
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

    /// As the demo prints a case that was staged, without what is not read. `told`: by cause and result, in one namespace and on
    /// the whole host; no cause is no record.
    pub fn line(kind: &str, staged: &str, told: [(&str, &str); 2], outcome: &str) -> String {
        let [namespace, host] = told.map(|(cause, result)| {
            let record = if cause.is_empty() {
                "null".to_owned()
            } else {
                format!(r#"{{"verdict":{{"cause":"{cause}"}}}}"#)
            };
            format!(
                r#"{{"truth":{{"cause":"{staged}","idle":null,"view":{{"place":"client"}},"direction":"received","unknowable":null}},"record":{record},"outcome":{{"result":"{result}"}}}}"#
            )
        });
        format!(
            r#"{{"scenario":{{"name":"{kind}"}},"version":"v4","predates":true,"failed":[],"namespace":{namespace},"host":{host},"outcome":{outcome}}}"#
        )
    }

    pub const RIGHT: &str = r#"{"result":"right"}"#;
    const WRONG: &str = r#"{"result":"wrong","why":[{"about":"cause","detail":"whole host: cause b instead of a"}]}"#;
    const MISSING: &str = r#"{"result":"wrong","why":[{"about":"missing","detail":"no record"}]}"#;

    /// One right, one wrong on the whole host alone, one unknown, one without a record, one not staged, one that failed.
    pub fn lines() -> String {
        let right = ("linger_zero", "right");
        [
            line("a", "linger_zero", [right, right], RIGHT),
            line("b", "linger_zero", [right, ("stray_ack", "wrong")], WRONG),
            line("c", "stray_ack", [("unknown", "unknown"); 2], r#"{"result":"unknown"}"#),
            line("d", "stray_ack", [("", "wrong"); 2], MISSING),
            r#"{"scenario":{"name":"e"},"outcome":{"result":"not_staged","why":"haproxy is not installed"}}"#.to_owned(),
            r#"{"scenario":{"name":"f"},"failed":["x","y"],"lost_predates":true,"outcome":{"result":"wrong","why":[{"about":"staging","detail":"staging failed: z"}]}}"#.to_owned(),
        ]
        .join("\n")
    }

    #[test]
    fn a_line_of_the_demo_is_a_case() -> Result<()> {
        let cases = read(&lines())?;
        assert_eq!(cases.len(), 6);
        assert_eq!(cases[1].view, "client received v4 older than the tracer");
        let told = |case: &Case| {
            let explained = case.explained.clone();
            explained.map(|both| both.map(|it| (it.told.unwrap_or_default(), it.is_right)))
        };
        let [right, wrong] = [
            ("linger_zero".to_owned(), true),
            ("stray_ack".to_owned(), false),
        ];
        assert_eq!(told(&cases[1]), Some([right, wrong]));
        assert_eq!(told(&cases[4]), None);
        assert_eq!(cases[5].failed, ["x", "y"]);
        assert!(cases[5].lost_predates && !cases[0].lost_predates);
        Ok(())
    }

    #[test]
    fn other_text_is_an_error_that_shows_it() {
        let error = read("no JSON").err().map(|error| format!("{error:#}"));
        assert!(error.is_some_and(|error| error.contains("no JSON")));
        assert!(read(r#"{"scenario":{"name":"a"},"outcome":{"result":"splendid"}}"#).is_err());
    }
}
