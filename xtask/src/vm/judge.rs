//! Was a step good enough, and what is shown of it?

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    budget::{self, Budget, Programs},
    expect::{self, Host, Version},
    guest::{Ended, StepResult},
    step::{Kind, Step},
};
use crate::{
    accuracy::{
        cases::{self, Outcome},
        tally::Tally,
    },
    tally,
};

/// A step, judged.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// A few words for the table.
    pub cell: String,
    /// What is not good enough; nothing if all is.
    pub failures: Vec<String>,
}

/// Reads what the step left in `folder`. Without a budget programs may take what they want.
pub fn judge(
    step: &Step,
    result: &StepResult,
    folder: &Path,
    host: Host,
    budget: Option<&Budget>,
) -> Judgement {
    let Ended::Exited(code) = result.ended else {
        return Judgement {
            cell: result.ended.to_string(),
            failures: vec![result.ended.to_string()],
        };
    };
    judged(step, code, folder, host, budget).unwrap_or_else(|error| Judgement {
        cell: "failed".into(),
        failures: vec![format!("{error:#}")],
    })
}

/// Of timeout(1), which every step runs under.
const TIMED_OUT: u8 = 124;

fn judged(
    step: &Step,
    code: u8,
    folder: &Path,
    host: Host,
    budget: Option<&Budget>,
) -> Result<Judgement> {
    let read = |extension: &str| {
        let bytes = fs::read(folder.join(format!("{}.{extension}", step.name)));
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    };
    let output = read("out");
    let complaint = || {
        let errors = read("err");
        let last = errors.lines().last().unwrap_or_default().to_owned();
        format!("exit code {code}: {last}")
    };
    if code == TIMED_OUT && step.kind != Kind::Command {
        anyhow::bail!(
            "not done within {} s, {}",
            step.limit.as_secs(),
            complaint()
        );
    }
    match step.kind {
        Kind::Features => Ok(features(&output, host.version)),
        Kind::Hooks => hooks(&output, host, budget).with_context(complaint),
        Kind::Demo | Kind::Perf => {
            if output.trim().is_empty() {
                anyhow::bail!("nothing was staged, {}", complaint());
            }
            demo(&output, step.kind == Kind::Demo, host)
        }
        Kind::Refusal => Ok(refusal(step, code, &read("err"))),
        Kind::Tests => Ok(tests(&output, code)),
        Kind::Command => Ok(Judgement {
            cell: format!("exit code {code}"),
            failures: if code == 0 {
                Vec::new()
            } else {
                vec![complaint()]
            },
        }),
    }
}

fn features(output: &str, version: Version) -> Judgement {
    let (there, missing) = expect::missing_features(output, version);
    Judgement {
        cell: format!("{there} there, {} missing", missing.len()),
        failures: missing
            .into_iter()
            .map(|name| format!("{name} should be there"))
            .collect(),
    }
}

/// What the programs took that the doctor loaded.
pub fn programs(folder: &Path) -> Result<Programs> {
    let file = folder.join(format!("{}.out", Kind::Hooks));
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    budget::programs(&serde_json::from_str(&text).context("the doctor printed no JSON")?)
}

