//! The steps of a guest, and the checks of their results.

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

pub type Version = (u64, u64);

const OLDEST: Version = (5, 10);
/// The first version with TCX, whose links end with the process.
const TCX: Version = (6, 6);
const NEVER: Version = (u64::MAX, 0);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// `rsttrace doctor`: available hooks, and verified instructions
    Hooks,
    /// `rsttrace demo --all`
    Demo,
    /// `rsttrace demo --transport perf`
    Perf,
    /// Exit code and error without BTF, and (in another boot) under lockdown
    Refusal,
    /// Kernel tests
    Tests,
    /// A command of the developer
    #[value(skip)]
    Command,
}

pub struct Step {
    /// The name of its files, too.
    pub name: String,
    pub kind: Kind,
    /// For /bin/sh, in the folder of this repository.
    pub script: String,
    pub limit: Duration,
}

struct Row {
    name: &'static str,
    kind: Kind,
    /// The first kernel that has what it needs.
    since: Version,
    /// About four times what it takes alone on two CPUs.
    seconds: u64,
    /// Empty for tests.
    script: &'static str,
    quick: Quick,
}

/// What `cargo xtask test` runs.
enum Quick {
    Same,
    Short(&'static str),
    /// The same since [`TCX`], something shorter before.
    ShortIfOld(&'static str),
    Not,
}

const STEPS: [Row; 7] = [
    Row {
        name: "hooks",
        kind: Kind::Hooks,
        since: OLDEST,
        seconds: 60,
        script: "exec rsttrace doctor --output json",
        quick: Quick::Same,
    },
    Row {
        name: "demo",
        kind: Kind::Demo,
        since: OLDEST,
        seconds: 500,
        script: "exec rsttrace demo --all --output json",
        quick: Quick::ShortIfOld("exec rsttrace demo --output json"),
    },
    Row {
        name: "perf",
        kind: Kind::Perf,
        since: OLDEST,
        seconds: 250,
        script: "exec rsttrace demo --transport perf --output json",
        quick: Quick::Short(
            "exec rsttrace demo --only port-closed,linger-zero,close-unread,received,forwarded,firewall-reject-syn --transport perf --output json",
        ),
    },
    Row {
        name: "refusal",
        kind: Kind::Refusal,
        since: OLDEST,
        seconds: 60,
        script: "exec unshare --mount sh -c 'mount -t tmpfs tmpfs /sys/kernel/btf && exec rsttrace --duration 1s'",
        quick: Quick::Same,
    },
    test("kernel_wire", OLDEST, 200, Quick::Not),
    test(CLEANUP, OLDEST, 500, Quick::Same),
    test("kernel_attach", TCX, 200, Quick::Not),
];

const fn test(name: &'static str, since: Version, seconds: u64, quick: Quick) -> Row {
    Row {
        name,
        kind: Kind::Tests,
        since,
        seconds,
        script: "",
        quick,
    }
}

/// The test that nothing remains in the kernel.
pub const CLEANUP: &str = "kernel_cleanup";
const LOCKDOWN: &str = "lockdown";
pub const LOCKED_DOWN: &str = "lockdown=confidentiality";

/// Names of the kernel tests.
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
                Quick::Not if quick => return None,
                Quick::Short(script) if quick => script,
                Quick::ShortIfOld(script) if quick && version < TCX => script,
                Quick::Same | Quick::Short(_) | Quick::ShortIfOld(_) | Quick::Not => row.script,
            };
            let script = if row.kind == Kind::Tests {
                // As cargo runs it: in the folder of its package. It starts the rsttrace in the path.
                format!(
                    "cd rsttrace && export CARGO_MANIFEST_DIR=\"$PWD\" RSTTRACE_PROGRAM=\"$(command -v rsttrace)\" && exec {} --ignored --test-threads=1",
                    quoted(&built.others.get(row.name)?.to_string_lossy())
                )
            } else {
                script.to_owned()
            };
            Some(Self::new(row.name, row.kind, &script, row.seconds))
        };
        STEPS.iter().filter(wanted).filter_map(step).collect()
    }

    /// For a boot with [`LOCKED_DOWN`].
    pub fn lockdown() -> Self {
        Self::new(LOCKDOWN, Kind::Refusal, "exec rsttrace --duration 1s", 60)
    }

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

    /// Reads its output in `folder`. Returns a few words for the report, and the failures.
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
                "not finished within {} s, {}",
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

/// From timeout(1), which runs every step.
const TIMED_OUT: u8 = 124;
/// The limit of the verifier is a million instructions; this lower one leaves a margin.
const MOST_VERIFIED: u64 = 250_000;

/// Required hooks: fact, program, the first version that must have it, and the first one that uses another program instead.
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

/// Checks the output of `rsttrace doctor -o json`, without its findings about the host.
fn hooks(output: &str, version: Version) -> Result<(String, Vec<String>)> {
    let report: Value =
        serde_json::from_str(output).context("read the output of rsttrace doctor")?;
    let hooks = report["hooks"]
        .as_array()
        .context("rsttrace doctor could not try the hooks")?;
    let has = |fact: &str, program: &str| {
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
        .filter(|(fact, program, ..)| !has(fact, program));
    let mut failures: Vec<_> = missing
        .map(|(fact, program, ..)| format!("{fact} ({program}) should be available"))
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
                "{program} needs {most} verified instructions, more than {MOST_VERIFIED}: simplify it"
            ));
        }
    }
    Ok((cell, failures))
}

/// Checks that rsttrace exits with "kernel not supported" and names the reason.
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
        failures.push(format!("the error does not name {word}: {said}"));
    }
    (format!("exit code {code}"), failures)
}

/// `whole`: the number of kinds counts. A case that is not staged is a failure, because kernels of Debian have everything. A socket
/// that is not older than the tracer as planned is shown only: in software emulation the tracer may start too slowly.
fn demo(output: &str, whole: bool) -> Result<(String, Vec<String>)> {
    let cases = cases::read(output)?;
    let tally = Tally::of(&cases);
    let mut failures: Vec<_> = tally.mistakes().map(str::to_owned).collect();
    if whole {
        failures.extend(tally.shortfalls());
    }
    failures.extend(cases.iter().filter_map(|case| match &case.outcome {
        Outcome::NotStaged(why) => {
            Some(format!("{}: {why}, although this kernel can", case.kind()))
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

/// Of a release such as "6.12.117+deb13-amd64".
pub fn version(release: &str) -> Option<Version> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// One word for a shell.
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
    fn a_case_that_is_not_staged_is_a_failure() -> Result<()> {
        let right = line("a", RIGHT);
        let missing =
            r#"{"scenario":{"name":"c"},"outcome":{"result":"not_staged","why":"no netem"}}"#;
        let (cell, failures) = demo(&format!("{right}\n{missing}\n"), false)?;
        assert_eq!(cell, "1 right, 1 not staged");
        assert_eq!(failures, ["c: no netem, although this kernel can"]);
        assert!(demo(&right, false)?.1.is_empty());
        // A whole demo has more kinds.
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
        assert!(last(hooks_of("[]", MOST_VERIFIED + 1)?).contains("simplify it"));
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
