//! What runs in a guest, and whether its result is good enough.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use serde_json::Value;

use super::{build::Built, guest::Ended};
use crate::{
    accuracy::{
        cases::{self, Outcome},
        tally::Tally,
    },
    tally,
};

/// Major and minor number.
pub type Version = (u64, u64);

/// The oldest kernel that is supported.
const OLDEST: Version = (5, 10);
/// The first version with TCX: what is attached by its links goes with the process.
const TCX: Version = (6, 6);
const NEVER: Version = (u64::MAX, 0);

/// Kinds of steps
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The hooks that `rsttrace doctor` was granted, and what the verifier went through
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

/// A row of [`STEPS`].
struct Row {
    name: &'static str,
    kind: Kind,
    /// The first kernel that has what it needs.
    since: Version,
    /// In `cargo xtask test`: the same, something shorter, or nothing.
    quick: Quick,
    /// Some four times what it takes alone on two CPUs.
    seconds: u64,
    script: &'static str,
}

enum Quick {
    Same,
    Short(&'static str),
    /// On kernels before [`TCX`]: the newest stages all.
    ShortIfOld(&'static str),
    Not,
}

/// All steps, those that tell most first.
const STEPS: [Row; 7] = [
    Row {
        name: "hooks",
        kind: Kind::Hooks,
        since: OLDEST,
        quick: Quick::Same,
        seconds: 60,
        script: "exec rsttrace doctor --output json",
    },
    Row {
        name: "demo",
        kind: Kind::Demo,
        since: OLDEST,
        quick: Quick::ShortIfOld("exec rsttrace demo --output json"),
        seconds: 500,
        script: "exec rsttrace demo --all --output json",
    },
    Row {
        name: "perf",
        kind: Kind::Perf,
        since: OLDEST,
        // The transport is what differs.
        quick: Quick::Short(
            "exec rsttrace demo --only port-closed,linger-zero,close-unread,received,forwarded,firewall-reject-syn --transport perf --output json",
        ),
        seconds: 250,
        script: "exec rsttrace demo --transport perf --output json",
    },
    Row {
        name: "refusal",
        kind: Kind::Refusal,
        since: OLDEST,
        quick: Quick::Same,
        seconds: 60,
        script: "exec unshare --mount sh -c 'mount -t tmpfs tmpfs /sys/kernel/btf && exec rsttrace --duration 1s'",
    },
    Row {
        name: "kernel_wire",
        kind: Kind::Tests,
        since: OLDEST,
        quick: Quick::Not,
        seconds: 200,
        script: "",
    },
    Row {
        name: CLEANUP,
        kind: Kind::Tests,
        since: OLDEST,
        quick: Quick::Same,
        seconds: 500,
        script: "",
    },
    Row {
        name: "kernel_attach",
        kind: Kind::Tests,
        since: TCX,
        quick: Quick::Not,
        seconds: 200,
        script: "",
    },
];

/// The test that nothing stays in the kernel.
pub const CLEANUP: &str = "kernel_cleanup";
/// The step of a boot that is locked down.
const LOCKDOWN: &str = "lockdown";
/// Has the kernel be locked down from its start.
pub const LOCKED_DOWN: &str = "lockdown=confidentiality";

/// Names of the tests that are run.
pub fn tests() -> Vec<&'static str> {
    let tests = STEPS.iter().filter(|row| row.kind == Kind::Tests);
    tests.map(|row| row.name).collect()
}

impl Step {
    /// All of these kinds, or of every kind.
    pub fn all(kinds: &[Kind], quick: bool, version: Version, built: &Built) -> Vec<Self> {
        let wanted =
            |row: &&Row| version >= row.since && (kinds.is_empty() || kinds.contains(&row.kind));
        let step = |row: &Row| {
            let script = match row.quick {
                _ if !quick => row.script,
                Quick::Same => row.script,
                Quick::Short(script) => script,
                Quick::ShortIfOld(script) if version < TCX => script,
                Quick::ShortIfOld(_) => row.script,
                Quick::Not => return None,
            };
            let script = match built.others.get(row.name) {
                // As cargo runs it: in the folder of its package. The rsttrace that it starts is the one in the path.
                Some(file) => format!(
                    "cd rsttrace && export CARGO_MANIFEST_DIR=\"$PWD\" RSTTRACE_PROGRAM=\"$(command -v rsttrace)\" && exec {} --ignored --test-threads=1",
                    quoted(&file.to_string_lossy())
                ),
                None if row.kind == Kind::Tests => return None,
                None => script.to_owned(),
            };
            Some(Self::new(row.name, row.kind, &script, row.seconds))
        };
        STEPS.iter().filter(wanted).filter_map(step).collect()
    }

