//! Was a step good enough, and what is shown of it?

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    expect::{self, Version},
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

/// Reads what the step left in `folder`.
pub fn judge(step: &Step, result: &StepResult, folder: &Path, version: Version) -> Judgement {
    let Ended::Exited(code) = result.ended else {
        return Judgement {
            cell: result.ended.to_string(),
            failures: vec![result.ended.to_string()],
        };
    };
    judged(step, code, folder, version).unwrap_or_else(|error| Judgement {
        cell: "failed".into(),
        failures: vec![format!("{error:#}")],
    })
}

/// Of timeout(1), which every step runs under.
const TIMED_OUT: u8 = 124;

fn judged(step: &Step, code: u8, folder: &Path, version: Version) -> Result<Judgement> {
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
        Kind::Features => Ok(features(&output, version)),
        Kind::Hooks => hooks(&output, version).with_context(complaint),
        Kind::Demo | Kind::Perf => {
            if output.trim().is_empty() {
                anyhow::bail!("nothing was staged, {}", complaint());
            }
            let mut judgement = demo(&output, step.kind == Kind::Demo, version)?;
            let again = read("again");
            let again: Vec<_> = again.lines().collect();
            if !again.is_empty() {
                judgement.cell += &format!(", {} twice", again.len());
            }
            Ok(judgement)
        }
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

/// What `rsttrace doctor -o json` prints. Its findings about the host are not ours.
fn hooks(output: &str, version: Version) -> Result<Judgement> {
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
    let mut failures: Vec<_> = expect::missing_hooks(version, granted)
        .into_iter()
        .map(|hook| format!("{hook} should be granted"))
        .collect();
    if let (Some(last), Some(why)) = (failures.last_mut(), refused.first()) {
        *last += &format!("; the kernel: {why}");
    }
    Ok(Judgement {
        cell: format!("{} of {}", hooks.len() - refused.len(), hooks.len()),
        failures,
    })
}

/// `whole`: it is long enough to ask for a number of kinds.
fn demo(output: &str, whole: bool, version: Version) -> Result<Judgement> {
    let cases = cases::read(output)?;
    let tally = Tally::of(&cases);
    let mut failures: Vec<_> = tally.mishaps().map(str::to_owned).collect();
    if whole {
        failures.extend(tally.shortfalls());
    }
    for case in &cases {
        if let Outcome::NotStaged(why) = &case.result
            && !expect::may_be_left_out(&case.kind, version)
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

    const RIGHT: &str = r#"{"scenario":{"name":"a"},"truth":{"cause":"linger_zero","idle":null,"view":{"place":"server"},"direction":"sent"},"record":{"verdict":{"cause":"linger_zero"}},"outcome":{"result":"right"}}"#;
    const NOT_STAGED: &str = r#"{"scenario":{"name":"c"},"truth":null,"record":null,"outcome":{"result":"not_staged","why":"not staged: no netem"}}"#;

    #[test]
    fn a_scenario_that_should_be_staged_fails_when_it_is_not() -> Result<()> {
        let judgement = demo(&format!("{RIGHT}\n{NOT_STAGED}\n"), false, (6, 12))?;
        assert_eq!(judgement.cell, "1 right, 1 not staged");
        assert_eq!(
            judgement.failures,
            ["c: not staged: no netem, though this kernel could"]
        );
        assert!(demo(RIGHT, false, (6, 12))?.failures.is_empty());
        // Two kinds fewer than forty are no whole demo.
        assert!(!demo(RIGHT, true, (6, 12))?.failures.is_empty());
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
        let report = |hooks: &[String]| format!(r#"{{"hooks":[{}]}}"#, hooks.join(","));
        assert_eq!(hooks_of(&report(&hooks))?, ("10 of 10".into(), Vec::new()));
        hooks[6] = r#"{"fact":"clock","programs":[],"refused":"EPERM"}"#.into();
        let failures = vec!["clock (clock) should be granted; the kernel: EPERM".to_owned()];
        assert_eq!(hooks_of(&report(&hooks))?, ("9 of 10".into(), failures));
        assert!(hooks_of("").is_err());
        Ok(())
    }

    fn hooks_of(report: &str) -> Result<(String, Vec<String>)> {
        let judgement = hooks(report, (6, 1))?;
        Ok((judgement.cell, judgement.failures))
    }
}
