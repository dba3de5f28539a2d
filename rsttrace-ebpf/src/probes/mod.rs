//! The hooks, one family a file.

mod accept;
mod classifier;
mod clock;
mod receive_reset;
mod seed;
mod send_reset;
mod state;
mod stateless;
