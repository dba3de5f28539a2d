//! What do many records say together? Numbers for plots; nothing here draws.

pub(crate) mod leg;
pub mod quiet;
