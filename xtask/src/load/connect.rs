//! Connections that are opened, accepted and closed, one after the other.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use rsttrace_lab::namespace;
use socket2::SockRef;

use super::pace::Pace;

/// Open, accept and close connections
#[derive(clap::Args)]
pub struct Args {
    /// Where to listen
    address: Ipv4Addr,
    /// Listen in the network namespace of this process
    #[arg(long)]
    listen_in: Option<u32>,
    /// How the client closes
    #[arg(long, value_enum)]
    close: Close,
    /// Have the client ask and the server answer before
    #[arg(long)]
    exchange: bool,
    /// So many a second; 0: as many as possible
    #[arg(long, default_value_t = 0)]
    rate: u64,
    #[arg(long)]
    seconds: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Close {
    /// By a FIN
    Fin,
    /// By a reset, which linger 0 makes of a close
    Reset,
}

/// Runs it. One thread has both ends, so that no wake-up depends on the rest of the machine.
pub fn run(args: &Args) -> Result<()> {
    let listen = || TcpListener::bind((args.address, 0));
    // The socket stays in the namespace where it was made.
    let listener = match args.listen_in {
        Some(pid) => namespace::enter_that_of(pid, listen).flatten(),
        None => listen(),
    };
    let listener = listener.context("listen")?;
    let to = listener.local_addr().context("where it listens")?;
    let mut pace = Pace::start(args.rate, args.seconds);
    while let Some(number) = pace.next(16) {
        for _ in 0..number {
            connection(&listener, to, args)?;
        }
        pace.count(number);
    }
    super::report(&pace.report())
}

fn connection(listener: &TcpListener, to: SocketAddr, args: &Args) -> Result<()> {
    let mut client = TcpStream::connect(to).context("connect")?;
    let (mut accepted, _) = listener.accept().context("accept")?;
    if args.exchange {
        client.write_all(&[b'?'; 100]).context("ask")?;
        accepted.read_exact(&mut [0; 100]).context("hear")?;
        accepted.write_all(&[b'!'; 1000]).context("answer")?;
        client.read_exact(&mut [0; 1000]).context("read")?;
    }
    if args.close == Close::Reset {
        SockRef::from(&client)
            .set_linger(Some(Duration::ZERO))
            .context("set linger")?;
    }
    drop(client);
    drop(accepted);
    Ok(())
}
