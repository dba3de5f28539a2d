//! A scenario after it was opened.

use std::collections::VecDeque;
use std::thread::sleep;
use std::time::Instant;

use crate::StageError;
use crate::actor::Actor;
use crate::lab::Lab;
use crate::record::Form;
use crate::truth::Truth;

type Step = Box<dyn FnOnce(&mut Lab) -> Result<Progress, StageError> + Send>;

/// A scenario whose sockets are open and whose reset is still to come.
pub struct Armed {
    due: Instant,
    step: Step,
}

/// How far a scenario is after a step.
pub enum Progress {
    Staged(Staged),
    /// It goes on later.
    Waiting(Armed),
}

impl Armed {
    /// What provokes the reset, at any time.
    pub(super) fn new(
        provoke: impl FnOnce(&mut Lab) -> Result<Staged, StageError> + Send + 'static,
    ) -> Result<Self, StageError> {
        Self::due(Instant::now(), provoke)
    }

    /// The same, not before a time.
    pub(super) fn due(
        due: Instant,
        provoke: impl FnOnce(&mut Lab) -> Result<Staged, StageError> + Send + 'static,
    ) -> Result<Self, StageError> {
        let step: Step = Box::new(move |lab| provoke(lab).map(Progress::Staged));
        Ok(Self { due, step })
    }

    /// A step that is not the last, not before a time.
    pub(super) fn step_due(
        due: Instant,
        step: impl FnOnce(&mut Lab) -> Result<Self, StageError> + Send + 'static,
    ) -> Result<Self, StageError> {
        let step: Step = Box::new(move |lab| step(lab).map(Progress::Waiting));
        Ok(Self { due, step })
    }

    /// Provokes the reset, confirms it, and tidies the lab.
    pub fn provoke(self, lab: &mut Lab) -> Result<Staged, StageError> {
        let mut armed = self;
        loop {
            match armed.go_on(lab)? {
                Progress::Staged(staged) => return Ok(staged),
                Progress::Waiting(later) => armed = later,
            }
        }
    }

    /// Waits until it is due and takes the next step.
    fn go_on(self, lab: &mut Lab) -> Result<Progress, StageError> {
        sleep(self.due.saturating_duration_since(Instant::now()));
        let progress = (self.step)(lab);
        lab.tidy()?;
        let progress = progress?;
        if let Progress::Staged(staged) = &progress {
            for truth in &staged.truths {
                check_form(truth, staged.form)?;
            }
        }
        Ok(progress)
    }
}

/// Opens scenarios and lets them wait side by side; results come in the order of what was given.
pub fn stage_together<T>(
    lab: &mut Lab,
    scenarios: Vec<T>,
    open: impl Fn(&mut T, &mut Lab) -> Result<Armed, StageError>,
) -> Vec<(T, Result<Staged, StageError>)> {
    let mut waiting = VecDeque::new();
    let mut done = Vec::new();
    for (index, mut scenario) in scenarios.into_iter().enumerate() {
        match open(&mut scenario, lab) {
            Ok(armed) => waiting.push_back((index, scenario, armed)),
            Err(error) => done.push((index, scenario, Err(error))),
        }
    }
    while let Some((index, scenario, armed)) = take_next(&mut waiting) {
        match armed.go_on(lab) {
            Ok(Progress::Waiting(later)) => waiting.push_back((index, scenario, later)),
            Ok(Progress::Staged(staged)) => done.push((index, scenario, Ok(staged))),
            Err(error) => done.push((index, scenario, Err(error))),
        }
    }
    done.sort_by_key(|(index, _, _)| *index);
    done.into_iter()
        .map(|(_, scenario, staged)| (scenario, staged))
        .collect()
}

/// The one that is due first.
fn take_next<T>(waiting: &mut VecDeque<(usize, T, Armed)>) -> Option<(usize, T, Armed)> {
    let next = (0..waiting.len()).min_by_key(|&index| waiting[index].2.due)?;
    waiting.swap_remove_back(next)
}

/// What was staged. The processes live until this is dropped, so that they can be looked up.
#[derive(Debug)]
pub struct Staged {
    /// The truths: the first is what the scenario is about, others are the same event seen elsewhere or
    /// further resets of the same cause.
    pub truths: Vec<Truth>,
    /// The form that every RST of it has on the wire; `None` for crafted ones, and where forms differ.
    pub form: Option<Form>,
    _actors: Vec<Actor>,
}

impl Staged {
    /// By RSTs of processes, keepalive or the like, which have a window.
    pub(super) fn active(
        truths: impl Into<Vec<Truth>>,
        actors: impl Into<Vec<Actor>>,
    ) -> Result<Self, StageError> {
        Ok(Self::new(Some(Form::Active), truths, actors))
    }

    /// By RSTs that answer a segment without a socket.
    pub(super) fn passive(
        truths: impl Into<Vec<Truth>>,
        actors: impl Into<Vec<Actor>>,
    ) -> Result<Self, StageError> {
        Ok(Self::new(Some(Form::Passive), truths, actors))
    }

    /// By RSTs of both forms.
    pub(super) fn mixed(
        truths: impl Into<Vec<Truth>>,
        actors: impl Into<Vec<Actor>>,
    ) -> Result<Self, StageError> {
        Ok(Self::new(None, truths, actors))
    }

    /// By RSTs that a process wrote itself.
    pub(super) fn crafted(
        truths: impl Into<Vec<Truth>>,
        actors: impl Into<Vec<Actor>>,
    ) -> Result<Self, StageError> {
        Ok(Self::new(None, truths, actors))
    }

    fn new(
        form: Option<Form>,
        truths: impl Into<Vec<Truth>>,
        actors: impl Into<Vec<Actor>>,
    ) -> Self {
        Self {
            truths: truths.into(),
            form,
            _actors: actors.into(),
        }
    }
}

/// A RST of another form than meant was sent by something else than meant.
fn check_form(truth: &Truth, form: Option<Form>) -> Result<(), StageError> {
    let seen = &truth.seen;
    let right = match form {
        Some(Form::Active) => seen.window != 0,
        Some(Form::Passive) => {
            seen.window == 0 && seen.options == 0 && seen.ip_id.unwrap_or(0) == 0
        }
        None => true,
    };
    if right {
        Ok(())
    } else {
        Err(StageError::Failed(format!(
            "the RST is not {form:?}: {seen:?}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_one_that_is_due_first_is_next() {
        let now = Instant::now();
        let mut waiting: VecDeque<_> = [3, 1, 2]
            .into_iter()
            .map(|seconds| {
                let due = now + Duration::from_secs(seconds);
                let armed = Armed::due(due, |_| Staged::crafted([], []));
                (0, seconds, armed.unwrap())
            })
            .collect();
        let order: Vec<_> =
            std::iter::from_fn(|| take_next(&mut waiting).map(|(_, seconds, _)| seconds)).collect();
        assert_eq!(order, [1, 2, 3]);
    }
}