    /// For a boot that is [`LOCKED_DOWN`].
    pub fn lockdown() -> Self {
        Self::new(LOCKDOWN, Kind::Refusal, "exec rsttrace --duration 1s", 60)
    }

    /// What a developer asked for.
    pub fn command(words: &[String], seconds: u64) -> Self {
        let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
        Self::new(
            "command",
            Kind::Command,
            &format!("exec {}", words.join(" ")),
            seconds,
        )
    }

    fn new(name: &str, kind: Kind, script: &str, seconds: u64) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            script: format!("{script}\n"),
            limit: Duration::from_secs(seconds),
        }
    }

    /// Reads what it left in `folder`: a few words for the report, and what is not good enough.
    pub fn judge(&self, ended: Ended, folder: &Path, version: Version) -> (String, Vec<String>) {
        let Ended::Exited(code) = ended else {
            return (ended.to_string(), vec![ended.to_string()]);
        };
        self.judged(code, folder, version)
            .unwrap_or_else(|error| ("failed".into(), vec![format!("{error:#}")]))
    }

    fn judged(&self, code: u8, folder: &Path, version: Version) -> Result<(String, Vec<String>)> {
        let read = |extension: &str| {
            let bytes = fs::read(folder.join(format!("{}.{extension}", self.name)));
            String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
        };
        let (output, errors) = (read("out"), read("err"));
        let complaint = || {
            let last = errors.lines().last().unwrap_or_default();
            format!("exit code {code}: {last}")
        };
        if code == TIMED_OUT && self.kind != Kind::Command {
            bail!(
                "not done within {} s, {}",
                self.limit.as_secs(),
                complaint()
            );
        }
        match self.kind {
            Kind::Hooks => hooks(&output, version).with_context(complaint),
            Kind::Demo | Kind::Perf if output.trim().is_empty() => {
                bail!("nothing was staged, {}", complaint())
            }
            Kind::Demo | Kind::Perf => demo(&output, self.kind == Kind::Demo),
            Kind::Refusal => Ok(refusal(self.name == LOCKDOWN, code, &errors)),
            Kind::Tests => Ok(tests_of(&output, code)),
            Kind::Command => {
                let failed = (code != 0).then(complaint);
                Ok((format!("exit code {code}"), failed.into_iter().collect()))
            }
        }
    }
}

/// Of timeout(1), which every step runs under.
const TIMED_OUT: u8 = 124;
/// The verifier stops at a million instructions; a program beyond this part of it is a failure before it is refused.
const MOST_VERIFIED: u64 = 250_000;

/// Hooks: the fact, a program that gives it, the first version where it has to be granted and, where another program takes
/// its place later, the first where it need not.
const HOOKS: [(&str, &str, Version, Version); 12] = [
    ("ownership", "inet_sock_set_state", OLDEST, NEVER),
    ("acceptor", "fentry_security_sock_graft", OLDEST, NEVER),
    ("reset_sent", "tcp_send_reset_no_reason", OLDEST, (6, 10)),
    ("reset_sent", "tcp_send_reset", (6, 10), NEVER),
    (
        "reset_sent_stateless",
        "fentry_tcp_v4_send_reset",
        OLDEST,
        (6, 10),
    ),
    // Without the packet among its arguments before:
    // <https://github.com/torvalds/linux/blob/v5.10/net/ipv4/tcp_input.c#L4227>.
    ("received_segment", "fentry_tcp_reset", (5, 11), NEVER),
    ("reset_received", "tcp_receive_reset", OLDEST, NEVER),
    ("packets", "tc_ingress_l2", OLDEST, NEVER),
    ("packets", "tc_egress_l2", OLDEST, NEVER),
    ("tunnel_packets", "tc_ingress_l3", OLDEST, NEVER),
    ("older_sockets", "seed_sockets", OLDEST, NEVER),
    ("clock", "clock", OLDEST, NEVER),
];

