//! Verdicts, each beside its look-alike.

mod received;
mod sent;
mod timeout;
mod wire;
