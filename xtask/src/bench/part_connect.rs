//! What do connections cost that nobody resets?

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::{
    Bench,
    lab::{End, Lab},
    process::{Running, Speaks},
    report::{Connect, Pair},
    tool::DEFAULT,
    trial::courses,
    workload::{Act, Place, Workload},
};
use crate::command;

/// Measures.
pub fn measure(bench: &Bench) -> Result<Connect> {
    let lab = Lab::new(&bench.programs)?;
    let mut loops = Vec::new();
    for place in [Place::Lo, Place::Veth] {
        loops.extend(courses(
            bench,
            &lab,
            Workload::full(Act::Connect, place),
            &[DEFAULT],
        )?);
    }
    let missing: Vec<_> = ["nginx", "wrk"]
        .into_iter()
        .filter(|program| command::find_in_path(program).is_none())
        .collect();
    let requests = if missing.is_empty() {
        requests(bench, &lab).map_err(|error| format!("{error:#}"))
    } else {
        Err(format!(
            "not installed: `apt-get install {}`",
            missing.join(" ")
        ))
    };
    Ok(Connect { loops, requests })
}

/// One worker, which is enough for one CPU of load; no files, no log.
const NGINX: &str = "\
daemon off; master_process off; worker_processes 1; error_log /dev/null; pid FOLDER/pid;
events { worker_connections 1024; }
http {
  access_log off; keepalive_timeout 0;
  client_body_temp_path FOLDER; proxy_temp_path FOLDER; fastcgi_temp_path FOLDER;
  uwsgi_temp_path FOLDER; scgi_temp_path FOLDER;
  server { listen ADDRESS:8080; location / { return 200 'ok'; } }
}
";

fn requests(bench: &Bench, lab: &Lab) -> Result<Pair> {
    let folder = tempfile::tempdir().context("make a folder for nginx")?;
    let _nginx = start_nginx(lab, folder.path())?;
    let mut pair = Pair {
        unit: "requests".to_owned(),
        off: Vec::new(),
        on: Vec::new(),
    };
    let workload = Workload::full(Act::Connect, Place::Veth);
    for round in 0..bench.plan.rounds {
        eprintln!("  requests to nginx, round {}", round + 1);
        pair.off.push(wrk(bench, lab)?);
        let tracer = DEFAULT.start(bench, lab, workload)?;
        pair.on.push(wrk(bench, lab)?);
        DEFAULT.end(tracer)?;
    }
    Ok(pair)
}

fn start_nginx(lab: &Lab, folder: &Path) -> Result<Running> {
    let file = folder.join("nginx.conf");
    let config = NGINX
        .replace("FOLDER", &folder.display().to_string())
        .replace("ADDRESS", End::Server.address());
    fs::write(&file, config).context("write nginx.conf")?;
    let mut nginx = lab.command(End::Server, "nginx");
    nginx.arg("-c").arg(&file);
    let mut nginx = Running::start(&nginx, Speaks::Err)?;
    nginx.await_that("listening socket", |pid| {
        // Port 8080 in state LISTEN.
        let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
        table.contains(":1F90 00000000:0000 0A")
    })?;
    Ok(nginx)
}

fn wrk(bench: &Bench, lab: &Lab) -> Result<f64> {
    // wrk knows whole seconds.
    let seconds = bench.plan.lasts.as_secs().max(1);
    let mut wrk: Command = lab.command(End::Client, "wrk");
    wrk.args([
        "-t1",
        "-c16",
        &format!("-d{seconds}s"),
        "-H",
        "Connection: close",
    ]);
    wrk.arg(format!("http://{}:8080/", End::Server.address()));
    let text = command::output(&mut wrk)?;
    parse_wrk(&text).with_context(|| format!("not understood: {text}"))
}

/// `Requests/sec:  12345.67`
fn parse_wrk(text: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_wrk_is_read() {
        let text = "  4 threads\nRequests/sec:  12345.67\nTransfer/sec:      1.77MB\n";
        assert_eq!(parse_wrk(text), Some(12_345.67));
        assert_eq!(parse_wrk("unable to connect\n"), None);
    }
}
