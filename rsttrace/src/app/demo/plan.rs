//! In which order are resets staged, and how often is each tried?

use log::info;

use crate::demo::{Armed, IpVersion, Lab, Scenario, StageError, Staged, Suite, stage_together};

/// One reset to stage: which, how, and whether its socket is older than the tracer.
pub struct Plan {
    scenario: &'static Scenario,
    version: IpVersion,
    predates: bool,
    armed: Option<Result<Armed, StageError>>,
}

/// A plan carried out.
pub struct Done {
    /// Which.
    pub scenario: &'static Scenario,
    /// How.
    pub version: IpVersion,
    /// Whether its socket was older than the tracer.
    pub predates: bool,
    /// What came of it.
    pub staged: Result<Staged, StageError>,
}

/// Those whose sockets can exist beforehand are opened now, once; every scenario is staged once more, wholly under the
/// tracer's eyes.
pub fn open_those_that_predate(lab: &mut Lab, chosen: &[&'static Scenario]) -> Vec<Plan> {
    let mut plans = Vec::new();
    for predates in [true, false] {
        for scenario in chosen
            .iter()
            .filter(|scenario| scenario.can_predate || !predates)
        {
            for &version in scenario.family.versions() {
                let armed = predates.then(|| scenario.open(lab, version));
                plans.push(Plan {
                    scenario,
                    version,
                    predates,
                    armed,
                });
            }
        }
    }
    plans
}

/// Stages them: the short ones one by one, then the long ones together.
pub fn carry_out(lab: &mut Lab, plans: Vec<Plan>) -> Vec<Done> {
    let (long, short): (Vec<_>, Vec<_>) = plans
        .into_iter()
        .partition(|plan| plan.scenario.suite == Suite::Long);
    let mut done: Vec<Done> = short
        .into_iter()
        .map(|plan| carry_out_one(lab, plan))
        .collect();
    done.extend(carry_out_long(lab, long));
    done
}

/// A staging that fails proves nothing about the tracer (a port was taken, a packet came late), so it is tried again; then
/// its socket is no longer older than the tracer.
fn carry_out_one(lab: &mut Lab, plan: Plan) -> Done {
    let Plan {
        scenario,
        version,
        mut predates,
        armed,
    } = plan;
    let armed = armed.unwrap_or_else(|| scenario.open(lab, version));
    let mut staged = armed.and_then(|armed| armed.provoke(lab));
    for _ in 1..ATTEMPTS {
        if !is_worth_another(scenario, &staged) {
            break;
        }
        predates = false;
        staged = scenario
            .open(lab, version)
            .and_then(|armed| armed.provoke(lab));
    }
    Done {
        scenario,
        version,
        predates,
        staged,
    }
}

/// The same, side by side; none of these is older than the tracer.
fn carry_out_long(lab: &mut Lab, plans: Vec<Plan>) -> Vec<Done> {
    let mut done: Vec<Done> = Vec::new();
    let mut left: Vec<_> = plans
        .into_iter()
        .map(|plan| (plan.scenario, plan.version))
        .collect();
    for attempt in 1..=ATTEMPTS {
        let staged = stage_together(lab, left, |(scenario, version), lab| {
            scenario.open(lab, *version)
        });
        left = Vec::new();
        for ((scenario, version), staged) in staged {
            if attempt < ATTEMPTS && is_worth_another(scenario, &staged) {
                left.push((scenario, version));
            } else {
                done.push(Done {
                    scenario,
                    version,
                    predates: false,
                    staged,
                });
            }
        }
    }
    done
}

fn is_worth_another(scenario: &Scenario, staged: &Result<Staged, StageError>) -> bool {
    match staged {
        Err(error) if !error.is_not_staged() => {
            info!("{}: staging failed, once more: {error}", scenario.name);
            true
        }
        _ => false,
    }
}

/// How often a case is staged until it succeeds.
const ATTEMPTS: usize = 3;
