//! Judges the captures that `rsttrace demo --captures FOLDER` made, a line of JSON for each staged reset, place and sight:
//! `captures FOLDER` (`cargo xtask accuracy --captures` counts them).

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use rsttrace::app::judge_captures;

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1).context("name a folder")?;
    let mut out = BufWriter::new(io::stdout().lock());
    for case in judge_captures(&PathBuf::from(folder))? {
        serde_json::to_writer(&mut out, &case)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}
