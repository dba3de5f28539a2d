//! What does bulk data cost?

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{
    Bench,
    lab::{End, Lab},
    process::{Running, Speaks},
    report::Pair,
    tool::DEFAULT,
    workload::{Act, Place, Workload},
};
use crate::command;

/// Measures: gigabits a second.
pub fn measure(bench: &Bench) -> Result<Pair> {
    let mut pair = Pair {
        unit: "Gbit".to_owned(),
        off: Vec::new(),
        on: Vec::new(),
    };
    if command::find_in_path("iperf3").is_none() {
        eprintln!("  not measured: `apt-get install iperf3`");
        return Ok(pair);
    }
    let lab = Lab::new(&bench.programs)?;
    let mut server = lab.command(End::Server, "iperf3");
    server.args(["--server", "--forceflush"]);
    let mut server = Running::start(&server, Speaks::Out)?;
    server.await_line("Server listening")?;
    let workload = Workload::full(Act::Connect, Place::Veth);
    for round in 0..bench.plan.rounds {
        eprintln!("  bulk data, round {}", round + 1);
        pair.off.push(iperf(bench, &lab)?);
        let tracer = DEFAULT.start(bench, &lab, workload)?;
        pair.on.push(iperf(bench, &lab)?);
        DEFAULT.end(tracer)?;
    }
    Ok(pair)
}

fn iperf(bench: &Bench, lab: &Lab) -> Result<f64> {
    let mut client: Command = lab.command(End::Client, "iperf3");
    let seconds = bench.plan.lasts.as_secs().max(1);
    client.args([
        "--client",
        End::Server.address(),
        "--json",
        "--time",
        &seconds.to_string(),
    ]);
    parse(&command::output(&mut client)?)
}

fn parse(text: &str) -> Result<f64> {
    let value: serde_json::Value = serde_json::from_str(text).context("iperf3 printed no JSON")?;
    if let Some(error) = value["error"].as_str() {
        bail!("iperf3: {error}");
    }
    let bits = value["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(bits.context("iperf3 told no rate")? / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_iperf_is_read() {
        let text = r#"{"end":{"sum_received":{"bits_per_second":12500000000.0}}}"#;
        assert_eq!(parse(text).ok(), Some(12.5));
        assert!(parse(r#"{"error":"refused"}"#).is_err());
    }
}
