//! The programs that run in guests. A guest has the files of this machine, so it finds them, and their libraries, under the same paths.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::command;

pub struct Built {
    /// rsttrace, the release build.
    pub program: PathBuf,
    /// Test binaries (debug builds) and examples (release builds), by target.
    pub others: BTreeMap<String, PathBuf>,
}

impl Built {
    /// Builds rsttrace, and these integration tests and this example of it.
    pub fn make(tests: &[&str], example: Option<&str>) -> Result<Self> {
        let mut release = command::cargo();
        release.args(["build", "--release", "--package", "rsttrace"]);
        release.args(["--bin", "rsttrace"]);
        release.args(example.into_iter().flat_map(|name| ["--example", name]));
        let mut others = command::build(&mut release)?;
        let program = others.remove("rsttrace");
        if !tests.is_empty() {
            let mut debug = command::cargo();
            debug.args(["test", "--no-run", "--package", "rsttrace"]);
            debug.args(tests.iter().flat_map(|test| ["--test", test]));
            others.extend(command::build(&mut debug)?);
        }
        Ok(Self {
            program: program.context("cargo built no rsttrace")?,
            others,
        })
    }
}
