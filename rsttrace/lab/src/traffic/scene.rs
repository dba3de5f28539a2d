//! A scene as its file describes it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::hosts::Host;
use crate::record::{Cause, Class, FailureKind, Severity};

/// Programs, what they do, and what is right to report about it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scene {
    pub name: String,
    /// What happens, in a sentence.
    pub truth: String,
    /// The scene that it looks like.
    pub like: Option<String>,
    /// Why the verdict is wrong today, at least sometimes.
    pub known_failure: Option<String>,
    /// Content of files in the scene's folder, by name.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    #[serde(default, rename = "program")]
    pub programs: Vec<Program>,
    #[serde(rename = "step")]
    pub steps: Vec<Step>,
    /// All that is told (a fault or a refused connection) in each view, and noise that must be there.
    #[serde(default)]
    pub expect: BTreeMap<View, Vec<Expected>>,
}

/// A program that runs until the scene ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    pub host: Host,
    /// Its process ID is in the variable `PID_name` of the steps.
    pub name: String,
    /// A shell command, which the shell replaces itself with.
    pub run: String,
    /// TCP ports that it listens on once it is ready.
    #[serde(default)]
    pub listens: Vec<u16>,
}

/// One thing that is done on a host. It ends before the next one begins, and fails if its exit code is not 0.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub host: Host,
    #[serde(flatten)]
    pub script: Script,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Script {
    Sh(String),
    /// Begins with `from traffic import *`.
    Python(String),
}

/// Whose events are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    Client,
    Balancer,
    Server,
    /// All hosts of the scene as one.
    All,
}

/// An incident. What is absent is not compared, except as noted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub severity: Severity,
    /// Of a reset.
    pub cause: Option<Cause>,
    /// Of a failure without a reset.
    pub failure: Option<FailureKind>,
    pub class: Option<Class>,
    /// Name of the process; absent if none may be named.
    pub process: Option<String>,
    /// Seconds of the timer that is named; absent if none may be.
    pub timer: Option<f64>,
    /// Words of the first advice, such as the name of its page.
    #[serde(default)]
    pub advice: Vec<String>,
    /// Incidents like this.
    #[serde(default = "one")]
    pub count: usize,
    /// One or more like this, which the table groups: `count` is not used.
    #[serde(default)]
    pub several: bool,
}

fn one() -> usize {
    1
}

/// A file of scenes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Folio {
    /// Files that each scene of this file has.
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// Programs of scenes that name none.
    #[serde(default, rename = "program")]
    programs: Vec<Program>,
    #[serde(rename = "scene")]
    scenes: Vec<Scene>,
}

/// The scenes of all files in a folder.
pub fn scenes(folder: &Path) -> io::Result<Vec<Scene>> {
    let mut paths = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    paths.sort();
    let mut scenes: Vec<Scene> = Vec::new();
    for path in paths {
        let wrong = |error: &dyn std::fmt::Display| {
            io::Error::other(format!("{}: {error}", path.display()))
        };
        let text = fs::read_to_string(&path)?;
        let folio: Folio = toml::from_str(&text).map_err(|error| wrong(&error))?;
        for mut scene in folio.scenes {
            if scenes.iter().any(|other| other.name == scene.name) {
                return Err(wrong(&format!("two scenes named {}", scene.name)));
            }
            if scene.programs.is_empty() {
                scene.programs.clone_from(&folio.programs);
            }
            for (name, content) in &folio.files {
                let file = scene.files.entry(name.clone());
                file.or_insert_with(|| content.clone());
            }
            scenes.push(scene);
        }
    }
    let is_known = |name: &String| scenes.iter().any(|scene| scene.name == *name);
    if let Some(unknown) = scenes
        .iter()
        .filter_map(|scene| scene.like.as_ref())
        .find(|name| !is_known(name))
    {
        return Err(io::Error::other(format!("no scene is named {unknown}")));
    }
    Ok(scenes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> Vec<Scene> {
        scenes(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenes")).unwrap()
    }

    #[test]
    fn every_scene_can_be_read_and_does_something() {
        for scene in shipped() {
            assert!(!scene.steps.is_empty(), "{}", scene.name);
            assert!(scene.truth.ends_with('.'), "{}", scene.name);
        }
    }

    #[test]
    fn every_expectation_says_what_and_which_end() {
        for scene in shipped() {
            for expected in scene.expect.values().flatten() {
                let is_one = expected.cause.is_some() != expected.failure.is_some();
                assert!(is_one, "{}", scene.name);
                // Nobody but the kernel answers for what is forwarded.
                let is_forwarded = expected.cause == Some(Cause::Forwarded);
                let names = expected.process.is_some() || !expected.advice.is_empty();
                let is_fault = expected.severity == Severity::Fault;
                assert!(names || is_forwarded || !is_fault, "{}", scene.name);
            }
        }
    }
}