/// What `rsttrace doctor -o json` prints. Its findings about the host are not ours.
fn hooks(output: &str, host: Host, budget: Option<&Budget>) -> Result<Judgement> {
    let report: Value = serde_json::from_str(output).context("the doctor printed no JSON")?;
    let hooks = report["hooks"]
        .as_array()
        .context("the doctor could not try the hooks")?;
    let granted = |fact: &str, program: &str| {
        hooks
            .iter()
            .filter(|hook| hook["fact"] == fact)
            .filter_map(|hook| hook["programs"].as_array())
            .flatten()
            .any(|granted| granted == program)
    };
    let refused: Vec<_> = hooks
        .iter()
        .filter_map(|hook| hook["refused"].as_str())
        .collect();
    let missing = if host.is_stock {
        expect::missing_hooks(host.version, granted)
    } else {
        let needed = hooks.iter().filter(|hook| hook["extra"] == false);
        let refused = needed.filter(|hook| hook["refused"].is_string());
        refused
            .filter_map(|hook| hook["fact"].as_str().map(str::to_owned))
            .collect()
    };
    let mut failures: Vec<_> = missing
        .into_iter()
        .map(|hook| format!("{hook} should be granted"))
        .collect();
    if let (Some(last), Some(why)) = (failures.last_mut(), refused.first()) {
        *last += &format!("; the kernel: {why}");
    }
    let mut cell = format!("{} of {}", hooks.len() - refused.len(), hooks.len());
    let programs = budget::programs(&report)?;
    if let Some((program, Some(most))) = programs.iter().max_by_key(|(_, taken)| **taken) {
        cell += &format!(", at most {most} instructions verified ({program})");
    }
    if let Some(budget) = budget {
        failures.extend(budget.exceeded(host.version, &programs));
    }
    Ok(Judgement { cell, failures })
}

