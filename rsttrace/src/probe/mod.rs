//! Measurement of the idle timeout of a network path.
//!
//! Pure: which connections to open and how long each stays idle ([`plan`]), whether enough has been seen
//! ([`decide`]), what it means ([`conclude`](conclude())), and how it is shown ([`Report`], [`render`]). Sockets and clocks
//! are at the edge, in `app`; times come in as durations since the probe began.

mod conclude;
mod decide;
mod pattern;
pub mod plan;
pub mod protocol;
mod render;
mod report;
mod trial;

#[cfg(test)]
mod tests;

pub use conclude::{Conclusion, Mode, Reached, conclude, path};
pub use decide::{Next, next};
pub use render::{render, seconds};
pub use report::{
    Bounds, DirectionReport, Event, Heading, Observation, Report, Results, SCHEMA, Target,
};
pub use trial::{Answer, Direction, End, OtherEnd, Outcome, Speech, State, Trial};
