//! Scenes of real traffic: programs as distributions ship them, what they do, and what each host can know about it.
//!
//! A [`Scene`] is data (`lab/scenes`). It is played on [`Hosts`] of its own, so scenes can be played side by side.

mod hosts;
mod play;
mod scene;

pub use hosts::{Host, Hosts};
pub use play::{Played, Stage};
pub use scene::{Expected, Scene, View, scenes};
