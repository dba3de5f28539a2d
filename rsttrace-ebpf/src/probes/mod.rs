//! The hooks, one family a file.

mod classifier;
mod clock;
mod receive_reset;
mod seed;
mod send_reset;
mod state;
