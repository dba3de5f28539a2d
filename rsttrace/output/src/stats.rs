//! Statistics over many records, for plots.

pub(crate) mod leg;
pub mod quiet;
