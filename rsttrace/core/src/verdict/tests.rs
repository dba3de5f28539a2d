//! Verdicts, each beside its look-alike.

mod located;
mod network;
mod own_timer;
mod received;
mod sent;
mod timeout;
mod wire;
