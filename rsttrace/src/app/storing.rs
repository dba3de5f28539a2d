//! Is what was judged kept, and how does that go?

use std::time::Duration;

use crate::cli::{Failure, StoreOptions};
use crate::pipeline::Output;
use crate::sink::text::count;
use crate::store::{Keeper, Limits, StoreError};
use crate::summary::Totals;
use crate::vitals::StoreVitals;

/// What was asked for; nothing is kept if nothing was.
#[derive(Default)]
pub struct Storing {
    keeper: Option<Keeper>,
    description: Option<String>,
}

impl Storing {
    /// Opens the store. One that the configuration file alone asks for is left to the process that is at it already.
    pub fn start(options: Option<&StoreOptions>) -> Result<Self, Failure> {
        let Some(options) = options else {
            return Ok(Self::default());
        };
        match Keeper::start(&options.file, options.limits) {
            Ok(keeper) => Ok(Self {
                description: Some(describe(&keeper, options.limits)),
                keeper: Some(keeper),
            }),
            Err(StoreError::InUse { file, pid }) if !options.required => {
                let by = pid.map_or("another process".to_owned(), |pid| format!("pid {pid}"));
                Ok(Self {
                    keeper: None,
                    description: Some(format!(
                        "the history in {} is kept by {by}; this trace is not in it twice",
                        file.display()
                    )),
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Where what happens can be asked for later, as a sentence.
    pub fn describe(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// Keeps an output.
    pub fn offer(&self, output: Output) {
        if let Some(keeper) = &self.keeper {
            keeper.offer(output);
        }
    }

    /// How it goes; absent if nothing is kept.
    pub fn vitals(&self) -> Option<StoreVitals> {
        self.keeper.as_ref().map(Keeper::vitals)
    }

    /// Waits until everything is stored, and tells the summary how it went.
    pub fn finish(self, totals: &mut Totals) {
        let Some(keeper) = self.keeper else { return };
        let vitals = keeper.finish();
        let lost = (
            "records that could not be kept in the history".to_owned(),
            vitals.lost,
        );
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
        "history in {}: {age}, at most {} MiB",
        keeper.file().display(),
        count(limits.bytes >> 20)
    )
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::NotPermitted(_) => Self::NotPermitted(message),
            StoreError::Foreign(_) => Self::Usage(message),
            _ => Self::Failed(anyhow::anyhow!(message)),
        }
    }
}
