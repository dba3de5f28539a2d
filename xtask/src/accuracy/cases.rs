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

#[derive(Debug, Deserialize)]
struct Explained {
    truth: Truth,
}

#[derive(Debug, Deserialize)]
struct Truth {
    direction: String,
    view: View,
    /// What really happened, if a single host cannot know it.
    unknowable: Option<String>,
}

#[derive(Debug, Deserialize)]
struct View {
    place: String,
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

pub fn read(text: &str) -> Result<Vec<Case>> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            serde_json::from_str(line).with_context(|| format!("read the case `{line:.60}`"))
        })
        .collect()
}

impl Case {
    pub fn kind(&self) -> &str {
        &self.scenario.name
    }

    pub fn is_staged(&self) -> bool {
        self.namespace.is_some()
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

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A staged case as the demo prints it, reduced to the fields that are read.
    pub fn line(kind: &str, outcome: &str) -> String {
        let explained =
            r#"{"truth":{"view":{"place":"client"},"direction":"received","unknowable":null}}"#;
        format!(
            r#"{{"scenario":{{"name":"{kind}"}},"version":"v4","predates":true,"failed":[],"namespace":{explained},"host":{explained},"outcome":{outcome}}}"#
        )
    }

    pub const RIGHT: &str = r#"{"result":"right"}"#;

    /// One right, one wrong, one unknown, one without a record, one not staged, one that failed.
    pub fn lines() -> String {
        [
            line("a", RIGHT),
            line("b", r#"{"result":"wrong","why":[{"about":"cause","detail":"whole host: cause b instead of a"}]}"#),
            line("c", r#"{"result":"unknown"}"#),
            line("d", r#"{"result":"wrong","why":[{"about":"missing","detail":"no record"}]}"#),
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
        assert!(cases[1].is_staged() && !cases[4].is_staged());
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
