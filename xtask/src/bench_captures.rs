//! `cargo xtask bench-captures`: speed and memory of `rsttrace pcap` compared with tshark.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, BufWriter, Write as _},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use etherparse::PacketBuilder;
use pcap_file::{
    TsResolution,
    pcap::{PcapHeader, PcapPacket, PcapWriter},
};
use procfs::process::Process;

use crate::{
    bench::{Programs, Spread},
    packages, workspace,
};

/// Analyze a capture with rsttrace and find its resets with tshark, in turns; compare time and memory
///
/// The capture is generated: connections with small segments in both directions; one packet in 500 is a reset. Fails if rsttrace is
/// less than five times as fast, or uses more memory.
#[derive(clap::Args)]
pub struct Args {
    /// Number of packets in the capture
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    packets: u64,
    /// Number of runs of each tool
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// Minimum speed, in multiples of tshark's.
const LEAST_SPEED: f64 = 5.0;
/// Open at the same time.
const CONNECTIONS: u64 = 20_000;
/// One packet in so many is a reset.
const ONE_RESET_IN: u64 = 500;
/// Between packets.
const SPACING: Duration = Duration::from_micros(20);
/// Interval of reading the peak of memory, which the kernel keeps.
const LOOK: Duration = Duration::from_millis(2);

#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    /// Peak of the resident memory.
    megabytes: f64,
}

pub fn run(args: &Args) -> Result<()> {
    packages::install(&["tshark"])?;
    let programs = Programs::build()?;
    let folder = workspace::target().join("bench-captures");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let file = folder.join(format!("{}.pcap", args.packets));
    let resets = write(&file, args.packets)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        let mut judge = Command::new(&programs.rsttrace);
        judge.args(["pcap", "--noise", "--every", "--output", "json"]);
        ours.push(measure(judge.arg(&file), resets)?);
        let mut find = Command::new("tshark");
        find.args(["-Y", "tcp.flags.reset==1", "-r"]);
        theirs.push(measure(find.arg(&file), resets)?);
    }
    let show = |name: &str, of: &dyn Fn(&Cost) -> f64| {
        let spread = |costs: &[Cost]| Spread::of(costs.iter().map(of)).context("no figures");
        let (ours, theirs) = (spread(&ours)?, spread(&theirs)?);
        println!("{name}: rsttrace {ours}, tshark {theirs}");
        Ok::<_, anyhow::Error>(theirs.median / ours.median)
    };
    println!("{} packets, {resets} resets", args.packets);
    let faster = show("seconds", &|cost| cost.seconds)?;
    let smaller = show("MB", &|cost| cost.megabytes)?;
    println!("rsttrace is {faster:.1} times as fast");
    if faster < LEAST_SPEED || smaller < 1.0 {
        bail!("rsttrace is less than {LEAST_SPEED} times as fast as tshark, or uses more memory");
    }
    Ok(())
}

/// Runs it to the end. It has to write a line for each reset.
fn measure(command: &mut Command, resets: u64) -> Result<Cost> {
    let start = Instant::now();
    let command = command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command
        .spawn()
        .with_context(|| format!("start {command:?}"))?;
    let output = child.stdout.take().context("it has no output")?;
    let lines = thread::spawn(move || BufReader::new(output).lines().count() as u64);
    let process = Process::new(i32::try_from(child.id())?)?;
    let mut most = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        // It may end between the two.
        let resident = process.status().ok().and_then(|status| status.vmhwm);
        most = most.max(resident.unwrap_or_default());
        thread::sleep(LOOK);
    };
    let seconds = start.elapsed().as_secs_f64();
    let lines = lines.join().ok().context("its output could not be read")?;
    if !status.success() || lines != resets {
        bail!("{command:?} ended with {status} and found {lines} of {resets} resets");
    }
    Ok(Cost {
        seconds,
        megabytes: most as f64 * 1024.0 / 1e6,
    })
}

/// Writes the capture unless it is there; returns how many resets it has.
fn write(path: &Path, packets: u64) -> Result<u64> {
    let resets = (1..=packets)
        .filter(|number| number % ONE_RESET_IN == 0)
        .count() as u64;
    if path.exists() {
        return Ok(resets);
    }
    let draft = path.with_extension("draft");
    let out = File::create(&draft).with_context(|| format!("create {}", draft.display()))?;
    let header = PcapHeader {
        ts_resolution: TsResolution::NanoSecond,
        ..PcapHeader::default()
    };
    let mut out = PcapWriter::with_header(BufWriter::new(out), header)?;
    let mut random = fastrand::Rng::with_seed(1);
    let mut numbers = vec![[1_000_u32, 2_000_u32]; usize::try_from(CONNECTIONS)?];
    let mut packet = Vec::new();
    for number in 1..=packets {
        let connection = usize::try_from(random.u64(0..CONNECTIONS))?;
        let from_server = random.bool();
        let is_reset = number % ONE_RESET_IN == 0;
        let ends = &mut numbers[connection];
        let (side, other) = (usize::from(from_server), usize::from(!from_server));
        let host = u32::try_from(connection)?.to_be_bytes();
        let client = [10, host[1], host[2], host[3]];
        let (source, target, ports, ttl) = if from_server {
            ([10, 255, 0, 1], client, (8_080, 40_000), 64)
        } else {
            (client, [10, 255, 0, 1], (40_000, 8_080), 57)
        };
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4(source, target, ttl)
            .tcp(ports.0, ports.1, ends[side], 500);
        let payload: &[u8] = if is_reset { &[] } else { &[0; 40] };
        packet.clear();
        if is_reset {
            builder.rst().ack(ends[other]).write(&mut packet, payload)?;
            // The next connection on these ports has new numbers.
            *ends = [random.u32(..), random.u32(..)];
        } else {
            builder.psh().ack(ends[other]).write(&mut packet, payload)?;
            ends[side] = ends[side].wrapping_add(40);
        }
        let time = Duration::from_secs(1_700_000_000) + SPACING * u32::try_from(number)?;
        let length = u32::try_from(packet.len())?;
        out.write_packet(&PcapPacket::new(time, length, &packet))?;
    }
    out.into_writer().flush()?;
    std::fs::rename(&draft, path)?;
    Ok(resets)
}
