//! Lines of `rsttrace demo -o json`.

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// One staged reset and how it was explained.
#[derive(Debug, Deserialize)]
pub struct Case {
    scenario: Scenario,
    version: Option<String>,
    #[serde(default)]
    predates: bool,
    /// Judged with the events of one namespace; absent if it was not staged.
    namespace: Option<Explained>,
    /// Judged with the events of the whole host.
    host: Option<Explained>,
    /// Right only if both ways of judging are.
    pub outcome: Outcome,
    /// Why earlier attempts to stage it failed.
    #[serde(default)]
    pub failed: Vec<String>,
    /// Its socket was to be older than the tracer and is not.
    #[serde(default)]
    pub lost_predates: bool,
}

#[derive(Debug, Deserialize)]
struct Scenario {
    name: String,
}

/// One of the two explanations of a case.
#[derive(Debug, Deserialize)]
pub struct Explained {
    truth: Truth,
    record: Option<Record>,
    outcome: Outcome,
}

#[derive(Debug, Deserialize)]
struct Truth {
    cause: String,
    direction: String,
    view: View,
    idle: Option<Idle>,
    /// What really happened, if a single host cannot know it.
    unknowable: Option<String>,
}

#[derive(Debug, Deserialize)]
struct View {
    place: String,
}

#[derive(Debug, Deserialize)]
struct Idle {
    mode: String,
}

#[derive(Debug, Deserialize)]
struct Record {
    verdict: Verdict,
}

#[derive(Debug, Deserialize)]
struct Verdict {
    cause: String,
}

/// How an explanation compares with the truth.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result", content = "why")]
pub enum Outcome {
    Right,
    Unknown,
    /// This machine cannot stage it: why.
    NotStaged(String),
    Wrong(Vec<Mistake>),
}

/// One thing that is not as staged.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Mistake {
    /// In the demo's word.
    pub about: String,
    pub detail: String,
}

/// Reads one case per line.
pub fn read(text: &str) -> Result<Vec<Case>> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            serde_json::from_str(line).with_context(|| format!("read the case `{line:.60}`"))
        })
        .collect()
}

impl Case {
    /// The name of its scenario.
    pub fn kind(&self) -> &str {
        &self.scenario.name
    }

    /// In one namespace, and on the whole host.
    pub fn explained(&self) -> Option<[&Explained; 2]> {
        Some([self.namespace.as_ref()?, self.host.as_ref()?])
    }

    /// Place, direction, IP version and age of the socket, for people.
    pub fn view(&self) -> String {
        let truth = self.namespace.as_ref().map(|it| &it.truth);
        let mut view: Vec<_> = truth
            .into_iter()
            .flat_map(|truth| [truth.view.place.as_str(), &truth.direction])
            .chain(self.version.as_deref())
            .collect();
        if self.predates {
            view.push("older than the tracer");
        }
        view.join(" ")
    }

    /// What really happened, if a single host cannot know it.
    pub fn exception(&self) -> Option<&str> {
        self.namespace.as_ref()?.truth.unknowable.as_deref()
    }
}

impl Explained {
    /// The staged cause, with the mode of an idle timeout.
    pub fn staged(&self) -> String {
        let cause = &self.truth.cause;
        let idle = self.truth.idle.as_ref();
        idle.map_or_else(|| cause.clone(), |idle| format!("{cause} ({})", idle.mode))
    }

    /// The reported cause; absent without a record.
    pub fn reported(&self) -> Option<&str> {
        Some(&self.record.as_ref()?.verdict.cause)
    }

    pub fn is_right(&self) -> bool {
        self.outcome == Outcome::Right
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A staged case as the demo prints it, reduced to the fields that are read. `reported`: cause and result, in one namespace
    /// and on the whole host; an empty cause stands for no record.
    pub fn line(kind: &str, staged: &str, reported: [(&str, &str); 2], outcome: &str) -> String {
        let [namespace, host] = reported.map(|(cause, result)| {
            let result = match result {
                "wrong" => MISSING.to_owned(),
                result => format!(r#"{{"result":"{result}"}}"#),
            };
            let record = if cause.is_empty() {
                "null".to_owned()
            } else {
                format!(r#"{{"verdict":{{"cause":"{cause}"}}}}"#)
            };
            format!(
                r#"{{"truth":{{"cause":"{staged}","idle":null,"view":{{"place":"client"}},"direction":"received","unknowable":null}},"record":{record},"outcome":{result}}}"#
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
        assert_eq!(cases[1].view(), "client received v4 older than the tracer");
        let [namespace, host] = cases[1].explained().expect("it was staged");
        assert_eq!(
            (namespace.reported(), namespace.is_right()),
            (Some("linger_zero"), true)
        );
        assert_eq!(
            (host.reported(), host.is_right()),
            (Some("stray_ack"), false)
        );
        assert!(cases[4].explained().is_none());
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
