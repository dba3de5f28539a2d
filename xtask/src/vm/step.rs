//! What is run in a guest?

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

use clap::ValueEnum;

use super::{build::Built, expect};

/// A script with a name and a limit.
pub struct Step {
    /// A file's name, too: what it prints goes there.
    pub name: String,
    /// What its results mean.
    pub kind: Kind,
    /// For /bin/sh, in the folder of this repository.
    pub script: String,
    /// After that the guest is ended.
    pub limit: Duration,
}

/// Kinds of steps. A column of the table each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// Kernel features that a lab is made of
    Features,
    /// The hooks that `rsttrace doctor` was granted
    Hooks,
    /// `rsttrace demo --all`
    Demo,
    /// `rsttrace demo --transport perf`
    Perf,
    /// Kernel tests
    Tests,
    /// What the command line says
    #[value(skip)]
    Command,
}

impl Display for Kind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Features => "features",
            Self::Hooks => "hooks",
            Self::Demo => "demo",
            Self::Perf => "perf",
            Self::Tests => "tests",
            Self::Command => "command",
        })
    }
}

/// Scripts and limits of what is always run the same way. The limits are some four times what it takes alone on two CPUs.
const STEPS: [(Kind, &str, u64); 3] = [
    (Kind::Hooks, "exec rsttrace doctor --output json", 60),
    (Kind::Demo, "exec sh /vm/run-demo.sh --all", 500),
    (
        Kind::Perf,
        "exec sh /vm/run-demo.sh '' --transport perf",
        250,
    ),
];

/// Kernel tests that make sense there, and what they may take.
pub const TESTS: [(&str, u64); 3] = [
    ("kernel_wire", 150),
    ("kernel_cleanup", 150),
    ("kernel_attach", 200),
];

impl Step {
    /// All of these kinds, in the order in which they tell most.
    pub fn all(kinds: &[Kind], built: &Built) -> Vec<Self> {
        let features = (Kind::Features, expect::features_script(), 120);
        let fixed = STEPS.map(|(kind, script, limit)| (kind, script.to_owned(), limit));
        let mut steps: Vec<_> = [features]
            .into_iter()
            .chain(fixed)
            .map(|(kind, script, limit)| Self::new(&kind.to_string(), kind, script, limit))
            .collect();
        for (name, limit) in TESTS {
            if let Some(file) = built.others.get(name) {
                steps.push(Self::test(name, &file.to_string_lossy(), limit));
            }
        }
        steps.retain(|step| kinds.is_empty() || kinds.contains(&step.kind));
        steps
    }

    /// What a developer asked for.
    pub fn command(words: &[String], seconds: u64) -> Self {
        let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
        let script = format!("exec {}", words.join(" "));
        Self::new("command", Kind::Command, script, seconds)
    }

    /// As cargo runs it: in the folder of its package.
    fn test(name: &str, file: &str, seconds: u64) -> Self {
        let script = format!(
            "cd rsttrace && export CARGO_MANIFEST_DIR=\"$PWD\" && exec {} --ignored --test-threads=1",
            quoted(file)
        );
        Self::new(name, Kind::Tests, script, seconds)
    }

    fn new(name: &str, kind: Kind, script: String, seconds: u64) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            script: script + "\n",
            limit: Duration::from_secs(seconds),
        }
    }
}

/// One word for a shell, whatever is in it.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_shell_as_they_are() {
        let words = ["sh", "-c", "echo 'a  b' \"$0\""].map(str::to_owned);
        let step = Step::command(&words, 1);
        assert_eq!(step.script, "exec 'sh' '-c' 'echo '\\''a  b'\\'' \"$0\"'\n");
    }

    #[test]
    fn steps_are_told_apart_by_their_names() {
        let built = Built {
            program: "rsttrace".into(),
            others: TESTS.map(|(name, _)| (name.to_owned(), name.into())).into(),
        };
        let names = |kinds: &[Kind]| -> Vec<_> {
            let steps = Step::all(kinds, &built);
            steps.into_iter().map(|step| step.name).collect()
        };
        let mut all = names(&[]);
        assert_eq!(names(&[Kind::Perf]), ["perf"]);
        assert_eq!(names(&[Kind::Tests]).len(), TESTS.len());
        let length = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), length);
    }
}