/// Of an rsttrace that cannot work there: "kernel not supported", and the word by which a user finds out why.
fn refusal(step: &Step, code: u8, errors: &str) -> Judgement {
    const NOT_SUPPORTED: u8 = 4;
    let word = if step.is_lockdown() {
        "lockdown=confidentiality"
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
    Judgement {
        cell: format!("exit code {code}"),
        failures,
    }
}

/// `whole`: it is long enough to ask for a number of kinds.
fn demo(output: &str, whole: bool, host: Host) -> Result<Judgement> {
    let cases = cases::read(output)?;
    let tally = Tally::of(&cases);
    let mut failures: Vec<_> = tally.mistakes().map(str::to_owned).collect();
    failures.extend(tally.failed().iter().cloned());
    if whole {
        failures.extend(tally.shortfalls());
    }
    for case in &cases {
        if let Outcome::NotStaged(why) = &case.result
            && !expect::may_be_left_out(&case.kind, host)
        {
            failures.push(format!("{}: {why}, though this kernel could", case.kind));
        }
    }
    Ok(Judgement {
        cell: tally.in_short(),
        failures,
    })
}

fn tests(output: &str, code: u8) -> Judgement {
    let sums = tally::of_output(output);
    let mut failures: Vec<_> = output
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
        .map(str::to_owned)
        .collect();
    if failures.is_empty() && (code != 0 || sums.ran() == 0) {
        failures.push(format!("exit code {code} after {} tests", sums.ran()));
    }
    Judgement {
        cell: format!("{}/{}", sums.passed, sums.ran()),
        failures,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accuracy::cases::tests::RIGHT;

    fn stock(version: Version) -> Host {
        Host {
            version,
            is_stock: true,
        }
    }

    const NOT_STAGED: &str = r#"{"scenario":{"name":"c"},"outcome":{"result":"not_staged","why":"not staged: no netem"}}"#;

    #[test]
    fn a_scenario_that_should_be_staged_fails_when_it_is_not() -> Result<()> {
        let right = cases::tests::line("a", "linger_zero", [("linger_zero", "right"); 2], RIGHT);
        let judgement = demo(&format!("{right}\n{NOT_STAGED}\n"), false, stock((6, 12)))?;
        assert_eq!(judgement.cell, "1 right, 1 not staged");
        assert_eq!(
            judgement.failures,
            ["c: not staged: no netem, though this kernel could"]
        );
        assert!(demo(&right, false, stock((6, 12)))?.failures.is_empty());
        // Two kinds fewer than forty are no whole demo.
        assert!(!demo(&right, true, stock((6, 12)))?.failures.is_empty());
        Ok(())
    }

    #[test]
    fn failed_tests_are_named_and_a_crash_is_a_failure() {
        let output = "test a ... ok\ntest b ... FAILED\n\ntest result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n";
        let judgement = tests(output, 101);
        assert_eq!(judgement.cell, "1/2");
        assert_eq!(judgement.failures, ["b"]);
        assert_eq!(tests("", 139).failures, ["exit code 139 after 0 tests"]);
        assert_eq!(tests("", 0).failures, ["exit code 0 after 0 tests"]);
    }

    #[test]
    fn a_refused_hook_is_a_failure_with_the_words_of_the_kernel() -> Result<()> {
        let granted =
            |fact: &str, programs: &str| format!(r#"{{"fact":"{fact}","programs":{programs}}}"#);
        let mut hooks = vec![
            granted("ownership", r#"["inet_sock_set_state"]"#),
            granted("reset_sent", r#"["tcp_send_reset_no_reason"]"#),
            granted("reset_received", r#"["tcp_receive_reset"]"#),
            granted("packets", r#"["tc_ingress_l2","tc_egress_l2"]"#),
            granted("tunnel_packets", r#"["tc_ingress_l3","tc_egress_l3"]"#),
            granted("older_sockets", r#"["seed_sockets"]"#),
            granted("clock", r#"["clock"]"#),
            granted("acceptor", r#"["fentry_security_sock_graft"]"#),
            granted("reset_sent_stateless", r#"["fentry_tcp_v4_send_reset"]"#),
            granted("received_segment", r#"["fentry_tcp_reset"]"#),
        ];
        let report = |hooks: &[String]| {
            format!(
                r#"{{"hooks":[{}],"programs":[{{"name":"clock","verified_instructions":15}}]}}"#,
                hooks.join(",")
            )
        };
        let most = ", at most 15 instructions verified (clock)";
        assert_eq!(
            hooks_of(&report(&hooks))?,
            (format!("10 of 10{most}"), Vec::new())
        );
        hooks[6] = r#"{"fact":"clock","programs":[],"refused":"EPERM"}"#.into();
        let failures = vec!["clock (clock) should be granted; the kernel: EPERM".to_owned()];
        assert_eq!(
            hooks_of(&report(&hooks))?,
            (format!("9 of 10{most}"), failures)
        );
        assert!(hooks_of("").is_err());
        Ok(())
    }

    #[test]
    fn a_program_over_its_budget_is_a_failure_and_of_another_kernel_only_what_it_needs_is()
    -> Result<()> {
        let report = r#"{"hooks":[{"fact":"acceptor","extra":true,"refused":"EBUSY"},{"fact":"clock","extra":false,"refused":"EPERM"}],"programs":[{"name":"clock","verified_instructions":15}]}"#;
        let host = Host {
            version: (6, 18),
            is_stock: false,
        };
        let mut budget = Budget::default();
        budget.note((6, 18), [("clock".to_owned(), Some(12))].into());
        let failures = hooks(report, host, Some(&budget))?.failures;
        assert_eq!(failures.len(), 2, "{failures:?}");
        assert!(failures[0].starts_with("clock should be granted"));
        assert!(failures[1].contains("15 instructions of clock on 6.18, 12 before"));
        Ok(())
    }

    #[test]
    fn a_refusal_has_its_exit_code_and_names_the_reason() {
        let step = Step::lockdown();
        let right = "error: it is locked down. Boot with lockdown=integrity instead of lockdown=confidentiality";
        assert!(refusal(&step, 4, right).failures.is_empty());
        assert_eq!(
            refusal(&step, 1, right).failures,
            ["exit code 1 instead of 4"]
        );
        let failures = refusal(&step, 4, "error: EPERM").failures;
        assert_eq!(
            failures,
            ["lockdown=confidentiality is not named; it said: error: EPERM"]
        );
    }

    fn hooks_of(report: &str) -> Result<(String, Vec<String>)> {
        let judgement = hooks(report, stock((6, 1)), None)?;
        Ok((judgement.cell, judgement.failures))
    }
}
