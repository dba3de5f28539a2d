//! Progress line of `rsttrace probe` on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::probe::{End, State, Trial};

/// A bar on standard error, if that is a terminal; gone when dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// For silences up to `max`.
    pub fn new(max: Duration) -> Self {
        let length = u64::try_from(max.as_millis()).unwrap_or(u64::MAX);
        // Hidden by itself where standard error is no terminal.
        let bar =
            ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(4));
        if let Ok(style) = ProgressStyle::with_template("[{bar:20}] {wide_msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(bar)
    }

    /// How far the trials are, `now` after the beginning.
    pub fn show<'a>(&self, trials: impl Iterator<Item = &'a Trial> + Clone, now: Duration) {
        if self.0.is_hidden() {
            return;
        }
        let (mut silent, mut survived, mut ended) = (0, 0, 0);
        for trial in trials.clone() {
            match &trial.state {
                State::Opening | State::Silent { .. } | State::Speaking { .. } => silent += 1,
                State::Over(outcome) if matches!(outcome.end, End::Survived(_)) => survived += 1,
                State::Over(_) => ended += 1,
            }
        }
        let longest = trials
            .filter_map(|trial| trial.silent_for(now))
            .max()
            .unwrap_or_default();
        self.0
            .set_position(u64::try_from(longest.as_millis()).unwrap_or(u64::MAX));
        self.0.set_message(format!(
            "idle for {} s: {silent} waiting, {survived} survived, {ended} ended; Ctrl-C stops and reports",
            longest.as_secs()
        ));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
