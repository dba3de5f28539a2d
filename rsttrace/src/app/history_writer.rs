//! History of a running trace.

use std::cell::Cell;
use std::time::Duration;

use log::warn;

use crate::cli::{Failure, StoreOptions};
use crate::record::Output;
use crate::self_stats::StoreVitals;
use crate::store::{Keeper, Limits, StoreError};
use crate::summary::Totals;
use crate::words::count;

/// The history of a trace; without the option, nothing is stored.
#[derive(Default)]
pub struct Storing {
    keeper: Option<Keeper>,
    description: Option<String>,
    /// Records lost because the history could not be opened; absent if it was, or without the option.
    lost: Option<Cell<u64>>,
}

impl Storing {
    /// Opens the store. One that the configuration file alone asks for is left to the process that is at it already, and does not
    /// end the start if it cannot be opened: tracing is worth more.
    pub fn start(options: Option<&StoreOptions>) -> Result<Self, Failure> {
        let Some(options) = options else {
            return Ok(Self::default());
        };
        match Keeper::start(&options.file, options.limits) {
            Ok(keeper) => Ok(Self {
                description: Some(describe(&keeper, options.limits)),
                keeper: Some(keeper),
                lost: None,
            }),
            Err(StoreError::InUse { file, pid }) if !options.required => {
                let by = pid.map_or("another process".to_owned(), |pid| format!("PID {pid}"));
                Ok(Self {
                    keeper: None,
                    description: Some(format!(
                        "the history {} is already written by {by}; this trace does not write it",
                        file.display()
                    )),
                    lost: None,
                })
            }
            Err(error) if !options.required => {
                warn!("not writing a history: {error}; the missing records are counted");
                Ok(Self {
                    keeper: None,
                    description: None,
                    lost: Some(Cell::new(0)),
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The line about the history at the start.
    pub fn describe(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// Changes the limits.
    pub fn set_limits(&self, limits: Limits) {
        if let Some(keeper) = &self.keeper {
            keeper.set_limits(limits);
        }
    }

    pub fn offer(&self, output: Output) {
        if let Some(keeper) = &self.keeper {
            keeper.offer(output);
        } else if let Some(lost) = &self.lost {
            lost.set(lost.get() + 1);
        }
    }

    /// How it goes; absent if nothing is kept.
    pub fn vitals(&self) -> Option<StoreVitals> {
        match (&self.keeper, &self.lost) {
            (Some(keeper), _) => Some(keeper.vitals()),
            (None, Some(lost)) => Some(StoreVitals {
                lost: lost.get(),
                ..StoreVitals::default()
            }),
            (None, None) => None,
        }
    }

    /// Waits until everything is stored, and adds the result to the summary.
    pub fn finish(self, totals: &mut Totals) {
        let vitals = match (self.keeper, self.lost) {
            (Some(keeper), _) => keeper.finish(),
            (None, Some(lost)) => StoreVitals {
                lost: lost.get(),
                ..StoreVitals::default()
            },
            (None, None) => return,
        };
        let lost = ("records missing from the history".to_owned(), vitals.lost);
        totals.shortfalls.push(lost);
        if let Some(of_trace) = &mut totals.vitals {
            of_trace.store = Some(vitals);
        }
    }
}

fn describe(keeper: &Keeper, limits: Limits) -> String {
    const DAY: Duration = Duration::from_secs(24 * 3_600);
    let hours = limits.age.as_secs() / 3_600;
    let age = match limits.age {
        age if age >= 2 * DAY => format!("{} days", hours / 24),
        age if hours > 0 => format!("{} h", age.as_secs() / 3_600),
        age => format!("{} s", age.as_secs()),
    };
    format!(
        "history: {} (retention {age}, up to {} MiB)",
        keeper.file().display(),
        count(limits.bytes >> 20)
    )
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::NotPermitted(_) | StoreError::Others(_) => Self::NotPermitted(message),
            StoreError::Foreign(_) => Self::Usage(message),
            _ => Self::Failed(anyhow::anyhow!(message)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_history_that_only_the_configuration_asks_for_does_not_end_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.db");
        std::fs::write(&file, "no history".repeat(999)).unwrap();
        let mut options = StoreOptions {
            file,
            limits: Limits::default(),
            required: true,
        };
        assert!(Storing::start(Some(&options)).is_err());
        options.required = false;
        let storing = Storing::start(Some(&options)).unwrap();
        let text = include_str!("../../tests/data/records/port_closed.json");
        let record = serde_json::from_str(text).unwrap();
        storing.offer(Output::Reset(Box::new(record)));
        assert_eq!(storing.vitals().unwrap().lost, 1);
        let mut totals = Totals::default();
        storing.finish(&mut totals);
        assert_eq!(totals.shortfalls[0].1, 1);
    }
}
