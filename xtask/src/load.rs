//! The hidden `cargo xtask load`: makes the traffic that `cargo xtask bench` measures.

use clap::Subcommand;

mod connect;
mod flood;
mod guard;
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
    /// Hold a network namespace until standard input ends
    Hold,
    Connect(connect::Args),
    Flood(flood::Args),
    Sockets(sockets::Args),
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.load {
        Load::Hold => guard::hold(),
        Load::Connect(args) => connect::run(args),
        Load::Flood(args) => flood::run(args),
        Load::Sockets(args) => sockets::run(args),
    }
}
