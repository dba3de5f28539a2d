//! Time range options shared by `history` and `report`.

use clap::Args;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::Failure;
use crate::values::{self, Moment};

#[derive(Debug, Args)]
pub(super) struct WhenArgs {
    /// Start time: relative (2h, 3d) or absolute ("2026-01-05 12:03", 12:03, 2026-01-05T12:03:41Z)
    #[arg(long, value_name = "TIME", value_parser = values::moment, help_heading = "Time range")]
    since: Option<Moment>,

    /// End time, in the same formats
    #[arg(long, value_name = "TIME", value_parser = values::moment, help_heading = "Time range")]
    until: Option<Moment>,
}

/// A time range; an absent end is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// Inclusive.
    pub since: Option<Timestamp>,
    /// Exclusive.
    pub until: Option<Timestamp>,
}

impl WhenArgs {
    /// Validates the arguments; local times are in `zone`.
    pub(super) fn check(self, zone: &TimeZone) -> Result<When, Failure> {
        let now = Zoned::new(Timestamp::now(), zone.clone());
        let at = |name: &str, moment: Option<Moment>| {
            moment
                .map(|moment| {
                    moment.before(&now).ok_or_else(|| {
                        Failure::Usage(format!("{name}: time out of range; use a later time"))
                    })
                })
                .transpose()
        };
        let when = When {
            since: at("--since", self.since)?,
            until: at("--until", self.until)?,
        };
        if let (Some(since), Some(until)) = (when.since, when.until)
            && since >= until
        {
            return Err(Failure::Usage(
                "--since is not before --until; swap the two times".to_owned(),
            ));
        }
        Ok(when)
    }
}

impl When {
    /// Whether a record's time is in range. Text that is not a time counts as in range.
    pub fn has(&self, time: &str) -> bool {
        if *self == Self::default() {
            return true;
        }
        time.parse::<Timestamp>().map_or(true, |time| {
            self.since.is_none_or(|since| time >= since)
                && self.until.is_none_or(|until| time < until)
        })
    }
}
