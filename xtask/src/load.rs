//! The hidden `cargo xtask load`: makes the traffic that `cargo xtask bench` measures.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::Subcommand;

mod connect;
mod flood;
mod pace;
mod sockets;

/// One process of a measurement
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand)]
enum Load {
    Connect(connect::Args),
    Flood(flood::Args),
    Sockets(sockets::Args),
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.load {
        Load::Connect(args) => connect::run(args),
        Load::Flood(args) => flood::run(args),
        Load::Sockets(args) => sockets::run(args),
    }
}

/// Prints a line for the process that waits for it.
fn report(line: &str) -> anyhow::Result<()> {
    let mut out = io::stdout();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    written.context("standard output is closed")
}
