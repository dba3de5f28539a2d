//! Measurement of the idle timeout of a network path.
//!
//! Pure: which connections to open and how long each stays idle ([`plan`]), whether enough has been seen
//! ([`decide`]), what it means ([`conclude`](conclude())), and how it is shown ([`Report`], [`render`]). Sockets and clocks
//! are at the edge, in `app`; times come in as durations since the probe began.

mod conclude;
mod decide;
mod pattern;
pub mod plan;
mod render;
mod report;
mod trial;

#[cfg(test)]
mod tests;

pub use conclude::{Conclusion, Mode, conclude};
pub use decide::{Next, next};
pub use render::render;
pub use report::{Bounds, Event, Heading, Observation, Report, SCHEMA, Target};
pub use trial::{Answer, End, Outcome, Speech, State, Trial};
