//! Checks of the kernel hooks.

use crate::kernel::privileges::SETCAP;

use super::{Finding, Hook, Severity, Tracing};

/// A refused hook is wrong: records lack facts.
pub fn judge(tracing: &Tracing) -> Vec<Finding> {
    match tracing {
        Tracing::Tried {
            hooks, interfaces, ..
        } => {
            let mut findings: Vec<_> = hooks.iter().filter_map(refusal).collect();
            // Without the classifiers there is nothing to attach, and that has been said.
            let has_classifiers = |hook: &Hook| hook.fact == "packets" && hook.refused.is_none();
            if !interfaces.is_empty() && hooks.iter().any(has_classifiers) {
                let message = format!(
                    "cannot attach classifiers to some interfaces: {}",
                    interfaces.join("; ")
                );
                let advice = "on these interfaces resets are seen by tracepoints only; use --interface to select the others";
                let kind = "interface_refused";
                findings.push(Finding::new(
                    Severity::Warning,
                    kind,
                    message,
                    advice.to_owned(),
                ));
            }
            findings.extend(hooks.iter().filter_map(lesser));
            if findings.is_empty() {
                let message = format!("all {} kinds of hooks are available", hooks.len());
                findings.push(Finding::ok("hooks_granted", message));
            }
            findings
        }
        Tracing::NotPermitted(why) => vec![Finding::new(
            Severity::Advice,
            "tracing_not_permitted",
            format!("hooks not checked: {}", first_sentence(why)),
            format!(
                "run `sudo rsttrace doctor`, or add capabilities to the binary: setcap {SETCAP} FILE"
            ),
        )],
        Tracing::NotSupported(why) => vec![failure("kernel_not_supported", why)],
        Tracing::Failed(why) => vec![failure("tracing_failed", why)],
    }
}

fn refusal(hook: &Hook) -> Option<Finding> {
    let why = hook.refused.as_ref()?;
    let severity = if hook.extra {
        Severity::Advice
    } else {
        Severity::Warning
    };
    Some(Finding::new(
        severity,
        "hook_refused",
        format!("{} is unavailable: {why}; {}", hook.fact, hook.costs.unwrap_or("some data is missing")),
        "EPERM means kernel lockdown or a container restriction, other errors mean that the kernel version or configuration lacks the hook; see docs/KERNELS.md, and run with -vv for the error of the kernel".to_owned(),
    ))
}

/// A fact that this kernel gives in another way than the best.
fn lesser(hook: &Hook) -> Option<Finding> {
    let (way, costs) = (hook.way?, hook.costs?);
    Some(Finding::new(
        Severity::Advice,
        "hook_lesser",
        format!("{} uses a fallback ({way}): {costs}", hook.fact),
        "the confidence of the verdicts reflects this; newer kernels provide more, see docs/KERNELS.md".to_owned(),
    ))
}

/// The messages of a failed start are `what is wrong. The next step`.
fn failure(kind: &'static str, why: &str) -> Finding {
    let (what, next) = why.split_once(". ").unwrap_or((why, "Run again with -v"));
    Finding::new(Severity::Warning, kind, what.to_owned(), next.to_owned())
}

fn first_sentence(text: &str) -> &str {
    text.split_once(". ").map_or(text, |(first, _)| first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(fact: &'static str, refused: Option<&str>) -> Hook {
        Hook {
            fact,
            way: refused.is_none().then_some("tracepoint"),
            programs: Vec::new(),
            refused: refused.map(str::to_owned),
            costs: refused.map(|_| "no packets"),
            extra: false,
        }
    }

    fn tried(hooks: Vec<Hook>) -> Tracing {
        Tracing::Tried {
            hooks,
            programs: Vec::new(),
            interfaces: Vec::new(),
        }
    }

    #[test]
    fn a_refused_hook_is_wrong_and_says_what_it_costs() {
        let findings = judge(&tried(vec![
            hook("reset_sent", None),
            hook("packets", Some("EPERM")),
        ]));
        assert_eq!(findings.len(), 1);
        assert_eq!(
            (findings[0].severity, findings[0].kind),
            (Severity::Warning, "hook_refused")
        );
        assert!(findings[0].summary.ends_with("EPERM; no packets"));
    }

    #[test]
    fn hooks_that_are_granted_are_fine() {
        let findings = judge(&tried(vec![hook("reset_sent", None)]));
        assert_eq!(findings[0].kind, "hooks_granted");
        assert_eq!(findings[0].severity, Severity::Ok);
    }

    #[test]
    fn a_fallback_of_an_old_kernel_is_a_note_and_no_warning() {
        let mut older = hook("active_reason", None);
        older.costs = Some("likely at most");
        let findings = judge(&tried(vec![older]));
        assert_eq!(findings.len(), 1);
        assert_eq!(
            (findings[0].severity, findings[0].kind),
            (Severity::Advice, "hook_lesser")
        );
        let mut refused = hook("acceptor", Some("EPERM"));
        refused.extra = true;
        let findings = judge(&tried(vec![refused]));
        assert_eq!(
            (findings[0].severity, findings[0].kind),
            (Severity::Advice, "hook_refused")
        );
    }

    #[test]
    fn an_interface_that_cannot_be_watched_is_wrong() {
        let findings = judge(&Tracing::Tried {
            hooks: vec![hook("packets", None)],
            programs: Vec::new(),
            interfaces: vec!["eth0: EBUSY".to_owned()],
        });
        assert_eq!(findings[0].kind, "interface_refused");
        let findings = judge(&Tracing::Tried {
            hooks: vec![hook("packets", Some("E2BIG"))],
            programs: Vec::new(),
            interfaces: vec!["lo: link type 772 is not understood".to_owned()],
        });
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].kind, "hook_refused");
    }

    #[test]
    fn a_missing_right_is_named_and_is_no_defect_of_the_host() {
        let findings = judge(&Tracing::NotPermitted(
            "not permitted: CAP_BPF missing. Run as root".to_owned(),
        ));
        assert_eq!(findings[0].severity, Severity::Advice);
        assert!(findings[0].summary.contains("CAP_BPF"));
    }

    #[test]
    fn a_kernel_that_cannot_be_traced_is_wrong() {
        let findings = judge(&Tracing::NotSupported(
            "it has no BTF. Use another".to_owned(),
        ));
        assert_eq!(findings[0].severity, Severity::Warning);
        assert_eq!(findings[0].advice.as_deref(), Some("Use another"));
    }
}
