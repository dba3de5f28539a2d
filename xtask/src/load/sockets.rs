//! Connections that are open and silent.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Context as _, Result};

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
    rsttrace_lab::raise_file_limit();
    let listener = TcpListener::bind((args.address, 0)).context("listen")?;
    let to = listener.local_addr().context("where it listens")?;
    let mut open = Vec::with_capacity(args.pairs);
    for _ in 0..args.pairs {
        let client = TcpStream::connect(to).context("connect")?;
        open.push((client, listener.accept().context("accept")?.0));
    }
    super::report("ready")?;
    // An error is an end, too.
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    Ok(())
}