/// What `rsttrace doctor -o json` prints. Its findings about the host are not ours.
fn hooks(output: &str, version: Version) -> Result<(String, Vec<String>)> {
    let report: Value = serde_json::from_str(output).context("the doctor printed no JSON")?;
    let hooks = report["hooks"]
        .as_array()
        .context("the doctor could not try the hooks")?;
    let granted = |fact: &str, program: &str| {
        let programs = hooks.iter().filter(|hook| hook["fact"] == fact);
        let mut programs = programs
            .filter_map(|hook| hook["programs"].as_array())
            .flatten();
        programs.any(|granted| granted == program)
    };
    let refused: Vec<_> = hooks
        .iter()
        .filter_map(|hook| hook["refused"].as_str())
        .collect();
    let missing = HOOKS
        .iter()
        .filter(|(_, _, since, until)| (*since..*until).contains(&version))
        .filter(|(fact, program, ..)| !granted(fact, program));
    let mut failures: Vec<_> = missing
        .map(|(fact, program, ..)| format!("{fact} ({program}) should be granted"))
        .collect();
    if let (Some(last), Some(why)) = (failures.last_mut(), refused.first()) {
        *last += &format!("; the kernel: {why}");
    }
    let mut cell = format!("{} of {}", hooks.len() - refused.len(), hooks.len());
    let verified = report["programs"].as_array().into_iter().flatten();
    let verified = verified.filter_map(|program| {
        Some((
            program["verified_instructions"].as_u64()?,
            program["name"].as_str()?,
        ))
    });
    if let Some((most, program)) = verified.max() {
        cell += &format!(", at most {most} instructions verified ({program})");
        if most > MOST_VERIFIED {
            failures.push(format!(
                "the verifier goes through {most} instructions of {program}: more than {MOST_VERIFIED}, make it simpler"
            ));
        }
    }
    Ok((cell, failures))
}

/// Of an rsttrace that cannot work there: "kernel not supported", and the word by which a user finds out why.
fn refusal(is_locked: bool, code: u8, errors: &str) -> (String, Vec<String>) {
    const NOT_SUPPORTED: u8 = 4;
    let word = if is_locked {
        LOCKED_DOWN
    } else {
        "/sys/kernel/btf/vmlinux"
    };
    let mut failures = Vec::new();
    if code != NOT_SUPPORTED {
        failures.push(format!("exit code {code} instead of {NOT_SUPPORTED}"));
    }
    if !errors.contains(word) {
        let said = errors.lines().last().unwrap_or("nothing");
        failures.push(format!("{word} is not named; it said: {said}"));
    }
    (format!("exit code {code}"), failures)
}

/// `whole`: it is long enough to ask for a number of kinds. Kernels of Debian have all that a case needs. In software emulation the
/// tracer may take longer to start than a timer of a socket that is to be older runs: that is shown, and no failure.
fn demo(output: &str, whole: bool) -> Result<(String, Vec<String>)> {
    let cases = cases::read(output)?;
    let tally = Tally::of(&cases);
    let mut failures: Vec<_> = tally.mistakes().map(str::to_owned).collect();
    if whole {
        failures.extend(tally.shortfalls());
    }
    failures.extend(cases.iter().filter_map(|case| match &case.outcome {
        Outcome::NotStaged(why) => {
            Some(format!("{}: {why}, though this kernel could", case.kind()))
        }
        Outcome::Right | Outcome::Unknown | Outcome::Wrong(_) => None,
    }));
    Ok((tally.in_short(), failures))
}

fn tests_of(output: &str, code: u8) -> (String, Vec<String>) {
    let sums = tally::of_output(output);
    let mut failures: Vec<_> = output
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
        .map(str::to_owned)
        .collect();
    if failures.is_empty() && (code != 0 || sums.ran() == 0) {
        failures.push(format!("exit code {code} after {} tests", sums.ran()));
    }
    (format!("{}/{}", sums.passed, sums.ran()), failures)
}

