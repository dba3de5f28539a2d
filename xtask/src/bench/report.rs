//! What was measured, as it is kept.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::{
    stats::Spread,
    trial::{Course, NONE},
};

/// All of a run. What is empty or absent was not measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Of this file's form.
    pub format: u32,
    /// Where and with what.
    pub machine: Machine,
    /// Only to see whether it works.
    pub quick: bool,
    /// Nanoseconds a packet.
    #[serde(default)]
    pub classifier: Vec<Packet>,
    /// Connections without resets.
    #[serde(default)]
    pub connect: Option<Connect>,
    /// Bulk data.
    #[serde(default)]
    pub throughput: Option<Pair>,
    /// Resets, under rsttrace.
    #[serde(default)]
    pub storm: Vec<Course>,
    /// Resets, under rsttrace and other tools.
    #[serde(default)]
    pub peers: Vec<Course>,
    /// Milliseconds from start to hooks attached.
    #[serde(default)]
    pub start: Option<Spread>,
    /// By open sockets.
    #[serde(default)]
    pub memory: Vec<Memory>,
    /// Resets, over both transports.
    #[serde(default)]
    pub transport: Vec<Course>,
}

/// What figures depend on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Model.
    pub cpu: String,
    /// CPUs.
    pub cpus: usize,
    /// Bytes.
    pub memory: u64,
    /// `uname -r`
    pub kernel: String,
    /// The system's name.
    pub system: String,
    /// UTC.
    pub date: String,
    /// Of rsttrace; "+" if there are changes that are not in it.
    pub commit: String,
    /// Versions of other programs by name; those that are there.
    pub tools: BTreeMap<String, String>,
}

/// One kind of packet; a number a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Packet {
    /// Which.
    pub frame: String,
    /// Which budget it has.
    pub kind: PacketKind,
    /// Runs in all.
    pub runs: u64,
    /// A classifier that does nothing.
    pub empty: Vec<f64>,
    /// What looks at packets that come in.
    pub ingress: Vec<f64>,
    /// What looks at packets that go out.
    pub egress: Vec<f64>,
}

/// How far a classifier has to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PacketKind {
    /// Most of all traffic.
    Plain,
    /// VLAN tags, options, extension headers.
    Tagged,
    /// A SYN.
    Handshake,
    /// A RST, described.
    Event,
    /// A RST of a flood, counted.
    Flood,
}

/// Connections without resets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connect {
    /// Opened, accepted, closed.
    pub loops: Vec<Course>,
    /// Requests to nginx, one a connection; why not otherwise.
    pub requests: Result<Pair, String>,
}

/// Something a second without and with the tracer, a number a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// What.
    pub unit: String,
    /// Without.
    pub off: Vec<f64>,
    /// With.
    pub on: Vec<f64>,
}

/// What a tracer holds some time after its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Sockets that were wanted.
    pub wanted: usize,
    /// Sockets that were open: fewer where the machine has no room.
    pub sockets: usize,
    /// Seconds after the start.
    pub after: f64,
    /// Seconds from the start to hooks attached: older sockets are gone through before.
    #[serde(default)]
    pub ready: f64,
    /// Bytes resident in the daemon.
    pub resident: u64,
    /// Bytes of its maps, as the kernel tells.
    pub maps: u64,
    /// Bytes of its programs.
    pub programs: u64,
    /// Bytes of the value that is kept with each socket; 0 if this kernel keeps none.
    pub socket_value: u64,
    /// Bytes by which the kernel's memory that cannot be given back grew with the start: all of it, and whatever else
    /// happened on the machine.
    pub kernel_growth: i64,
}

/// Of this file's form: raised when an older file would be misread.
const FORMAT: u32 = 1;

impl Report {
    /// Of nothing yet.
    pub fn new(machine: Machine, quick: bool) -> Self {
        Self {
            format: FORMAT,
            machine,
            quick,
            ..Self::default()
        }
    }

    /// Reads an earlier one.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let report: Self = serde_json::from_str(&text).with_context(|| {
            format!("{} holds no figures of `cargo xtask bench`", file.display())
        })?;
        if report.format != FORMAT {
            bail!(
                "{} is of format {}, not {FORMAT}: measure again",
                file.display(),
                report.format
            );
        }
        Ok(report)
    }

    /// Keeps it, with its budgets.
    pub fn write(&self, file: &Path) -> Result<()> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        let mut value = serde_json::to_value(self).context("figures as JSON")?;
        if let Some(object) = value.as_object_mut() {
            object.insert("summary".into(), serde_json::to_value(self.summary())?);
            object.insert(
                "budget".into(),
                serde_json::to_value(super::budget::rows(self))?,
            );
        }
        let mut text = serde_json::to_string_pretty(&value).context("figures as JSON")?;
        text.push('\n');
        fs::write(file, text).with_context(|| format!("write {}", file.display()))
    }
}

/// What trials say together, for those who read the file by other means than this.
#[derive(Serialize)]
struct Summary<'a> {
    part: &'static str,
    workload: String,
    tool: &'a str,
    /// Connections or resets a second.
    speed: Option<Spread>,
    /// Of the speed without a tool.
    kept: Option<Spread>,
    /// Seconds of processes and BPF programs.
    cpu_per_reset_made: Option<Spread>,
    cpu_per_reset_shown: Option<Spread>,
    /// Seconds of the whole system, beyond those without a tool.
    busy_per_reset_made: Option<Spread>,
}

impl<'a> Summary<'a> {
    fn of(part: &'static str, courses: &'a [Course], course: &'a Course) -> Self {
        let free = super::budget::course(courses, course.workload, NONE);
        let free = free.filter(|_| course.tool != NONE);
        Self {
            part,
            workload: course.workload.name(),
            tool: &course.tool,
            speed: course.speed(),
            kept: free.and_then(|free| course.kept(free)),
            cpu_per_reset_made: course.cpu_per_reset(),
            cpu_per_reset_shown: course.cpu_per_shown(),
            busy_per_reset_made: free.and_then(|free| course.busy_per_reset(free)),
        }
    }
}

impl Report {
    fn summary(&self) -> Vec<Summary<'_>> {
        let connect = self
            .connect
            .as_ref()
            .map(|connect| connect.loops.as_slice());
        let parts = [
            ("connect", connect.unwrap_or_default()),
            ("storm", self.storm.as_slice()),
            ("peers", self.peers.as_slice()),
            ("transport", self.transport.as_slice()),
        ];
        let all = parts.into_iter().flat_map(|(part, courses)| {
            let measured = courses
                .iter()
                .filter(|course| course.not_measured.is_none());
            measured.map(move |course| Summary::of(part, courses, course))
        });
        all.collect()
    }
}

impl Pair {
    /// With the tracer, of what it is without.
    pub fn kept(&self) -> Option<Spread> {
        Spread::ratio(&self.on, &self.off)
    }
}
