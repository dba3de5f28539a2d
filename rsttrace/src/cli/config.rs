//! `rsttrace config`: checks and shows what the configuration files say.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Failure, configured};
use crate::config::{self, Config, ConfigError};
use crate::words;

const AFTER_HELP: &str = "\
Without FILE, rsttrace reads /etc/rsttrace/config.toml, then /etc/rsttrace/config.d/*.toml in
lexical order. A key in a later file replaces that in an earlier one, and those in conflict with it;
[[hop]] tables add up.

`show` prints only what the files set. Its output is a valid configuration file.

Exit codes:
  0  the configuration is valid
  2  the configuration is invalid; the message names the file, the line, the key and a valid value
  3  not permitted to read a file

Examples:
  rsttrace config check
  rsttrace config check new.toml
  rsttrace config show --all";

/// Arguments of `rsttrace config`.
#[derive(Clone, Debug, Args, PartialEq, Eq)]
#[command(after_long_help = AFTER_HELP)]
pub struct ConfigArgs {
    /// What to do
    #[arg(value_enum)]
    action: Action,

    /// Read this file only [default: /etc/rsttrace/config.toml and /etc/rsttrace/config.d/*.toml]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Of other commands; refused with a hint
    #[arg(long, hide = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// show: also print, as comments, the keys that no file sets
    #[arg(long)]
    all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Action {
    /// Check the files and say which ones were read
    Check,
    /// Print the effective configuration as TOML, with the file and line of each value
    Show,
}

impl ConfigArgs {
    /// Fails if the options contradict each other.
    pub fn check(self) -> Result<Self, Failure> {
        if self.config.is_some() {
            return Err(Failure::Usage(
                "--config is not an option of `rsttrace config`; give the file as FILE, for example `rsttrace config check new.toml`".to_owned(),
            ));
        }
        if self.all && self.action == Action::Check {
            return Err(Failure::Usage(
                "--all works with `rsttrace config show` only; remove it".to_owned(),
            ));
        }
        Ok(self)
    }
}

/// Reads and validates the files, and prints the result to standard output.
pub fn run(args: &ConfigArgs) -> Result<(), Failure> {
    let mut config = config::load(args.file.as_deref()).map_err(|error| match error {
        ConfigError::Missing(file) => Failure::Usage(format!(
            "{}: no such file; use an existing one",
            file.display()
        )),
        error => error.into(),
    })?;
    let keys = configured::check(&config)?;
    config.watch.retain(|setting| keys.contains(&setting.key));
    let text = match args.action {
        Action::Check => format!("{}\n", summary(&config)),
        Action::Show => {
            let keys = args.all.then(configured::keys);
            config::show(&config, keys.as_deref())
        }
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// The files and what they contain.
fn summary(config: &Config) -> String {
    if config.files.is_empty() {
        let folder = config::FOLDER;
        return format!(
            "no configuration: neither {folder}/config.toml nor {folder}/config.d/*.toml exists; the defaults apply"
        );
    }
    let files: Vec<_> = config
        .files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let things = |number: usize, what| words::things(number as u64, what);
    let mut parts = vec![things(config.hops.len(), "hop")];
    parts.extend(config.store.is_some().then(|| "a history".to_owned()));
    parts.push(things(config.watch.len(), "option") + " of watch");
    format!("{}: valid, {}", files.join(", "), parts.join(", "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use crate::cli::parse_from;

    #[test]
    fn the_option_of_other_commands_gets_a_hint() {
        let error = parse_from(["rsttrace", "config", "show", "--config", "x.toml"]).unwrap_err();
        assert!(
            error.to_string().contains("give the file as FILE"),
            "{error}"
        );
    }
}
