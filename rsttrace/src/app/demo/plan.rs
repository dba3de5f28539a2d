//! Order of the staged resets, and retries.

use std::time::{Duration, Instant};

use log::info;

use crate::demo::{Armed, IpVersion, Lab, Scenario, StageError, Staged, Suite, stage_together};

/// One reset to stage: which, how, and whether its socket is older than the tracer.
pub struct Plan {
    scenario: &'static Scenario,
    version: IpVersion,
    predates: bool,
    lost_predates: bool,
    failed: Vec<String>,
    armed: Option<Result<Armed, StageError>>,
    /// When it was armed, if it is.
    since: Option<Instant>,
}

/// The least time that a device or an application is given to time out in: what was armed longer ago than the tracer can
/// have seen of that time says nothing about it.
const LEAST_TIMER: Duration = Duration::from_millis(2500);

pub struct Done {
    pub scenario: &'static Scenario,
    pub version: IpVersion,
    /// Whether its socket was to be older than the tracer.
    pub predates: bool,
    /// Whether it is not, because it was opened again.
    pub lost_predates: bool,
    /// Why stagings before this one failed: nothing else is a reason to repeat one.
    pub failed: Vec<String>,
    pub staged: Result<Staged, StageError>,
}

/// Those whose sockets can exist beforehand are opened now, once; every scenario is staged once more, wholly under the
/// tracer's eyes. The long ones come last, since their time begins to run.
pub fn open_those_that_predate(lab: &mut Lab, chosen: &[&'static Scenario]) -> Vec<Plan> {
    let mut plans = Vec::new();
    for predates in [true, false] {
        for suite in [Suite::Short, Suite::Long, Suite::Alone] {
            for scenario in chosen
                .iter()
                .filter(|scenario| scenario.suite == suite && (scenario.can_predate || !predates))
            {
                for &version in scenario.family.versions() {
                    let armed = predates.then(|| scenario.open(lab, version));
                    plans.push(Plan {
                        scenario,
                        version,
                        predates,
                        lost_predates: false,
                        failed: Vec::new(),
                        since: armed.is_some().then(Instant::now),
                        armed,
                    });
                }
            }
        }
    }
    plans
}

/// Stages them: the long ones whose time is running already, the short ones one by one, then the other long ones
/// together, at last those that have to be alone.
pub fn carry_out(lab: &mut Lab, mut plans: Vec<Plan>) -> Vec<Done> {
    for plan in &mut plans {
        plan.start_anew_if_late();
    }
    let mut of = [Suite::Short, Suite::Long, Suite::Alone].map(|_| Vec::new());
    for plan in plans {
        of[plan.scenario.suite as usize].push(plan);
    }
    let [short, long, alone] = of;
    let (running, long): (Vec<_>, Vec<_>) = long.into_iter().partition(|plan| plan.armed.is_some());
    let running = carry_out_together(lab, running);
    let mut done = carry_out_each(lab, short);
    done.extend(running);
    done.extend(carry_out_together(lab, long));
    done.extend(carry_out_each(lab, alone));
    done
}

fn carry_out_each(lab: &mut Lab, plans: Vec<Plan>) -> Vec<Done> {
    plans
        .into_iter()
        .map(|plan| carry_out_one(lab, plan))
        .collect()
}

/// A staging that fails proves nothing about the tracer (a port was taken, a packet came late), so it is tried again, and
/// that is said; then its socket is no longer older than the tracer.
fn carry_out_one(lab: &mut Lab, mut plan: Plan) -> Done {
    let mut staged = plan.open(lab).and_then(|armed| armed.provoke(lab));
    while plan.is_worth_another(&staged) {
        staged = plan.open(lab).and_then(|armed| armed.provoke(lab));
    }
    plan.done(staged)
}

/// The same, side by side.
fn carry_out_together(lab: &mut Lab, plans: Vec<Plan>) -> Vec<Done> {
    let mut done: Vec<Done> = Vec::new();
    let mut left = plans;
    while !left.is_empty() {
        for (mut plan, staged) in stage_together(lab, std::mem::take(&mut left), Plan::open) {
            if plan.is_worth_another(&staged) {
                left.push(plan);
            } else {
                done.push(plan.done(staged));
            }
        }
    }
    done
}

impl Plan {
    fn open(&mut self, lab: &mut Lab) -> Result<Armed, StageError> {
        let armed = self.armed.take();
        armed.unwrap_or_else(|| self.scenario.open(lab, self.version))
    }

    /// Opening all and attaching the tracer may take longer than a timer runs, on a slow machine.
    fn start_anew_if_late(&mut self) {
        let is_late = self
            .since
            .is_some_and(|since| since.elapsed() > LEAST_TIMER);
        if is_late && self.scenario.suite == Suite::Long {
            info!(
                "{}: timed out while staging, staging again",
                self.scenario.name
            );
            self.armed = None;
            self.lost_predates = true;
        }
    }

    fn done(self, staged: Result<Staged, StageError>) -> Done {
        Done {
            scenario: self.scenario,
            version: self.version,
            predates: self.predates,
            lost_predates: self.lost_predates,
            failed: self.failed,
            staged,
        }
    }

    /// Whether the staging failed and may be repeated, regardless of the explanation, which is not known here.
    fn is_worth_another(&mut self, staged: &Result<Staged, StageError>) -> bool {
        match staged {
            Err(error) if !error.is_not_staged() && self.failed.len() + 1 < ATTEMPTS => {
                info!(
                    "{}: staging failed, trying again: {error}",
                    self.scenario.name
                );
                self.failed.push(error.to_string());
                self.lost_predates |= self.predates;
                true
            }
            Ok(_) | Err(_) => false,
        }
    }
}

/// How often a case is staged until it succeeds.
const ATTEMPTS: usize = 3;
