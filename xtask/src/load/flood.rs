//! SYNs over the lab's link to a port without a listener, each answered by a reset.

use std::{io::IoSlice, os::fd::AsRawFd as _};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use etherparse::PacketBuilder;
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, SockaddrLike as _,
        bind, sendmmsg, socket,
    },
};
use rsttrace_lab::link::{FAR, NEAR};

use super::pace::Pace;

/// Send SYNs to a closed port
#[derive(clap::Args)]
pub struct Args {
    #[arg(long, value_enum)]
    sources: Sources,
    /// So many a second; 0: as many as possible
    #[arg(long, default_value_t = 0)]
    rate: u64,
    #[arg(long)]
    seconds: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sources {
    /// One network of the benchmark's range
    Fixed,
    /// Any
    Random,
}

const CLOSED_PORT: u16 = 9;
/// Frames that differ; then they are sent again.
const FRAMES: usize = 65_536;
/// Handed to the kernel at once.
const BATCH: usize = 64;

/// Runs it.
pub fn run(args: &Args) -> Result<()> {
    let frames = frames(args)?;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .context("open a packet socket")?;
    bind(socket.as_raw_fd(), &link(NEAR.interface)?).context("bind to the interface")?;
    let slices: Vec<[IoSlice<'_>; 1]> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
    let mut headers = MultiHeaders::<LinkAddr>::preallocate(BATCH, None);
    let nowhere: [Option<LinkAddr>; BATCH] = [const { None }; BATCH];
    let mut batches = slices.chunks_exact(BATCH).cycle();
    let mut pace = Pace::start(args.rate, args.seconds);
    while let Some(number) = pace.next(BATCH as u64) {
        let batch = batches.next().context("there are frames")?;
        let number = usize::try_from(number).unwrap_or(BATCH);
        if number == 0 {
            continue;
        }
        let sent = sendmmsg(
            socket.as_raw_fd(),
            &mut headers,
            &batch[..number],
            &nowhere[..number],
            [],
            MsgFlags::empty(),
        );
        match sent {
            Ok(sent) => pace.count(sent.count() as u64),
            // The interface has no room just now.
            Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error).context("send"),
        }
    }
    super::report(&pace.report())
}

/// The address of an interface, by which packets are put on it.
fn link(name: &str) -> Result<LinkAddr> {
    getifaddrs()
        .context("list interfaces")?
        .filter(|interface| interface.interface_name == name)
        .filter_map(|interface| interface.address)
        .find(|address| address.family() == Some(AddressFamily::Packet))
        .and_then(|address| address.as_link_addr().copied())
        .with_context(|| format!("there is no interface {name}"))
}

fn frames(args: &Args) -> Result<Vec<Vec<u8>>> {
    // The same in each run.
    let mut random = fastrand::Rng::with_seed(7);
    (0..FRAMES)
        .map(|_| {
            let source = match args.sources {
                Sources::Fixed => [198, 18, 7, random.u8(1..255)],
                // Below 127, and no address of the lab's own.
                Sources::Random => [
                    random.u8(11..127),
                    random.u8(..),
                    random.u8(..),
                    random.u8(1..255),
                ],
            };
            let mut frame = Vec::new();
            PacketBuilder::ethernet2(NEAR.mac, FAR.mac)
                .ipv4(source, FAR.address.octets(), 57)
                .tcp(random.u16(1024..), CLOSED_PORT, random.u32(..), 64_240)
                .syn()
                .write(&mut frame, &[])
                .context("build a SYN")?;
            Ok(frame)
        })
        .collect()
}
