//! Connections that are open and silent.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::guard;

/// Hold connections open until standard input ends
#[derive(clap::Args)]
pub struct Args {
    /// A loopback address that no other process listens at
    address: Ipv4Addr,
    /// Connections; two sockets each
    #[arg(long)]
    pairs: usize,
}

/// Runs it.
pub fn run(args: &Args) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("read the limit of descriptors")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raise the limit of descriptors")?;
    let listener = TcpListener::bind((args.address, 0)).context("listen")?;
    let to = listener.local_addr().context("where it listens")?;
    let mut open = Vec::with_capacity(args.pairs);
    for _ in 0..args.pairs {
        let client = TcpStream::connect(to).context("connect")?;
        open.push((client, listener.accept().context("accept")?.0));
    }
    guard::ready("ready")?;
    guard::until_input_ends();
    Ok(())
}
