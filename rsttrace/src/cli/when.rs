//! Of which time is asked? What `history` and `report` have in common.

use clap::Args;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::Failure;
use crate::values::{self, Moment};

#[derive(Debug, Args)]
pub(super) struct WhenArgs {
    /// From when on: so long ago, as 2h or 3d, or a time, as "2026-01-05 12:03", 12:03 or 2026-01-05T12:03:41Z
    #[arg(long, value_name = "WHEN", value_parser = values::moment, help_heading = "When")]
    since: Option<Moment>,

    /// Until when, likewise
    #[arg(long, value_name = "WHEN", value_parser = values::moment, help_heading = "When")]
    until: Option<Moment>,
}

/// A span of time; open where an end is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

impl WhenArgs {
    /// What the arguments mean together; times of day are of this zone.
    pub(super) fn check(self, zone: &TimeZone) -> Result<When, Failure> {
        let now = Zoned::new(Timestamp::now(), zone.clone());
        let at = |name: &str, moment: Option<Moment>| {
            moment
                .map(|moment| {
                    moment.before(&now).ok_or_else(|| {
                        Failure::Usage(format!(
                            "{name}: no calendar reaches so far; write a later time"
                        ))
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
                "--since is not before --until; exchange the two".to_owned(),
            ));
        }
        Ok(when)
    }
}

impl When {
    /// Whether a record's time is within; one that is no time is.
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