/// Major and minor number of a release such as "6.12.117+deb13-amd64".
pub fn version(release: &str) -> Option<Version> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// One word for a shell, whatever is in it.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accuracy::cases::tests::{RIGHT, line};

    #[test]
    fn words_reach_the_shell_as_they_are() {
        let words = ["sh", "-c", "echo 'a  b' \"$0\""].map(str::to_owned);
        let step = Step::command(&words, 1);
        assert_eq!(step.script, "exec 'sh' '-c' 'echo '\\''a  b'\\'' \"$0\"'\n");
    }

    #[test]
    fn a_kernel_has_the_steps_that_it_can_take() {
        let built = Built {
            program: "rsttrace".into(),
            others: tests()
                .into_iter()
                .map(|name| (name.to_owned(), name.into()))
                .collect(),
        };
        let names = |kinds: &[Kind], quick, version| -> Vec<_> {
            let steps = Step::all(kinds, quick, version, &built);
            steps.into_iter().map(|step| step.name).collect()
        };
        assert_eq!(names(&[], false, TCX).len(), STEPS.len());
        assert_eq!(
            names(&[Kind::Tests], false, (6, 1)),
            ["kernel_wire", CLEANUP]
        );
        assert_eq!(names(&[Kind::Tests], true, TCX), [CLEANUP]);
        let demo = |version| {
            Step::all(&[Kind::Demo], true, version, &built)[0]
                .script
                .clone()
        };
        assert!(demo(TCX).contains("--all") && !demo(OLDEST).contains("--all"));
    }

    #[test]
    fn what_is_not_staged_is_a_failure() -> Result<()> {
        let right = line("a", "linger_zero", [("linger_zero", "right"); 2], RIGHT);
        let missing =
            r#"{"scenario":{"name":"c"},"outcome":{"result":"not_staged","why":"no netem"}}"#;
        let (cell, failures) = demo(&format!("{right}\n{missing}\n"), false)?;
        assert_eq!(cell, "1 right, 1 not staged");
        assert_eq!(failures, ["c: no netem, though this kernel could"]);
        assert!(demo(&right, false)?.1.is_empty());
        // One kind is no whole demo.
        assert!(!demo(&right, true)?.1.is_empty());
        Ok(())
    }

    #[test]
    fn a_refused_hook_and_a_program_too_long_are_failures() -> Result<()> {
        let hooks_of = |programs: &str, verified: u64| {
            let report = format!(
                r#"{{"hooks":[{{"fact":"clock","programs":{programs},"refused":"EPERM"}}],"programs":[{{"name":"x","verified_instructions":{verified}}}]}}"#
            );
            hooks(&report, (6, 12)).map(|(_, failures)| failures)
        };
        let of_clock = |failures: Vec<String>| failures.iter().any(|it| it.starts_with("clock"));
        assert!(of_clock(hooks_of("[]", 5)?) && !of_clock(hooks_of(r#"["clock"]"#, 5)?));
        let last = |failures: Vec<String>| failures.last().cloned().unwrap_or_default();
        assert!(last(hooks_of("[]", 5)?).ends_with("the kernel: EPERM"));
        assert!(last(hooks_of("[]", MOST_VERIFIED + 1)?).contains("make it simpler"));
        assert!(hooks("", (6, 1)).is_err());
        Ok(())
    }

    #[test]
    fn a_refusal_has_its_exit_code_and_names_the_reason() {
        let right = "error: it is locked down. Boot with lockdown=integrity instead of lockdown=confidentiality";
        assert!(refusal(true, 4, right).1.is_empty());
        assert_eq!(refusal(true, 1, right).1, ["exit code 1 instead of 4"]);
        assert_eq!(refusal(false, 4, "EPERM").1.len(), 1);
    }

    #[test]
    fn failed_tests_are_named_and_a_crash_is_a_failure() {
        let output = "test a ... ok\ntest b ... FAILED\n\ntest result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured\n";
        assert_eq!(tests_of(output, 101), ("1/2".into(), vec!["b".into()]));
        assert_eq!(tests_of("", 139).1, ["exit code 139 after 0 tests"]);
    }
}
