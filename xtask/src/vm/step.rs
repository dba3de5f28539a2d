//! What is run in a guest?

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

use clap::ValueEnum;

use super::{
    build::Built,
    expect::{self, Version},
};

/// A script with a name and a limit.
pub struct Step {
    /// A file's name, too: what it prints goes there.
    pub name: String,
    /// What its results mean.
    pub kind: Kind,
    /// For /bin/sh, in the folder of this repository.
    pub script: String,
    /// After that it is ended.
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
    /// Why it does not start: without BTF, and (in a boot of its own) under lockdown
    Refusal,
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
            Self::Refusal => "refusal",
            Self::Tests => "tests",
            Self::Command => "command",
        })
    }
}

/// Scripts and limits of what is always run the same way. The limits are some four times what it takes alone on two CPUs.
const STEPS: [(Kind, &str, u64); 4] = [
    (Kind::Hooks, "exec rsttrace doctor --output json", 60),
    (Kind::Demo, "exec rsttrace demo --all --output json", 500),
    (
        Kind::Perf,
        "exec rsttrace demo --transport perf --output json",
        250,
    ),
    (
        Kind::Refusal,
        "exec unshare --mount sh -c 'mount -t tmpfs tmpfs /sys/kernel/btf && exec rsttrace --duration 1s'",
        60,
    ),
];

/// Without idle timeouts, which the newest kernel stages: an old one differs in what it tells of a reset.
const SHORT_DEMO: &str = "exec rsttrace demo --output json";

/// As [`STEPS`] has it, with one kind in place of all: the transport is what differs.
const SHORT_PERF: &str = "exec rsttrace demo --only port-closed,linger-zero,close-unread,received,forwarded,firewall-reject-syn --transport perf --output json";

/// The step of a boot that is locked down.
const LOCKDOWN: (&str, &str, u64) = ("lockdown", "exec rsttrace --duration 1s", 60);
/// Has the kernel be locked down from its start.
pub const LOCKED_DOWN: &str = "lockdown=confidentiality";

/// Kernel tests that make sense there, what they may take, and the first version that has what they test.
pub const TESTS: [(&str, u64, Version); 3] = [
    ("kernel_wire", 200, expect::OLDEST),
    (CLEANUP, 500, expect::OLDEST),
    ("kernel_attach", 200, expect::TCX),
];
/// The test that nothing stays in the kernel.
pub const CLEANUP: &str = "kernel_cleanup";

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Everything.
    Whole,
    /// What may take minutes only: everything once, but of the tests only the one whose answer depends on the kernel most.
    Quick,
}

impl Step {
    /// All of these kinds, in the order in which they tell most.
    pub fn all(kinds: &[Kind], form: Form, version: Version, built: &Built) -> Vec<Self> {
        let features = (Kind::Features, expect::features_script(), 240);
        let fixed = STEPS.map(|(kind, script, limit)| {
            let script = match (form, kind) {
                (Form::Quick, Kind::Perf) => SHORT_PERF,
                (Form::Quick, Kind::Demo) if version < expect::TCX => SHORT_DEMO,
                _ => script,
            };
            (kind, script.to_owned(), limit)
        });
        let mut steps: Vec<_> = [features]
            .into_iter()
            .chain(fixed)
            .map(|(kind, script, limit)| Self::new(&kind.to_string(), kind, script, limit))
            .collect();
        for (name, limit, since) in TESTS {
            let is_wanted = version >= since && (form == Form::Whole || name == CLEANUP);
            if let Some(file) = built.tests.get(name).filter(|_| is_wanted) {
                steps.push(Self::test(name, &file.to_string_lossy(), limit));
            }
        }
        steps.retain(|step| kinds.is_empty() || kinds.contains(&step.kind));
        steps
    }

    /// For a boot that is [`LOCKED_DOWN`].
    pub fn lockdown() -> Self {
        let (name, script, limit) = LOCKDOWN;
        Self::new(name, Kind::Refusal, script.to_owned(), limit)
    }

    /// See [`Step::lockdown`].
    pub fn is_lockdown(&self) -> bool {
        self.name == LOCKDOWN.0
    }

    /// What a developer asked for.
    pub fn command(words: &[String], seconds: u64) -> Self {
        let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
        let script = format!("exec {}", words.join(" "));
        Self::new("command", Kind::Command, script, seconds)
    }

    /// As cargo runs it: in the folder of its package. The rsttrace that it starts is the one in the path.
    fn test(name: &str, file: &str, seconds: u64) -> Self {
        let script = format!(
            "cd rsttrace && export CARGO_MANIFEST_DIR=\"$PWD\" RSTTRACE_PROGRAM=\"$(command -v rsttrace)\" && exec {} --ignored --test-threads=1",
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
            tests: TESTS
                .map(|(name, ..)| (name.to_owned(), name.into()))
                .into(),
        };
        let names = |kinds: &[Kind], form, version| -> Vec<_> {
            let steps = Step::all(kinds, form, version, &built);
            steps.into_iter().map(|step| step.name).collect()
        };
        let mut all = names(&[], Form::Whole, expect::TCX);
        all.push(Step::lockdown().name);
        assert_eq!(names(&[Kind::Perf], Form::Whole, (6, 1)), ["perf"]);
        let tests = |form, version| names(&[Kind::Tests], form, version);
        assert_eq!(tests(Form::Whole, expect::TCX).len(), TESTS.len());
        assert_eq!(
            tests(Form::Whole, (6, 1)),
            ["kernel_wire", "kernel_cleanup"]
        );
        assert_eq!(tests(Form::Quick, expect::TCX), ["kernel_cleanup"]);
        let length = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), length);
    }
}
