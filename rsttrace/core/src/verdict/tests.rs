//! Verdicts, each beside its look-alike.

mod located;
mod received;
mod sent;
mod timeout;
mod wire;
