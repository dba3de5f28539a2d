//! What do many records say together? Numbers for plots; nothing here draws.

pub mod quiet;
